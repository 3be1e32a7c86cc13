"""The gap report of any federation: measured, and written as a page, as JSON and as CSV."""

from __future__ import annotations

import html
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from fedlab.algorithms import Algorithm
from fedlab.federation import Federation
from fedlab.report.door import outgoing
from fedlab.report.files import writable, write_all
from fedlab.report.gap import Gap
from fedlab.report.measured import ARMS, Asked, measure
from fedlab.report.numbers import as_csv, as_json, settings
from fedlab.report.page import About, page
from fedlab.report.short import in_short
from fedlab.report.tripod import as_rows, tripod
from fedlab.report.versions import versions
from fedlab.study.openings import before, locked, over_all, times
from fedlab.study.tuning import chosen_by
from fedlab.study.words import words

NOT_STATED = "not stated"


@dataclass(frozen=True)
class Report:
    """What a model is worth at home, elsewhere, everywhere and where it has never been.

    Parameters
    ----------
    gap : Gap
        The numbers, as they may be sent on: ``gap.study`` withholds what fewer than five patients stand behind.
    about : About
        What the report says of itself.
    seconds : float
        That it took to measure.
    """

    gap: Gap
    about: About
    seconds: float

    @cached_property
    def html(self) -> str:
        """The page: one file that loads nothing and prints on A4."""
        return page(self.gap, self.about)

    @cached_property
    def json(self) -> str:
        """All means, intervals and judgements."""
        return as_json(
            self.gap,
            self.about.link,
            {"versions": versions(), "seconds": self.seconds, "tripod_ai": as_rows(tripod(self.gap, self.about))},
        )

    @cached_property
    def csv(self) -> str:
        """Every score: one row per arm, seed, ``train``, ``test`` and metric."""
        return as_csv(self.gap)

    def save(
        self, path: str | Path | None = None, *, json: str | Path | None = None, csv: str | Path | None = None
    ) -> list[Path]:
        """Write the page, the numbers as JSON, every score as CSV: what a place is named for.

        Returns
        -------
        list of Path
            What was written.

        Raises
        ------
        OSError
            Naming each file that could not be written and why; the others are.
        """
        # the numbers first: they are small, and a full disk may still have room for them
        asked = {csv: "csv", json: "json", path: "html"}
        files = {Path(place): str(getattr(self, kind)) for place, kind in asked.items() if place is not None}
        write_all(files)
        return list(reversed(files))

    def __str__(self) -> str:
        return "\n".join(f"{what} {said}" for what, said in in_short(self.gap))

    def __repr__(self) -> str:
        return f"<Report {self.about.title}: {', '.join(self.gap.study.arms)}, {len(self.gap.study.seeds)} seeds>"

    def _repr_html_(self) -> str:
        lines = "".join(f"<li><b>{html.escape(w)}</b> {html.escape(s)}</li>" for w, s in in_short(self.gap))
        return f"<div><b>{html.escape(self.about.title)}</b>, the gap report in short:<ul>{lines}</ul></div>"


def report(
    federation: Federation,
    path: str | Path | None = None,
    *,
    algorithms: Sequence[str | Algorithm] = ARMS,
    seeds: int = 10,
    primary: str | None = None,
    smallest: float | None = None,
    rounds: int = 30,
    model: str | None = None,
    holdout: str | None = None,
    threshold: float | None = None,
    link: float = 10.0,
    json: str | Path | None = None,
    csv: str | Path | None = None,
    title: str | None = None,
    progress: bool = True,
) -> Report:
    """Measure the gap of a federation, and write the one-page report.

    What each hospital's own model, the pooled and the federated one are worth, where, how sure that is, and what it
    costs. Opens the test patients, which is counted and said.

    Parameters
    ----------
    federation : Federation
        Any: of a recipe, of a table, of tensors.
    path : str or Path, optional
        Where the page goes, e.g. ``"report.html"``; without it nothing is written, and ``save`` can do so later.
    algorithms : sequence of str or Algorithm
        What to compare; ``isolated`` is the reference.
    seeds, rounds : int
        How many; a seed is a split, a start and a batch order.
    primary, smallest
        As of ``compare``: the prespecified metric, which alone is judged, and the difference in it that matters.
    model : str, optional
        ``"logistic"`` (default of classes), ``"linear"`` (of a quantity), ``"mlp"`` or ``"mlp_norm"``.
    holdout : str, optional
        A hospital that no model learns from; all are tested there.
    threshold : float, optional
        The risk from which on one would act, e.g. 0.2: adds what that is worth, and the decision curve. Name it before
        you look.
    link : float
        The server's link in Mbit/s, for the cost.
    json, csv : str or Path, optional
        Where all means and intervals go, and every score.
    title : str, optional
        Default: the federation's name.
    progress : bool
        Whether to show it.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        For what cannot be had, and for a place that cannot be written; before any training.

    Examples
    --------
    >>> import fedlab
    >>> made = fedlab.report(fedlab.load("heart_disease"), algorithms=["isolated", "fedavg"], seeds=2, rounds=2)
    >>> made
    <Report heart_disease: isolated, fedavg, 2 seeds>
    >>> made.html.count("<h1>")
    1
    """
    places = [Path(place).resolve() for place in (path, json, csv) if place is not None]
    if len(set(places)) < len(places):
        raise ValueError(f"path, json and csv are not different files ({', '.join(map(str, places))}): name three")
    for place in places:
        if why := writable(place):
            raise ValueError(why)
    asked = Asked.check(algorithms=algorithms, seeds=seeds, rounds=rounds, model=model, holdout=holdout,
                        primary=primary, smallest=smallest, threshold=threshold)  # fmt: skip
    asked = asked.suit(federation)
    called = ", ".join(repr(a) if isinstance(a, str) else str(a) for a in algorithms)
    told = f"fedlab.report(federation, algorithms=[{called}], seeds={seeds!r}, rounds={rounds!r}, model={asked.model!r}"
    told += f", primary={asked.primary!r}" + f", smallest={smallest!r}" * (smallest is not None)
    told += f", threshold={threshold!r}" * (threshold is not None)
    told += f", holdout={holdout!r}" * (holdout is not None) + f", link={link:g})"
    about = About(title or federation.name, federation.source, federation.licence or NOT_STATED, {}, link=link)
    made = make(federation, asked, about, command=told, progress=progress)
    made.save(path, json=json, csv=csv)
    return made


def make(federation: Federation, asked: Asked, about: About, *, command: str, progress: bool = True) -> Report:
    """Measure what is asked, and add to ``about`` what one needs to make the report again."""
    began = time.perf_counter()
    gap = outgoing(measure(federation, asked, progress=progress))
    seconds = time.perf_counter() - began
    return Report(gap, replace(about, facts=made_of(gap, asked, command, seconds)), seconds)


def made_of(gap: Gap, asked: Asked, command: str, seconds: float) -> dict[str, str]:
    """Return what one needs to make the report again."""
    beside = ", and once by each model of an unseen hospital" * (not gap.unseen.empty)
    beside += ", and once by each model that learnt from less data" * (gap.curve is not None)
    return {
        "command": command,
        "algorithms": "; ".join(map(str, asked.arms.values())),
        "settings": ", ".join(f"{name} {value}" for name, value in settings(gap).items()),
        "judged by": f"{words(gap.study.primary).name}, prespecified"
        + ("" if gap.study.smallest is None else f"; below {gap.study.smallest:g} a difference does not matter"),
        "seeds": f"{', '.join(map(str, gap.study.seeds))} (each a split, a start and a batch order)",
        "round reported": f"{chosen_by(gap.study)} {before(gap.earlier)}",
        "test opened": f"{times(gap.study.test_openings)} by this study{beside}; {over_all(gap.study)}",
        **({"locked patients": told} if (told := locked(gap.study)) else {}),
        "data fingerprint": gap.study.federation.fingerprint,
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "time": f"{seconds:.0f} s for training and reading; finished {time.strftime('%Y-%m-%d %H:%M %Z')}",
    }
