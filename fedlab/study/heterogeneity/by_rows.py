"""Differences that need the rows: all features at once. Computed with every row in this process, and said so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fedlab.federation import Federation, fit, merge, prepare, summarise
from fedlab.study.heterogeneity.census import patients
from fedlab.study.heterogeneity.chance import Chance, against, finding
from fedlab.study.heterogeneity.distances import Floats
from fedlab.study.heterogeneity.two_sample import FOLDS, c2st, mmd_with_null


def joint(
    federation: Federation, measures: tuple[str, ...], *, least: int, draws: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Compare each site's rows with all others': standardised by all sites, missing filled and told by an indicator."""
    names = sorted(federation.names)
    if federation.sites[0].rows.x.ndim != 2:
        why = "the rows are not a table of features"
        yield from (finding("joint", measure, site, reason=why) for measure in measures for site in names)
        return
    rows = standardised(federation)
    for k, site in enumerate(names):
        others = np.concatenate([part for name, part in rows.items() if name != site])
        for measure in measures:
            if min(len(rows[site]), len(others)) < max(least, FOLDS):
                side = "" if len(rows[site]) < max(least, FOLDS) else " at the other sites"
                yield finding("joint", measure, site, reason=f"fewer than {max(least, FOLDS)} training patients{side}")
                continue
            rng = np.random.default_rng([seed, k, len(measure)])
            yield finding("joint", measure, site, _measured(measure, rows[site], others, draws, rng))


def _measured(measure: str, own: Floats, others: Floats, draws: int, rng: np.random.Generator) -> Chance:
    of = mmd_with_null if measure == "mmd" else c2st
    return against(*of(own, others, draws=draws, rng=rng))


def standardised(federation: Federation) -> dict[str, Floats]:
    """Return each site's training patients as a model would see them, [patients, columns], without ``nan``."""
    raw = {site.name: patients(site).x.double() for site in federation.sites}
    buffers = fit(merge([summarise(x) for x in raw.values()]))
    return {name: prepare(x, buffers).numpy() for name, x in raw.items()}
