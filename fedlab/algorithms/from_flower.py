r"""A strategy of Flower in an algorithm's place.

Beutel et al., *Flower: a friendly federated learning research framework*, arXiv:2007.14390; its message API
(``flwr.serverapp.strategy``), version 1.41.

The sites train by plain SGD. The strategy's own code does the rest: ``configure_train`` says whom to ask and
``aggregate_train`` makes the next model of what they sent. It is called in this process, whatever carries the messages,
with what it would get from Flower: replies with the model and ``num-examples`` (and, for a strategy with a
``train_loss_key``, the loss of the received model on the site's training rows), error replies of sites that failed.
Running statistics are arrays like others; the preparation stays outside.

Flower's strategies are taken as they are. Where they leave their papers: FedAdam corrects the bias with exponent
round + 1; FedAdam, FedYogi and FedAdagrad start at :math:`v = 0`, not :math:`\tau^2`, and treat running statistics as
weights; QFedAvg at :math:`q = 0` is the uniform mean; MultiKrum's mean counts examples; Krum's distances cancel in
float32; Bulyan selects in one shot.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from fedlab.algorithms.base import Algorithm, At
from fedlab.algorithms.flower_session import Session, name_of, parts_of, setting
from fedlab.algorithms.tensors import Tensors

INSTALL = "pip install 'fedlab-workbench[ray]'"
COUNTS = ("min_available_nodes", "min_train_nodes")
CLIPS_AT_SITES = (
    "clips at the sites, which train by plain SGD here: nothing would be clipped, and the noise be no privacy"
)
REFUSED = {
    "DifferentialPrivacyClientSideFixedClipping": CLIPS_AT_SITES,
    "DifferentialPrivacyClientSideAdaptiveClipping": CLIPS_AT_SITES,
    "FedXgbBagging": "puts trees together, and fedlab's models are tensors",
}
SEEDED_NOISE = (
    "{name} draws its noise from the run's seed here, so that a rerun gives the same numbers: that shows what the "
    "noise costs, and protects nobody"
)


@dataclass(frozen=True, kw_only=True)
class FromFlower(Algorithm):
    """A Flower strategy as an algorithm.

    Each run works on a copy of the strategy as it is when the run begins; the object itself is left alone. Whatever
    the strategy draws from Python's or NumPy's global generator comes from the run's seed.

    Parameters
    ----------
    strategy : flwr.serverapp.strategy.Strategy
        With its settings, of Flower's message API.

    Raises
    ------
    TypeError
        If it is something else: a class, a strategy of the legacy ``flwr.server.strategy``.
    ValueError
        If it needs the sites to do more than plain SGD: FedProx, clipping at the sites.
    ImportError
        Without Flower.

    Examples
    --------
    >>> from flwr.serverapp.strategy import FedAdam
    >>> str(FromFlower(FedAdam(eta=0.01))), FromFlower(FedAdam()).name
    ('FromFlower(FedAdam(eta=0.01))', 'flower.fedadam')
    """

    statistics: ClassVar[str] = "combine"
    _session: ClassVar[Session | None] = None  # a bound copy has its own, which is no field: it is not what was asked

    strategy: Any = field(kw_only=False)

    def __post_init__(self) -> None:
        _check(self.strategy)

    # ------------------------------------------------------------------ before a run

    def bind(self, model: nn.Module, sites: int) -> Algorithm:
        """Return a copy with a server of its own, or say that the strategy waits for more sites than there are."""
        super().bind(model, sites)
        for part in parts_of(self.strategy):
            for count in COUNTS:
                least = getattr(part, count, 0)
                if isinstance(least, int) and least > sites:
                    raise ValueError(
                        f"{name_of(part)} waits for {count}={least} sites, and there are {sites}: set it to {sites} or "
                        "less"
                    )
        bound = copy.copy(self)
        object.__setattr__(bound, "_session", Session(_copied(self.strategy)))
        return bound

    def __getstate__(self) -> dict[str, Any]:
        """What a site (or a file) gets: the server's session stays at the server."""
        return {"strategy": self.strategy}

    def __deepcopy__(self, memo: dict[int, Any]) -> FromFlower:
        twin = copy.copy(self)
        object.__setattr__(twin, "strategy", copy.deepcopy(self.strategy, memo))
        if self._session is not None:
            object.__setattr__(twin, "_session", copy.deepcopy(self._session, memo))
        return twin

    # ------------------------------------------------------------------ at a site

    def finish(self, vars: Tensors, at: At) -> tuple[Tensors, Tensors, Tensors]:
        """Send the model; and, where the strategy looks at it, the loss of the model that was received."""
        return vars, {"loss": at.risk(at.anchor)} if setting(self.strategy, "train_loss_key") else {}, at.memory

    # ------------------------------------------------------------------ at the server

    def begin(self, params: Tensors, sites: int, rng: torch.Generator) -> Tensors:
        """Give the session the start and a seed; what the strategy remembers is in itself."""
        self._server().begin(params, int(torch.randint(2**62, (), generator=rng)))
        return {}

    def asks(self, round: int, sites: int, rng: np.random.Generator) -> list[int]:
        """Whom ``configure_train`` asks."""
        return self._server().ask(round, sites, int(rng.integers(2**32)))

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """What ``aggregate_train`` makes of the uploads; the model as it was, if it makes nothing."""
        return self._server().combine(params, uploads, extra, weights.tolist(), who.tolist()), state

    def _server(self) -> Session:
        if self._session is None:
            raise RuntimeError(f"{self} has no server: one is made by bind(model, sites), before each run")
        return self._session

    # ------------------------------------------------------------------ about itself

    def remarks(self) -> list[str]:
        """In how many rounds the strategy gave no model."""
        silent = self._session.silent if self._session is not None else []
        if not silent:
            return []
        where = f"round {silent[0]}" if len(silent) == 1 else f"{len(silent)} rounds, the first {silent[0]}"
        return [f"{name_of(self.strategy)} gave no model in {where}: the model stayed as it was"]

    @property
    def name(self) -> str:
        """The strategy's class in lower case, e.g. ``flower.fedadam``."""
        return f"flower.{type(self.strategy).__name__.lower()}"

    def __str__(self) -> str:
        return f"FromFlower({_words(self.strategy)})"


# ---------------------------------------------------------------------- what is said of a strategy


def _check(strategy: Any) -> None:
    """Refuse what is no strategy, and what plain SGD at the sites would leave half done."""
    try:
        from flwr.serverapp.strategy import Strategy
    except ImportError as error:
        raise ImportError(f"FromFlower needs Flower: {INSTALL}") from error
    if not isinstance(strategy, Strategy):
        raise TypeError(
            f"FromFlower takes a strategy of Flower's message API, e.g. FromFlower(flwr.serverapp.strategy.FedAdam()), "
            f"not {_what(strategy, Strategy)}"
        )
    for part in parts_of(strategy):
        kinds = {cls.__name__ for cls in type(part).__mro__}
        if "FedProx" in kinds and getattr(part, "proximal_mu", None):
            raise ValueError(
                f"the proximal term of {name_of(part)} belongs into the sites' loss, and the sites train by plain SGD "
                f"here: use fedlab.algorithms.FedProx(mu={part.proximal_mu!r})"
            )
        for kind in REFUSED.keys() & kinds:
            raise ValueError(f"{name_of(part)} {REFUSED[kind]}: FromFlower cannot run it")
        if any(kind.startswith("DifferentialPrivacyServerSide") for kind in kinds):
            warnings.warn(SEEDED_NOISE.format(name=name_of(part)), stacklevel=4)


def _what(given: Any, strategy: type) -> str:
    if isinstance(given, type):
        return f"the class {given.__name__}" + (": call it" if issubclass(given, strategy) else "")
    if any(cls.__module__.startswith("flwr.server.strategy") for cls in type(given).__mro__):
        return f"the {name_of(given)} of the legacy flwr.server.strategy"
    return f"a {type(given).__name__}"


def _words(strategy: Any) -> str:
    """Write a strategy as its constructor's call, as far as the settings are plain and not the defaults."""
    told = []
    for name, parameter in inspect.signature(type(strategy).__init__).parameters.items():
        value = getattr(strategy, name, None)
        if hasattr(value, "aggregate_train"):
            told.append(_words(value))
        elif isinstance(value, (bool, int, float, str)) and value != parameter.default:
            told.append(f"{name}={value!r}")
    return f"{name_of(strategy)}({', '.join(told)})"


def _copied(strategy: Any) -> Any:
    try:
        return copy.deepcopy(strategy)
    except Exception as error:
        raise TypeError(
            f"{name_of(strategy)} cannot be copied ({error}), and every run needs its own: leave out what it holds open"
        ) from error
