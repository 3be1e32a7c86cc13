"""Which round a run reports: the best on ``valid``; and when it has waited long enough for a better one."""

from __future__ import annotations

import math

from fedlab.engine.absences import keeps_own
from fedlab.engine.run import Run

EARLY = "stopped early"


def choose(run: Run, number: int, valid: dict[str, dict[str, float]], best: dict[str, float]) -> list[str]:
    """Note for which sites this round is the best so far: by log loss on ``valid``, ties to the earlier.

    Alone, each site has its own best round; else the sites' mean, weighted by patients, decides for all.

    Parameters
    ----------
    run : Run
        Its ``chosen`` is brought up to date.
    number : int
        Of the round.
    valid : dict of str to dict
        ``log_loss`` and ``n`` of each site that answered.
    best : dict of str to float
        The least log loss so far, a site's own or, under ``""``, of all; brought up to date.

    Returns
    -------
    list of str
        Those sites; none where an earlier round was better.
    """
    if not run.settings.evaluate:
        better = [site for site in run.federation.names if run.took_part.get(site) or not keeps_own(run.algorithm)]
    elif run.algorithm.alone and not run.algorithm.one_model:
        better = [site for site, got in valid.items() if got["log_loss"] < best.get(site, math.inf)]
        best |= {site: valid[site]["log_loss"] for site in better}
    else:
        n = sum(got["n"] for got in valid.values())
        loss = sum(got["n"] * got["log_loss"] for got in valid.values()) / n
        better = list(run.federation.names) if loss < best.get("", math.inf) else []
        best[""] = min(loss, best.get("", math.inf))
    run.chosen |= dict.fromkeys(better, number)
    return better


def rests(run: Run, number: int) -> bool:
    """Tell whether the run has waited long enough for a better round; a note says so."""
    best = max(run.chosen.values(), default=0)
    if run.settings.patience is None or number - best < run.settings.patience or number == run.settings.rounds:
        return False
    run.notes.append(f"{EARLY} after round {number}: none of the last {number - best} was better on valid")
    return True
