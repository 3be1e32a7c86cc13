"""The registry of purposes: every question that a site answers is one entry here, whoever asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from fedlab.privacy.policy import EVERYTHING, Policy


class Refused(PermissionError):
    """A question that the policy does not allow, or an answer that it does not let out."""


@dataclass(frozen=True)
class Purpose:
    """One kind of question.

    Parameters
    ----------
    name : str
    work : callable
        ``work(held, payload)`` computes the answer out of what the site holds.
    sends : tuple of str, optional
        Names at the top of an answer; anything else does not leave. ``None``: any.
    numbers : bool
        Single numbers and words alone leave, no tensor of several.
    tells_of : {"", "train", "valid", "test"}
        Whose patients it tells of: the policy asks for at least so many.
    screened : bool
        It withholds by itself what is of fewer than five patients: only a policy that asks for more refuses it.
    on_held : bool
        It needs what the site holds from the questions before.
    reserved : bool
        It hands out what is a site's own: a policy must name it.
    screen : callable, optional
        ``screen(content, like)`` says at the gate what is wrong with an answer; empty if nothing.
    alike : tuple of str
        What all sites must send with the same names, shapes and dtypes.
    small : callable, optional
        ``small(content, least)`` returns an answer without what tells of fewer patients than the policy allows.
    """

    name: str
    work: Callable[[Any, dict[str, Any]], dict[str, Any]]
    sends: tuple[str, ...] | None = ()
    numbers: bool = False
    tells_of: str = ""
    screened: bool = False
    on_held: bool = False
    reserved: bool = False
    screen: Callable[[dict[str, Any], Any], str] | None = None
    alike: tuple[str, ...] = ()
    small: Callable[[dict[str, Any], int], dict[str, Any]] | None = None


PURPOSES: dict[str, Purpose] = {}


def register(purpose: Purpose) -> Purpose:
    """Enter a purpose, of which there is only one of each name.

    Examples
    --------
    >>> count = register(Purpose("count (example)", lambda rows, asked: {"rows": len(rows)}, sends=("rows",)))
    >>> count.work([1, 2], {})
    {'rows': 2}
    >>> PURPOSES.pop("count (example)") is count
    True
    """
    before = PURPOSES.get(purpose.name)
    if before is not None and _source(before) != _source(purpose):
        raise ValueError(f"there is a purpose {purpose.name!r} already, answered by {_source(before)}")
    PURPOSES[purpose.name] = purpose
    return purpose


def _source(purpose: Purpose) -> str:
    """Say where a purpose's code stands: a module that is loaded again may enter it again."""
    return f"{purpose.work.__module__}.{purpose.work.__qualname__}"


def accept(policy: Policy, purpose: str) -> Purpose:
    """Return the entry of a purpose that the policy allows.

    Raises
    ------
    ValueError
        If there is none.
    Refused
        If the policy does not allow it.
    """
    entry = PURPOSES.get(purpose)
    if entry is None:
        raise ValueError(f"no site answers {purpose!r}: known are {', '.join(PURPOSES)}")
    if not policy.allows(purpose, reserved=entry.reserved):
        raise Refused(f"the policy does not allow {purpose!r}: name it in Policy(purposes=…) where it may be asked")
    return entry


def withheld(policy: Policy, entry: Purpose, content: dict[str, Any], *, stacked: bool = False) -> str:
    """Say what in an answer must not leave; empty if nothing.

    ``stacked``: the tensors [sites, ...] are those of several sites.

    Examples
    --------
    >>> import torch
    >>> entry = Purpose("scores", lambda held, asked: {}, sends=("auc",), numbers=True)
    >>> withheld(Policy(), entry, {"auc": 0.8})
    ''
    >>> withheld(Policy(), entry, {"auc": torch.rand(30)})
    "'auc' is no single number"
    >>> withheld(Policy(), entry, {"auc": 0.8, "risks": [0.1]})
    "'scores' sends no 'risks'"
    """
    if entry.sends is not None:
        for name in content:
            if name not in entry.sends:
                return f"{entry.name!r} sends no {name!r}"
    open_to_all = policy.names == policy.dtypes == EVERYTHING
    if open_to_all and not entry.numbers:
        return ""
    for path, leaf in _leaves(content):
        tensor = isinstance(leaf, (Tensor, np.ndarray))
        if entry.numbers and tensor and leaf.ndim > stacked:
            return f"{path!r} is no single number"
        if open_to_all:
            continue
        if not policy.lets_out(path, str(leaf.dtype).removeprefix("torch.") if tensor else None):
            return f"the policy lets no {path!r} out" + (f" as {leaf.dtype}" if tensor else "")
    return ""


def _leaves(content: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict):
        for name, value in content.items():
            yield from _leaves(value, f"{at}.{name}" if at else str(name))
    elif isinstance(content, (list, tuple)):
        for value in content:
            yield from _leaves(value, at)
    else:
        yield at, content
