"""What the sites tell of their patients before anyone measures: histograms over cells that all agreed on.

Two questions through the gate. First ``blocks``: a site orders its values of a number and sends the mean of each block
of at least ``least`` patients, never a smallest or largest value; out of all blocks come the edges of the cells. Then
``histograms``: patients a cell, one more cell for those without a value, screened so that no cell of fewer than
``least`` leaves, or noised. A feature with codes has them for cells, and no edges.

Only training rows are read, and of a patient with several rows the first: then a cell counts patients.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedlab.engine.exchange import Ask, Exchange
from fedlab.engine.plan import Plan
from fedlab.engine.purposes import Purpose, register
from fedlab.federation import Examples, Feature, Federation, Regression, Site, Task
from fedlab.federation.frame import columns
from fedlab.metrics.cells import block_means, block_size
from fedlab.study.heterogeneity.binned import (
    Cells,
    Leave,
    agree,
    by_blocks,
    by_code,
    counted,
    filled,
)
from fedlab.study.heterogeneity.distances import Floats

LABEL = "label"


@dataclass(frozen=True)
class Terms:
    """What all sites have agreed on, without a row: who they are, the columns of their table, and the task.

    ``features`` are empty where the rows are no table of named features.
    """

    name: str
    names: tuple[str, ...]
    features: tuple[Feature, ...]
    task: Task

    @classmethod
    def of(cls, agreed: Federation | Plan) -> Terms:
        """Read them off a federation, or off the plan that hospitals have agreed on.

        Examples
        --------
        >>> import fedlab
        >>> hospitals = fedlab.load("heart_disease")
        >>> Terms.of(fedlab.Plan.of(hospitals)) == Terms.of(hospitals)
        True
        """
        if isinstance(agreed, Plan):
            known = agreed.known if len(agreed.shape) == 1 else ()
            return cls(agreed.about, agreed.sites, known, agreed.the_task)
        known = agreed.features if agreed.sites[0].rows.x.ndim == 2 else ()
        return cls(agreed.name, agreed.names, known, agreed.task)


@dataclass(frozen=True, eq=False)
class Table:
    """The sites' histograms of one variable.

    Attributes
    ----------
    told : float array, shape [sites, cells (+ 1: no value)]
        As they arrived.
    counts : float array, shape likewise
        With the withheld patients shared over the cells that were not told; ``nan`` where a site told nothing.
    """

    cells: Cells
    told: Floats
    counts: Floats


def patients(site: Site) -> Examples:
    """Return a site's training patients, each by the first row."""
    train = site.train
    return train.take(np.sort(np.unique(train.group, return_index=True)[1]))


@dataclass(frozen=True, eq=False)
class Census:
    """What all sites told.

    Attributes
    ----------
    sites : tuple of str
        In the order of the tables.
    patients : float array, shape [sites]
        Training patients; 0 where they are fewer than ``least``. With noise, as the noised histograms have it.
    tables : dict of str to Table
        By feature, and ``"label"``.
    reasons : dict of str to str
        Why a feature has no table.
    leave : Leave
        The terms of each histogram.
    """

    sites: tuple[str, ...]
    patients: Floats
    tables: dict[str, Table]
    reasons: dict[str, str]
    leave: Leave


def take_census(gate: Exchange, terms: Terms, *, bins: int, leave: Leave, wide: bool = True) -> Census:
    """Ask all sites, each of which must answer; ``wide``: for the features too, not only for the label.

    ``leave.epsilon`` is for everything that a site tells: each histogram gets an equal part of it, and by sequential
    composition (Dwork & Roth, 2014, theorem 3.16) all of them together are ``epsilon``-private for one patient.
    """
    named = {f.name: f for f in terms.features} if wide else {}
    cells, reasons, every = {LABEL: _cells_of(terms.task)}, {}, len(terms.names)
    totals: Floats | None = None
    blocks: dict[str, list[Tensor | None]] = {}
    if leave.epsilon is None:
        answers = gate.ask(Ask("blocks", {"least": leave.least}, least=every))
        totals = np.array([told["patients"] for told in answers.contents], dtype=np.float64)
        blocks = {name: [told["blocks"].get(name) for told in answers.contents] for name in named}
    for name, feature in named.items():
        try:
            cells[_key(name)] = agree(feature, bins, blocks.get(name))
        except ValueError as error:
            reasons[name] = str(error)
    each = leave if leave.epsilon is None else Leave(leave.least, leave.epsilon / len(cells))
    edges = {key: torch.from_numpy(c.edges) for key, c in cells.items()}
    noise = {} if each.epsilon is None else {"epsilon": each.epsilon}
    answers = gate.ask(Ask("histograms", {"edges": edges, **noise}, least=every))
    told = {key: np.stack([got[key].numpy() for got in answers.contents]) for key in cells}
    if totals is None:
        totals = np.stack([table.sum(1) for table in told.values()]).mean(0).round()
        tables = {key: Table(cells[key], table, table) for key, table in told.items()}
    else:
        full = {k: filled(t, totals, least=leave.least, missing=k != LABEL) for k, t in told.items()}
        tables = {key: Table(cells[key], table, full[key]) for key, table in told.items()}
    return Census(tuple(answers.sites), totals, tables, reasons, each)


def _cells_of(task: Task) -> Cells:
    """Return the label's cells: its classes, or eight steps about a quantity's agreed center."""
    if not isinstance(task, Regression):
        return by_code(LABEL, len(task.classes))
    edges = task.center + task.scale * np.array([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5])
    return Cells(LABEL, len(edges) + 1, edges)


def _counted(y: Any, task: Task) -> Any:
    """Count the patients of each cell of the label."""
    cells = _cells_of(task)
    number = np.searchsorted(cells.edges, y, side="left") if len(cells.edges) else y
    return np.bincount(number, minlength=cells.number)


def _key(feature: str) -> str:
    """Name a feature's table; none is that of the label, whatever a column is called."""
    return f"feature {feature}"


def feature_of(key: str) -> str:
    """Return which feature a table is of; empty for the label's."""
    return "" if key == LABEL else key.removeprefix("feature ")


def values(features: Sequence[Feature], x: Tensor) -> dict[str, Floats]:
    """Return each feature's values of rows ``x``: numbers, or the place of the code; ``nan`` where missing."""
    out, start = {}, 0
    for feature in features:
        width = len(columns((feature,)))
        block = x[:, start : start + width].double().numpy()
        start += width
        if feature.kind == "number" or width == 1 and len(feature.codes or {}) == 2:
            out[feature.name] = block[:, 0]
        else:
            out[feature.name] = np.where(np.isnan(block[:, 0]), np.nan, np.nan_to_num(block).argmax(1))
    return out


@dataclass(frozen=True)
class AtSite:
    """What a site holds for a census; the only code that reads its rows for it.

    Parameters
    ----------
    site : Site
        In the agreed terms; at a hospital ``plan.admit(its own)``.
    terms : Terms
        At a hospital those of the plan: ``Terms.of(plan)``.
    leave : Leave
        A server that asks for other cells is refused.
    seed : int
        Of the noise, where there is some: at a hospital its own secret.
    risks : callable, optional
        ``risks(model, x)`` are the probabilities of the positive class, where risks are asked for too.
    """

    site: Site
    terms: Terms
    leave: Leave
    seed: int
    risks: Callable[[dict[str, Tensor], Tensor], Floats] | None = None

    def patients(self, part: str) -> int:
        """Count the patients of a part of the rows."""
        rows: Examples = getattr(self.site, part)
        return len(rows.patients.first)

    def blocks(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Tell how many patients there are, and block means of every number."""
        if asked["least"] != self.leave.least:
            raise ValueError(
                f"the server asks for cells of at least {asked['least']} patients, and {self.site.name} tells of "
                f"{self.leave.least}: agree on least"
            )
        return self._blocks(patients(self.site))

    def histograms(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Tell how many patients are in each cell."""
        rng = np.random.default_rng([self.seed, zlib.crc32(self.site.name.encode()), 3])
        leave = Leave(self.leave.least, asked.get("epsilon"))
        return self._histograms(patients(self.site), asked["edges"], leave, rng)

    def _blocks(self, mine: Examples) -> dict[str, Any]:
        if len(mine) < self.leave.least:
            return {"patients": 0, "blocks": {}}
        each = block_size(len(mine), self.leave.least)
        plain = [f.name for f in self.terms.features if by_blocks(f)]
        column = values(self.terms.features, mine.x)
        means = {name: torch.from_numpy(block_means(column[name], least=each)) for name in plain}
        return {"patients": len(mine), "blocks": means}

    def _histograms(
        self, mine: Examples, edges: dict[str, Tensor], leave: Leave, rng: np.random.Generator
    ) -> dict[str, Any]:
        counts = {LABEL: _counted(mine.y.numpy(), self.terms.task)}
        column = values(self.terms.features, mine.x)
        for feature in self.terms.features:
            if _key(feature.name) in edges:
                between = edges[_key(feature.name)].numpy() if feature.kind == "number" else None
                number = len(feature.codes or {}) if between is None else len(between) + 1
                counts[_key(feature.name)] = counted(column[feature.name], between, number)
        return {key: torch.from_numpy(leave(counts[key], rng)) for key in edges}


register(Purpose("blocks", AtSite.blocks, sends=("patients", "blocks")))
register(Purpose("histograms", AtSite.histograms, sends=None))
