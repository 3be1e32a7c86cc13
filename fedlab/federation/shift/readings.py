"""Kinds of difference that change what is measured of a site's patients, and by what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from fedlab.federation import frame
from fedlab.federation.shift.kinds import Shift
from fedlab.federation.site import Feature, Site

if TYPE_CHECKING:
    from fedlab.federation.federation import Federation

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Readings(Shift):
    """What shifts of a table's values have in common.

    Parameters
    ----------
    severity : float
    features : tuple of str
        Names of those that are hit; empty: all that can be.
    """

    _: KW_ONLY
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        given: object = self.features
        if isinstance(given, str):
            raise ValueError(f"{type(self).__name__}: features is text: give a tuple, ({given!r},)")
        object.__setattr__(self, "features", tuple(self.features))

    def hit(self, site: Site, federation: Federation) -> Iterator[tuple[Feature, slice]]:
        """Each feature that is hit, and its columns of ``x``."""
        if site.rows.x.ndim != 2 or len(federation.columns) != site.rows.x.shape[1]:
            raise ValueError(
                f"{type(self).__name__} is for tables whose columns have names, and these rows are images or bags, or "
                "have none: use label, quantity or concept shifts"
            )
        known = [feature.name for feature in federation.features]
        for name in self.features:
            if name not in known:
                raise ValueError(
                    f"{type(self).__name__}: there is no feature {name!r}; the features are {', '.join(known)}"
                )
        at = 0
        for feature in federation.features:
            width = len(frame.columns([feature]))
            if not self.features or feature.name in self.features:
                yield feature, slice(at, at + width)
            at += width

    def need_raw(self, federation: Federation) -> None:
        """Refuse a federation whose values are not the hospital's own any more."""
        if federation.prepared:
            raise ValueError(
                f"{type(self).__name__} needs the values as the hospital wrote them, and this federation is prepared "
                "for a model: make it of raw rows (Federation.from_tensors(…, prepared=False), or from_frame)"
            )


@dataclass(frozen=True)
class AcquisitionShift(Readings):
    r"""Other devices: each measurement with a gain, an offset and noise, in units of its spread at the site.

    .. math:: x' = c + (1 + s\,g\,u)\,(x - c) + s\,(o\,v + n\,\varepsilon)\,\sigma

    with severity :math:`s`, the feature's mean :math:`c` and standard deviation :math:`\sigma` at the site, and of each
    feature one draw of :math:`u \in [-1, 1]` and one of :math:`|v| \in [1/2, 1]`; :math:`\varepsilon` normal, for each
    value. Categories, numbers with codes and features of fewer than three values at the site stay as they are. A value
    may leave the data dictionary's range: a bad device does not know it.

    Parameters
    ----------
    severity : float
    gain, offset, noise : float
        The letters g (below 1), o and n. Without noise it can be undone.
    features : tuple of str
    """

    _: KW_ONLY
    gain: float = 0.5
    offset: float = 2.0
    noise: float = 1.0

    name: ClassVar[str] = "acquisition"
    lost: ClassVar[str] = "noise was added (noise=0 can be undone)"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._fraction("gain", top=0.99)
        self._fraction("offset", top=float("inf"))
        self._fraction("noise", top=float("inf"))

    def apply(self, site: Site, federation: Federation, rng: np.random.Generator) -> Site:
        """Measure anew; what was not measured stays so."""
        x = site.rows.x.double().numpy().copy()
        for at, gain, offset in self._drawn(site, federation, rng):
            error = self.severity * self.noise * rng.standard_normal(len(x))
            middle, spread = _moments(x[:, at])
            x[:, at] = middle + gain * (x[:, at] - middle) + (offset + error) * spread
        return with_values(site, x)

    def undo(self, site: Site, federation: Federation, rng: np.random.Generator) -> Site:
        """Turn gain and offset back, to rounding."""
        if self.noise > 0 and self.severity > 0:
            return super().undo(site, federation, rng)
        x = site.rows.x.double().numpy().copy()
        for at, gain, offset in self._drawn(site, federation, rng):
            rng.standard_normal(len(x))  # as apply draws
            middle, spread = _moments(x[:, at])
            middle, spread = middle - offset * spread / gain, spread / gain
            x[:, at] = middle + (x[:, at] - middle - offset * spread) / gain
        return with_values(site, x)

    def _drawn(
        self, site: Site, federation: Federation, rng: np.random.Generator
    ) -> Iterator[tuple[int, float, float]]:
        """Of each measurement the column, the gain, and the offset in spreads."""
        x = site.rows.x
        for feature, at in self.hit(site, federation):
            u, v, sign = rng.uniform(-1, 1), rng.uniform(0.5, 1), rng.choice([-1, 1])
            if feature.kind == "number" and not feature.codes and _varies(x[:, at.start].double().numpy()):
                yield at.start, 1 + self.severity * self.gain * u, self.severity * self.offset * v * sign


@dataclass(frozen=True)
class PracticeShift(Readings):
    """Other habits of measuring: values missing not at random, and whole features that are never measured.

    Parameters
    ----------
    severity : float
    missing : float
        Share of a feature's values that are lost at severity 1. A value in the middle of what the site sees (for a
        category: a common one) is up to twenty times as likely to be lost as an extreme one: who looks well is not
        measured.
    never : float
        Share of the features that are never measured at severity 1, rounded down; below 1.
    features : tuple of str
    """

    _: KW_ONLY
    missing: float = 0.6
    never: float = 0.25

    name: ClassVar[str] = "practice"
    lost: ClassVar[str] = "what was not measured is not known"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._fraction("missing")
        self._fraction("never", top=0.99)

    def apply(self, site: Site, federation: Federation, rng: np.random.Generator) -> Site:
        """Lose values; the more severe, the same and more."""
        blocks = list(self.hit(site, federation))
        self.need_raw(federation)
        x = site.rows.x.clone()
        order = rng.permutation(len(blocks))
        never = {*order[: int(self.never * self.severity * len(blocks) + 1e-9)].tolist()}
        for k, (_, at) in enumerate(blocks):
            wait = rng.exponential(size=len(x))
            there = np.flatnonzero(~x[:, at].isnan().any(1).numpy())
            if k not in never:
                wait = wait[there] * np.exp(3 * _oddness(x[there, at].double().numpy()))
                lost = round(self.missing * self.severity * len(there))
                there = there[np.argpartition(wait, lost)[:lost]] if lost < len(there) else there
            x[torch.from_numpy(there), at] = float("nan")
        return replace(site, rows=replace(site.rows, x=x))


def _oddness(block: Floats) -> Floats:
    """How far each row is from what the site sees most, 0 … 1 by rank; of a feature's columns [n, width]."""
    if block.shape[1] == 1:
        distance = np.abs(block[:, 0] - np.median(block[:, 0])) if len(block) else block[:, 0]
    else:
        distance = -(block * block.sum(0)).sum(1)  # the rarer the code
    _, rank = np.unique(distance, return_inverse=True)
    return np.asarray(rank / max(rank.max(initial=0), 1), dtype=np.float64)


def _varies(values: Floats) -> bool:
    """Tell whether there are three different values or more."""
    known = values[~np.isnan(values)]
    return len(known) > 2 and bool(((known != known.min()) & (known != known.max())).any())


def _moments(values: Floats) -> tuple[float, float]:
    return float(np.nanmean(values)), float(np.nanstd(values))


def with_values(site: Site, x: Floats) -> Site:
    """Return the site with other values, in the precision that it has."""
    return replace(site, rows=replace(site.rows, x=torch.from_numpy(x).to(site.rows.x.dtype)))
