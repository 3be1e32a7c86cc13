"""Other labels for two reasons: other patients (prevalence), or another reading of the same patients.

A prevalence shows in the measurements too: more of the patients then look ill. Another reading does not. So the share
of the ill is estimated a second time without the labels, from what a model of the other hospitals sees in the
measurements (Saerens, Latinne & Decaestecker, Neural Computation 14, 2002), and what may have happened is told by
:mod:`~fedlab.study.explain.removal.reading`. It is often more than one thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlab.study.explain.removal.columns import LEVEL, Floats, Ints, Table
from fedlab.study.explain.removal.reading import CONCEPT, LABEL, NOTHING, WRONG, read

SEEN = 0.05  # mean change of a probability by another reading
FOLDS, CUTS, IN_EACH = 3, 12, 10  # of the rarer class, where its rows were dealt out evenly


@dataclass(frozen=True)
class Labels:
    """Of one site: its labels undone, and what cannot be told of them.

    Attributes
    ----------
    weights : float array, shape [classes]
        How its classes are to be weighed to undo its prevalence.
    y : int array, shape [rows]
        Read as the others read.
    possible : frozenset of str
        What may have happened to its labels: ``label``, ``concept``, ``wrong``; empty where nothing has.
    causes : frozenset of str
        Of these, what is undone.
    wrong : bool
        Its labels and measurements belong together less than elsewhere, both ways: none of the kinds does that.
    strength : float
        How much of what the measurements say elsewhere they may say here, 0 … 1.
    """

    weights: Floats
    y: Ints
    possible: frozenset[str] = frozenset()
    causes: frozenset[str] = frozenset()
    wrong: bool = False
    strength: float = 1.0

    def doubted(self) -> Labels:
        """Return what is left where some of the site's columns say nothing: no other reading can be seen then."""
        return replace(self, wrong=True) if self.possible & {CONCEPT, WRONG} else self


def sorted_out(tables: Sequence[Table], classes: int, rng: np.random.Generator) -> list[Labels]:
    """Tell prevalence from reading at every site, and undo both.

    Of more than two classes all is taken for prevalence, and so it is where a model cannot be made of the other sites;
    that it may be another reading is then said.
    """
    counts = np.array([np.bincount(t.y, minlength=classes) for t in tables]) + 0.5
    logs = np.log(counts / counts[:, :1])
    apart = logs - np.median(logs, axis=0)
    differs = _differs(counts)
    either = frozenset({LABEL, CONCEPT}) if differs.any() else frozenset()
    ratios = [_likelihood(tables, k) if classes == 2 else None for k in range(len(tables))]
    seen = [_prevalence(r) for r in ratios if r is not None]
    usual = float(np.median(logs[:, 1]))
    out = []
    for k, t in enumerate(tables):
        ratio = ratios[k]
        if ratio is None:
            out.append(Labels(np.exp(-apart[k] * differs[k]), t.y, either, either & {LABEL}))
            continue
        ratio = ratio + float(np.median(seen)) - usual  # so that what is usual for the model is so for the labels
        known = 1 - len(t.y) / sum(len(each.y) for each in tables)
        if not differs[k] and not _otherwise(t.y, ratio + usual, known, LEVEL / len(tables)):
            out.append(Labels(np.ones(classes), t.y))
            continue
        told = read(ratio, t.y, float(_sigmoid(np.array(usual))), known, rng)
        moved = 0.0
        if LABEL in told.causes:
            labels, patients = float(apart[k, 1]), told.patients - usual
            both = float(np.sign(labels)) * min(abs(labels), abs(patients)) if labels * patients > 0 else 0.0
            moved = both if CONCEPT in told.causes else labels
        wrong = told.possible == {WRONG}
        y: Ints = t.y
        if told.causes & {CONCEPT, WRONG}:
            y = _reread(t.y, _sigmoid(ratio + usual + moved), rng)
        weights = np.array([1.0, np.exp(-moved)])
        out.append(Labels(weights, y, told.possible - {NOTHING}, told.causes, wrong, told.strength))
    return out


def _differs(counts: Floats) -> NDArray[np.bool_]:
    from scipy.stats import chi2_contingency

    p = [
        chi2_contingency(np.stack([counts[k], np.delete(counts, k, axis=0).sum(0)])).pvalue for k in range(len(counts))
    ]
    return np.repeat(min(p) < LEVEL / len(p), len(p)) if len(p) > 1 else np.zeros(1, dtype=bool)


def _likelihood(tables: Sequence[Table], k: int) -> Floats | None:
    """Log likelihood ratio of the second class to the first in each row, by a model of the other sites.

    The ratio is counted, between cuts of what the model says, on rows of theirs that it has not seen: a model's own
    probabilities are too bold for that, and labels here would then seem to be wrong.
    """
    from sklearn.model_selection import cross_val_predict

    others = [t for i, t in enumerate(tables) if i != k]
    x, y = np.concatenate([t.x for t in others]), np.concatenate([t.y for t in others])
    rare = int(np.bincount(y, minlength=2).min())
    if rare < FOLDS or not (np.nanmax(x, axis=0, initial=-np.inf) > np.nanmin(x, axis=0, initial=np.inf)).any():
        return None
    unseen = cross_val_predict(classifier(), x, y, cv=FOLDS, method="decision_function")
    here = classifier().fit(x, y).decision_function(tables[k].x)
    number = min(max(rare // IN_EACH, 2), CUTS)
    cuts = np.unique(np.quantile(unseen, np.arange(1, number) / number))
    ill, well = (np.bincount(np.searchsorted(cuts, unseen[y == c]), minlength=len(cuts) + 1) + 0.5 for c in (1, 0))
    return np.asarray(np.log(ill / ill.sum() / (well / well.sum()))[np.searchsorted(cuts, here)])


def classifier() -> Any:
    """Make a logistic regression that fills, standardises and knows what was missing."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fill = SimpleImputer(add_indicator=True, keep_empty_features=True)
    return make_pipeline(fill, StandardScaler(), LogisticRegression(C=0.3, solver="newton-cholesky"))


def _prevalence(ratio: Floats) -> float:
    """Log odds of the second class among these rows, by likelihood and without their labels."""
    share = 0.5
    for _ in range(200):
        share = float(np.clip(np.mean(_sigmoid(ratio + np.log(share / (1 - share)))), 1e-3, 1 - 1e-3))
    return float(np.log(share / (1 - share)))


def _reread(y: Ints, expected: Floats, rng: np.random.Generator) -> Ints:
    """Read the labels as the others do, changing as few as can be; unchanged where that would hardly be seen."""
    line = _line(np.log(expected / (1 - expected)), y)
    here = _sigmoid(line[0] + line[1] * np.log(expected / (1 - expected)))
    draw = rng.random(len(y))
    if np.abs(here - expected).mean() < SEEN:
        return y
    down = (y == 1) & (draw < (here - expected) / here)
    up = (y == 0) & (draw < (expected - here) / (1 - here))
    return np.where(down, 0, np.where(up, 1, y))


def _otherwise(y: Ints, logit: Floats, known: float, level: float) -> bool:
    """Test whether the labels follow the measurements otherwise than at the other sites, in level or in slope.

    ``known`` is the others' share of all rows: what is expected of few is itself uncertain.
    """
    from scipy.stats import chi2

    def loss(line: Floats) -> float:
        z = line[0] + line[1] * logit
        return float(np.logaddexp(0, np.where(y == 1, -z, z)).sum())

    return bool(chi2.sf(2 * known * (loss(np.array([0.0, 1.0])) - loss(_line(logit, y))), 2) < level)


def _line(logit: Floats, y: Ints) -> Floats:
    """Intercept and slope of a logistic regression on one column, held near 0 and 1 by a touch."""
    from scipy.optimize import minimize

    def loss(line: Floats) -> float:
        z = line[0] + line[1] * logit
        return float(np.logaddexp(0, np.where(y == 1, -z, z)).sum() + 0.01 * ((line - [0, 1]) ** 2).sum())

    return np.asarray(minimize(loss, np.array([0.0, 1.0])).x)


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(z, -30, 30))))
