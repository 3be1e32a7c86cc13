"""A hospital of another federation in this one's terms: columns and classes are matched by name, never by place."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlab.federation.frame import blocks, level_numbers, one_hot
from fedlab.federation.problems import Problems
from fedlab.federation.site import Examples, Feature, Site
from fedlab.federation.values import key


def aligned(site: Site, features: Sequence[Feature], classes: Sequence[str]) -> Site:
    """Return a site whose rows have these columns and whose labels these numbers.

    Columns that the federation does not have are left out; codes that mean the same are translated.

    Raises
    ------
    ValueError
        With everything that differs and cannot be matched.

    Examples
    --------
    >>> import fedlab
    >>> hospitals = fedlab.load("heart_disease")
    >>> turned = aligned(hospitals["Hungary"], hospitals.features[::-1], ("ill", "healthy"))
    >>> turned.rows.x[0, -1] == hospitals["Hungary"].rows.x[0, 0], turned.rows.y[0] + hospitals["Hungary"].rows.y[0]
    (tensor(True), tensor(1))
    """
    problems = Problems()
    rows = _aligned(site, site.rows, features, classes, problems)
    locked = None if site.locked is None else _aligned(site, site.locked, features, classes, problems)
    try:
        problems.raise_all()
    except ValueError as error:
        raise ValueError(f"site {site.name!r} does not fit the federation: {error}") from None
    return replace(site, rows=rows, locked=locked, features=tuple(features), classes=tuple(classes))


def _unnamed(features: Sequence[Feature]) -> bool:
    """Return whether columns are called by their places, as those of tensors are."""
    return [feature.name for feature in features] == [f"x{i}" for i in range(len(features))]


def _aligned(
    site: Site, rows: Examples, features: Sequence[Feature], classes: Sequence[str], problems: Problems
) -> Examples:
    """Return rows of a site in our terms."""
    x, y = rows.x, rows.y
    if site.features and tuple(site.features) != tuple(features):
        if len(site.features) != len(features) and _unnamed(site.features) and _unnamed(features):
            raise ValueError(
                f"site {site.name!r} has {len(site.features)} columns without names, and the federation has "
                f"{len(features)}: which are which cannot be told by their places. Name them "
                "(Federation.from_frame), or give as many"
            )
        x = _columns(site, x, features, problems)
    if site.classes and tuple(site.classes) != tuple(classes):
        y = _labels(site, y, classes, problems)
    return replace(rows, x=x, y=y)


def _columns(site: Site, x: Tensor, features: Sequence[Feature], problems: Problems) -> Tensor:
    theirs = {feature.name: (feature, place) for feature, place in blocks(site.features)}
    raw = x.numpy()
    parts = []
    for feature in features:
        with problems:
            if feature.name not in theirs:
                raise ValueError(f"it has no column {feature.name!r} (it has {', '.join(map(repr, theirs))})")
            other, place = theirs[feature.name]
            parts.append(_column(other, feature, raw[:, place]))
    return torch.from_numpy(np.concatenate(parts, axis=1)).to(x.dtype) if not problems.said else x


def _column(theirs: Feature, ours: Feature, part: NDArray[Any]) -> NDArray[Any]:
    """Return a feature's columns in our terms."""
    for what in ("kind", "unit"):
        one, other = getattr(theirs, what), getattr(ours, what)
        if one != other and one and other:
            raise ValueError(f"column {ours.name!r} is of {what} {one!r} there and {other!r} here: convert it first")
    if ours.codes and not theirs.codes and ours.kind == "number":
        _refuse_uncoded(part, ours)
    if not (theirs.codes and ours.codes):
        return part
    place = _places(theirs.codes, ours.codes, f"column {ours.name!r}")
    if ours.kind == "number":
        return _renumbered(part, theirs.codes, ours.codes, place, ours.name)
    there = level_numbers(theirs, part)
    _refuse_unknown(there, place, list(theirs.codes), f"column {ours.name!r}")
    return one_hot(ours, np.array([*place, -1])[there])


def _refuse_uncoded(part: NDArray[Any], ours: Feature) -> None:
    """Refuse numbers of a site that says no codes, where they are none of ours."""
    odd = np.setdiff1d(part[~np.isnan(part)], [float(code) for code in ours.codes or {}])
    if len(odd):
        raise ValueError(
            f"column {ours.name!r} holds {odd[0]:g} there, which is none of the codes here ({dict(ours.codes or {})}), "
            "and it says no codes of its own: agree on them first"
        )


def _renumbered(
    part: NDArray[Any], theirs: Mapping[Any, str], ours: Mapping[Any, str], place: list[int], name: str
) -> NDArray[Any]:
    """Translate a number that has codes; values without a code stay."""
    out, codes = part.copy(), list(ours)
    for (code, meaning), k in zip(theirs.items(), place, strict=True):
        rows = part == float(code)
        if k >= 0:
            out[rows] = float(codes[k])
        elif rows.any():
            raise ValueError(f"column {name!r} holds {code!r} ({meaning}), which is no code here: agree on it first")
    return out


def _places(theirs: Mapping[Any, str], ours: Mapping[Any, str], what: str) -> list[int]:
    """Return the place of each of their codes among ours, −1 for one that we do not have.

    Where both say the same meanings, meanings are matched: a code is then a mere number. Else codes are, and one that
    means something else here is refused.
    """
    if sorted(theirs.values()) == sorted(ours.values()) and len(set(ours.values())) == len(ours):
        meanings = list(ours.values())
        return [meanings.index(meaning) for meaning in theirs.values()]
    number: dict[Hashable, int] = {key(code): k for k, code in enumerate(ours)}
    said = list(ours.values())
    for code, meaning in theirs.items():
        k = number.get(key(code), -1)
        if k >= 0 and meaning != said[k]:
            raise ValueError(f"{what}: the code {code!r} means {meaning!r} there and {said[k]!r} here: agree first")
    return [number.get(key(code), -1) for code in theirs]


def _labels(site: Site, y: Tensor, classes: Sequence[str], problems: Problems) -> Tensor:
    place = [list(classes).index(name) if name in classes else -1 for name in site.classes]
    there = y.numpy()
    with problems:
        _refuse_unknown(there, place, site.classes, f"the label (here {', '.join(map(repr, classes))})")
        return torch.from_numpy(np.array(place, dtype=np.int64)[there])
    return y


def _refuse_unknown(there: NDArray[np.int64], place: Sequence[int], names: Sequence[Any], what: str) -> None:
    unknown = [str(names[k]) for k in np.unique(there[there >= 0]) if place[k] < 0]
    if unknown:
        raise ValueError(f"{what} has no code for {', '.join(map(repr, unknown))}: agree on it first")
