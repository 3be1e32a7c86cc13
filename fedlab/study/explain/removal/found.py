"""All that is found to differ, site by site, before anything is removed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedlab.federation import Feature, Federation
from fedlab.federation.shift import KINDS
from fedlab.study.explain.removal import columns, labels, missing, mix, writing
from fedlab.study.explain.removal.columns import Floats, Ints, Line, Table
from fedlab.study.explain.removal.writing import Writing

ESTIMATED = (*KINDS, "case mix")
"""The kinds that are looked for: those that can be planted, and what is left between the measurements."""
UNEQUAL = 1.25  # times that the largest site has the rows of the smallest


@dataclass(frozen=True)
class AtSite:
    """What one site does otherwise than the others.

    Attributes
    ----------
    alike : float array, shape [rows, columns]
        Its rows as they would be if it wrote and measured as the others do.
    filled : bool array, shape [rows, columns]
        Which of those cells the site has not measured.
    writing, devices : Writing, Line
        From its rows to the others'.
    y : int array, shape [rows]
        Its labels as the others would read them.
    classes, rows : float array
        Weights that undo its prevalence, by class, and its mix of patients, by row.
    """

    alike: Floats
    filled: NDArray[np.bool_]
    writing: Writing
    devices: Line
    y: Ints
    classes: Floats
    rows: Floats


@dataclass(frozen=True)
class Found:
    """What differs at all sites, in the federation's order; ``kinds`` are those of :data:`ESTIMATED` that do."""

    sites: tuple[AtSite, ...]
    kinds: tuple[str, ...]
    tables: bool
    notes: list[str] = field(default_factory=list)


def look(federation: Federation, *, seed: int = 0) -> Found:
    """Find what differs between a federation's sites; the split plays no part.

    A kind is found where its test over all sites is below .001. What is not found is never removed: chance differences
    between hospitals of one kind stay as they are.

    Parameters
    ----------
    federation : Federation
    seed : int
        Of what is drawn to fill gaps and to read labels anew.

    Examples
    --------
    >>> import fedlab
    >>> look(fedlab.load("heart_disease").partition(fedlab.federation.IID(), sites=4)).kinds
    ()
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # small fits: on many threads they take many times longer
        return _look(federation, np.random.default_rng([seed, 11]))


def _look(federation: Federation, rng: np.random.Generator) -> Found:
    plain = federation.sites[0].rows.x.ndim == 2 and not federation.prepared
    raw = [_table(site.rows.x.double().numpy() if plain else None, site.rows.y.numpy()) for site in federation.sites]
    named = federation.features if plain and len(federation.columns) == raw[0].x.shape[1] else ()
    numbers = columns.measurements(federation.features, raw)
    strange = writing.sentinels(raw, numbers)
    emptied = [Table(_emptied(t.x, s), t.y) for t, s in zip(raw, strange, strict=True)]
    gone = missing.missed(emptied)
    skip = [set(np.flatnonzero(g).tolist()) for g in gone]  # those who are measured there may be others
    books = writing.codes(raw, named, skip) if named else [{} for _ in raw]
    lines = writing.units(emptied, numbers, skip)
    written = [Writing(*each) for each in zip(strange, lines, books, strict=True)]
    agreed = [Table(_as_agreed(t.x, w, named), t.y) for t, w in zip(raw, written, strict=True)]
    devices = columns.devices(agreed, numbers, skip)
    measured = [Table(d.there(t.x), t.y) for t, d in zip(agreed, devices, strict=True)]
    blocks = [writing.span(named, f) for f in range(len(named))] or [slice(j, j + 1) for j in range(raw[0].x.shape[1])]
    alike = [Table(x, t.y) for x, t in zip(missing.filled(measured, gone, blocks, rng), raw, strict=True)]
    read = labels.sorted_out(alike, len(federation.task.classes), rng)
    weights = mix.weights([Table(t.x, each.y) for t, each in zip(alike, read, strict=True)])
    sites = tuple(
        AtSite(a.x, np.isnan(m.x) & ~np.isnan(a.x), w, d, r.y, r.weights, rows)
        for a, m, w, d, r, rows in zip(alike, measured, written, devices, read, weights, strict=True)
    )
    notes = [] if plain else ["only tables of raw values are looked into: of these rows, prevalence and size alone"]
    return Found(sites, _kinds(federation, sites), plain, notes)


def _table(x: Floats | None, y: Ints) -> Table:
    return Table(np.zeros((len(y), 1)) if x is None else x, y)


def _emptied(x: Floats, sentinels: dict[int, float]) -> Floats:
    out = x.copy()
    for j, value in sentinels.items():
        out[x[:, j] == value, j] = np.nan
    return out


def _as_agreed(x: Floats, written: Writing, features: tuple[Feature, ...]) -> Floats:
    out = written.units.there(_emptied(x, written.sentinels))
    for f, order in written.codes.items():
        out = writing.recoded(out, features, f, order)
    return out


def _kinds(federation: Federation, sites: tuple[AtSite, ...]) -> tuple[str, ...]:
    sizes = [len(site) for site in federation.sites]
    moves = {
        "documentation": any(s.writing.moves for s in sites),
        "acquisition": any(s.devices.moves for s in sites),
        "practice": any(s.filled.any() for s in sites),
        "concept": any((s.y != site.rows.y.numpy()).any() for s, site in zip(sites, federation.sites, strict=True)),
        "label": any((s.classes != 1).any() for s in sites),
        "quantity": max(sizes) > UNEQUAL * min(sizes) and all(site.rows.mask is None for site in federation.sites),
        "case mix": any((s.rows != 1).any() for s in sites),
    }
    return tuple(kind for kind in ESTIMATED if moves[kind])
