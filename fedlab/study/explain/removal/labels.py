"""Other labels for two reasons: other patients (prevalence), or another reading of the same patients.

A prevalence shows in the measurements too: more of the patients then look ill. Another reading does not. So the share
of the ill is estimated a second time without the labels, from what a model of the other hospitals sees in the
measurements (Saerens, Latinne & Decaestecker, Neural Computation 14, 2002): where the labels' share follows it,
patients differ; where it does not, reading does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlab.study.explain.removal.columns import LEVEL, Floats, Ints, Table

CLEAR = 3.0  # standard errors at which both a prevalence and a reading are there
RATHER = 1.5  # times that a prevalence must fit better: another reading blurs what the model sees as well
SEEN = 0.05  # mean change of a probability by another reading


@dataclass(frozen=True)
class Labels:
    """Of one site: how its classes are to be weighed to undo its prevalence [classes], and its labels read alike."""

    weights: Floats
    y: Ints


def sorted_out(tables: Sequence[Table], classes: int, rng: np.random.Generator) -> list[Labels]:
    """Tell prevalence from reading at every site, and undo both.

    Of more than two classes all is taken for prevalence. So it is where a model cannot be made of the other sites.
    """
    counts = np.array([np.bincount(t.y, minlength=classes) for t in tables]) + 0.5
    logs = np.log(counts / counts[:, :1])
    apart = logs - np.median(logs, axis=0)
    differs = _differs(counts)
    if classes > 2:
        return [Labels(np.exp(-apart[k] * differs[k]), t.y) for k, t in enumerate(tables)]
    ratios = [_likelihood(tables, k) for k in range(len(tables))]
    implied = [None if r is None else _prevalence(r) for r in ratios]
    middle = np.median([each[0] for each in implied if each] or [0.0])
    out = []
    for k, t in enumerate(tables):
        ratio, seen = ratios[k], implied[k]
        if ratio is None or seen is None:
            out.append(Labels(np.exp(-apart[k] * differs[k]), t.y))
            continue
        error = float(np.sqrt((1 / counts[k]).sum()))
        moved = _moved(float(apart[k, 1]), error, seen[0] - float(middle), seen[1]) if differs[k] else 0.0
        expected = _sigmoid(ratio + float(np.median(logs[:, 1])) + moved)
        known = 1 - len(t.y) / sum(len(each.y) for each in tables)
        y = _reread(t.y, expected, known, LEVEL / len(tables), rng)
        out.append(Labels(np.array([1.0, np.exp(-moved)]), y))
    return out


def _differs(counts: Floats) -> NDArray[np.bool_]:
    from scipy.stats import chi2_contingency

    p = [
        chi2_contingency(np.stack([counts[k], np.delete(counts, k, axis=0).sum(0)])).pvalue for k in range(len(counts))
    ]
    return np.repeat(min(p) < LEVEL / len(p), len(p)) if len(p) > 1 else np.zeros(1, dtype=bool)


def _moved(labels: float, labels_error: float, patients: float, patients_error: float) -> float:
    """Return how far the log odds of the ill moved with the patients, of how far they did by the labels."""
    as_prevalence = abs(labels - patients) / np.hypot(labels_error, patients_error)
    as_reading = abs(patients) / patients_error
    if min(as_prevalence, as_reading) > CLEAR:
        return 0.0 if labels * patients <= 0 else float(np.sign(labels) * min(abs(labels), abs(patients)))
    return labels if as_prevalence * RATHER <= as_reading else 0.0


def _likelihood(tables: Sequence[Table], k: int) -> Floats | None:
    """Log likelihood ratio of the second class to the first in each row, by a model of the other sites."""
    others = [t for i, t in enumerate(tables) if i != k]
    x, y = np.concatenate([t.x for t in others]), np.concatenate([t.y for t in others])
    if len(np.unique(y)) < 2:
        return None
    model = classifier().fit(x, y)
    return np.asarray(model.decision_function(tables[k].x) - np.log((y == 1).sum() / (y == 0).sum()))


def classifier() -> Any:
    """Make a logistic regression that fills, standardises and knows what was missing."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fill = SimpleImputer(add_indicator=True, keep_empty_features=True)
    return make_pipeline(fill, StandardScaler(), LogisticRegression(C=0.3, solver="newton-cholesky"))


def _prevalence(ratio: Floats) -> tuple[float, float]:
    """Log odds of the second class among these rows, by likelihood, and their standard error."""
    share = 0.5
    for _ in range(200):
        share = float(np.clip(np.mean(_sigmoid(ratio + np.log(share / (1 - share)))), 1e-3, 1 - 1e-3))
    odds = np.log(share / (1 - share))
    p = _sigmoid(ratio + odds)
    information = float(((p - share) ** 2).sum())  # of the log odds: each row's score is p − share
    return float(odds), 1 / np.sqrt(max(information, 1e-6))


def _reread(y: Ints, expected: Floats, known: float, level: float, rng: np.random.Generator) -> Ints:
    """Read the labels as the others do, changing as few as can be; unchanged where the site reads alike.

    ``known`` is the others' share of all rows: what is expected of few is itself uncertain.
    """
    from scipy.optimize import minimize
    from scipy.stats import chi2

    logit = np.log(expected / (1 - expected))

    def loss(line: Floats) -> float:
        z = line[0] + line[1] * logit
        return float(np.logaddexp(0, np.where(y == 1, -z, z)).sum() + 0.01 * ((line - [0, 1]) ** 2).sum())

    fit = minimize(loss, np.array([0.0, 1.0]))
    here = _sigmoid(fit.x[0] + fit.x[1] * logit)
    draw = rng.random(len(y))
    better = 2 * known * (loss(np.array([0.0, 1.0])) - fit.fun)
    if chi2.sf(better, 2) >= level or np.abs(here - expected).mean() < SEEN:
        return y
    down = (y == 1) & (draw < (here - expected) / here)
    up = (y == 0) & (draw < (expected - here) / (1 - here))
    return np.where(down, 0, np.where(up, 1, y))


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(z, -30, 30))))
