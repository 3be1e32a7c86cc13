"""Two seams of a run: what becomes of the gradient of each row in a step, and of what a site is about to send.

Clipping, noise, masks and hostile sites pass here, in every engine mode: one site is a stack of one. Nothing stands in
the seams unless somebody puts it there (``run.hooks``), and then nothing else of a run changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from fedlab.algorithms.base import Algorithm
from fedlab.algorithms.tensors import Tensors
from fedlab.engine.at import AtSite
from fedlab.engine.batches import Job
from fedlab.engine.net import Net
from fedlab.engine.trees import tree_map


@dataclass(frozen=True)
class Upload:
    """What some sites of a run are about to send.

    Parameters
    ----------
    sites : tuple of str
    job : Job
        The question: round, rounds, seed, rate, ….
    received : dict of str to Tensor
        The model that they were sent; that of every site.
    model, extra : dict of str to Tensor, [sites, ...]
        What the algorithm sends.
    rows : float64 Tensor, [sites]
        How many training rows each says it has.
    """

    sites: tuple[str, ...]
    job: Job
    received: Tensors
    model: Tensors
    extra: Tensors
    rows: Tensor


class OnUpload(Protocol):
    """What stands between a site's training and the exchange, and for sealed uploads before the server's half."""

    sealed: bool
    """The gate cannot look at it: no tensor that leaves is one of the model's."""

    def leave(self, upload: Upload) -> Upload:
        """At the sites: return what leaves."""

    def opened(self, sent: dict[str, Any], like: Tensors) -> dict[str, Any]:
        """At the server, of sealed uploads: return ``model, extra, rows`` [sites, ...] for ``combine``.

        Who knows a sum alone gives every site the mean; that is enough for an algorithm that states its ``sums``.
        """


class OnRows(Protocol):
    """What a step makes of the gradients of its rows (Abadi et al., 2016: clip each, sum, add noise)."""

    def join(self, grads: Tensors, weight: Tensor, at: AtSite) -> Tensors:
        """For one site: from gradients [rows, ...] to the step's; a row of weight 0 is padding, its gradient 0."""

    def after(self, grads: Tensors) -> Tensors:
        """Outside of the stack, where a generator may be asked: the gradients of one site, or of all [sites, ...]."""


@dataclass(frozen=True)
class Hooks:
    """What stands in the seams of a run."""

    upload: OnUpload | None = None
    rows: OnRows | None = None

    def check(self, alg: Algorithm, net: Net) -> None:
        """Refuse, before the first question, what would be wrong without a word.

        Raises
        ------
        ValueError
            Rows one by one in a model whose layers look at a whole batch; sums for an algorithm that needs each upload.
        """
        if self.rows is not None and (net.statistics or net.trial.needs_two_rows):
            raise ValueError(
                "the gradient of one row by itself is zero behind a layer that normalises by the batch (BatchNorm): "
                "use GroupNorm or LayerNorm, or a model without"
            )
        if self.sealed and alg.sums is None:
            raise ValueError(f"{alg.name} looks at each upload by itself, and sealed ones can only be added up: use an "
                             "algorithm that states its sums, e.g. fedavg")  # fmt: skip

    @property
    def sealed(self) -> bool:
        """Whether the gate sees no model."""
        return self.upload is not None and self.upload.sealed


class OneRow(AtSite):
    """A site's view of one row of its batch."""

    def loss(self, params: Tensors, part: tuple[int, int] | None = None, into: Tensors | None = None) -> Tensor:
        """Loss of the row; it has no parts."""
        if part is not None:
            raise ValueError("the algorithm parts its batch, and a row by itself has no parts: its gradient would be 0")
        return super().loss(params, None, into)


def leave_alone(
    hook: OnUpload, site: str, job: Job, received: Tensors, model: Tensors, extra: Tensors, rows: float
) -> tuple[Tensors, Tensors, float]:
    """Pass one site's upload through, as a stack of one."""
    one = torch.tensor([rows], dtype=torch.float64)
    model, extra = (tree_map(lambda v: v[None], tree) for tree in (model, extra))
    stack = Upload((site,), job, received, model, extra, one)
    out = hook.leave(stack)
    model, extra = (tree_map(lambda v: v[0], tree) for tree in (out.model, out.extra))
    return model, extra, float(out.rows[0])


def leave_stacked(
    parts: Sequence[tuple[OnUpload, tuple[str, ...], Job, Tensors]], model: Tensors, extra: Tensors, rows: Tensor
) -> tuple[Tensors, Tensors, Tensor]:
    """Pass the uploads of several runs' sites through, each run by its own hook."""
    done, begin = [], 0
    for hook, sites, job, received in parts:
        mine = slice(begin, begin := begin + len(sites))
        cut, more = (tree_map(lambda v, mine=mine: v[mine], tree) for tree in (model, extra))
        out = hook.leave(Upload(sites, job, received, cut, more, rows[mine]))
        if not hook.sealed:
            _check_shapes(hook, out, model)
        done.append((out.model, out.extra, out.rows))
    models, extras, numbers = zip(*done, strict=True)
    model, extra = (tree_map(lambda *each: torch.cat(each), *trees) for trees in (models, extras))
    return model, extra, torch.cat(numbers)


def _check_shapes(hook: OnUpload, out: Upload, model: Tensors) -> None:
    for name, tensor in out.model.items():
        if name not in model or tensor.shape[1:] != model[name].shape[1:] or tensor.dtype != model[name].dtype:
            raise ValueError(
                f"{type(hook).__name__}.leave gives a tensor {name!r} that does not fit the model: keep its shape and "
                "dtype, or say sealed = True"
            )
