"""The contract: an algorithm is two halves, pure functions on dicts of named tensors.

The site half is written for *one* site; the engine runs it for one, or stacks all sites and runs it once. The server
half sees the uploads stacked over the sites that answered. Everything has a default (FedAvg is the class with nothing
overridden); an override is the only thing a new algorithm writes.

Four rules make it enough:

1. Running statistics of norm layers are carried, not trained: they come back through the dict.
2. The site's optimiser is pure and elementwise, with a step count per tensor.
3. A site that is done, or a tensor that does not move, keeps its value *and* its optimiser's state.
4. Code under a stack has no data-dependent ``if`` and no ``.item()``: use ``torch.where``. The server half is stacked
   too, over the seeds of a study, where it can be; one that looks at its numbers goes run by run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fedlab.algorithms.tensors import Tensors, mean
from fedlab.models import ModelLike, build

Sums: TypeAlias = Literal["rows", "equal"] | None
"""What ``combine`` needs of the uploads: their sum weighted by rows, their plain sum, or each by itself."""


class Batch(NamedTuple):
    """Rows as the model sees them.

    Parameters
    ----------
    x : Tensor, shape [rows, ...]
        Of bags [rows, instances, width], zero where there is no instance.
    y : Tensor, shape [rows]
    weight : Tensor, shape [rows]
        1, and 0 for a row that only fills up the batch of a stacked site.
    mask : bool tensor, shape [rows, instances], or None
        Of bags: which instances there are.
    """

    x: Tensor
    y: Tensor
    weight: Tensor
    mask: Tensor | None = None


class At(Protocol):
    """What a site knows in this step. Tensors may be stacked by the engine; ``step`` and ``round`` are plain numbers.

    ``anchor`` is what it received, its own tensors merged in; ``extra`` what travelled besides; ``memory`` what it kept
    from its last round; ``lr`` the step size, ``base_lr`` that before the schedule, ``steps`` its number of steps this
    round, ``n`` its training rows, ``key`` a seed for counters, ``momentum`` that of the site's SGD (``None``: another
    optimiser), ``batch`` this step's :class:`Batch`, weight 0 being padding, and ``rows`` all its training rows
    likewise.
    """

    anchor: Tensors
    extra: Tensors
    memory: Tensors
    lr: Tensor
    base_lr: Tensor
    steps: Tensor
    n: Tensor
    key: Tensor
    round: int
    rounds: int
    step: int
    momentum: float | None

    @property
    def batch(self) -> Batch:
        """Rows, labels and weights of this step."""

    @property
    def rows(self) -> Batch:
        """All training rows of the site, likewise."""

    def loss(self, params: Tensors, part: tuple[int, int] | None = None, into: Tensors | None = None) -> Tensor:
        """Mean loss on this step's batch; ``part=(i, k)``: every k-th row from i; statistics move in ``into``."""

    def gradient(self, params: Tensors, part: tuple[int, int] | None = None, risk: bool = False) -> Tensors:
        """Gradient of ``loss`` (or ``risk``), itself differentiable: for inner loops."""

    def risk(self, params: Tensors) -> Tensor:
        """Mean loss on all training rows, evaluation mode."""

    def features(self, params: Tensors) -> Tensor:
        """``model.features(x)``, of bags ``features(x, mask)``, on this step's batch."""

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
    adapts: ClassVar[bool] = False
    """A site's own model follows from what it received and its rows, so that one that never trained has one too."""
    full_batch: ClassVar[bool] = False
    """A site takes one step a round, on all its rows (FedSGD)."""
    needs_sgd: ClassVar[bool] = False
    """A formula counts how often each gradient acts: the site's optimiser must be SGD, with or without momentum."""
    statistics: ClassVar[str] = "mean"
    """Running statistics are averaged by rows (by the engine), or (``"combine"``) go through :meth:`combine`."""

    @property
    def sums(self) -> Sums:
        """What :meth:`combine` needs of the uploads; who overrides it says so (``sums = "rows"``), else it is ``None``.

        ``"rows"``: their sum weighted by rows, ``"equal"``: their plain sum (running statistics weighted by rows all
        the same), ``None``: each by itself. Only of sums can the uploads be kept from the server.
        """
        return "rows"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "combine" in vars(cls) and "sums" not in vars(cls):  # what it does with them is not known
            cls.sums = None  # type: ignore[method-assign, assignment]

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

    def remarks(self) -> list[str]:
        """What there is to say of a run that has ended, for its notes."""
        return []

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

        return describe(self, build(model, inputs, 1), sites=sites, inputs=inputs)

    def __str__(self) -> str:
        """The call that makes it: its numbers, and of the words those that are not the default."""
        told = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        words = [f.name for f in dataclasses.fields(self) if f.default == told[f.name] and isinstance(f.default, str)]
        said = ", ".join(f"{name}={value!r}" for name, value in told.items() if name not in words)
        return f"{type(self).__name__}({said})"


def is_foreign(thing: object) -> bool:
    """Return whether an object's code is not fedlab's own: what it is handed is a copy, that it may do anything with.

    Examples
    --------
    >>> is_foreign(Algorithm())
    False
    """
    return not type(thing).__module__.startswith("fedlab.")


def whole(alg: Algorithm) -> bool:
    """Tell whether the model that travels is all that a site predicts with."""
    cls = type(alg)
    return cls.personal is Algorithm.personal and cls.shared is Algorithm.shared
