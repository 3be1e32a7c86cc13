"""Shifts: known differences planted at chosen sites, each kind with a dial of 0 … 1.

The federation before and the shifts are all that is to be known of a difference: what a measure should see, what an
explanation should find, and what a remedy should remove.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fedlab.federation.lock import through, together
from fedlab.federation.numbers import whole
from fedlab.federation.shift.kinds import ConceptShift, LabelShift, QuantityShift, Shift
from fedlab.federation.shift.readings import AcquisitionShift, PracticeShift
from fedlab.federation.shift.unharmonised import DocumentationShift
from fedlab.federation.site import Site

if TYPE_CHECKING:
    from fedlab.federation.federation import Federation

__all__ = [
    "KINDS",
    "AcquisitionShift",
    "ConceptShift",
    "DocumentationShift",
    "LabelShift",
    "PracticeShift",
    "QuantityShift",
    "Shift",
    "Shifts",
]

KINDS = ("acquisition", "practice", "documentation", "concept", "label", "quantity")
"""The kinds in the order in which they are applied, however they are given. Devices come before habits, and both before
how it is written (a number for *not measured* needs to know what was not). What removes patients comes last: so a
patient's values are the same, whoever else is left, and one kind can be taken away without drawing the others anew."""
SHIFTED = ", shifted"


@dataclass(frozen=True)
class Shifts:
    """Which site differs in what, and how much.

    Parameters
    ----------
    sites : mapping of str to a sequence of Shift
        By site; a site that is not named stays as it is.
    seed : int
        A site's shift draws by the seed, its name and the kind: it never depends on another site, nor on another kind.

    Raises
    ------
    ValueError
        If one site is given a kind twice.

    Examples
    --------
    >>> import fedlab
    >>> shifts = Shifts({"Hungary": [LabelShift(0.5)], "Cleveland": [PracticeShift(0.2)]})
    >>> shifts.kinds
    ('practice', 'label')
    >>> [len(site) for site in fedlab.load("heart_disease").shift(shifts).sites]
    [303, 132, 123, 200]
    """

    sites: Mapping[str, Sequence[Shift]]
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", whole("seed", self.seed, 0))
        sites = {}
        for name, shifts in self.sites.items():
            given = [shifts] if isinstance(shifts, Shift) else list(shifts)
            for shift in given:
                if not isinstance(shift, Shift) or shift.name not in KINDS:
                    raise ValueError(f"site {name!r} is given {shift!r}: give shifts, e.g. LabelShift(0.5)")
            kinds = [shift.name for shift in given]
            twice = [kind for kind in KINDS if kinds.count(kind) > 1]
            if twice:
                raise ValueError(f"site {name!r} is given two {twice[0]} shifts: give one, with the severity you mean")
            sites[name] = tuple(sorted(given, key=lambda shift: KINDS.index(shift.name)))
        object.__setattr__(self, "sites", sites)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that change something somewhere, in the order of :data:`KINDS`."""
        there = {shift.name for shifts in self.sites.values() for shift in shifts if shift.severity > 0}
        return tuple(kind for kind in KINDS if kind in there)

    def without(self, *kinds: str) -> Shifts:
        """Return the shifts of all other kinds."""
        _known(kinds)
        return self.only(*(kind for kind in KINDS if kind not in kinds))

    def only(self, *kinds: str) -> Shifts:
        """Return the shifts of these kinds."""
        _known(kinds)
        return replace(self, sites={n: [s for s in given if s.name in kinds] for n, given in self.sites.items()})

    def apply(self, federation: Federation) -> Federation:
        """Plant the shifts; :meth:`fedlab.Federation.shift`."""
        after = self._at_sites(federation, back=False)
        if not self.kinds:
            return after
        return replace(after, name=f"{after.name}{SHIFTED}", source=f"{after.source}{self._words()}")

    def undo(self, federation: Federation) -> Federation:
        """Take the shifts back from a shifted federation, to rounding.

        Raises
        ------
        ValueError
            If something is lost: removed patients, values that were not measured, changed labels, noise.

        Examples
        --------
        >>> import fedlab
        >>> hospitals = fedlab.load("heart_disease")
        >>> shifts = Shifts({"Cleveland": [DocumentationShift(1.0)]})
        >>> back, there = shifts.undo(hospitals.shift(shifts))["Cleveland"].rows.x, hospitals["Cleveland"].rows.x
        >>> bool((back - there).abs().nan_to_num().max() < 1e-9)
        True
        """
        before = self._at_sites(federation, back=True)
        name, source = before.name.removesuffix(SHIFTED), before.source.removesuffix(self._words())
        return replace(before, name=name, source=source)

    def _words(self) -> str:
        planted = (f"{name} {s.name} {s.severity:g}" for name in self.sites for s in self._active(name))
        return f"; planted shifts: {', '.join(planted)}, seed {self.seed}"

    def _at_sites(self, federation: Federation, *, back: bool) -> Federation:
        for name in self.sites:
            federation[name]  # refuses one that is not there
        return replace(federation, sites=tuple(self._at(site, federation, back=back) for site in federation.sites))

    def _at(self, site: Site, federation: Federation, *, back: bool) -> Site:
        shifts = list(self._active(site.name))[:: -1 if back else 1]
        if not shifts:
            return site
        rows = together(site)  # a device measures all of its patients, who are the same ones afterwards
        before, site = site, replace(site, rows=replace(rows, origin=rows.row_hashes), locked=None)
        for shift in shifts:
            source = [int(self.seed), zlib.crc32(site.name.encode()), zlib.crc32(shift.name.encode())]
            rng = np.random.default_rng(np.random.SeedSequence(source))
            site = (shift.undo if back else shift.apply)(site, federation, rng)
        return through(before, site)

    def _active(self, site: str) -> Iterator[Shift]:
        return (shift for shift in self.sites.get(site, ()) if shift.severity > 0)


def _known(kinds: Sequence[str]) -> None:
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"there is no kind of shift {kind!r}; the kinds are {', '.join(KINDS)}")
