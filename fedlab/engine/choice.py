"""Which round a run reports: the best on ``valid``; and when it has waited long enough for a better one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from fedlab.engine.absences import keeps_own
from fedlab.engine.run import Run
from fedlab.metrics.cells import LEAST

EARLY = "stopped early"
SILENT = f"fewer than {LEAST} validation patients"


def choose(run: Run, number: int, valid: dict[str, dict[str, float]], best: dict[str, float]) -> list[str]:
    """Note for which sites this round is the best so far by the task's choosing score on ``valid``, ties to the first.

    Alone, each site has its own best round; else their mean decides for all, weighted as ``Settings.choose`` says. A
    site of fewer than five validation patients tells nothing and is left out; where no site tells anything, it is the
    last.

    Parameters
    ----------
    run : Run
        Its ``chosen`` is brought up to date.
    number : int
        Of the round.
    valid : dict of str to dict
        That score and ``n`` of each site that answered.
    best : dict of str to float
        The least so far, a site's own or, under ``""``, of all; brought up to date.

    Returns
    -------
    list of str
        Those sites; none where an earlier round was better.
    """
    by = run.task.choosing
    if not run.settings.evaluate:
        better = [site for site in run.names if run.took_part.get(site) or not keeps_own(run.algorithm)]
    elif run.algorithm.alone and not run.algorithm.one_model:
        better = [site for site, got in valid.items() if got[by] < best.get(site, math.inf)]
        best |= {site: valid[site][by] for site in better}
    elif told := [got for got in valid.values() if got["n"]]:
        loss = mean_loss([(got[by], got["n"]) for got in told], run.settings.choose)
        better = list(run.names) if loss < best.get("", math.inf) else []
        best[""] = min(loss, best.get("", math.inf))
    else:
        better = list(run.names)
    if run.settings.evaluate and not any(SILENT in note for note in run.notes):
        run.notes += _silent([site for site, got in valid.items() if not got["n"]], len(valid))
    run.chosen |= dict.fromkeys(better, number)
    return better


def mean_loss(told: Iterable[tuple[float, float]], by: str) -> float:
    """Return the mean of the sites' losses, given with their patients: over all patients, or hospitals alike.

    Examples
    --------
    >>> mean_loss([(0.2, 90), (0.8, 10)], "patients"), mean_loss([(0.2, 90), (0.8, 10)], "hospitals")
    (0.26, 0.5)
    """
    each = [(loss, n if by == "patients" else 1) for loss, n in told]
    return float(sum(weight * loss for loss, weight in each) / sum(weight for _, weight in each))


def _silent(sites: list[str], of: int) -> list[str]:
    """Say, if need be, which sites take no part in the choice."""
    if not sites:
        return []
    if len(sites) == of:
        return [f"the last round is reported: every site has {SILENT}, so that none tells how a round did"]
    return [f"the round is chosen without {shortened(sites)}: {SILENT}, of whom nothing leaves a site"]


def withheld_note(withheld: Mapping[str, Sequence[str]]) -> list[str]:
    """Say, if need be, of which features a site told nothing.

    Examples
    --------
    >>> withheld_note({"Long Beach": ["ca"]})
    ["withheld, as fewer than 5 of a site's training patients have it: ca at Long Beach"]
    """
    sites: dict[tuple[str, ...], list[str]] = {}
    for site, features in withheld.items():
        sites.setdefault(tuple(features), []).append(site)
    told = [f"{shortened(features)} at {shortened(where)}" for features, where in sites.items()]
    why = f"withheld, as fewer than {LEAST} of a site's training patients have it"
    return [f"{why}: {shortened(told, joint='; ')}"] if told else []


def shortened(names: Sequence[str], most: int = 6, joint: str = ", ") -> str:
    """List names, of many the first.

    Examples
    --------
    >>> shortened(["A", "B", "C"], most=2)
    'A, B and 1 more'
    """
    rest = len(names) - most
    return joint.join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def rests(run: Run, number: int) -> bool:
    """Tell whether the run has waited long enough for a better round; a note says so."""
    best = max(run.chosen.values(), default=0)
    if run.settings.patience is None or number - best < run.settings.patience or number == run.settings.rounds:
        return False
    run.notes.append(f"{EARLY} after round {number}: none of the last {number - best} was better on valid")
    return True
