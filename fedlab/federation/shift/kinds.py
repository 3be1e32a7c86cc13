"""Kinds of difference that change who a site's patients are, and how they are labelled."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fedlab.federation.numbers import is_number
from fedlab.federation.preparation import fit, prepare, summarise
from fedlab.federation.site import Examples, Site, Split
from fedlab.federation.splits import draw_rows

if TYPE_CHECKING:
    from fedlab.federation.federation import Federation

FEWEST = 0.02  # of the other classes that stay at severity 1: the odds have then grown fiftyfold
SMALLEST = 0.05  # of a site's patients that stay at severity 1
MISREAD = 0.5  # of the other classes' patients that are read otherwise at severity 1
Ints = NDArray[np.int64]


def fraction(value: object, name: str, *, top: float = 1.0) -> float:
    """Refuse what is not a number of 0 … ``top``.

    Examples
    --------
    >>> fraction(1.2, "severity")
    Traceback (most recent call last):
    ValueError: severity is 1.2: it must be a number of 0 … 1
    """
    number = float(value) if is_number(value) else math.nan
    if not 0 <= number <= top:  # a nan is in no range
        wanted = f"of 0 … {top:g}" if math.isfinite(top) else "of at least 0"
        raise ValueError(f"{name} is {value!r}: it must be a number {wanted}")
    return number


@dataclass(frozen=True)
class Shift:
    """One kind of difference at one site.

    Parameters
    ----------
    severity : float
        0 leaves the site as it is, to the bit; 1 is as bad as it gets.

    Raises
    ------
    ValueError
        If it is not a number of 0 … 1.
    """

    severity: float

    name: ClassVar[str] = ""
    lost: ClassVar[str] = ""
    """Why it cannot be undone; empty where it can."""

    def __post_init__(self) -> None:
        self._fraction("severity")

    def _fraction(self, option: str, *, top: float = 1.0) -> None:
        object.__setattr__(self, option, fraction(getattr(self, option), f"{type(self).__name__}: {option}", top=top))

    def apply(self, site: Site, federation: Federation, rng: np.random.Generator) -> Site:
        """Return the site as it would then be; ``federation`` tells columns and classes, ``rng`` draws."""
        raise NotImplementedError

    def undo(self, site: Site, federation: Federation, rng: np.random.Generator) -> Site:
        """Return the site as it was, from the shifted one and a generator in the state in which it was shifted.

        Raises
        ------
        ValueError
            If something is lost.
        """
        raise ValueError(f"{self} at site {site.name!r} cannot be undone: {self.lost}; keep the federation as it was")


@dataclass(frozen=True)
class LabelShift(Shift):
    """Another prevalence: patients of the other classes are missing.

    Their number falls to ``0.02 ** severity``, so that the odds of ``towards`` grow evenly in the logarithm, fiftyfold
    at severity 1 (a prevalence of .50 becomes .98, one of .10 becomes .85). In train, valid and test alike. A class may
    become rare, but a part of the split in which it stood keeps at least one patient of it.

    Parameters
    ----------
    severity : float
    towards : str, optional
        The class that becomes frequent; default: the last, which in a binary task is the positive one. The first makes
        the positive one rare.
    """

    _: KW_ONLY
    towards: str | None = None

    name: ClassVar[str] = "label"
    lost: ClassVar[str] = "the patients that it removed are gone"

    def apply(self, site: Site, federation: Federation, rng: np.random.Generator) -> Site:
        """Remove patients, at every severity in the same order."""
        wanted = _class(self, federation)
        patients = Patients.of(site)
        place = rng.random(len(patients.label))
        if not (patients.label == wanted).any():
            raise ValueError(
                f"site {site.name!r} has no patient of class {federation.task.classes[wanted]!r}, so its prevalence "
                "cannot move that way: give another class in towards="
            )
        stays = np.ones(len(place), dtype=bool)
        for part in np.unique(patients.part):
            for label in np.unique(patients.label):
                mine = np.flatnonzero((patients.part == part) & (patients.label == label))
                if label != wanted and len(mine):  # rounded by a draw: else small parts become unlike others
                    left = max(1, int(len(mine) * FEWEST**self.severity + rng.random()))
                    stays[mine[np.argsort(place[mine])[left:]]] = False
        return keep(site, stays[patients.of_row])


@dataclass(frozen=True)
class QuantityShift(Shift):
    """A smaller site: a share of ``0.95 * severity`` of its rows is gone, of each class and part of the split alike.

    Whole patients; each part keeps at least one.
    """

    name: ClassVar[str] = "quantity"
    lost: ClassVar[str] = "the patients that it removed are gone"

    def apply(self, site: Site, federation: Federation, rng: np.random.Generator) -> Site:
        """Remove patients, at every severity in the same order."""
        parts = list(site.split.parts().values())
        parts.append(np.setdiff1d(np.arange(len(site)), np.concatenate(parts)))  # in no part: where a site was thinned
        stays = np.zeros(len(site), dtype=bool)
        y, seed = federation.task.stratum(site.rows.y.numpy()), int(rng.integers(2**32))
        for rows in parts:
            wanted = max(1, round(len(rows) * (1 - (1 - SMALLEST) * self.severity)))
            stays[draw_rows(y, site.rows.group, rows, wanted, site=site.name, seed=seed)] = True
        return keep(site, stays)


@dataclass(frozen=True)
class ConceptShift(Shift):
    """Another reading: of the patients of the other classes, up to half are labelled ``towards`` here.

    The label is what this hospital says, so its test patients carry it too.

    Parameters
    ----------
    severity : float
        Half of it is the share of the other classes' patients that change.
    towards : str, optional
        The class that is read too often; default: the last.
    how : {"noise", "threshold"}
        ``"noise"``: whoever, at random. ``"threshold"`` (tables only): those who look most like ``towards``, by a
        logistic regression on the site's own patients: a reader who calls it earlier than others.
    """

    _: KW_ONLY
    towards: str | None = None
    how: str = "noise"

    name: ClassVar[str] = "concept"
    lost: ClassVar[str] = "nobody knows which labels were changed"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.how not in ("noise", "threshold"):
            raise ValueError(f"ConceptShift: how is {self.how!r}: use 'noise' or 'threshold'")

    def apply(self, site: Site, federation: Federation, rng: np.random.Generator) -> Site:
        """Change labels; the more severe, the more of the same."""
        wanted = _class(self, federation)
        patients = Patients.of(site)
        others = np.flatnonzero(patients.label != wanted)
        place = rng.random(len(patients.label))
        if self.how == "threshold" and len(others):
            place = -_likeness(site, federation, wanted)[patients.first]
        changed = np.zeros(len(place), dtype=bool)
        changed[others[np.argsort(place[others], kind="stable")][: int(MISREAD * self.severity * len(others))]] = True
        y = torch.where(torch.from_numpy(changed[patients.of_row]), wanted, site.rows.y)
        return replace(site, rows=replace(site.rows, y=y))


class Patients(NamedTuple):
    """A site's patients: the number of each row's, and of each patient the first row, its label and its part."""

    of_row: Ints
    first: Ints
    label: Ints
    part: Ints

    @staticmethod
    def of(site: Site) -> Patients:
        """Read them off a site; ``part`` is 3 for those in no part of the split."""
        _, first, of_row = np.unique(site.rows.group, return_index=True, return_inverse=True)
        part = np.full(len(site), 3)
        for k, rows in enumerate(site.split.parts().values()):
            part[rows] = k
        return Patients(of_row, first, site.rows.y.numpy()[first], part[first])


def keep(site: Site, stays: NDArray[np.bool_]) -> Site:
    """Return the site with these rows only, each in the part of the split in which it was."""
    number = np.cumsum(stays) - 1
    parts = (number[rows[stays[rows]]] for rows in site.split.parts().values())
    rows: Examples = site.rows.take(np.flatnonzero(stays))
    return replace(site, rows=rows, split=Split(*parts))


SHIFTS_OF_ALL = "the shifts of acquisition, practice, documentation and quantity fit it"


def _class(shift: LabelShift | ConceptShift, federation: Federation) -> int:
    federation.task.needs_classes(
        f"{type(shift).__name__} changes how frequent a class is, or is called", SHIFTS_OF_ALL
    )
    classes = federation.task.classes
    if shift.towards is None:
        return len(classes) - 1
    if shift.towards not in classes:
        raise ValueError(
            f"{type(shift).__name__}: there is no class {shift.towards!r}; the classes are {', '.join(classes)}"
        )
    return classes.index(shift.towards)


def _likeness(site: Site, federation: Federation, wanted: int) -> NDArray[np.float64]:
    """How much each row looks like the wanted class, to a logistic regression on the site's own rows."""
    from sklearn.linear_model import LogisticRegression

    rows, y = site.rows.x, site.rows.y.numpy() == wanted
    if rows.ndim != 2:
        raise ValueError(
            "ConceptShift(how='threshold') needs a table, and these rows are images or bags: use how='noise'"
        )
    if not y.any():
        raise ValueError(
            f"site {site.name!r} has no patient of class {federation.task.classes[wanted]!r} to tell what looks like "
            "one: use how='noise'"
        )
    ready = rows.double() if federation.prepared else prepare(rows, fit(summarise(rows)))
    like: NDArray[np.float64] = LogisticRegression(max_iter=1000).fit(ready.numpy(), y).decision_function(ready.numpy())
    return like
