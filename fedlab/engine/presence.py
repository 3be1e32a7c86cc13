"""Who is there in which round: absences that are agreed beforehand, and how many are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, TypeAlias

from fedlab.algorithms import Algorithm
from fedlab.engine.settings import Settings

Spell: TypeAlias = tuple[int, int]
"""The first and the last round of an absence."""


def spells_of(away: Mapping[str, Sequence[Spell]]) -> dict[str, tuple[Any, ...]]:
    """Return absences as a plan has them: pairs of whole numbers.

    Raises
    ------
    TypeError, ValueError
        With what was given for which site.
    """
    if not isinstance(away, Mapping):
        raise TypeError(f"away is {away!r}: give each site's absences, {{'Hungary': [(2, 3)]}}")
    found: dict[str, tuple[Any, ...]] = {}
    for site, spells in away.items():
        listed = isinstance(spells, Sequence) and not isinstance(spells, str)
        if not (listed and all(map(_is_spell, spells))):
            raise ValueError(
                f"away of {site} is {spells!r}: give first and last round of each absence, whole numbers, e.g. [(2, 3)]"
            )
        found |= {site: tuple((int(first), int(last)) for first, last in spells)} if spells else {}
    return found


def _is_spell(spell: Any) -> bool:
    pair = isinstance(spell, Sequence) and not isinstance(spell, str) and len(spell) == 2
    return pair and all(isinstance(n, Integral) and not isinstance(n, bool) for n in spell)


def check_spells(site: str, spells: Sequence[Spell], *, sites: Sequence[str], rounds: int) -> None:
    """Refuse absences of no site, of no round, or one within another."""
    if site not in sites:
        raise ValueError(f"away names {site!r}, which is no site; the sites are {', '.join(sites)}")
    last = 0
    for first, end in sorted(spells):
        if not 1 <= first <= end <= rounds or first <= last:
            raise ValueError(
                f"away of {site} is {list(spells)}: give first and last round of each absence, in 1 … {rounds}, "
                "none within another"
            )
        last = end


def is_away(away: Mapping[str, Sequence[Spell]], site: str, round: int) -> bool:
    """Return whether a site is not asked in this round.

    Examples
    --------
    >>> [is_away({"Hungary": [(7, 9)]}, "Hungary", number) for number in (6, 7, 9, 10)]
    [False, True, True, False]
    """
    return any(first <= round <= last for first, last in away.get(site, ()))


def check_present(
    alg: Algorithm, settings: Settings, sites: Sequence[str], away: Mapping[str, Sequence[Spell]]
) -> None:
    """Refuse absences that leave too few, before the first round."""
    if not any(away.values()):
        return
    if len(alg.arrange(list(sites))) < len(sites):
        raise ValueError(f"{alg.name} moves all rows into one place, which cannot be there for one site and not for "
                         "another: leave the site out (federation.select)")  # fmt: skip
    least = max(settings.min_sites, alg.quorum(len(sites)))
    for number in range(1, settings.rounds + 1):
        there = [site for site in sites if not is_away(away, site, number)]
        if len(there) < least:
            raise ValueError(
                f"in round {number} {len(there)} of {len(sites)} sites are there, and at least {least} must be: "
                "shorten an absence"
            )


def sampled(places: int, fraction: float) -> int:
    """How many are asked when a fraction of so many places is."""
    return max(1, round(fraction * places))
