"""What an algorithm makes of the sites' models is looked at before it becomes the model."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fedlab.algorithms.tensors import Tensors, mean, statistic
from fedlab.engine.exchange import finite
from fedlab.engine.run import Run


class CombineError(ValueError):
    """An algorithm combined the sites' models into something that is no model; ``run`` holds all rounds so far."""

    def __init__(self, said: str, run: Run) -> None:
        super().__init__(said)
        self.run = run


def combined(run: Run, params: Tensors, state: Tensors, got: dict[str, Any], who: Tensor) -> tuple[Tensors, Tensors]:
    """Let the run's algorithm combine; running statistics are averaged unless it says otherwise.

    Parameters
    ----------
    run : Run
    params, state : dict of str to Tensor
        The server's model and memory before.
    got : dict
        ``model``, ``extra`` and ``rows``, stacked over the sites that answered.
    who : int tensor, shape [sites that answered]
        Their numbers.

    Returns
    -------
    (params, state)
        After the round; no tensor that came in is changed.

    Raises
    ------
    CombineError
        If a tensor of the new model is not finite, or not of its name, shape and dtype.
    """
    uploads, weights = got["model"], got["rows"].to(run.net.dtype)
    averaged: Tensors = {}
    if run.algorithm.statistics == "mean":
        running = {k: u for k, u in uploads.items() if statistic(k)}
        averaged = mean(running, weights) if running else {}
        uploads = {k: u for k, u in uploads.items() if k not in running}
    new, state = run.algorithm.combine(params, uploads, got["extra"], weights, state, who)
    for name, tensor in new.items():
        fault = _fault(name, tensor, params.get(name))
        if fault:
            said = f"{run.algorithm}.combine gave {fault}. The rounds before are kept (the error's .run)."
            raise CombineError(said, run)
    return {**params, **averaged, **new}, state


def _fault(name: str, tensor: Tensor, old: Tensor | None) -> str:
    if old is None or old.shape != tensor.shape or old.dtype != tensor.dtype:
        return f"a tensor {name!r} of {_looks(tensor)}, where the model has {_looks(old)}"
    return "" if finite(tensor) else f"a tensor {name!r} that is not finite, from uploads that are"


def _looks(tensor: Tensor | None) -> str:
    return "none" if tensor is None else f"shape {list(tensor.shape)} and {tensor.dtype}"
