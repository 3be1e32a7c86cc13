"""The model as a function of named tensors."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from fedlab.algorithms.tensors import PREPARATION, Tensors, fixed, learned, moves, statistic, tensors_of
from fedlab.engine.identity import content
from fedlab.engine.trees import tree_map
from fedlab.federation import RowShape, Task, prepare
from fedlab.federation.bags import bags_in, in_passes
from fedlab.federation.values import LARGEST
from fedlab.models.layers import forward_pass
from fedlab.models.trial import Trial, is_foreign, with_mask

# What vmap cannot carry, or carries wrongly: batch statistics see padding, masks come from the global generator.
NOT_STACKABLE = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.RNNBase, nn.MultiheadAttention)

OWN = {nn.BatchNorm1d: "BatchNorm", nn.BatchNorm2d: "BatchNorm2d", nn.Dropout: "Dropout"}
"""What stands for them: the same layer, for one site or for all at once."""

PREPARED = 2**21  # numbers in the rows that are prepared at once for several models, or those of one model
PASS = 2**18  # numbers in the pictures or bags that are predicted at once: what a core's cache has room for

Place: TypeAlias = tuple[dict[str, Any], str, str]
"""Where a module keeps a tensor: its own table, the key in it, and the tensor's name in the model."""


class BufferMoved(RuntimeError):
    """A forward pass wrote a tensor that no pass of the trial had written: it would be lost at the end of the step."""


class Net:
    """A model, its task, and how its named tensors become predictions.

    A model's named tensors are what it learns (:func:`~fedlab.algorithms.tensors.learned`), and, where the engine
    prepares the rows, the preparation's buffers under ``prepare.``. Training sees prepared rows, :meth:`logits` raw.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        *,
        dtype: torch.dtype,
        trial: Trial,
        device: str = "cpu",
        categories: Sequence[slice] = (),
        described: Any = None,
        row: RowShape | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device, dtype)
        self.task, self.dtype, self.trial, self.categories = task, dtype, trial, tuple(categories)
        self.row = row
        """What each raw row is, where that is known."""
        self.described = described or content(self.model)
        """What the model does, as it was before the training: a forward pass may leave something in it."""
        tensors = tensors_of(self.model, trial.moved)
        self.names = frozenset(k for k, v in tensors.items() if statistic(k) or moves(v))
        """What is learned, by name: whatever else is in an algorithm's ``vars`` is the algorithm's own."""
        self.places = _places(self.model, tensors)
        self.tied = len(self.places) > len({name for *_, name in self.places})
        self.statistics = [k for k in tensors if statistic(k)]
        self.constants = {k: v.detach() for k, v in tensors.items() if k not in self.names}
        """What is not learned: frozen parameters and buffers, the same at every site from the start."""
        self.uncounted = [k for k in self.constants if k.endswith("num_batches_tracked")]
        self.foreign = is_foreign(self.model)

    @property
    def random(self) -> bool:
        """Whether training draws from torch's global generator (torch's own Dropout): then each site seeds it."""
        return self.trial.random

    def copy(self) -> Net:
        """Return one for another thread: two threads in one module would compute with each other's tensors."""
        return Net(
            copy.deepcopy(self.model), self.task, dtype=self.dtype, trial=self.trial, device=str(self.device),
            categories=self.categories, described=self.described, row=self.row,
        )  # fmt: skip

    def start(self) -> Tensors:
        """Return the tensors all sites start from, in the server's memory."""
        start: Tensors = home(learned(self.model, self.trial.moved))
        return start

    def placed(self, tree: Tensors) -> Tensors:
        """Bring what came from the server to where this model computes."""
        out: Tensors = tree_map(lambda v: v.to(self.device), tree)
        return out

    def __call__(
        self,
        params: Tensors,
        x: Tensor,
        *,
        train: bool,
        weight: Tensor | None = None,
        mask: Tensor | None = None,
        key: Tensor | None = None,
        step: int = 0,
        method: str = "forward",
    ) -> Tensor:
        """Run on prepared rows; in training, moved running statistics are written back into ``params``.

        ``weight`` [rows] is 0 for rows that pad a batch; ``mask`` [rows, instances], of bags, goes to the model.

        Raises
        ------
        BufferMoved
            If the pass wrote a tensor that is not carried from step to step.
        """
        constants = {k: v.clone() for k, v in self.constants.items()}
        lent = constants | params
        lent |= {k: lent[k].clone() for k in self.statistics}
        if self.foreign and not train:  # what is predicted with may be the best model so far: it is lent, not given
            lent = {k: v.clone() for k, v in lent.items()}
        if self.model.training != train:
            self.model.train(train)
        if self.trial.writes_rows:
            x = x.clone()
        of_model = self.model if method == "forward" else getattr(self.model, method)
        with forward_pass(mask=weight, key=key, step=step), _lending(self.places, lent):
            out: Tensor = of_model(x) if mask is None else with_mask(of_model, x, mask)
        if train:
            self._check_constants(constants, lent)
            params.update({k: lent[k].detach() for k in self.statistics})
        return out

    def _check_constants(self, before: Tensors, after: Tensors) -> None:
        for name, tensor in before.items():
            if (after[name] is not tensor or tensor._version) and name not in self.uncounted:
                raise BufferMoved(
                    f"the model wrote its buffer {name!r} in training, which it did not on its trial rows: fedlab "
                    "carries a buffer where every pass in training writes it. Write it in each, or keep it constant"
                )

    def mean_loss(self, out: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """Mean of the task's loss over the rows of weight 1."""
        return self.task.batch_loss(out, y, weight)

    def ready(self, params: Tensors, x: Tensor) -> Tensor:
        """Prepare raw rows with the model's own preparation, in the run's dtype."""
        buffers = {k.removeprefix(PREPARATION): v for k, v in params.items() if fixed(k)}
        x = x.to(self.device)
        return prepare(x, buffers, self.categories).to(self.dtype) if buffers else as_floats(x, self.dtype)

    def logits(self, params: Tensors, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Predict for raw rows, evaluation mode; [n, outputs]."""
        return self(params, self.ready(params, x), train=False, mask=mask).reshape(len(x), self.task.outputs)

    def probabilities(self, models: list[Tensors], x: RawRows) -> Tensor:
        """Mean of the models' class probabilities for raw rows, float64 [n, classes]."""
        return self.each_probabilities([models], x)[0]

    def each_probabilities(self, predictors: list[list[Tensors]], x: RawRows) -> Tensor:
        """The same of several predictors, float64 [predictors, n, classes].

        Each model is passed the rows by itself, as a single one is, so that its numbers do not depend on the others;
        what is prepared for many is prepared at once. A table is passed whole, pictures and bags some at a time.
        """
        every = [model for members in predictors for model in members]
        with all_digits():
            parts = [self._logits_of(every, *part) for part in passes(x)]
            logits = [each[0] if len(each) == 1 else torch.cat(each) for each in zip(*parts, strict=True)]
            together = self.task.predict(torch.cat(logits).double())
            p = together.reshape(len(logits), -1, together.shape[1])
            if len(every) == len(predictors):
                return p
            votes = p.split([len(members) for members in predictors])
            return torch.stack([mean_vote(list(each)) for each in votes])

    def _logits_of(self, models: list[Tensors], x: Tensor, mask: Tensor | None) -> list[Tensor]:
        x, mask = laid_out(x), None if mask is None else mask.to(self.device)
        return [each for some in _groups(models, x) for each in self._each_logits(some, x, mask)]

    def _each_logits(self, models: list[Tensors], x: Tensor, mask: Tensor | None) -> Iterator[Tensor]:
        named = [k for k in models[0] if fixed(k)]
        rows = self.ready({k: torch.stack([model[k] for model in models]).unsqueeze(1) for k in named}, x)
        for k, model in enumerate(models):  # a copy lies as the rows of a single model do
            out = self(model, rows[k].clone() if named else rows, train=False, mask=mask)
            yield out.reshape(len(x), self.task.outputs)

    def vote(self, models: list[Tensors], x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The same for rows as they lie: inside ``vmap`` they cannot be laid out anew."""
        each = [self.task.predict(self.logits(params, x, mask).double()) for params in models]
        return mean_vote(each)

    def obstacle(self) -> str:
        """Name the layer that keeps this model from running all sites at once; empty if none."""
        for layer in self.model.modules():
            if isinstance(layer, NOT_STACKABLE):
                own = next((own for theirs, own in OWN.items() if isinstance(layer, theirs)), "")
                return f"torch's {type(layer).__name__}" + (f" (fedlab.models.{own} can)" if own else "")
        return ""

    @property
    def convolves(self) -> bool:
        """Whether there are convolutions."""
        return any(isinstance(layer, nn.modules.conv._ConvNd) for layer in self.model.modules())

    def slow_stacked(self) -> bool:
        """Tell whether stacking costs more than it saves: convolutions, but not on a GPU, where it is twice as fast."""
        return self.convolves and self.device.type == "cpu"


class Sliced(Protocol):
    """Rows that are taken when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, some: slice) -> Tensor: ...


RawRows: TypeAlias = Tensor | Sliced
"""Rows as a site holds them: a tensor, bags, or what gives them piece by piece."""


def passes(x: RawRows) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Cut raw rows into what is predicted at once: a table whole, of bags also their masks.

    Pictures do not depend on those beside them, and all that a pass holds of them, layer by layer, should fit into the
    processor's cache: 898 at once took half a round.

    Examples
    --------
    >>> [len(x) for x, _ in passes(torch.zeros(250, 3, 28, 28))], [len(x) for x, _ in passes(torch.zeros(9000, 26))]
    ([111, 111, 28], [9000])
    """
    bags = bags_in(x)
    if bags is not None:
        yield from (part.padded() for part in in_passes(bags, PASS))
    elif not len(x) or (isinstance(x, Tensor) and x.ndim == 2):
        yield x[:], None
    else:
        at_once = max(1, PASS // x[:1].numel())
        yield from ((x[begin : begin + at_once], None) for begin in range(0, len(x), at_once))


def as_floats(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return rows in the dtype of a run: bytes, which only pictures are of, divided by 255.

    Examples
    --------
    >>> as_floats(torch.tensor([[[0, 51, 255]]], dtype=torch.uint8), torch.float32)
    tensor([[[0.0000, 0.2000, 1.0000]]])
    """
    return x.to(dtype) / 255 if x.dtype == torch.uint8 else x.to(dtype)


def _groups(models: list[Tensors], x: Tensor) -> Iterator[list[Tensors]]:
    """Cut into so many models as rows can be prepared for at once."""
    size = max(1, PREPARED // max(1, x.numel()))
    return (models[start : start + size] for start in range(0, len(models), size))


def _places(model: nn.Module, tensors: Tensors) -> list[Place]:
    """Find where a model keeps its tensors; a tied one lies in several places under one name."""
    names = {id(tensor): name for name, tensor in tensors.items()}
    tables = [table for layer in model.modules() for table in (layer._parameters, layer._buffers)]
    return [(table, key, names[id(t)]) for table in tables for key, t in table.items() if t is not None]


@contextmanager
def _lending(places: list[Place], lent: Tensors) -> Iterator[None]:
    """Let a model compute with ``lent`` tensors; what the pass puts in their places is entered into ``lent``.

    It is :func:`torch.func.functional_call`, which finds every place anew in each pass: a thirtieth of a
    transformer's step.
    """
    own = [table[key] for table, key, _ in places]
    try:
        for table, key, name in places:
            table[key] = lent[name]
        yield
        lent.update({name: table[key] for table, key, name in places})
    finally:
        for (table, key, _), tensor in zip(places, own, strict=True):
            table[key] = tensor


def all_digits() -> AbstractContextManager[None]:
    """Let a GPU's convolutions keep all digits of float32, in one order; by default they keep ten bits (TF32)."""
    cudnn = torch.backends.cudnn
    found: AbstractContextManager[None] = cudnn.flags(enabled=cudnn.enabled, deterministic=True, allow_tf32=False)
    return found


def laid_out(x: Tensor) -> Tensor:
    """Lay images out with the channels last: a quarter faster."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def home(tree: Any) -> Any:
    """Bring tensors back to the server's memory: what is sent, compared and kept is never on a GPU."""
    return tree_map(lambda v: v.cpu(), tree)


class TrainedModel(nn.Module):
    """A trained model with its preprocessing inside: eats raw rows, ``nan`` where missing, gives logits, or a quantity.

    Parameters
    ----------
    net : Net
    params : dict of str to Tensor
        Named tensors, preparation included.
    """

    def __init__(self, net: Net, params: Tensors) -> None:
        super().__init__()
        self.net = copy.deepcopy(net.model).cpu()
        with torch.no_grad():
            for name, tensor in tensors_of(self.net, net.trial.moved).items():
                if name in params:
                    tensor.copy_(params[name])
        for name, buffer in params.items():
            if fixed(name):
                self.register_buffer(name.removeprefix(PREPARATION), buffer.clone())
        self.task = net.task
        self._prepared, self._categories, self._row = not any(map(fixed, params)), net.categories, net.row
        self.eval()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits [n, outputs] of raw rows ``x`` [n, ...], or the quantity in its unit.

        Of bags that are padded also which instances there are.
        """
        return self.task.read(self.output(x, mask))

    def output(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return what the model itself gives, as it was trained."""
        bags = bags_in(x)
        if bags is not None:
            x, mask = bags.padded()
        if self._row is not None:
            mask = _fitting(self._row, x, mask)
        if not self._prepared:
            if bool((x.abs() >= LARGEST).any()):
                raise ValueError("a row holds an infinite value or one larger than any measurement: make it nan")
            x = prepare(x.double(), dict(self.named_buffers(recurse=False)), self._categories)
        x = as_floats(x, next(self.net.parameters()).dtype)
        out: Tensor = self.net(x) if mask is None else with_mask(self.net, x, mask)
        return out


def _fitting(row: RowShape, x: Tensor, mask: Tensor | None) -> Tensor | None:
    """Return the mask of rows like those that a model was trained on, or refuse others."""
    if row.in_bytes != (x.dtype == torch.uint8) and len(row.shape) > 1 and not row.is_bag:
        kinds = ["floats", "bytes (uint8)"]
        raise ValueError(
            f"the model was trained on pictures of {kinds[row.in_bytes]}, and these are of {kinds[not row.in_bytes]}, "
            f"on another scale: give {kinds[row.in_bytes]}"
        )
    if mask is not None and not row.is_bag:
        raise ValueError("the model was trained on rows that are no bags: it takes no mask")
    if row.is_bag and mask is None:
        return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    if mask is not None and (mask.shape != x.shape[:2] or mask.dtype != torch.bool or not bool(mask.any(1).all())):
        raise ValueError(
            f"the mask is {list(mask.shape)} of {str(mask.dtype).split('.')[1]} for bags {list(x.shape)}: it must be "
            f"{list(x.shape[:2])} of bool, and true for an instance of each"
        )
    return mask


class Vote(nn.Module):
    """Several trained models whose probabilities are averaged; gives the logits of the average."""

    def __init__(self, members: list[TrainedModel], task: Task) -> None:
        super().__init__()
        self.each, self.task = members, task
        self.members = nn.ModuleList(members)
        self.eval()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits [n, outputs] of raw rows ``x`` [n, ...], of padded bags with their mask."""
        p = mean_vote([self.task.predict(member.output(x, mask).double()) for member in self.each])
        return self.task.voted(p)


def mean_vote(votes: list[Tensor]) -> Tensor:
    """Average what several models say; one that says nothing (``nan``: it was never trained) has no vote."""
    return votes[0] if len(votes) == 1 else torch.stack(votes).nanmean(0)


def as_module(net: Net, models: list[Tensors]) -> nn.Module:
    """Return one module for what a site predicts with."""
    members = [TrainedModel(net, params) for params in models]
    return members[0] if len(members) == 1 else Vote(members, net.task)


def no_preparation(features: int) -> dict[str, Any]:
    """Return the preparation of a model that has seen no patient yet."""
    zero = torch.zeros(features, dtype=torch.float64)
    return {f"{PREPARATION}{k}": v for k, v in dict(fill=zero, scale=zero + 1, indicator=zero, measured=zero).items()}
