"""Names that people read, in tables, figures and files: what must not be in them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from fedlab.federation.problems import Problems
from fedlab.federation.reserved import refuse_reserved
from fedlab.federation.site import Feature
from fedlab.federation.values import word

UNSEEN = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories that no name holds: control characters (escapes, tabs, line ends), half characters, separators."""
TURNS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Signs that turn the direction of writing: with them a name can be read as another one."""
BLANK = "\u200b\u2060\ufeff"
"""Signs without width: with them two names look the same. (Those that join emoji and letters are no such.)"""


def check_names(
    problems: Problems, *, sites: Iterable[str] = (), classes: Iterable[str] = (), features: Iterable[Feature] = ()
) -> None:
    """Enter every name that cannot be into ``problems``; the levels of categories are names too."""
    features = list(features)
    levels = [f"{f.name}={word(level)}" for f in features for level in f.codes or {}]
    meanings = [meaning for f in features for meaning in (f.codes or {}).values()]
    for site in sites:
        with problems:
            refuse_reserved(site)
    columns = [f.name for f in features]
    told = {
        "site name": sites,
        "class name": classes,
        "column name": columns,
        "level": levels,
        "meaning of a level": meanings,
    }
    for what, called in told.items():
        for name in called:
            with problems:
                printable(name, what)


def printable(name: str, what: str) -> None:
    r"""Refuse a name with characters that cannot be seen, or that make another name of it.

    Letters of every script, signs and emoji are welcome, also those written from right to left.

    Parameters
    ----------
    name : str
    what : str
        Whose it is, for the message: ``"site name"``, ``"class name"``, ``"column name"``.

    Raises
    ------
    ValueError
        Naming the name (escaped), the character and what to do.

    Examples
    --------
    >>> printable("Köln 🏥", "site name")
    >>> printable("Köln\n", "site name")
    Traceback (most recent call last):
    ValueError: the site name 'Köln\n' holds a line end (U+000A): rename it without, e.g. 'Köln'
    """
    odd = [sign for sign in name if _odd(sign)]
    if not odd:
        return
    rest = "".join(sign for sign in name if not _odd(sign)).strip()
    example = f", e.g. {rest!r}" if rest else ""
    told = "".join(rf"\u{ord(sign):04x}" if _odd(sign) else sign for sign in repr(name))
    raise ValueError(f"the {what} {told} holds {_called(odd[0])} (U+{ord(odd[0]):04X}): rename it without{example}")


def _odd(sign: str) -> bool:
    return sign in TURNS or sign in BLANK or unicodedata.category(sign) in UNSEEN


def _called(sign: str) -> str:
    if sign in "\n\r\u2028\u2029\x0b\x0c\x85":
        return "a line end"
    if sign in TURNS:
        return "a sign that turns the direction of writing"
    if sign in BLANK:
        return "a sign without width"
    if unicodedata.category(sign) == "Cs":
        return "half a character"
    return {"\t": "a tab", "\x1b": "an escape sign"}.get(sign, "a control character")
