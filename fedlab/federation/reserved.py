"""Names that tables give to something else than a hospital, and that no hospital may have."""

from __future__ import annotations

EVERY_SITE = "all sites"
"""Where a model comes from that all hospitals share."""
ALL_BUT = "all but "
"""Before a hospital's name: where a model comes from that has not seen it."""
EVERYWHERE, HOME, HOME_LARGE = MEANS = ("everywhere", "home", "home, large sites")
"""Means over hospitals."""
LARGE_SITES, TOOK_PART, TOOK_NO_PART = ("large sites", "took part", "took no part")
"""Means along a learning curve."""
ELSEWHERE, UNSEEN = "elsewhere", "unseen"
"""What a model is worth at other hospitals than its own, and at one that it has not seen."""
OURS = frozenset({EVERY_SITE, *MEANS, LARGE_SITES, TOOK_PART, TOOK_NO_PART, ELSEWHERE, UNSEEN})


def refuse_reserved(name: str) -> None:
    """Refuse a hospital's name that would be read as a mean over hospitals in every table.

    Examples
    --------
    >>> refuse_reserved("home")
    Traceback (most recent call last):
    ...
    ValueError: a hospital is called 'home', which is what tables call a mean over hospitals: call it otherwise, ...
    """
    if name in OURS or name.startswith(ALL_BUT):
        raise ValueError(
            f"a hospital is called {name!r}, which is what tables call a mean over hospitals: call it otherwise, e.g. "
            f"{f'{name} (hospital)'!r}"
        )
