"""What a report needs to know: all arms trained, the federated one without each hospital and on less data, tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from fedlab.algorithms import Algorithm
from fedlab.engine.openings import of_test
from fedlab.federation import Federation
from fedlab.metrics.benefit import checked
from fedlab.models import build
from fedlab.report.across import pooled
from fedlab.report.gap import Gap, lead
from fedlab.study import at_holdout, compare, learning_curve, unseen_sites
from fedlab.study.compare import name_arms
from fedlab.study.stated import check_named

RESAMPLES = 500
ARMS = ("isolated", "centralized", "ensemble", "fedavg")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be measured.

    Parameters
    ----------
    arms : mapping of str to Algorithm
        What is compared.
    seeds, rounds : int
    model : str, optional
        Default: the task's.
    holdout : str, optional
        A hospital that no model learns from.
    primary, smallest
        As of ``compare``: what it is judged by.
    threshold : float, optional
        The risk from which on one would act.
    """

    arms: Mapping[str, Algorithm]
    seeds: int
    rounds: int
    model: str | None = None
    holdout: str | None = None
    primary: str | None = None
    smallest: float | None = None
    threshold: float | None = None

    @classmethod
    def check(
        cls,
        *,
        algorithms: Sequence[str | Algorithm],
        model: str | None = None,
        primary: str | None = None,
        smallest: float | None = None,
        **rest: Any,
    ) -> Asked:
        """Refuse, in one sentence, what cannot be meant.

        Raises
        ------
        ValueError
            For an algorithm, a model or a metric that there is not, or a threshold that is no risk.
        """
        check_named(primary, smallest)
        arms = name_arms([name.strip() if isinstance(name, str) else name for name in algorithms])
        if model is not None:
            build(model, 1, 1)
        if rest.get("threshold") is not None:
            checked(rest["threshold"])
        return cls(arms=arms, model=model, primary=primary, smallest=smallest, **rest)

    def suit(self, federation: Federation) -> Asked:
        """Refuse, before anything is trained, what this task does not have; fill in what it has by default.

        Raises
        ------
        ValueError
            For a threshold where there are not two classes, or a metric or model of other tasks.
        """
        task = federation.task
        if self.threshold is not None and len(task.classes) != 2:
            what = f"a task of {len(task.classes)} classes" if task.classes else task.about
            raise ValueError(f"threshold is {self.threshold:g}, and {what} has no risk to act on")
        primary, model = self.primary or task.choosing, self.model or task.model
        if primary not in task.metrics:
            raise ValueError(f"primary is {primary!r}, and {task.about} has {', '.join(task.metrics)}")
        task.check_model(model)
        return replace(self, primary=primary, model=model)


def measure(federation: Federation, asked: Asked, *, progress: bool = True) -> Gap:
    """Train all arms, then the federated one without each hospital in turn and on less data; open ``test``.

    Raises
    ------
    KeyboardInterrupt
        If any of it was interrupted: a report of a part would look like one of the whole.
    ValueError
        If there is no such hospital to hold out, or a threshold that the task cannot have.
    """
    asked = asked.suit(federation)
    held = None
    if asked.holdout is not None:
        federation, held = federation.holdout(asked.holdout)
    options: dict[str, Any] = {"rounds": asked.rounds, "progress": progress}
    earlier = of_test(federation)  # now: what follows opens them more than once
    study = compare(federation, asked.model, list(asked.arms.values()), seeds=asked.seeds, primary=asked.primary,
                    smallest=asked.smallest, **options)  # fmt: skip
    if set(asked.arms) - {*study.arms, *study.failed["arm"]}:
        raise KeyboardInterrupt  # `compare` keeps finished arms when it is interrupted; a report keeps none
    arms = {name: asked.arms[name] for name in study.arms}  # one that failed on all seeds has no result
    leading = lead(arms)
    options["seeds"] = study.seeds
    unseen, curve = pd.DataFrame(), None
    if leading is not None and arms[leading].one_model:
        arm = arms[leading]
        if len(federation.sites) > 1:
            unseen = unseen_sites(federation, asked.model, arm, resamples=RESAMPLES, **options).assign(arm=leading)
        curve = learning_curve(federation, asked.model, {leading: arm}, **options)
        if curve.notes and "interrupted" in curve.notes[-1]:
            raise KeyboardInterrupt
    there = pd.DataFrame() if held is None else at_holdout(study, held, RESAMPLES)
    gap = Gap(study, unseen, there, curve, RESAMPLES, asked.threshold, earlier)
    # all that is opened, so that the report can say how often it was
    _ = gap.opened, gap.calibration, gap.calibration_summary, gap.decisions, study.report(), pooled(gap)
    return gap
