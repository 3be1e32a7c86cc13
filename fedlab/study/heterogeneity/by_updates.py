"""Differences that training shows: where the sites' updates point, and what the label means at equal risk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlab.engine import Run
from fedlab.engine.exchange import Exchange
from fedlab.federation import Federation
from fedlab.federation.reserved import EVERY_SITE
from fedlab.models import ModelLike
from fedlab.study.heterogeneity.by_counts import MORE, rest
from fedlab.study.heterogeneity.census import LABEL, Census
from fedlab.study.heterogeneity.chance import against, each_against, finding
from fedlab.study.heterogeneity.concept import ask_bands, beyond_prevalence, by_class, null_bands, redrawn_bands
from fedlab.study.heterogeneity.distances import Floats
from fedlab.study.heterogeneity.drift import angle, drift, gradient_diversity, shuffled

EVERY = EVERY_SITE
SHUFFLES = 50  # deals of all patients to sites that do not differ; they train at once


def training(
    federation: Federation,
    updates: dict[str, Floats],
    measures: tuple[str, ...],
    model: ModelLike,
    *,
    draws: int,
    seed: int,
    say: Callable[[str], None] = lambda what: None,
) -> Iterator[dict[str, Any]]:
    """Compare the sites' updates of one round with those of sites that do not differ."""
    rng = np.random.default_rng([seed, 7])
    many = shuffled(federation, model, draws=min(draws, SHUFFLES), seed=seed, rng=rng, say=say)
    real = np.stack([updates[name] for name in federation.names])
    rows = np.array([len(site.split.train) for site in federation.sites], dtype=np.float64)
    for measure in measures:
        if measure == "gradient_diversity":
            chance = against(float(gradient_diversity(real)), gradient_diversity(many))
            yield finding("training", measure, EVERY, chance)
            continue
        of = angle if measure == "angle" else drift
        found, by_chance = of(real, rows), of(many, rows)
        for k, site in enumerate(federation.names):
            why = "its update, or the mean of all, is zero" if not np.isfinite(found[k]) else ""
            yield finding("training", measure, site, against(float(found[k]), by_chance[:, k]), reason=why)


def concept(gate: Exchange, run: Run, census: Census, *, draws: int, seed: int) -> Iterator[dict[str, Any]]:
    """Compare each site's outcomes by risk with all others', beyond what prevalence explains."""
    least = census.leave.least
    if run.task.kind != "binary":
        why = "needs a task of two classes"
        yield from (finding("concept", "concept", site, reason=why) for site in census.sites)
        return
    told = ask_bands(gate, run.weights, census.leave)
    bands = by_class(told, census.tables[LABEL].counts, least)
    found = beyond_prevalence(np.nan_to_num(bands), _others(bands))
    null = null_bands(told, bands, census.leave)
    by_chance, smooth = _by_chance(null, census, draws, seed)
    smooth &= (told == bands).all((1, 2))
    judged = each_against(found, by_chance, smooth)
    far = [k for k, chance in enumerate(judged) if not smooth[k] and chance.p * (1 + draws) < 1.5]
    if far:  # as in by_counts: what no draw reaches and no curve tells
        by_chance, _ = _by_chance(null, census, MORE, seed)
        again = each_against(found, by_chance, smooth)
        judged = [again[k] if k in far else chance for k, chance in enumerate(judged)]
    for site, chance in zip(census.sites, judged, strict=True):
        why = f"fewer than {least} training patients in a class, or in each of its bands of risk"
        yield finding("concept", "concept", site, chance, reason=why if np.isnan(chance.value) else "")


def _by_chance(null: Floats, census: Census, draws: int, seed: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Draw what every site's measure would be, [sites, draws], and tell at which sites nearly all are told in full."""
    many, smooth = redrawn_bands(null, census.leave, np.random.default_rng([seed, 8]), draws)
    return beyond_prevalence(np.nan_to_num(many), _others(many)).T, smooth


def _others(bands: Floats) -> Floats:
    """Sum over all other sites, [..., sites, 2, bands]."""
    flat = rest(bands.reshape(*bands.shape[:-2], -1))
    return flat.reshape(bands.shape)


def risks_of(run: Run, model: dict[str, Tensor], x: Tensor) -> Floats:
    """Probability of the positive class for raw rows."""
    with torch.no_grad():
        placed = run.net.placed(model)
        return run.net.probabilities([placed], x).cpu().numpy()[:, 1]
