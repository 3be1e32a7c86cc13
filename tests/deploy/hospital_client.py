"""The ClientApp: a hospital, its own file, its own folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from fedlab.engine.flower import client_app
from fedlab.engine.plan import Plan
from fedlab.engine.site import SiteWork
from fedlab.engine.train import begin
from fedlab.privacy import Policy
from fedlab.study.harmony import Desk
from fedlab.study.heterogeneity.binned import Leave
from fedlab.study.heterogeneity.by_updates import risks_of
from fedlab.study.heterogeneity.census import AtSite, Terms

from .hospital_agreed import COLUMNS, federation_of, read


def name_of(context: Any) -> str:
    """Known without a look at any file."""
    return str(context.node_config["site"])


def held_of(context: Any) -> SiteWork | AtSite | Desk:
    """Read the file, and return what this run asks about."""
    if context.run_config["asks"] == "tables":
        return desk_of(context)
    plan = Plan.load(str(context.run_config["plan"]))
    site = plan.admit(federation_of(read(str(context.node_config["data"]), name_of(context))).sites[0])
    if context.run_config["asks"] == "measures":
        return AtSite(site, Terms.of(plan), Leave(5), 0, partial(risks_of, begin(plan)))
    made = plan.setup()
    return SiteWork.of(
        site, alg=made.algorithm, net=made.net, optimizer=made.settings.optimizer, prepared=plan.prepared,
        columns=COLUMNS,
    )  # fmt: skip


def desk_of(context: Any) -> Desk:
    """The table as the hospital wrote it; what it becomes is kept beside it."""
    path = Path(str(context.node_config["data"]))
    written = pd.read_csv(path.with_suffix(".written"), dtype=str, keep_default_na=False)
    return Desk(written, written, keep=lambda table: table.to_csv(path.with_suffix(".changed"), index=False))


app = client_app(
    held_of, name_of=name_of, policy=Policy(), folder_of=lambda context: str(context.node_config["folder"])
)
