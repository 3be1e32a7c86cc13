"""What a hospital's devices measure otherwise.

A device shows in all patients *and* within each class: a prevalence moves only the first, another reading of the labels
only the second. So the smaller of the two is taken, and none where they disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedlab.federation import Feature
from fedlab.federation.frame import columns

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LEVEL = 0.001  # of each kind, for all sites and features together
FEWEST = 8  # values of a feature


@dataclass(frozen=True)
class Table:
    """One site's rows ``x`` [n, columns] and labels ``y`` [n], as numpy has them."""

    x: Floats
    y: Ints


@dataclass(frozen=True)
class Line:
    """How a site's columns are turned into the others': ``x * scale + shift``, each of shape [columns]."""

    scale: Floats
    shift: Floats

    @staticmethod
    def none(width: int) -> Line:
        """Return the one that changes nothing."""
        return Line(np.ones(width), np.zeros(width))

    def but(self, columns: Collection[int]) -> Line:
        """Return the one that leaves these columns alone."""
        out = Line(self.scale.copy(), self.shift.copy())
        out.scale[list(columns)], out.shift[list(columns)] = 1.0, 0.0
        return out

    @property
    def hits(self) -> set[int]:
        """The columns that change."""
        return set(np.flatnonzero((self.scale != 1) | (self.shift != 0)).tolist())

    @property
    def moves(self) -> bool:
        """Whether anything changes."""
        return bool(self.hits)

    def there(self, x: Floats) -> Floats:
        """Turn the site's rows into the others'."""
        return x * self.scale + self.shift

    def back(self, x: Floats) -> Floats:
        """Turn the others' rows into the site's."""
        return (x - self.shift) / self.scale


def measurements(features: Sequence[Feature], tables: Sequence[Table]) -> list[int]:
    """Return the columns that hold measurements: numbers without codes, of more than four values somewhere."""
    width = tables[0].x.shape[1]
    names = columns(features)
    plain = {f.name for f in features if f.kind == "number" and not f.codes}
    if len(names) != width:  # columns without a dictionary
        names, plain = tuple(map(str, range(width))), set(map(str, range(width)))

    def varied(j: int) -> bool:
        return any(len(np.unique(t.x[~np.isnan(t.x[:, j]), j])) > 4 for t in tables)

    return [j for j in range(width) if names[j] in plain and varied(j)]


def devices(tables: Sequence[Table], numbers: Sequence[int], skip: Sequence[set[int]]) -> list[Line]:
    """Find measurements that a site has moved or stretched against all sites together.

    Parameters
    ----------
    tables : sequence of Table
        As the sites write when all write alike.
    numbers : sequence of int
        Columns of measurements.
    skip : sequence of set of int
        By site, columns to leave alone.
    """
    lines = [Line.none(tables[0].x.shape[1]) for _ in tables]
    tests = 2 * len(numbers) * len(tables)
    for j in numbers:
        sites = [k for k, t in enumerate(tables) if j not in skip[k] and (~np.isnan(t.x[:, j])).sum() >= FEWEST]
        if len(sites) < 2:
            continue
        rows = [(t.x[~np.isnan(t.x[:, j]), j], t.y[~np.isnan(t.x[:, j])]) for t in (tables[k] for k in sites)]
        moved = _agreed(rows, np.asarray, LEVEL / tests)
        centred = [(v - np.median(v), y) for v, y in rows]
        wide = _agreed(centred, np.abs, LEVEL / tests, logs=True)
        spread = float(np.median([v.std() for v, _ in rows]))
        if spread <= 0 or not (np.any(moved) or np.any(wide)):
            continue
        for k, shift, stretch, (values, _) in zip(sites, moved, wide, rows, strict=True):
            scale = float(np.exp(-stretch))
            middle = float(values.mean())
            lines[k].scale[j] = scale
            lines[k].shift[j] = middle - shift - middle * scale
    return lines


def _agreed(
    rows: list[tuple[Floats, Ints]], of: Callable[[Floats], Floats], level: float, *, logs: bool = False
) -> Floats:
    """How far each site's mean is from the sites' median, where all patients and the classes agree; 0 where none is."""
    from scipy.stats import t

    made = [(of(v), y) for v, y in rows]
    share = np.bincount(np.concatenate([y for _, y in made])).astype(float)
    whole = np.array([_mean(v, np.ones(len(v)), logs) for v, _ in made])
    within = np.array([_mean(v, _weights(y, share), logs) for v, y in made])
    apart = [table[:, 0] - np.median(table[:, 0]) for table in (whole, within)]
    p = np.array([2 * t.sf(np.abs(d) / table[:, 1], table[:, 2] - 1)
                  for d, table in zip(apart, (whole, within), strict=True)])  # fmt: skip
    smaller = np.where(np.abs(apart[0]) < np.abs(apart[1]), *apart)
    smaller[apart[0] * apart[1] <= 0] = 0
    return smaller if (p.max(0)[smaller != 0] < level).any() else np.zeros(len(rows))


def _weights(y: Ints, share: Floats) -> Floats:
    counts = np.bincount(y, minlength=len(share))
    return np.asarray((share / np.maximum(counts, 1))[y])


def _mean(values: Floats, weights: Floats, logs: bool) -> tuple[float, float, float]:
    """Weighted mean, its standard error and how many rows it is worth; of the logarithm of the mean if asked."""
    weights = weights / weights.sum()
    worth = 1 / float((weights**2).sum())
    mean = float(weights @ values)
    error = float(np.sqrt((weights**2) @ (values - mean) ** 2 * worth / max(worth - 1, 1))) + 1e-12
    return (np.log(max(mean, 1e-12)), error / max(mean, 1e-12), worth) if logs else (mean, error, worth)
