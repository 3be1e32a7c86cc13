"""The model as a function of named tensors."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fedlab.algorithms.tensors import PREPARATION, Tensors, fixed, learned, statistic
from fedlab.engine.trees import tree_map
from fedlab.federation import Task, prepare
from fedlab.models.layers import forward_pass

# What vmap cannot carry, or carries wrongly: batch statistics see padding, masks come from the global generator.
NOT_STACKABLE = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.RNNBase, nn.MultiheadAttention)


class _Method(nn.Module):
    """Lets ``functional_call`` reach another method than ``forward``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, method: str) -> Tensor:
        out: Tensor = getattr(self.model, method)(x)
        return out


class Net:
    """A model, its task, and how its named tensors become predictions.

    A model's named tensors are what it learns (:func:`~fedlab.algorithms.tensors.learned`), and, where the engine
    prepares the rows, the preparation's buffers under ``prepare.``. Training sees prepared rows, :meth:`logits` raw.
    """

    def __init__(self, model: nn.Module, task: Task, *, dtype: torch.dtype, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device, dtype)
        self.task, self.dtype = task, dtype
        self.random = False
        """Whether training draws from torch's global generator (torch's own Dropout): then each site seeds it."""
        self._method = _Method(self.model)
        every = list(self.model.named_parameters(remove_duplicate=False))
        self.tied = len(every) > len(list(self.model.parameters()))  # to look for ties takes a tenth of a step
        still: Tensors = {k: p for k, p in self.model.named_parameters() if not p.requires_grad}
        still |= {k: b for k, b in self.model.named_buffers() if not statistic(k)}
        self.constants = {k: v.detach() for k, v in still.items()}
        """What is not learned: frozen parameters and buffers, the same at every site from the start."""

    def copy(self) -> Net:
        """Return one for another thread: ``functional_call`` on a shared module is not safe."""
        twin = Net(copy.deepcopy(self.model), self.task, dtype=self.dtype, device=str(self.device))
        twin.random = self.random
        return twin

    def start(self) -> Tensors:
        """Return the tensors all sites start from, in the server's memory."""
        start: Tensors = home(learned(self.model))
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
        mask: Tensor | None = None,
        key: Tensor | None = None,
        step: int = 0,
        method: str = "forward",
    ) -> Tensor:
        """Run on prepared rows; in training, moved running statistics are written back into ``params``."""
        q = {f"model.{k}": v.clone() if train and statistic(k) else v for k, v in params.items() if not fixed(k)}
        q |= {f"model.{k}": v.clone() for k, v in self.constants.items()}
        if self._method.training != train:
            self._method.train(train)
        with forward_pass(mask=mask, key=key, step=step):
            out: Tensor = functional_call(self._method, q, (x, method), tie_weights=self.tied)
        if train:
            params.update({k: q[f"model.{k}"].detach() for k in params if statistic(k)})
        return out

    def mean_loss(self, out: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """Mean of the task's loss over the rows of weight 1."""
        return (self.task.loss(out, y) * weight).sum() / weight.sum().clamp(min=1)

    def ready(self, params: Tensors, x: Tensor) -> Tensor:
        """Prepare raw rows with the model's own preparation, in the run's dtype."""
        buffers = {k.removeprefix(PREPARATION): v for k, v in params.items() if fixed(k)}
        x = x.to(self.device)
        return (prepare(x, buffers) if buffers else x).to(self.dtype)

    def logits(self, params: Tensors, x: Tensor) -> Tensor:
        """Predict for raw rows, evaluation mode."""
        return self(params, self.ready(params, x), train=False)

    def probabilities(self, models: list[Tensors], x: Tensor) -> Tensor:
        """Mean of the models' class probabilities for raw rows, float64 [n, classes]."""
        with all_digits():
            return self.vote(models, laid_out(x))

    def vote(self, models: list[Tensors], x: Tensor) -> Tensor:
        """The same for rows as they lie: inside ``vmap`` they cannot be laid out anew."""
        each = [self.task.probabilities(self.logits(params, x).double()) for params in models]
        return torch.stack(each).mean(0)

    def obstacle(self) -> str:
        """Name the layer that keeps this model from running all sites at once; empty if none."""
        for layer in self.model.modules():
            if isinstance(layer, NOT_STACKABLE):
                remedy = {"_BatchNorm": "BatchNorm", "_DropoutNd": "Dropout"}
                own = next((r for c in type(layer).__mro__ if (r := remedy.get(c.__name__))), "")
                return f"torch's {type(layer).__name__}" + (f" (fedlab.models.{own} can)" if own else "")
        return ""

    @property
    def convolves(self) -> bool:
        """Whether there are convolutions."""
        return any(isinstance(layer, nn.modules.conv._ConvNd) for layer in self.model.modules())

    def slow_stacked(self) -> bool:
        """Tell whether stacking costs more than it saves: convolutions, but not on a GPU, where it is twice as fast."""
        return self.convolves and self.device.type == "cpu"


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
    """A trained model with its preprocessing inside: eats raw rows, ``nan`` where missing, gives logits.

    Parameters
    ----------
    net : Net
    params : dict of str to Tensor
        Named tensors, preparation included.
    """

    def __init__(self, net: Net, params: Tensors) -> None:
        super().__init__()
        self.net = copy.deepcopy(net.model).cpu()
        self.net.load_state_dict({k: v for k, v in params.items() if not fixed(k)}, strict=False)
        for name, buffer in params.items():
            if fixed(name):
                self.register_buffer(name.removeprefix(PREPARATION), buffer.clone())
        self._prepared = not any(map(fixed, params))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, outputs] of raw rows ``x`` [n, ...]."""
        if not self._prepared:
            x = prepare(x.double(), dict(self.named_buffers(recurse=False)))
        out: Tensor = self.net(x.to(next(self.net.parameters()).dtype))
        return out


class Vote(nn.Module):
    """Several trained models whose probabilities are averaged; gives the logits of the average."""

    def __init__(self, members: list[nn.Module], task: Task) -> None:
        super().__init__()
        self.members, self.task = nn.ModuleList(members), task
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, outputs] of raw rows ``x`` [n, ...]."""
        p = torch.stack([self.task.probabilities(member(x).double()) for member in self.members]).mean(0)
        return torch.logit(p[:, 1:]) if self.task.kind == "binary" else p.log()


def as_module(net: Net, models: list[Tensors]) -> nn.Module:
    """Return one module for what a site predicts with."""
    members: list[nn.Module] = [TrainedModel(net, params) for params in models]
    return members[0] if len(members) == 1 else Vote(members, net.task)


def no_preparation(features: int) -> dict[str, Any]:
    """Return the preparation of a model that has seen no patient yet."""
    zero = torch.zeros(features, dtype=torch.float64)
    return {f"{PREPARATION}{k}": v for k, v in dict(fill=zero, scale=zero + 1, indicator=zero, measured=zero).items()}
