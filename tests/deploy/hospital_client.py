"""The ClientApp: a hospital, its own file, its own folder."""

from __future__ import annotations

from typing import Any

from fedlab.engine.flower import client_app
from fedlab.engine.site import SiteWork
from fedlab.privacy import Policy

from .hospital_agreed import COLUMNS, federation_of, read, run_of


def name_of(context: Any) -> str:
    """Known without a look at any file."""
    return str(context.node_config["site"])


def work_of(context: Any) -> SiteWork:
    """Read the file and put the site to work."""
    federation = federation_of(read(str(context.node_config["data"]), name_of(context)))
    run = run_of(federation, context.run_config)
    return SiteWork.of(
        federation.sites[0], alg=run.algorithm, net=run.net, optimizer=run.settings.optimizer,
        prepared=federation.prepared, columns=COLUMNS,
    )  # fmt: skip


app = client_app(
    work_of, name_of=name_of, policy=Policy(), folder_of=lambda context: str(context.node_config["folder"])
)
