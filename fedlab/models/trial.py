"""A trial of a model on two rows, before anyone's patients are read: what it gives, and what it does besides.

All of it is found on a copy: the model, torch's global generators and whoever trains later are left alone.
"""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fedlab.federation import RowShape


class Trial(NamedTuple):
    """What a model was seen to do.

    Parameters
    ----------
    outputs : tuple of int
        Shape of what it gives for two rows.
    moved : tuple of str
        Names of the tensors without a gradient that a pass in training writes: counters, moving averages, the vectors
        of a spectral norm.
    random : bool
        It draws from torch's global generator in training (torch's own Dropout).
    writes_rows : bool
        It changes the rows that it is given in place.
    needs_two_rows : str
        What it raised on a batch of one row in training (torch's BatchNorm1d does); empty if it takes one.
    """

    outputs: tuple[int, ...]
    moved: tuple[str, ...] = ()
    random: bool = False
    writes_rows: bool = False
    needs_two_rows: str = ""


def is_foreign(model: nn.Module) -> bool:
    """Return whether a model has code that is neither torch's nor fedlab's, and may do anything.

    Examples
    --------
    >>> is_foreign(nn.Sequential(nn.Linear(2, 1)))
    False
    """
    own = all(type(layer).__module__.split(".")[0] in ("torch", "fedlab") for layer in model.modules())
    return not own or any(layer._forward_hooks or layer._forward_pre_hooks for layer in model.modules())


def check_model(model: nn.Module, said: str) -> None:
    """Refuse a model with nothing to train, or whose tensors do not exist yet.

    Examples
    --------
    >>> check_model(nn.Linear(2, 1).requires_grad_(False), "Linear")
    Traceback (most recent call last):
    ...
    ValueError: the model Linear has no parameter that requires a gradient: there is nothing to train
    """
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    empty = [name for name, tensor in tensors.items() if is_lazy(tensor)]
    if empty:
        raise ValueError(
            f"the model {said} has tensors without a shape yet ({', '.join(empty[:3])}): a lazy layer takes it from "
            "its first batch, which every site would do by itself. Build the layer with the factory's inputs, or pass "
            "two rows through the model before you give it"
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"the model {said} has no parameter that requires a gradient: there is nothing to train")


def two_rows(row: RowShape, *, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Return rows to try a model with, and of bags their mask: one of two instances and one of one.

    Examples
    --------
    >>> x, mask = two_rows(RowShape((None, 4)), dtype=torch.float32, device=torch.device("cpu"))
    >>> x.shape, mask.sum(1).tolist()
    (torch.Size([2, 3, 4]), [2, 1])
    """
    shape = [3 if size is None else size for size in row.shape]
    mask = torch.tensor([[True, True, False], [True, False, False]], device=device) if row.is_bag else None
    return torch.zeros(2, *shape, dtype=dtype, device=device), mask


def takes_mask(forward: Callable[..., Any]) -> bool:
    """Return whether a model, or a method of one, takes a bag's mask.

    Examples
    --------
    >>> takes_mask(nn.Linear(2, 1)), takes_mask(lambda x, mask: x)
    (False, True)
    """
    of = forward.forward if isinstance(forward, nn.Module) else forward
    return "mask" in inspect.signature(of).parameters


def with_mask(forward: Callable[..., Any], x: Tensor, mask: Tensor) -> Any:
    """Pass padded bags ``x`` [n, instances, width] and their ``mask`` [n, instances] through a model, or a method.

    Raises
    ------
    TypeError
        If it takes no mask.
    """
    if not takes_mask(forward):
        name = f"{type(forward).__name__}.forward" if isinstance(forward, nn.Module) else forward.__qualname__
        raise TypeError(
            f"the rows are bags, and {name} takes no mask, so it would count the zeros that pad a bag as instances: "
            f"write it as {name.split('.')[-1]}(self, x, mask), where mask [rows, instances] is true for an instance "
            "that is there"
        )
    return forward(x, mask=mask)


def try_model(model: nn.Module, rows: Tensor, mask: Tensor | None = None) -> Trial:
    """Pass two rows through a copy of a model, in evaluation and in training, then one row in training.

    Parameters
    ----------
    model : Module
    rows : Tensor, shape [2, ...]
        As the model will see them.
    mask : Tensor, shape [2, instances], optional
        Where the rows are bags.

    Raises
    ------
    TypeError
        If it gives something else than a tensor, or the rows are bags and it takes no mask.
    ValueError
        If it counts what pads a bag.
    Exception
        Whatever it raises itself.

    Examples
    --------
    >>> try_model(nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3, momentum=None)), torch.zeros(2, 3))
    Trial(outputs=(2, 3), moved=('1.num_batches_tracked',), random=True, writes_rows=False, needs_two_rows='...')
    """
    twin = copy.deepcopy(model)
    with torch.no_grad(), _own_generators(rows) as drawn:
        run: Callable[..., Any] = twin if mask is None else lambda x: with_mask(twin, x, mask[: len(x)])
        own, trained = rows.clone(), {k: (p, p.clone()) for k, p in twin.named_parameters() if p.requires_grad}
        twin.eval()
        out = run(own)
        if not isinstance(out, Tensor):
            raise TypeError(f"it gives a {type(out).__name__}, and must give one tensor, the logits")
        if mask is not None and not torch.allclose(out, run(torch.where(mask.unsqueeze(-1), rows, 3.0)), atol=1e-4):
            raise ValueError(
                "its prediction depends on what stands where there is no instance: where the mask is false, it must "
                "give an instance no weight (a sum: x * mask.unsqueeze(-1); a softmax: "
                "scores.masked_fill(~mask, -torch.inf))"
            )
        before, watched = drawn(), _without_gradient(twin)
        twin.train()
        run(own)
        for name, (parameter, was) in trained.items():
            if not torch.equal(parameter, was):
                raise ValueError(
                    f"it changes its parameter {name!r} in a forward pass: bound it with torch.nn.utils.parametrize, "
                    "or after each step with an algorithm's project(vars, at)"
                )
        moved = [name for name, was in watched.items() if _was_written(twin, name, *was)]
        random = before != drawn()
        return Trial(tuple(out.shape), tuple(moved), random, own._version > 0, _of_one_row(run, rows[:1].clone()))


def _of_one_row(model: Callable[..., Any], row: Tensor) -> str:
    try:
        model(row)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _without_gradient(model: nn.Module) -> dict[str, tuple[Tensor, int]]:
    """Return the tensors that no gradient moves, each with the number of times it was written."""
    still = [(name, p) for name, p in model.named_parameters() if not p.requires_grad]
    counted = {name for name, layer in model.named_modules() if getattr(layer, "momentum", None) is not None}
    return {
        name: (tensor, tensor._version)
        for name, tensor in itertools.chain(still, model.named_buffers())
        # a count of batches that nobody reads: torch's norm layers look at it without a momentum only
        if not (name.endswith("num_batches_tracked") and name.rpartition(".")[0] in counted)
    }


def _was_written(model: nn.Module, name: str, tensor: Tensor, version: int) -> bool:
    """Return whether a tensor was changed in place, or another one stands in its place."""
    where, _, key = name.rpartition(".")
    layer = model.get_submodule(where)
    return getattr(layer, key) is not tensor or tensor._version > version


@contextmanager
def _own_generators(rows: Tensor) -> Iterator[Callable[[], list[bytes]]]:
    """Leave torch's global generators as they were found; gives what their state is at any time."""
    gpus = [rows.device] if rows.device.type == "cuda" else []

    def drawn() -> list[bytes]:
        return [state.numpy().tobytes() for state in (torch.get_rng_state(), *map(torch.cuda.get_rng_state, gpus))]

    with torch.random.fork_rng(devices=gpus):
        yield drawn
