r"""Whether the label means the same: outcomes in bands of one shared risk, beyond what prevalence alone explains.

All sites score their patients with one model that they trained together, and tell how many of each class stand in each
band of the score. In band b, site i has the share :math:`r_{ib}` of positives, and the others :math:`r_b`. The others'
shares are moved by one number on the scale of log odds until they give as many positives as site i has; what is left,

.. math:: \sum_b \frac{n_{ib}}{n_i} \lvert r_{ib} - \sigma(\operatorname{logit} r_b + \delta_i) \rvert ,

is in 0 to 1. A difference of prevalence, and one in who comes, are thereby taken out to first order (Saerens, Latinne &
Decaestecker, *Adjusting the outputs of a classifier to new a priori probabilities*, Neural Computation 14, 2002). What
it cannot see: a hospital that reads every patient as ill by the same log odds more often, which no count can tell from
prevalence, and a difference within a band.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlab.engine.exchange import Ask, Exchange
from fedlab.engine.purposes import Purpose, register
from fedlab.federation import Feature
from fedlab.metrics.cells import block_means, block_size
from fedlab.study.heterogeneity.binned import Leave, agree, counted, filled
from fedlab.study.heterogeneity.census import AtSite, patients
from fedlab.study.heterogeneity.chance import in_full
from fedlab.study.heterogeneity.distances import Floats
from fedlab.study.heterogeneity.likely import likeliest

BANDS = 4
RISK = Feature("risk")


def beyond_prevalence(own: Floats, others: Floats) -> Floats:
    """The measure of this module.

    Parameters
    ----------
    own, others : float array, shape [..., 2, bands]
        Patients of the two classes in each band.

    Returns
    -------
    float array, shape [...]
        ``nan`` where the site or the others have a single class.

    Examples
    --------
    >>> beyond_prevalence(np.array([[30.0, 10], [10, 30]]), np.array([[90.0, 30], [30, 90]])).item()
    0.0
    >>> beyond_prevalence(np.array([[10.0, 30], [30, 10]]), np.array([[90.0, 30], [30, 90]])).round(6).item()
    0.5
    """
    n = own.sum(-2)
    share = np.divide(own[..., 1, :], n, out=np.zeros(n.shape), where=n > 0)
    weight = n / np.maximum(n.sum(-1, keepdims=True), 1)
    apart = (weight * np.abs(share - expected_share(own, others))).sum(-1)
    both = (own.sum(-1) > 0).all(-1) & (others.sum(-1) > 0).all(-1)
    out: Floats = np.where(both, np.where(apart < 1e-9, 0.0, apart), np.nan)
    return out


def expected_share(own: Floats, others: Floats) -> Floats:
    """The others' share of positives in each band, moved by one log-odds until they are as many as the site's own."""
    n, positives = own.sum(-2), own[..., 1, :].sum(-1, keepdims=True)
    total = others.sum(-2)
    common = others[..., 1, :].sum(-1, keepdims=True) / np.maximum(total.sum(-1, keepdims=True), 1)
    share = np.where(total > 0, others[..., 1, :] / np.maximum(total, 1), common)
    odds = np.log(np.clip(share, 1e-12, 1)) - np.log(np.clip(1 - share, 1e-12, 1))
    low, high = np.full(positives.shape, -60.0), np.full(positives.shape, 60.0)
    for _ in range(50):  # bisection: the sum rises with the shift
        middle = (low + high) / 2
        above = (n / (1 + np.exp(-(odds + middle)))).sum(-1, keepdims=True) > positives
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return 1 / (1 + np.exp(-(odds + (low + high) / 2)))  # type: ignore[no-any-return]


def ask_bands(gate: Exchange, model: dict[str, Tensor], leave: Leave) -> Floats:
    """Ask for the risks' blocks, agree on bands, and for the classes in each; told [sites, 2, bands].

    Each class is screened by itself: what was told of the label gives its total, which must not tell a small cell.
    """
    every = len(gate.transport.sites)
    blocks = gate.ask(Ask("risks", {"model": model}, least=every))
    cells = agree(RISK, BANDS, [told["risk"] for told in blocks.contents])
    answers = gate.ask(Ask("bands", {"edges": torch.from_numpy(cells.edges), "model": model}, least=every))
    told = np.stack([np.stack([got["negative"].numpy(), got["positive"].numpy()]) for got in answers.contents])
    return told.astype(float)


def by_class(told: Floats, totals: Floats, least: int) -> Floats:
    """Share what was withheld over the bands, class by class: [..., sites, 2, bands], totals [..., sites, 2]."""
    each = [filled(told[..., k, :], np.nan_to_num(totals[..., k]), least=least, missing=False) for k in (0, 1)]
    return np.stack(each, axis=-2)


def _risks(held: AtSite, asked: dict[str, Any]) -> dict[str, Any]:
    """Tell block means of the patients' risks."""
    column, _ = _of_patients(held, asked)
    return {"risk": torch.from_numpy(block_means(column, least=block_size(len(column), held.leave.least)))}


def _bands(held: AtSite, asked: dict[str, Any]) -> dict[str, Any]:
    """Tell how many patients of each class are in each band of risk."""
    column, y = _of_patients(held, asked)
    edges = asked["edges"].numpy()
    counts = np.stack([counted(column[y == k], edges, len(edges) + 1)[:-1] for k in (0, 1)])
    told = np.zeros(counts.shape)
    if counts.sum(1).min() >= held.leave.least:  # else the totals were not told either
        told = held.leave(counts, np.random.default_rng(0))
    return {"negative": torch.from_numpy(told[0]), "positive": torch.from_numpy(told[1])}


def _of_patients(held: AtSite, asked: dict[str, Any]) -> tuple[Floats, NDArray[np.int64]]:
    if held.risks is None:
        raise ValueError("this site was given no model to read risks with")
    mine = patients(held.site)
    return held.risks(asked["model"], mine.x), mine.y.numpy()


register(Purpose("risks", _risks, sends=("risk",)))
register(Purpose("bands", _bands, sends=("negative", "positive")))


def null_bands(told: Floats, bands: Floats, leave: Leave) -> Floats:
    """Return the counts [sites, 2, bands] to expect if every site's outcomes were as the others' say."""
    known = np.nan_to_num(bands)
    rows = (1, -1, told.shape[-1])  # to the likelihood each class of a site is a row of one table

    def null(counts: Floats) -> Floats:
        return _as_others(counts.reshape(told.shape)).reshape(rows)

    likely = likeliest(
        told.reshape(rows), known.sum(-1).reshape(rows[:2]), known.reshape(rows), null, least=leave.least
    )
    return _as_others(likely.reshape(told.shape))


def _as_others(counts: Floats) -> Floats:
    n, share = counts.sum(1), expected_share(counts, counts.sum(0) - counts)
    return np.stack([n * (1 - share), n * share], axis=1)


def redrawn_bands(
    expected: Floats, leave: Leave, rng: np.random.Generator, draws: int
) -> tuple[Floats, NDArray[np.bool_]]:
    """Draw counts [draws, sites, 2, bands] as they would arrive under no difference; as ``chance.redrawn`` does."""
    n = expected.sum(1)
    share = np.divide(expected[:, 1], n, out=np.zeros(n.shape), where=n > 0)
    n = np.round(n).astype(int)
    out = np.empty((draws, *expected.shape))
    for site in range(len(expected)):
        positive = rng.binomial(n[site], np.clip(share[site], 0, 1), (draws, n.shape[1]))
        out[:, site] = np.stack([n[site] - positive, positive], axis=1)
    totals = out.sum(-1)
    told = leave(out.astype(np.int64), rng) * (totals.min(-1) >= leave.least)[..., None, None]
    return by_class(told, totals, leave.least), in_full(_flat(told), _flat(out))


def _flat(bands: Floats) -> Floats:
    return bands.reshape(*bands.shape[:-2], -1)
