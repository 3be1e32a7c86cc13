"""All that is found to differ, site by site, before anything is removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fedlab.federation import Feature, Federation
from fedlab.federation.shift import KINDS
from fedlab.study.explain.removal import columns, labels, missing, mix, writing
from fedlab.study.explain.removal.columns import Floats, Ints, Line, Table
from fedlab.study.explain.removal.labels import Labels
from fedlab.study.explain.removal.reading import WRONG
from fedlab.study.explain.removal.silent import silent
from fedlab.study.explain.removal.writing import Writing
from fedlab.study.words import listed

ESTIMATED = (*KINDS, "case mix")
"""The kinds that are looked for: those that can be planted, and what is left between the measurements."""
WRONG_LABELS = "wrong labels"
NONE_OF_THEM = "what is none of these kinds"
NOTHING_SAID = 0.3  # strength of what measurements say, up to which they may say nothing
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
    """What differs at all sites, in the federation's order; ``kinds`` are those of :data:`ESTIMATED` that do.

    ``instead`` has of a kind those that its part may be due to instead, where a site's rows fit both.
    """

    sites: tuple[AtSite, ...]
    kinds: tuple[str, ...]
    tables: bool
    notes: list[str] = field(default_factory=list)
    instead: Mapping[str, frozenset[str]] = field(default_factory=dict)


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
    mute = _mute([Table(_emptied(t.x, s), t.y) for t, s in zip(raw, strange, strict=True)], numbers)
    strange = [{j: v for j, v in s.items() if j not in m} for s, m in zip(strange, mute, strict=True)]
    emptied = [Table(_emptied(t.x, s), t.y) for t, s in zip(raw, strange, strict=True)]
    gone = missing.missed(emptied)
    skip = [set(np.flatnonzero(g).tolist()) for g in gone]  # those who are measured there may be others
    books = writing.codes(raw, named, skip) if named else [{} for _ in raw]
    lines = [line.but(m) for line, m in zip(writing.units(emptied, numbers, skip), mute, strict=True)]
    written = [Writing(*each) for each in zip(strange, lines, books, strict=True)]
    agreed = [Table(_as_agreed(t.x, w, named), t.y) for t, w in zip(raw, written, strict=True)]
    devices = columns.devices(agreed, numbers, [s | m for s, m in zip(skip, mute, strict=True)])
    measured = [Table(d.there(t.x), t.y) for t, d in zip(agreed, devices, strict=True)]
    blocks = [writing.span(named, f) for f in range(len(named))] or [slice(j, j + 1) for j in range(raw[0].x.shape[1])]
    heard = [Table(_emptied(t.x, dict.fromkeys(m)), t.y) for t, m in zip(measured, mute, strict=True)]
    gaps = [g | np.isin(np.arange(len(g)), list(m)) for g, m in zip(gone, mute, strict=True)]
    alike = [Table(x, t.y) for x, t in zip(missing.filled(heard, gaps, blocks, rng), raw, strict=True)]
    told = labels.sorted_out(alike, len(federation.task.classes), rng)
    told = [r.doubted() if m else r for r, m in zip(told, mute, strict=True)]
    known = [Table(t.x, each.y) for t, each in zip(alike, told, strict=True)]
    weights = mix.weights(known, [bool(m) or r.wrong for r, m in zip(told, mute, strict=True)])
    sites, reasons = [], []
    for k, (site, reading) in enumerate(zip(federation.sites, told, strict=True)):
        dumb = reading.wrong and reading.strength < NOTHING_SAID
        x = alike[k].x.copy()
        x[:, list(mute[k])] = measured[k].x[:, list(mute[k])]
        here = AtSite(x, np.isnan(measured[k].x) & ~np.isnan(x), written[k], devices[k], reading.y, reading.weights,
                      weights[k])  # fmt: skip
        untouched = replace(here, y=raw[k].y, classes=np.ones_like(reading.weights), rows=np.ones(len(raw[k].y)))
        if dumb:  # what its columns hold is not what the others' do, however it is rewritten
            plainly = Writing(units=Line.none(x.shape[1]))
            empty = np.zeros_like(here.filled)
            untouched = replace(untouched, alike=raw[k].x, filled=empty, writing=plainly, devices=Line.none(x.shape[1]))
        measures = bool(written[k].moves or devices[k].moves or here.filled.any() or mute[k])
        alone = reading.wrong and (dumb or not measures)
        sites.append(untouched if reading.wrong else here)
        reasons.append(_reason(site.name, federation, mute[k], alone=alone))
    notes = [] if plain else ["only tables of raw values are looked into: of these rows, prevalence and size alone"]
    notes += list(filter(None, reasons))
    instead = _instead(sites, told, mute)
    return Found(tuple(sites), _kinds(federation, tuple(sites)), plain, notes, instead)


def _mute(tables: list[Table], numbers: list[int]) -> list[set[int]]:
    """Name the columns that no way of writing or measuring brings back, by site."""
    lines = writing.units(tables, numbers, [set()] * len(tables))
    nearer = [Table(line.there(t.x), t.y) for line, t in zip(lines, tables, strict=True)]
    devices = columns.devices(nearer, numbers, [set()] * len(tables))
    moved = [line.hits | device.hits for line, device in zip(lines, devices, strict=True)]
    return silent(tables, numbers, moved)


def _reason(site: str, federation: Federation, mute: set[int], *, alone: bool) -> str:
    """Say of a site what none of the kinds does."""
    names = [federation.columns[j] if j < len(federation.columns) else f"column {j}" for j in sorted(mute)]
    if alone:
        return f"at {site}, labels and measurements do not belong together as they do elsewhere: wrong labels, or noise"
    return f"at {site}, {listed(names)} say nothing of what they say elsewhere" if names else ""


def _instead(sites: Sequence[AtSite], told: Sequence[Labels], mute: Sequence[set[int]]) -> dict[str, frozenset[str]]:
    """Tell which kinds may be something else: a reading is seen through the measurements, and they through all else."""
    out: dict[str, frozenset[str]] = {}
    for here, reading, m in zip(sites, told, mute, strict=True):
        moved = {"documentation": here.writing.moves, "acquisition": here.devices.moves,
                 "practice": bool(here.filled.any()), "case mix": bool((here.rows != 1).any())}  # fmt: skip
        there = {kind for kind, moves in moved.items() if moves}
        possible = {WRONG_LABELS if cause == WRONG else cause for cause in reading.possible}
        if m or reading.wrong:
            there |= {NONE_OF_THEM}
        done = {"label", "concept"} & (reading.causes | ({"concept"} if WRONG in reading.causes else set()))
        for kind in possible & done:
            others = possible | there | ({"label", "concept"} if there else set())
            out[kind] = out.get(kind, frozenset()) | (others - {kind})
        if (here.rows != 1).any():
            out["case mix"] = out.get("case mix", frozenset()) | ((there | possible) - {"case mix"})
    if {"label", "concept"} <= set(out):  # one site is the other's measure
        out["label"], out["concept"] = out["label"] | {"concept"}, out["concept"] | {"label"}
    if "concept" in out and any(reading.wrong for reading in told):
        out["concept"] |= {WRONG_LABELS}
    return out


def _table(x: Floats | None, y: Ints) -> Table:
    return Table(np.zeros((len(y), 1)) if x is None else x, y)


def _emptied(x: Floats, sentinels: Mapping[int, float | None]) -> Floats:
    """Empty the cells that hold a column's number for *not measured*; with none, all of the column."""
    out = x.copy()
    for j, value in sentinels.items():
        out[slice(None) if value is None else x[:, j] == value, j] = np.nan
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
        "quantity": max(sizes) > UNEQUAL * min(sizes) and not any(site.rows.row.is_bag for site in federation.sites),
        "case mix": any((s.rows != 1).any() for s in sites),
    }
    return tuple(kind for kind in ESTIMATED if moves[kind])
