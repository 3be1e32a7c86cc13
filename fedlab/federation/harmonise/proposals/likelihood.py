"""How well a column of one site fits those of others, before and after a conversion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedlab.federation.harmonise.units import Conversion

NATURAL = 0.3  # sd of hospitals' medians around each other, in sds of their patients
WIDER = 0.3  # sd of the logarithm of hospitals' spreads
OTHERS = 10.0  # how much farther a hospital lies that treats other patients: a liver unit, a children's hospital
MARKS = (0.0, 0.16, 0.5, 0.84)
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """Where a site's numbers lie on the scale: middle, spread, and how many patients they are of."""

    middle: float
    spread: float
    count: int


@dataclass(frozen=True)
class Scale:
    """Logarithmic where everything is above zero, else linear; ``finest`` is the least spread taken for true."""

    logarithmic: bool
    finest: float

    @classmethod
    def of(cls, columns: Sequence[Numbers]) -> Scale:
        """Choose the scale for several sites' numbers."""
        every = np.concatenate(columns)
        if (every > 0).all():
            return cls(True, 0.02)
        return cls(False, 0.02 * float(np.median(np.abs(every))) or 1e-9)

    def place(self, blocks: Numbers, count: int) -> Place | None:
        """Place numbers on the scale; None where they are not above zero, as it needs them."""
        return self.placed(np.quantile(blocks, MARKS), count)

    def placed(self, marks: Numbers, count: int, by: Conversion | None = None) -> Place | None:
        """Place numbers of which the quantiles at ``MARKS`` are known, converted first: that keeps their order."""
        lowest, low, middle, high = (marks if by is None else by.factor * marks + by.offset).tolist()
        if self.logarithmic:
            if lowest <= 0:
                return None
            low, middle, high = math.log(low), math.log(middle), math.log(high)
        return Place(middle, max((high - low) / 2, self.finest), count)


@dataclass(frozen=True)
class Reference:
    """Where the sites that agree lie."""

    middle: float
    spread: float
    between: float  # sd of the sites' middles

    @classmethod
    def of(cls, places: Mapping[str, Place], finest: float) -> Reference:
        """Sum up sites that agree."""
        middles = np.array([place.middle for place in places.values()])
        spread = float(np.median([place.spread for place in places.values()]))
        seen = float(((middles - np.median(middles)) ** 2).sum())
        guessed = 3 * (NATURAL * spread) ** 2  # worth three sites
        between = math.sqrt((guessed + seen) / (3 + len(middles) - 1))
        return cls(float(np.median(middles)), spread, max(between, finest))

    def far(self, place: Place) -> float:
        """Distance of a site's middle, in sds of what differs by nature and by chance."""
        return (place.middle - self.middle) / math.hypot(self.between, 1.25 * self.spread / math.sqrt(place.count))

    def log_likelihood(self, place: Place, others: float = 0.0) -> float:
        """Logarithm, up to a constant, of how likely a site lies there; heavy tails, since nature is full of them.

        ``others`` is the probability that it treats other patients, who lie anywhere.
        """
        far = self.far(place)
        wide = math.log(place.spread / self.spread) / math.hypot(WIDER, 1 / math.sqrt(place.count))
        alike = _student(far) + _student(wide)
        if not others:
            return alike
        apart = _student(far / OTHERS) + _student(wide / 2) - math.log(2 * OTHERS)
        return float(np.logaddexp(math.log(1 - others) + alike, math.log(others) + apart))


def _student(z: float) -> float:
    """Student's t of three degrees of freedom."""
    return -2 * math.log1p(z * z / 3)


def groups(places: Mapping[str, Place]) -> list[list[str]]:
    """Put sites together whose middles follow each other without a gap that is too wide for nature; largest first."""
    if not places:
        return []
    order = sorted(places, key=lambda site: places[site].middle)
    spread = float(np.median([place.spread for place in places.values()]))
    found = [[order[0]]]
    for before, site in zip(order, order[1:], strict=False):
        chance = spread * math.hypot(*(1.25 / math.sqrt(places[s].count) for s in (before, site)))
        if places[site].middle - places[before].middle > 3 * math.hypot(NATURAL * spread, chance):
            found.append([])
        found[-1].append(site)
    return sorted(found, key=len, reverse=True)
