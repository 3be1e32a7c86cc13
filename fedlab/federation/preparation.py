"""Federated preprocessing: each site summarises, the server merges, everyone applies the same.

A site sends counts, sums and sums of squares of its training rows, never a row. The sums of squares are taken
about the site's own mean and merged as Chan, Golub & LeVeque (1983) do: the plain ones lose all digits where a
mean is large against its spread.

Nothing leaves of a column that fewer than five of the site's training patients have (:func:`told`): it counts as not
measured *there*. Its values are filled and scaled as those of the sites that told of it; where none did, as if nobody
had it. How many rows lack a column follows from the counts, also where they are few: any other number would move the
mean away from that of the patients.

The result is four small buffers that belong to the trained model and travel with it:

``fill``
    The mean of what was measured: it centres the feature and stands in for a missing value.
``scale``
    Its standard deviation, 1 where the feature is constant.
``indicator``
    1 where some training row lacked the feature: a column then tells the model so; else 0.
``measured``
    0 where *no* training row had it. Such a feature (fill 0, scale 1, indicator 1) counts as missing in every
    row, also in those of a hospital that does measure it, for the model has never seen a value of it.

A code of a category that no training row had is likewise one that the model knows nothing of: a row that has it counts
as missing in that category.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlab.metrics.cells import LEAST


class Summary(NamedTuple):
    """What a site tells of its training rows; each tensor float64 of shape [features], ``rows`` 0-d.

    ``present`` counts what was measured, ``total`` sums it, ``squares`` sums the squares about the site's own mean.
    """

    rows: Tensor
    present: Tensor
    total: Tensor
    squares: Tensor


def summarise(x: Tensor) -> Summary:
    """Summarise raw rows ``x`` [n, features], ``nan`` where missing.

    Examples
    --------
    >>> import torch
    >>> s = summarise(torch.tensor([[1.0], [3.0], [float("nan")]]))
    >>> s.present.item(), s.total.item(), s.squares.item()
    (2.0, 4.0, 2.0)
    """
    x = x.double()
    present = len(x) - x.isnan().sum(0).double()
    total = x.nansum(0)
    centre = total / present.clamp(min=1)
    squares = (x - centre).square().nansum(0)
    return Summary(torch.tensor(float(len(x)), dtype=torch.float64), present, total, squares)


def patients_with(x: Tensor, who: NDArray[np.int64]) -> Tensor:
    """Count the patients who have a value, column by column; ``who`` [n] are whose rows ``x`` [n, features] are.

    Examples
    --------
    >>> nan = float("nan")
    >>> patients_with(torch.tensor([[1.0, nan], [2.0, nan], [nan, 3.0]]), np.array([0, 0, 1])).tolist()
    [1.0, 1.0]
    """
    there = (~x.isnan()).double()
    patients = int(who.max()) + 1 if len(who) else 0
    if patients == len(who):
        return there.sum(0)
    rows = torch.zeros(patients, *x.shape[1:], dtype=torch.float64)
    return (rows.index_add_(0, torch.from_numpy(who), there) > 0).double().sum(0)


def told(summary: Summary, patients: Tensor) -> Summary:
    """Return what of a summary leaves a site: nothing of a column that fewer than five ``patients`` [features] have.

    Examples
    --------
    >>> s = summarise(torch.tensor([[1.0], [3.0]]))
    >>> told(s, torch.tensor([2.0])).total.item(), told(s, torch.tensor([5.0])).total.item()
    (0.0, 4.0)
    """
    rows, *rest = summary
    return Summary(rows, *(torch.where(patients >= LEAST, each, 0.0) for each in rest))


def nothing_told(summary: Summary) -> list[int]:
    """Return the columns of which a site told nothing: fewer than five of its training patients have them, or none."""
    return torch.nonzero(summary.present.reshape(-1) == 0).reshape(-1).tolist()


def merge(summaries: Sequence[Summary]) -> Summary:
    """Merge the sites' summaries into the summary of all their rows (to 1e-12 that of the pooled rows)."""
    if not summaries:
        raise ValueError("there is no summary to merge: at least one site must answer")
    rows, present, total, squares = (torch.stack(part) for part in zip(*summaries, strict=True))
    centre = total.sum(0) / present.sum(0).clamp(min=1)
    apart = total / present.clamp(min=1) - centre
    return Summary(rows.sum(0), present.sum(0), total.sum(0), (squares + present * apart**2).sum(0))


def fit(summary: Summary) -> dict[str, Tensor]:
    """Turn a summary into the buffers ``fill, scale, indicator, measured`` (float64, shape [features])."""
    measured = summary.present > 0
    fill = summary.total / summary.present.clamp(min=1)
    spread = (summary.squares / summary.present.clamp(min=1)).sqrt()
    varies = spread > 1e-12 * fill.abs().clamp(min=1e-12)
    return {
        "fill": fill,
        "scale": torch.where(varies, spread, 1.0),
        "indicator": (summary.present < summary.rows).double(),
        "measured": measured.double(),
    }


def prepare(x: Tensor, buffers: Mapping[str, Tensor], categories: Sequence[slice] = ()) -> Tensor:
    """Fill, standardise and add missing-indicators: [n, features] to float64 [n, 2 · features].

    Parameters
    ----------
    x : Tensor
        Raw rows.
    buffers : mapping of str to Tensor
        Of :func:`fit`.
    categories : sequence of slice
        Which columns belong to one category (:func:`fedlab.federation.frame.categories`): a single one is that of the
        second of two codes, several are one a code.

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([[1.0], [3.0], [float("nan")]])
    >>> prepare(x, fit(summarise(x))).tolist()
    [[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    """
    fill = buffers["fill"]
    missing = x.isnan() | (buffers["measured"] == 0)
    for place in categories:
        missing[..., place] |= _unseen(x[..., place], fill[..., place])
    standard = (torch.where(missing, fill, x) - fill) / buffers["scale"]
    return torch.cat([standard, missing * buffers["indicator"]], dim=-1)


def _unseen(x: Tensor, share: Tensor) -> Tensor:
    """Return which rows have a code of a category that no training row had, from the codes' shares there."""
    if x.shape[-1] == 1:
        return ((x == 1) & (share == 0)) | ((x == 0) & (share == 1))
    return ((x == 1) & (share == 0)).any(-1, keepdim=True)
