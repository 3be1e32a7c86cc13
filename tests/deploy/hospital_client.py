"""The ClientApp: a hospital, its own file, its own folder."""

from __future__ import annotations

from typing import Any

from fedlab.engine.flower import client_app
from fedlab.engine.plan import Plan
from fedlab.engine.site import SiteWork
from fedlab.privacy import Policy

from .hospital_agreed import COLUMNS, federation_of, read


def name_of(context: Any) -> str:
    """Known without a look at any file."""
    return str(context.node_config["site"])


def work_of(context: Any) -> SiteWork:
    """Read the file and put the site to work."""
    plan = Plan.load(str(context.run_config["plan"]))
    made = plan.setup()
    site = plan.admit(federation_of(read(str(context.node_config["data"]), name_of(context))).sites[0])
    return SiteWork.of(
        site, alg=made.algorithm, net=made.net, optimizer=made.settings.optimizer, prepared=plan.prepared,
        columns=COLUMNS,
    )  # fmt: skip


app = client_app(
    work_of, name_of=name_of, policy=Policy(), folder_of=lambda context: str(context.node_config["folder"])
)
