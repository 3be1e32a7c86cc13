"""The contract: an algorithm is two halves, pure functions on dicts of named tensors.

The site half is written for *one* site; the engine runs it for one, or stacks all sites and runs it once. The server
half sees the uploads stacked over the sites that answered. Everything has a default (FedAvg is the class with nothing
overridden); an override is the only thing a new algorithm writes.

Four rules make it enough:

1. Running statistics of norm layers are carried, not trained: they come back through the dict.
2. The site's optimiser is pure and elementwise, with a step count per tensor.
3. A site that is done, or a tensor that does not move, keeps its value *and* its optimiser's state.
4. Code under a stack has no data-dependent ``if`` and no ``.item()``: use ``torch.where``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fedlab.models import ModelLike, build

Tensors: TypeAlias = dict[str, Any]
"""Name to tensor; may nest (several models, scalars)."""

PREPARATION = "prepare."


def statistic(name: str) -> bool:
    """Tell a running statistic, moved by the forward pass and never by a gradient."""
    return name.rsplit(".", 1)[-1] in ("running_mean", "running_var")


def fixed(name: str) -> bool:
    """Tell a buffer of the preparation: settled before the first round, part of the model, never merged."""
    return name.startswith(PREPARATION)


def carried(name: str) -> bool:
    """Tell what is in ``vars`` without a gradient; a leading underscore marks an algorithm's own."""
    return statistic(name) or fixed(name) or name.startswith("_")


def trained(params: Tensors) -> Tensors:
    """Keep the tensors that a gradient moves."""
    return {name: tensor for name, tensor in params.items() if not carried(name)}


def zeros(params: Tensors) -> Tensors:
    """Return zeros in the shape of the trained tensors."""
    return {name: torch.zeros_like(tensor) for name, tensor in trained(params).items()}


def in_layers(name: str, layers: str) -> bool:
    """Tell whether a tensor belongs to one of the named layers.

    Examples
    --------
    >>> in_layers("head.weight", "head, body.1"), in_layers("header.weight", "head"), in_layers("bias", "bias")
    (True, False, True)
    """
    wanted = [layer.strip().rstrip(".") for layer in layers.split(",")]
    return any(name == layer or name.startswith(f"{layer}.") for layer in wanted if layer)


def steps_on(params: Tensors, gradient: Tensors, rate: float | Tensor) -> Tensors:
    """Take one step of gradient descent; tensors without a gradient stay."""
    return {**params, **{k: params[k] - rate * g for k, g in gradient.items()}}


def distance2(params: Tensors, anchor: Tensors) -> Tensor:
    r"""Squared distance :math:`\lVert w - w_t \rVert^2` of the trained tensors.

    Examples
    --------
    >>> import torch
    >>> distance2({"w": torch.tensor([3.0, 4.0])}, {"w": torch.zeros(2)}).item()
    25.0
    """
    return torch.stack([((w - anchor[k]) ** 2).sum() for k, w in trained(params).items()]).sum()


def squared_norms(updates: Tensors) -> Tensor:
    """Return the squared norm of each site's update, in float64: tensors [sites, ...] to [sites]."""
    return torch.stack([(u.double() ** 2).reshape(len(u), -1).sum(1) for u in updates.values()]).sum(0)


def mean(uploads: Tensors, weights: Tensor) -> Tensors:
    r"""Weighted mean over the sites, :math:`\sum_i w_i u_i / \sum_i w_i`; uploads [sites, ...], weights [sites].

    Examples
    --------
    >>> import torch
    >>> mean({"w": torch.tensor([[1.0], [4.0]])}, torch.tensor([1.0, 2.0]))["w"].item()
    3.0
    """
    total = weights.sum()
    if total == 0:
        raise ValueError("the weights of all sites are zero: there is no mean")
    share = weights / total
    return {k: torch.tensordot(share.to(u.dtype), u, dims=1) for k, u in uploads.items()}


class At(Protocol):
    """What a site knows in this step. Tensors may be stacked by the engine; ``step`` and ``round`` are plain numbers.

    ``anchor`` is what it received, its own tensors merged in; ``extra`` what travelled besides; ``memory`` what it kept
    from its last round; ``lr`` the step size, ``steps`` its number of steps this round, ``n`` its training rows,
    ``key`` a seed for counters, ``momentum`` that of the site's SGD (``None``: another optimiser), ``batch`` this
    step's ``(x, y, weight)``, weight 0 being padding, and ``rows`` all its training rows likewise.
    """

    anchor: Tensors
    extra: Tensors
    memory: Tensors
    lr: Tensor
    steps: Tensor
    n: Tensor
    key: Tensor
    round: int
    rounds: int
    step: int
    momentum: float | None

    @property
    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, labels and weights of this step."""

    @property
    def rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """All training rows of the site, likewise."""

    def loss(self, params: Tensors, part: tuple[int, int] | None = None, into: Tensors | None = None) -> Tensor:
        """Mean loss on this step's batch; ``part=(i, k)``: every k-th row from i; statistics move in ``into``."""

    def gradient(self, params: Tensors, part: tuple[int, int] | None = None, risk: bool = False) -> Tensors:
        """Gradient of ``loss`` (or ``risk``), itself differentiable: for inner loops."""

    def risk(self, params: Tensors) -> Tensor:
        """Mean loss on all training rows, evaluation mode."""

    def features(self, params: Tensors) -> Tensor:
        """``model.features(x)`` on this step's batch."""

    def noise(self, shape: Sequence[int], salt: int = 0) -> Tensor:
        """Standard normal numbers of the site, the round and the step: the same in every mode; ``salt`` parts draws."""


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """How the sites learn together; by default FedAvg. Override what differs."""

    restart: ClassVar[bool] = True
    """The site's optimiser starts afresh each round (``False``: isolated, centralized)."""
    clocked: ClassVar[bool] = False
    """Every site takes as many steps a round as the largest one (isolated, centralized), reshuffling."""
    alone: ClassVar[bool] = False
    """Each site learns by itself, and so does its preprocessing (isolated, ensemble)."""
    one_model: ClassVar[bool] = True
    """Every site predicts with the same model; ``False``: each has its own (isolated, personalised)."""
    full_batch: ClassVar[bool] = False
    """A site takes one step a round, on all its rows (FedSGD)."""
    needs_sgd: ClassVar[bool] = False
    """The site's optimiser must be SGD, with or without momentum (FedNova)."""
    statistics: ClassVar[str] = "mean"
    """Running statistics are averaged by rows (by the engine), or (``"combine"``) go through :meth:`combine`."""

    # ------------------------------------------------------------------ before a run

    def bind(self, model: nn.Module, sites: int) -> Algorithm:
        """Return the algorithm for this model and number of sites, or refuse them with a sentence.

        The place to find layers by their kind (FedBN) or name (FedPer), and to say a bound (Krum).
        """
        if sites < self.quorum(sites):
            raise ValueError(f"{self} needs at least {self.quorum(sites)} sites, and there are {sites}")
        return self

    def quorum(self, sites: int) -> int:
        """Return how many of so many sites must answer for :meth:`combine` to mean anything."""
        return 1

    # ------------------------------------------------------------------ at a site

    def shared(self, name: str) -> bool:
        """Does this tensor travel? The engine keeps the others at the site and merges them in."""
        return True

    def remember(self, params: Tensors) -> Tensors:
        """What a site keeps between rounds, before the first."""
        return {}

    def start(self, at: At) -> Tensors:
        """What is trained: a model, or several models and scalars by name."""
        return at.anchor

    def objective(self, vars: Tensors, at: At) -> Tensor:
        """One gradient of this scalar moves every trained tensor in ``vars``."""
        return at.loss(vars)

    def direction(self, grad: Tensors, vars: Tensors, at: At) -> Tensors:
        """What the optimiser is given in place of the gradient."""
        return grad

    def moves(self, name: str, at: At) -> bool | Tensor:
        """May this tensor move in this step? Its optimiser's state waits too."""
        return True

    def project(self, vars: Tensors, at: At) -> Tensors:
        """Bring what was trained back into its bounds, after each step (APFL: a share into [0, 1])."""
        return vars

    def finish(self, vars: Tensors, at: At) -> tuple[Tensors, Tensors, Tensors]:
        """``(upload, extra, memory)``: the model it sends, what it sends besides, what it keeps."""
        return vars, {}, at.memory

    def personal(self, at: At) -> list[Tensors]:
        """The models this site predicts with; the probabilities of several are averaged."""
        return [at.anchor]

    # ------------------------------------------------------------------ at the server

    def arrange(self, sites: Sequence[Any]) -> list[list[Any]]:
        """Who trains together: one list of sites for each place of training (Centralized: one list of all)."""
        return [[site] for site in sites]

    def asks(self, round: int, sites: int, rng: np.random.Generator) -> list[int]:
        """Whom to ask in this round, by number."""
        return list(range(sites))

    def begin(self, params: Tensors, sites: int, rng: torch.Generator) -> Tensors:
        """The server's memory before the first round."""
        return {}

    def broadcast(self, state: Tensors) -> Tensors:
        """What travels to the sites besides the model."""
        return {}

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """``(params, state)`` from what came back: tensors [answered, ...] in site order, ``who`` their numbers.

        By default the mean weighted by ``weights``, the numbers of training rows.
        """
        return mean(uploads, weights), state

    # ------------------------------------------------------------------ about itself

    @property
    def name(self) -> str:
        """The registry's name: the class's, in lower case."""
        return type(self).__name__.lower()

    def describe(self, model: ModelLike = "mlp_norm", *, sites: int = 4, inputs: int = 26) -> pd.DataFrame:
        """Return what travels in a round and what stays, for a model of so many ``inputs`` and one output.

        Parameters
        ----------
        model : str, callable or Module
        sites : int
        inputs : int
            Columns that the model sees; 26 are the four hospitals' 13 features, each with its missing-indicator.

        Returns
        -------
        DataFrame
            ``where`` (to, from, at a site, at the server), ``what``, ``arrays``, ``bytes`` (float32) and ``content``.
            Beside the model every site sends how many training rows it has.

        Examples
        --------
        >>> import fedlab
        >>> told = fedlab.algorithms.Scaffold().describe("logistic")
        >>> told.query("where == 'from a site'")[["what", "bytes"]].values.tolist()
        [['model', 108], ['besides', 116]]
        """
        from fedlab.algorithms.describe import describe

        return describe(self, build(model, inputs, 1), sites=sites)

    def __str__(self) -> str:
        """The call that makes it: its numbers, and of the words those that are not the default."""
        told = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        words = [f.name for f in dataclasses.fields(self) if f.default == told[f.name] and isinstance(f.default, str)]
        said = ", ".join(f"{name}={value!r}" for name, value in told.items() if name not in words)
        return f"{type(self).__name__}({said})"


def whole(alg: Algorithm) -> bool:
    """Tell whether the model that travels is all that a site predicts with."""
    cls = type(alg)
    return cls.personal is Algorithm.personal and cls.shared is Algorithm.shared


def in_range(name: str, value: float, low: float, high: float = float("inf"), *, open_low: bool = False) -> None:
    """Refuse a hyper-parameter that is no finite number in its range, with a sentence that names both."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not (low < value if open_low else low <= value) or not value <= high:
        bound = f"{'more than' if open_low else 'at least'} {low:g}" + (
            f" and at most {high:g}" if high < np.inf else ""
        )
        raise ValueError(f"{name} is {value!r}: it must be {bound}")


def counts(name: str, value: int, low: int) -> None:
    """Refuse a hyper-parameter that is no whole number of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name} is {value!r}: it must be a whole number of at least {low}")


def learned(model: nn.Module) -> Tensors:
    """Return the named tensors of a model: what a gradient moves, and running statistics.

    The rest is no part of what is learned, does not travel and stays as it was built: frozen parameters, other buffers.
    Of tied parameters the first name stands for all.

    Examples
    --------
    >>> layer = nn.Linear(2, 1)
    >>> layer.bias.requires_grad_(False)
    Parameter containing:
    ...
    >>> list(learned(layer))
    ['weight']
    """
    moving = {k for k, v in model.named_parameters() if v.requires_grad and v.is_floating_point()}
    return {k: v.detach().clone() for k, v in model.state_dict().items() if k in moving or statistic(k)}


def check_layers(said: str, layers: str, model: nn.Module) -> list[str]:
    """Return the learned tensors in these layers; refuse names that are in no model.

    ``said`` is how the call was written, e.g. ``"FedPer(head='top')"``.
    """
    names = list(learned(model))
    for layer in layers.split(","):
        if not any(in_layers(name, layer) for name in names):
            raise ValueError(
                f"{said}: {type(model).__name__} has no layer {layer.strip()!r}. Name one that it has, or use a model "
                f'with such a layer ("mlp" has body and head); its tensors are {", ".join(names)}'
            )
    return [name for name in names if in_layers(name, layers)]
