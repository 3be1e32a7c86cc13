"""Schemes by which patients are dealt out to sites: each makes one kind of difference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedlab.federation.groups import group_by
from fedlab.federation.numbers import is_whole
from fedlab.federation.preparation import fit, prepare, summarise

if TYPE_CHECKING:
    from fedlab.federation.federation import Federation

LEAST = 3  # patients of a site: train, valid and test need one each
TRIES = 20
Ints = NDArray[np.int64]


class Patients(NamedTuple):
    """What a scheme sees: each patient's first row.

    ``x`` [n, ...] raw, ``label`` [n], ``classes`` how many there are, and ``federation`` for its columns.
    """

    x: Tensor
    label: Ints
    classes: int
    federation: Federation

    def __len__(self) -> int:
        return len(self.label)


class Scheme(Protocol):
    """A way to deal patients out."""

    def deal(self, patients: Patients, sites: int, rng: np.random.Generator) -> Ints:
        """Return the number of each patient's site, 0 … ``sites`` − 1; raise ``Infeasible`` where that cannot be."""
        ...


class Infeasible(ValueError):
    """A partition that cannot be had; the message names the nearest one that can."""


@dataclass(frozen=True)
class IID:
    """Every site a fair draw of the same patients, as many to each as can be."""

    def deal(self, patients: Patients, sites: int, rng: np.random.Generator) -> Ints:
        """Deal in turn, in a random order."""
        return cut(rng.permutation(len(patients)), apportion(np.ones(sites), len(patients)))


@dataclass(frozen=True)
class Quantity:
    """Sites of different sizes, alike otherwise: sizes in proportion to a log-normal draw.

    Parameters
    ----------
    sigma : float
        Of the logarithm of the sizes, at least 0: 0 makes all alike, at 1 the middle two thirds differ sevenfold.
    """

    sigma: float = 1.0

    def __post_init__(self) -> None:
        _at_least("Quantity", "sigma", self.sigma, 0.0)

    def deal(self, patients: Patients, sites: int, rng: np.random.Generator) -> Ints:
        """Draw the sizes, then the patients."""
        return cut(rng.permutation(len(patients)), apportion(np.exp(self.sigma * rng.standard_normal(sites)),
                                                             len(patients), least=LEAST))  # fmt: skip


@dataclass(frozen=True)
class PowerLaw:
    r"""A few large sites and many small ones: the k-th is in proportion to :math:`k^{-a}`.

    Parameters
    ----------
    exponent : float
        :math:`a`, at least 0: 0 makes all alike.
    """

    exponent: float = 1.0

    def __post_init__(self) -> None:
        _at_least("PowerLaw", "exponent", self.exponent, 0.0)

    def deal(self, patients: Patients, sites: int, rng: np.random.Generator) -> Ints:
        """Take the sizes from the law, the patients at random."""
        sizes = apportion(np.arange(1, sites + 1) ** -float(self.exponent), len(patients), least=LEAST)
        return cut(rng.permutation(len(patients)), sizes)


@dataclass(frozen=True)
class Dirichlet:
    r"""Sites that differ in how often each class occurs: each class is shared out by a draw of Dir(:math:`\alpha`).

    Hsu, Qi & Brown, *Measuring the effects of non-identical data distribution*, arXiv:1909.06335; Yurochkin et al.,
    arXiv:1905.12022.

    Parameters
    ----------
    alpha : float
        More than 0: 100 is close to IID, 0.1 leaves most sites with few classes.
    """

    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not (np.isfinite(self.alpha) and self.alpha > 0):
            raise ValueError(f"Dirichlet(alpha={self.alpha!r}): alpha must be a finite number above 0")

    def deal(self, patients: Patients, sites: int, rng: np.random.Generator) -> Ints:
        """Draw shares of each class until no site is left with too few patients."""
        for _ in range(TRIES):
            shares = rng.dirichlet(np.full(sites, float(self.alpha)), size=patients.classes)
            counts = _class_counts(patients, shares)
            if counts.sum(0).min() >= LEAST:
                return _by_class(patients, counts, rng)
        raise Infeasible(f"at alpha={self.alpha:g} a site stays with fewer than {LEAST} patients")

    def wider(self) -> Dirichlet:
        """Return the next scheme that is easier to meet."""
        return replace(self, alpha=float(f"{self.alpha * 1.25:.3g}"))


@dataclass(frozen=True)
class Classes:
    """Sites that each hold so many classes only, each class shared evenly by its sites.

    The pathological partition of McMahan et al., arXiv:1602.05629.

    Parameters
    ----------
    per_site : int
        How many classes a site holds.
    """

    per_site: int = 1

    def __post_init__(self) -> None:
        if not is_whole(self.per_site) or self.per_site < 1:
            raise ValueError(f"Classes(per_site={self.per_site!r}): it must be a whole number of at least 1")

    def deal(self, patients: Patients, sites: int, rng: np.random.Generator) -> Ints:
        """Hand the classes round, in random orders of classes and of sites."""
        there = np.unique(patients.label)
        k, n = self.per_site, len(there)
        if k > n:
            raise Infeasible(f"a site cannot hold {k} classes, there are {n}: the nearest is Classes({n})")
        if k * sites < n:
            raise Infeasible(
                f"{sites} sites of {k} classes leave some of the {n} classes to nobody: the nearest is "
                f"Classes({-(-n // sites)}), or {-(-n // k)} sites"
            )
        holds = np.zeros((patients.classes, sites))
        order, who = rng.permutation(there), rng.permutation(sites)
        slots = np.arange(sites * k)
        holds[order[slots % n], who[slots // k]] = 1
        counts = _class_counts(patients, holds)
        held = counts[there] > 0
        if counts.sum(0).min() < LEAST or (held != (holds[there] > 0)).any():
            raise Infeasible(f"with Classes({k}) the rarest class does not do for the sites that hold it")
        return _by_class(patients, counts, rng)


@dataclass(frozen=True)
class Column:
    """One site for each value of a column: each sex, each age band, each ward.

    Parameters
    ----------
    by : str
        A category of the data dictionary, or a number with ``bands``. Patients of whom it is not known are a site too.
    bands : tuple of float, optional
        Rising edges in the column's unit.
    """

    by: str
    bands: tuple[float, ...] | None = None

    def names(self, federation: Federation) -> tuple[str, ...]:
        """Return what the sites are called."""
        return tuple(f"{self.by} {name}" for name in group_by(federation.features, self.by, self.bands).names)

    def deal(self, patients: Patients, sites: int, rng: np.random.Generator) -> Ints:
        """Look the value up; nothing is drawn."""
        del sites, rng
        return group_by(patients.federation.features, self.by, self.bands).numbers(patients.x)


@dataclass(frozen=True)
class Clusters:
    """Sites of patients who are alike: k-means on the standardised features, of which each site gets one cluster."""

    def deal(self, patients: Patients, sites: int, rng: np.random.Generator) -> Ints:
        """Cluster with scikit-learn, missing values at the mean."""
        from sklearn.cluster import KMeans

        rows = patients.x.flatten(1)
        ready = rows if patients.federation.prepared else prepare(rows.double(), fit(summarise(rows)))
        found = KMeans(sites, n_init=4, random_state=int(rng.integers(2**31))).fit_predict(ready.numpy())
        if np.bincount(found, minlength=sites).min() < LEAST:
            raise Infeasible(f"of {sites} clusters one has fewer than {LEAST} patients")
        return np.asarray(found, dtype=np.int64)


# ---------------------------------------------------------------------- arithmetic of shares


def apportion(shares: NDArray[np.floating], whole: int, *, least: int = 0) -> Ints:
    """Whole numbers in proportion to ``shares`` that sum to ``whole``, by largest remainder; none below ``least``.

    Examples
    --------
    >>> apportion(np.array([1.0, 1.0, 1.0]), 10).tolist(), apportion(np.array([98.0, 1, 1]), 20, least=3).tolist()
    ([4, 3, 3], [14, 3, 3])
    """
    exact = shares / shares.sum() * whole
    small = np.zeros(len(shares), dtype=bool)
    while (short := (exact < least) & ~small).any():  # the others share what is left
        small |= short
        exact = np.where(small, least, shares / max(shares[~small].sum(), 1e-300) * (whole - least * small.sum()))
    counts = np.floor(exact + 1e-9).astype(np.int64)
    behind = np.argsort(counts - exact, kind="stable")[: whole - counts.sum()]
    counts[behind] += 1
    return np.asarray(counts, dtype=np.int64)


def cut(order: Ints, counts: Ints) -> Ints:
    """Give the first ``counts[0]`` of ``order`` to site 0, the next to site 1, and so on; return each one's site."""
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.repeat(np.arange(len(counts)), counts)
    return place


def _class_counts(patients: Patients, shares: NDArray[np.float64]) -> Ints:
    """How many patients of each class [classes] each site gets, from its shares [classes, sites]."""
    held = np.bincount(patients.label, minlength=patients.classes)
    pairs = zip(shares, held, strict=True)
    return np.stack([apportion(share, int(n)) if n else np.zeros(len(share), np.int64) for share, n in pairs])


def _by_class(patients: Patients, counts: Ints, rng: np.random.Generator) -> Ints:
    """Deal each class's patients at random in these counts [classes, sites]."""
    place = np.empty(len(patients), dtype=np.int64)
    for k, mine in enumerate(counts):
        who = np.flatnonzero(patients.label == k)
        place[who] = cut(rng.permutation(len(who)), mine)
    return place


def _at_least(scheme: str, name: str, value: float, least: float) -> None:
    if not (np.isfinite(value) and value >= least):
        raise ValueError(f"{scheme}({name}={value!r}): it must be a finite number of at least {least:g}")
