"""What a site computes on its ``test`` rows, or the locked ones, when they are opened; only numbers leave it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlab.algorithms.tensors import Tensors
from fedlab.engine.net import Net
from fedlab.engine.site import one_thread
from fedlab.federation import Score, Site, Task
from fedlab.federation.groups import Grouping
from fedlab.metrics import benefit
from fedlab.metrics.benefit import Decision
from fedlab.metrics.calibration import Measure, many_calibrations
from fedlab.metrics.cells import LEAST
from fedlab.metrics.delong import DeLong, delong
from fedlab.metrics.reliability import Bin, calibration_error, error_by_chance, reliability
from fedlab.metrics.scores import NEEDS_EVERY_CLASS, Metric
from fedlab.metrics.scores import class_means as means_of_classes
from fedlab.metrics.thresholds import Threshold, choose_thresholds

Models = Sequence[list[Tensors]]


class GroupScores(NamedTuple):
    """One model's scores on one group of a site's patients: how many, how many of the rarest class, each metric."""

    group: str
    patients: float
    fewest: float
    scores: dict[str, Score]


class Counted(NamedTuple):
    """A site's test patients, and those of the rarest class; ``nan`` where that was not told."""

    patients: float
    fewest: float


def counted(site: Site, task: Task) -> Counted:
    """Count a site's test patients without its inputs, which may be large."""
    at, who = site.split.test, site.rows.patients.of
    counts = task.counts(who[at], site.rows.y.numpy()[at])
    return Counted(len(np.unique(who[at])), int(counts.min()))


def report(site: Site, net: Net, models: Models, *, resamples: int, seed: int) -> list[dict[str, Score]]:
    """Every metric of several predictors on the site's ``test`` rows, each at its threshold chosen on ``valid``."""
    rows = site.test
    p, chosen = _predicted(net, models, rows.x), thresholds(site, net, models)
    options: dict[str, Any] = {"resamples": resamples, "seed": seed, "who": rows.patients.of}
    return net.task.many_scores(rows.y.numpy(), p, thresholds=chosen, **options)


def class_means(site: Site, net: Net, models: Models) -> dict[str, NDArray[np.float64]]:
    """Mean of each metric that is one over patients in each class of the site's ``test`` rows, [models, classes]."""
    return means_of_classes(site.test.y.numpy(), _predicted(net, models, site.test.x))


def locked(site: Site, net: Net, models: Models) -> tuple[NDArray[np.float64], list[Threshold]]:
    """Probabilities of several predictors on the site's locked rows, [models, n, classes], and their thresholds."""
    if site.locked is None:
        raise ValueError(f"no patient of site {site.name!r} is locked")
    return _predicted(net, models, site.locked.x), thresholds(site, net, models)


def one_metric(site: Site, net: Net, models: Models, metric: str) -> list[float]:
    """One metric of several predictors on the site's ``test`` rows, and no more: many models are read fast.

    ``nan`` where it cannot be computed, or a model predicts NaN.
    """
    rows, score = site.test, net.task.metrics[metric]
    return [_value(score, rows.y.numpy(), p) for p in _predicted(net, models, rows.x)]


def _value(metric: Metric, y: NDArray[Any], p: NDArray[np.float64]) -> float:
    return float(metric(y, p, np.ones((1, len(y))))[0]) if np.isfinite(p).all() else float("nan")


def thresholds(site: Site, net: Net, models: Models) -> list[Threshold]:
    """Choose each predictor's threshold on the site's own ``valid`` rows."""
    rows = site.valid
    return choose_thresholds(rows.y.numpy(), _predicted(net, models, rows.x))


class Reliability(NamedTuple):
    """One model's reliability at a site: its bins (none if it predicts NaN) and its calibration error.

    ``error_by_chance`` is what the error would be, on average, if every risk were true.
    """

    bins: list[Bin]
    error: float
    error_by_chance: float


def reliabilities(site: Site, net: Net, models: Models, *, bins: int, seed: int) -> list[Reliability]:
    """Reliability of several predictors on the site's ``test`` rows, and the calibration error in these bins.

    No bin of fewer than five patients leaves: such ones are put together, after the error was computed, which is a mean
    over all.
    """
    rows = site.test
    y, who, every = rows.y.numpy(), rows.patients.of, _predicted(net, models, rows.x)
    few = len(rows.patients.first) < LEAST
    out = []
    for p in every:
        if not np.isfinite(p).all():
            out.append(Reliability([], np.nan, np.nan))
            continue
        error = np.nan if few else calibration_error(y, p, bins=bins)
        chance = np.nan if few else float(error_by_chance(p[None], bins=bins, seed=seed, who=who)[0][0])
        out.append(Reliability(reliability(y, p, bins=bins, who=who), error, chance))
    return out


def calibrations(site: Site, net: Net, models: Models, *, seed: int) -> list[dict[str, Measure]]:
    """Measures of calibration of several predictors on the site's ``test`` rows; only the numbers leave."""
    rows = site.test
    return many_calibrations(rows.y.numpy(), _predicted(net, models, rows.x), who=rows.patients.of, seed=seed)


def decisions(
    site: Site, net: Net, models: Models, *, threshold: float, thresholds: Sequence[float]
) -> list[list[Decision]]:
    """What acting on several predictors' risks is worth on the site's ``test`` rows; only the numbers leave."""
    rows = site.test
    options: dict[str, Any] = {"threshold": threshold, "thresholds": thresholds, "who": rows.patients.of}
    return [benefit.decisions(rows.y.numpy(), p, **options) for p in _predicted(net, models, rows.x)]


def compared(site: Site, net: Net, one: list[Tensors], other: list[Tensors], *, fewest: int) -> DeLong:
    """Compare the AUCs of two predictors of a task of two classes on the site's ``test`` rows.

    Fewer than ``fewest`` patients of a class leave no interval and no p.
    """
    rows, classes = site.test, net.task.classes
    y, who = rows.y.numpy(), rows.patients.of
    found = delong(y, *(_predicted(net, [models], rows.x)[0][:, 1] for models in (one, other)), who=who)
    counts = net.task.counts(who, y)
    rarest = int(counts.argmin())
    if found.reason:
        return found
    if counts[rarest] >= fewest:
        return found
    patients = len(np.unique(who))
    why = f"{counts[rarest]} of {patients} patients {classes[rarest]}: at least {fewest} of each class needed"
    return found._replace(low=np.nan, high=np.nan, p=np.nan, reason=why)


def by_group(
    site: Site, net: Net, models: Models, grouping: Grouping, *, smallest: int, fewest: int, resamples: int, seed: int
) -> list[list[GroupScores]]:
    """Every metric of several predictors on each group of the site's ``test`` rows.

    A group of fewer than ``smallest`` patients has no score, and one of fewer than ``fewest`` in a class none that
    needs every class.
    """
    rows = site.test
    y, who, number = rows.y.numpy(), rows.patients.of, grouping.numbers(rows.x)
    out = []
    for p, threshold in zip(_predicted(net, models, rows.x), thresholds(site, net, models), strict=True):
        groups = []
        for k, name in enumerate(grouping.names):
            inside = number == k
            patients, counts = len(np.unique(who[inside])), net.task.counts(who[inside], y[inside])
            small = _too_small(patients, counts, net.task, smallest=smallest, fewest=fewest)
            scores = {}
            if len(small) < len(net.task.metrics):
                options: dict[str, Any] = {"resamples": resamples, "seed": seed, "who": who[inside]}
                scores = net.task.scores(y[inside], p[inside], threshold=threshold, **options)
            scores |= {metric: Score(np.nan, reason=reason) for metric, reason in small.items()}
            groups.append(GroupScores(name, patients, int(counts.min()), scores))
        out.append(groups)
    return out


def _too_small(n: int, counts: NDArray[np.int64], task: Task, *, smallest: int, fewest: int) -> dict[str, str]:
    """Metric to the reason why a group of ``n`` patients is too small for it."""
    rarest = int(counts.argmin())
    if n < smallest:
        return dict.fromkeys(task.metrics, f"{n} patient{'s' * (n != 1)}: at least {smallest} needed")
    if task.classes and counts[rarest] < fewest:
        reason = f"{counts[rarest]} of {n} patients {task.classes[rarest]}: at least {fewest} of each class needed"
        return dict.fromkeys(sorted(NEEDS_EVERY_CLASS), reason)
    return {}


def _predicted(net: Net, models: Models, x: Tensor) -> NDArray[np.float64]:
    """Return the probabilities that each predictor gives rows ``x``, [models, n, classes]."""
    small = nullcontext() if net.convolves else one_thread()  # of a small model threads cost more than they save
    with torch.no_grad(), small:
        return net.each_probabilities([list(map(net.placed, members)) for members in models], x).cpu().numpy()
