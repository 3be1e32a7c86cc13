"""What an algorithm makes of the sites' models: looked at before it becomes the model; of many runs in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.func import vmap

from fedlab.algorithms.base import Algorithm
from fedlab.algorithms.tensors import Tensors, mean, statistic
from fedlab.engine.run import Run
from fedlab.engine.trees import finite, tree_cut, tree_stack
from fedlab.engine.work import theirs

Made: TypeAlias = tuple[Tensors, Tensors]
"""The server's model and memory after a round."""


class CombineError(ValueError):
    """An algorithm combined the sites' models into something that is no model; ``run`` holds all rounds so far."""

    def __init__(self, said: str, run: Run) -> None:
        super().__init__(said)
        self.run = run


@dataclass(frozen=True)
class Combine:
    """What a loop asks of its driver when the sites' models are there: the next one.

    Parameters
    ----------
    run : Run
    params, state : dict of str to Tensor
        The server's model and memory before.
    got : dict
        ``model``, ``extra`` and ``rows``, stacked over the sites that answered.
    sites : list of str
        Which did.
    who : int tensor, shape [sites that answered]
        Their numbers.
    """

    run: Run
    params: Tensors
    state: Tensors
    got: dict[str, Any]
    sites: list[str]
    who: Tensor

    def alone(self) -> Made:
        """Return ``(params, state)`` after the round; no tensor that came in is changed.

        Raises
        ------
        CombineError
            If a tensor of the new model is not finite, or not of its name, shape and dtype.
        """
        alg = self.run.algorithm
        given = (theirs(alg, tree) for tree in (self.params, self.got, self.state))
        new, state = _next(alg, self.run.net.dtype, self.who, *given)
        for name, tensor in new.items():
            fault = _fault(name, tensor, self.params.get(name))
            if fault:
                said = f"{alg}.combine gave {fault}. The rounds before are kept (the error's .run)."
                raise CombineError(said, self.run)
        self.note_left(new)
        return {**self.params, **new}, state

    def note_left(self, new: Tensors) -> None:
        """Note which tensors came from the sites and were not combined."""
        if left := [name for name in self.got["model"] if name not in new]:
            note = f"{self.run.algorithm.name}.combine gives no {', '.join(left)}: the server's model keeps what it had"
            if note not in self.run.notes:
                self.run.notes.append(note)


def together(asked: Sequence[Combine]) -> list[Made | None] | None:
    """Combine for several runs of an algorithm in one pass; ``None`` for a run that must be combined alone.

    ``None`` for all where the algorithm's server half cannot be stacked (it asks a tensor whether, or for its number).
    """
    first = asked[0]
    if not all(one.sites == first.sites for one in asked):  # some are missing in some
        return [None] * len(asked)
    lifted = vmap(partial(_next, first.run.algorithm, first.run.net.dtype, first.who))
    try:
        new, state = lifted(*(tree_stack([getattr(one, k) for one in asked]) for k in ("params", "got", "state")))
    except Exception:  # whatever it is, alone it does not happen, or is said of the run in which it happens
        return None
    old = first.params
    if any(k not in old or v.shape[1:] != old[k].shape or v.dtype != old[k].dtype for k, v in new.items()):
        return None
    sums = [v.flatten(1).sum(1, dtype=torch.float64) for v in new.values()]
    good = torch.stack(sums).isfinite().all(0) if sums else torch.ones(len(asked), dtype=torch.bool)
    each = (tree_cut(tree, len(asked), torch.unbind) for tree in (new, state))
    for one in asked:
        one.note_left(new)
    made = zip(asked, *each, good.tolist(), strict=True)
    return [({**one.params, **params}, kept) if fine else None for one, params, kept, fine in made]


def _next(
    alg: Algorithm, dtype: torch.dtype, who: Tensor, params: Tensors, got: Tensors, state: Tensors
) -> tuple[Tensors, Tensors]:
    """Let the algorithm combine; running statistics are averaged unless it says otherwise."""
    uploads, weights, averaged = got["model"], got["rows"].to(dtype), {}
    if alg.statistics == "mean":
        running = {k: u for k, u in uploads.items() if statistic(k)}
        averaged = mean(running, weights) if running else {}
        uploads = {k: u for k, u in uploads.items() if k not in running}
    made = alg.combine(params, uploads, got["extra"], weights, state, who)
    if not (isinstance(made, tuple) and len(made) == 2 and all(isinstance(each, dict) for each in made)):
        raise TypeError(
            f"{type(alg).__name__}.combine must give (params, state), two dicts of tensors by name; it gave "
            f"{type(made).__name__}{f' of {len(made)}' if isinstance(made, tuple) else ''}"
        )
    new, state = made
    return {**averaged, **new}, state


def _fault(name: str, tensor: Tensor, old: Tensor | None) -> str:
    if old is None or old.shape != tensor.shape or old.dtype != tensor.dtype:
        return f"a tensor {name!r} of {_looks(tensor)}, where the model has {_looks(old)}"
    return "" if finite(tensor) else f"a tensor {name!r} that is not finite, from uploads that are"


def _looks(tensor: Tensor | None) -> str:
    return "none" if tensor is None else f"shape {list(tensor.shape)} and {tensor.dtype}"
