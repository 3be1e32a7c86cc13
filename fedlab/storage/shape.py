"""What a file of JSON must have before anything is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Shape: TypeAlias = "type | tuple[type, ...] | Mapping[str, Any]"
"""A type, several of them, or a shape for each key that must be there; others may be."""


def fault(value: Any, shape: Shape, at: str = "") -> str:
    """Return what is wrong with a value, and nothing if it has the shape.

    Examples
    --------
    >>> fault({"rounds": 3, "data": {}}, {"rounds": int, "data": {"name": str}})
    "data has no 'name'"
    >>> fault({"rounds": "3"}, {"rounds": int}), fault({"rounds": 3}, {"rounds": int})
    ('rounds is a str, not an int', '')
    """
    if isinstance(shape, Mapping):
        if not isinstance(value, dict):
            return f"{at or 'it'} is a {type(value).__name__}, not an object"
        missing = [f"{at or 'it'} has no {name!r}" for name in shape if name not in value]
        inside = (fault(value[name], of, f"{at}.{name}" if at else name) for name, of in shape.items() if name in value)
        return next(iter(missing), "") or next(filter(None, inside), "")
    kinds = shape if isinstance(shape, tuple) else (shape,)
    if isinstance(value, bool) and bool not in kinds or not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        return f"{at or 'it'} is a {type(value).__name__}, not {'an' if wanted[0] in 'aeiou' else 'a'} {wanted}"
    return ""
