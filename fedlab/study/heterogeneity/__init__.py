"""Which differences between the hospitals are there, and how large: sites × kinds of difference, against chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pandas as pd

from fedlab.engine import Plan, Run
from fedlab.engine.exchange import Exchange
from fedlab.engine.progress import progress_line
from fedlab.engine.site import one_thread
from fedlab.engine.survey import survey
from fedlab.federation import Federation
from fedlab.metrics.cells import LEAST
from fedlab.models import ModelLike
from fedlab.study.heterogeneity.binned import Leave
from fedlab.study.heterogeneity.by_counts import COUNTED, of_counts, out_of_reach, quantity
from fedlab.study.heterogeneity.by_rows import joint
from fedlab.study.heterogeneity.by_updates import EVERY, concept, risks_of, training
from fedlab.study.heterogeneity.census import AtSite, Census, Terms, take_census
from fedlab.study.heterogeneity.chance import DRAWS, finding
from fedlab.study.heterogeneity.drift import one_round
from fedlab.study.heterogeneity.found import Heterogeneity, in_cells
from fedlab.study.heterogeneity.measures import KINDS, MEASURES, chosen

BINS = 8
ROUNDS = 20
AT_HOME = "needs the rows of all hospitals in one place: it is measured in one process alone"
NOT_COVERED = "epsilon covers counts alone: the updates of a model would leave a site without noise"
UNTRAINED = "needs a model that all hospitals trained: give run=, of the plan and over their nodes"


def heterogeneity(
    federation: Federation | Plan,
    *,
    gate: Exchange | None = None,
    run: Run | None = None,
    measures: Sequence[str] | None = None,
    model: ModelLike | None = None,
    bins: int = BINS,
    least: int = LEAST,
    epsilon: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    progress: bool = True,
) -> Heterogeneity:
    """Measure how each hospital differs from all others together, and set every value against chance.

    Only training rows are read. What counts show is asked through the gate: no row, and no cell of fewer than ``least``
    patients, leaves a site (in one call: asking again with other cells is not guarded against). ``joint`` needs rows,
    and so does the chance level of ``training``: computed with all rows in this process, and marked so.

    Parameters
    ----------
    federation : Federation or Plan
        Of two sites or more; with ``gate`` the plan that the hospitals have agreed on.
    gate : Exchange, optional
        Of hospitals whose nodes hold an :class:`~fedlab.study.heterogeneity.census.AtSite` each. What counts show is
        then the same as of the same rows here; ``joint`` and ``training`` have no value, for they need rows.
    run : Run, optional
        With ``gate``: what the hospitals trained together, whose model ``concept`` reads risks with.
    measures : sequence of str, optional
        Of ``fedlab.study.heterogeneity.measures.MEASURES``; by default all.
    model : str, callable or Module
        Trained by FedAvg for ``training`` (one round) and ``concept`` (20 rounds).
    bins : int
        Cells of a number that has no codes, at least 2.
    least : int
        Patients in the smallest cell that leaves a site, at least 1.
    epsilon : float, optional
        Noise in place of screening: all histograms together are ``epsilon``-private for one patient, each of H gets
        ``epsilon / H``. ``concept`` and ``training`` then have no value: a model's updates are not covered. The noise
        is drawn from ``seed``, which between hospitals would have to be secret.
    draws : int
        Under no difference, at least 20.
    seed : int
    progress : bool

    Raises
    ------
    ValueError
        If there is one site only, an unknown measure, or a number out of its range.

    Examples
    --------
    >>> import fedlab
    >>> found = fedlab.heterogeneity(fedlab.load("heart_disease"), progress=False)
    >>> found.table().columns.tolist()
    ['quantity', 'label', 'features', 'missingness', 'joint', 'concept', 'training']
    >>> found.clear().loc["Switzerland", ["label", "missingness", "joint"]].tolist()
    [True, True, True]
    """
    names = chosen(measures)
    _check(federation, gate, run, bins=bins, draws=draws)
    terms = Terms.of(federation)
    model = terms.task.model if model is None else model
    leave = Leave(least, epsilon)
    told = {kind: tuple(m for m in names if kind in MEASURES[m].kinds) for kind in KINDS}
    told = {kind: each for kind, each in told.items() if each}
    doing = "training"

    def say(what: str) -> None:
        nonlocal doing
        doing = what

    steps = len(told) + 2
    with one_thread(), progress_line(steps, "heterogeneity", "step", show=progress, doing=lambda: doing) as line:
        updates: dict[str, Any] = {}
        refused = dict.fromkeys(("training", "joint"), AT_HOME) | ({} if run else {"concept": UNTRAINED})
        if isinstance(federation, Federation):
            run, updates, why = _train(federation, model, told, epsilon, seed)
            refused = dict.fromkeys(("training", "concept"), why) if why else {}
            gate = _gate(federation, terms, leave, run, seed)
        elif epsilon is not None:
            refused["concept"] = NOT_COVERED
        assert gate is not None
        gate.require(_questions(told, refused, epsilon))
        line.update()
        say("asking the sites for counts")
        census = take_census(gate, terms, bins=bins, leave=leave, wide=bool({"features", "missingness"} & {*told}))
        line.update()
        cells = len(terms.names) * sum(kind != "quantity" and kind not in refused for kind in told)
        rows: list[dict[str, Any]] = []
        found: Iterator[dict[str, Any]]
        for kind, each in told.items():
            say(kind)
            if kind in refused:
                found = (finding(kind, m, s, reason=refused[kind]) for m in each for s in _places(m, terms))
            elif kind == "quantity":
                found = quantity(census)
            elif kind in COUNTED:
                found = _of_counts(terms, census, kind, each, cells=cells, draws=draws, seed=seed)
            elif kind == "concept":
                assert run is not None
                found = concept(gate, run, census, draws=draws, seed=seed)
            elif kind == "joint":
                assert isinstance(federation, Federation)
                found = joint(federation, each, least=least, draws=draws, seed=seed)
            else:
                assert isinstance(federation, Federation)
                found = training(federation, updates, each, model, draws=draws, seed=seed, say=say)
            for row in found:
                rows.append(row)
                say(f"{kind}, {row['feature'] or row['site']}")
            line.update()
    detail = pd.DataFrame(rows)
    frames = [gate.ledger.frame()] + ([run.ledger] if run is not None else [])
    ledger = pd.concat(frames[::-1], ignore_index=True)
    notes = (*_notes(leave, census), *_out_of_reach(census, detail, cells=cells, draws=draws))
    return Heterogeneity(
        terms, detail, in_cells(detail), ledger, gate.ledger.messages, names, notes, census, draws, seed
    )


def _check(federation: Federation | Plan, gate: Exchange | None, run: Run | None, *, bins: int, draws: int) -> None:
    if gate is None and not isinstance(federation, Federation):
        more = ", or give the gate= to the hospitals" if isinstance(federation, Plan) else ""
        raise TypeError(f"federation is a {type(federation).__name__}: load one with fedlab.load(…){more}")
    if gate is None and run is not None:
        raise ValueError("run= goes with gate=: of a federation in this process the model is trained here")
    if gate is not None and not isinstance(federation, Plan):
        raise TypeError(f"with gate= give the Plan that the hospitals agreed on, not a {type(federation).__name__}")
    names = federation.names if isinstance(federation, Federation) else federation.sites
    if gate is not None and sorted(gate.transport.sites) != sorted(names):
        raise ValueError(f"the gate leads to {', '.join(gate.transport.sites)}, and the plan is of {', '.join(names)}")
    if run is not None and not run.records:
        raise ValueError("run= has no round yet: train it over the hospitals' nodes first")
    if len(names) < 2:
        raise ValueError(f"{names[0]} is the only site: a difference needs a second one to differ from")
    for name, value, low in (("bins", bins, 2), ("draws", draws, 20)):
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ValueError(f"{name} is {value!r}: it must be a whole number of at least {low}")


def _train(
    federation: Federation, model: ModelLike, told: dict[str, Any], epsilon: float | None, seed: int
) -> tuple[Any, dict[str, Any], str]:
    """Train where a kind needs it; else, or where the model does not fit, say why there is nothing."""
    if not {"training", "concept"} & {*told}:
        return None, {}, ""
    if epsilon is not None:
        return None, {}, NOT_COVERED
    try:
        return *one_round(federation, model, rounds=ROUNDS if "concept" in told else 1, seed=seed), ""
    except ValueError as error:
        return None, {}, str(error)


def _gate(federation: Federation, terms: Terms, leave: Leave, run: Any, seed: int) -> Exchange:
    risks = partial(risks_of, run)
    held = {site.name: AtSite(site, terms, leave, seed, risks) for site in federation.sites}
    return survey(held, min_sites=len(held))


def _questions(told: dict[str, Any], refused: dict[str, str], epsilon: float | None) -> list[str]:
    """Name what the sites are asked."""
    of_risks = ["risks", "bands"] if "concept" in told and "concept" not in refused else []
    return ["blocks"] * (epsilon is None) + ["histograms", *of_risks]


def _of_counts(
    terms: Terms, census: Census, kind: str, measures: tuple[str, ...], *, cells: int, draws: int, seed: int
) -> Iterator[dict[str, Any]]:
    yield from of_counts(census, kind, measures, cells=cells, draws=draws, seed=seed)
    if kind != "label" and len(census.tables) == 1 and not census.reasons:
        why = "the rows are not a table of named features"
        yield from (finding(kind, measure, site, reason=why) for measure in measures for site in terms.names)


def _places(measure: str, terms: Terms) -> tuple[str, ...]:
    return (EVERY,) if measure == "gradient_diversity" else terms.names


def _notes(leave: Leave, census: Census) -> Iterator[str]:
    yield "Training patients only, each by one row; each site against all others together."
    if leave.epsilon is None:
        yield f"Counts left a site screened: no cell of fewer than {leave.least} patients."
    else:
        yield (
            f"Counts left a site noised, {leave.epsilon:g}-private for one patient: {len(census.tables)} histograms of "
            f"{census.leave.epsilon:.3g} each, by sequential composition. Rows-based kinds are not covered."
        )
    yield (
        "In brackets: the mean under no difference. Clear (●): above chance after Holm's correction over the whole "
        "table. ʳ needs rows: computed with all rows in this process."
    )


def _out_of_reach(census: Census, detail: pd.DataFrame, *, cells: int, draws: int) -> Iterator[str]:
    there = [kind for kind in COUNTED if (detail["kind"] == kind).any()]
    told = {kind: out_of_reach(census, kind, detail, cells=cells, draws=draws) for kind in there}
    if some := {kind: number for kind, number in told.items() if number}:
        many = " and ".join(f"{number} of {kind}" for kind, number in some.items())
        yield (
            f"Not known: {many}. Small cells were withheld there, and among so many sites and features no affordable "
            "number of draws under no difference could call a value clear, however large it is: no ● says nothing of "
            "these. Ask for fewer features or join small sites."
        )
