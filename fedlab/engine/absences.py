"""Who did not take part in a run as it was asked to: how often, and why. It is said, and not scored as if it had."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from fedlab.algorithms.base import Algorithm

if TYPE_CHECKING:
    from fedlab.engine.run import Run

NO_MODEL = "no model of its own"
"""How the reason of a score begins that does not exist because its model does not."""


def keeps_own(alg: Algorithm) -> bool:
    """Return whether a site predicts with what it has trained itself, so that one that never trained has nothing."""
    return not alg.one_model and not alg.adapts


def never_trained(run: Run) -> dict[str, str]:
    """Return the sites whose training was used in no round, and why; of a record that does not tell, none.

    Examples
    --------
    >>> import fedlab
    >>> never_trained(fedlab.train(fedlab.load("heart_disease"), rounds=1, progress=False))
    {}
    """
    sites = [site for site in run.names if not run.took_part.get(site)]
    if not sites or not run.asked or not set(run.asked) <= set(run.names):  # where rows are pooled all do
        return {}
    failed = _failures(run)
    return {site: _why(run, site, failed.get(site, [])) for site in sites}


def absences(run: Run) -> dict[str, str]:
    """Return what each site missed, in words; the sites that missed nothing are left out.

    Examples
    --------
    >>> import fedlab
    >>> absences(fedlab.train(fedlab.load("heart_disease"), rounds=1, progress=False))
    {}
    """
    failed, never = _failures(run), never_trained(run)
    return {site: _why(run, site, failed.get(site, [])) for site in run.names if site in failed or site in never}


def one_class(run: Run) -> dict[str, str]:
    """Return the sites whose training patients lack a class, where a site learns from them alone.

    Examples
    --------
    >>> import fedlab
    >>> one_class(fedlab.train(fedlab.load("heart_disease"), "logistic", "isolated", rounds=1, progress=False))
    {}
    """
    if not run.algorithm.alone or not run.has_rows or not run.task.classes:
        return {}
    classes, found = run.task.classes, {}
    for site in run.federation.sites:
        y = site.rows.y.numpy()[site.split.train]
        absent = [name for name, n in zip(classes, np.bincount(y, minlength=len(classes)), strict=True) if not n]
        if absent:
            found[site.name] = f"none of its {len(y)} training patients is {' or '.join(absent)}"
    return found


def remarks(run: Run) -> list[str]:
    """Return the sentences on absences for ``run.notes``."""
    own = ": it has no model of its own" if keeps_own(run.algorithm) else ": the model was learnt without it"
    never = never_trained(run)
    told = [f"{site} {what}{own if site in never else ''}" for site, what in absences(run).items()]
    return told + [f"{site}: {what}" for site, what in one_class(run).items()]


def _failures(run: Run) -> dict[str, list[tuple[str, str]]]:
    """Return each site's failed answers: purpose and class of the error."""
    out: dict[str, list[tuple[str, str]]] = {}
    for entry in run.ledger_book.rows:
        for site in entry.sites if entry.failed else ():
            out.setdefault(site, []).append((entry.purpose, entry.status))
    return out


def _why(run: Run, site: str, failed: list[tuple[str, str]]) -> str:
    """Say how often a site failed, at what, and how."""
    of_training = [error for purpose, error in failed if purpose == "train"]
    told = []
    if before := [error for purpose, error in failed if purpose in ("statistics", "prepare")]:
        told.append(f"failed before round 1 ({_named(before)})")
    if of_training:
        asked = max(run.asked.get(site, 0), len(of_training))  # the round that ended the run is in no count
        told.append(
            f"failed to train in {len(of_training)} of {asked} round{'s' * (asked > 1)} ({_named(of_training)})"
        )
    elif not run.took_part.get(site) and not run.asked.get(site):
        told.append(f"was asked to train in none of the {len(run.records)} rounds")
    if later := [error for purpose, error in failed if purpose not in ("statistics", "prepare", "train")]:
        told.append(f"failed to answer otherwise {len(later)} time{'s' * (len(later) > 1)} ({_named(later)})")
    return " and ".join(told)


def _named(errors: list[str]) -> str:
    return ", ".join(error for error, _ in Counter(errors).most_common(3))
