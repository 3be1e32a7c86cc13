"""One column as all sites tell of it, and what is said about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedlab.federation.harmonise.changes import Change

if TYPE_CHECKING:
    from fedlab.federation.dictionary import Entry

FEW = 12  # whole numbers that may be codes
CERTAIN = 0.8  # below, it is asked
WORTH = 0.2  # of another reading, below which it is not even asked


@dataclass(frozen=True)
class Proposal:
    """A change, why, and how sure: of proposals with confidence c, about c are right."""

    change: Change
    evidence: str
    confidence: float


@dataclass(frozen=True)
class Question:
    """Readings that all fit a column of a site, the likeliest first, and what to ask there.

    Parameters
    ----------
    site, column : str
    readings : tuple of Change or None
        What would be changed by each; None: nothing, for the patients are others.
    ask : str
        For the hospital.
    evidence : str
        What was seen, which cannot tell them apart.
    """

    site: str
    column: str
    readings: tuple[Change | None, ...]
    ask: str
    evidence: str

    @property
    def kind(self) -> str:
        """Of what kind the changes are."""
        return next((change.kind for change in self.readings if change is not None), "")

    @property
    def words(self) -> tuple[str, ...]:
        """Each reading in words."""
        return tuple(LEFT if change is None else change.words for change in self.readings)


@dataclass(frozen=True)
class Undecided:
    """What was seen, or not seen, and why nothing is proposed."""

    site: str
    column: str
    reason: str


LEFT = "nothing is changed"
Found = list[Proposal | Question | Undecided]


@dataclass(frozen=True, eq=False)
class Column:
    """One column: what each site that has it tells, and what was agreed.

    Parameters
    ----------
    name : str
    told : mapping
        Site to its summary of the column.
    entry : Entry, optional
        Of the data dictionary.
    weight : str, optional
        Name of the column that holds the patients' weight, for doses.
    """

    name: str
    told: Mapping[str, Mapping[str, Any]]
    entry: Entry | None = None
    weight: str | None = None
    least: int = 5

    @cached_property
    def kind(self) -> str:
        """``"number"``, ``"category"``, ``"date"`` or ``"text"``: as agreed, else as most sites write it."""
        if self.entry is not None:
            return "category" if self.entry.codes else self.entry.kind
        kinds = Counter(kind for site in self.told if (kind := self._kind(site)))
        if kinds.get("number") and set(kinds) <= {"number", "category"}:
            numeric = all(_numeric(level) for site in self.told for level in self.levels(site))
            return "number" if numeric and kinds["number"] >= kinds["category"] / 3 else kinds.most_common(1)[0][0]
        return kinds.most_common(1)[0][0] if kinds else "text"

    def _kind(self, site: str) -> str:
        told = self.told[site]
        there = self.count(site)
        if not there:
            return ""
        if sum(count for name, count in told["shapes"].items() if name.startswith("date")) > there / 2:
            return "date"
        if "levels" in told and sum(told["levels"].values()) > 0.6 * there:
            only = [level for level in told["levels"] if level not in told["recurring"]]
            if only and all(map(_numeric, only)):
                values = [float(level.replace(",", ".")) for level in only]
                if len(only) > FEW or max(values) > 2 * FEW or not all(v.is_integer() for v in values):
                    return "number"
            return "category" if only or set(told["levels"]) == {"0", "9"} else ""
        return "number" if told["blocks"] else "text" if "free" in told else ""

    def count(self, site: str, *shapes: str) -> int:
        """Patients with a value (of these shapes, if named) at a site."""
        told = self.told[site]["shapes"]
        return sum(n for name, n in told.items() if name != "empty" and (not shapes or name in shapes))

    def levels(self, site: str) -> dict[str, int]:
        """Counts by code; ``1,0`` is 1."""
        return self._levels[site]

    @cached_property
    def _levels(self) -> dict[str, dict[str, int]]:
        def plain(level: str) -> str:
            return f"{float(level.replace(',', '.')):g}" if "," in level and _numeric(level) else level

        return {site: {plain(v): n for v, n in (told.get("levels") or {}).items()} for site, told in self.told.items()}

    def blocks(self, site: str) -> NDArray[np.float64]:
        """Means of equal shares of the sorted numbers, without numbers that stand for nothing."""
        return np.array(self.told[site]["blocks"], dtype=np.float64)

    def numeric_sites(self) -> list[str]:
        """Sites that tell numbers."""
        return [site for site in self.told if len(self.told[site]["blocks"])]


def _numeric(level: str) -> bool:
    try:
        float(level.replace(",", "."))
    except ValueError:
        return False
    return True


def share(part: float, whole: float) -> str:
    """Write a share in percent."""
    return f"{100 * part / max(whole, 1):.0f} %"
