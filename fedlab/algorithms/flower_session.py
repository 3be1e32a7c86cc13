"""The server half of :mod:`fedlab.algorithms.from_flower`: one run's copy of a strategy, and the process it expects.

All that is private to Flower is in this module: the identity that a ``Message`` asks for, and message numbers.
"""

from __future__ import annotations

import gc
import logging
import random
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fedlab.algorithms.tensors import Tensors, fixed

if TYPE_CHECKING:
    from flwr.app import ArrayRecord, ConfigRecord, Message
    from flwr.serverapp import Grid

IDENTITY = {"_task_id": 4_711_000_001, "_run_id": 4_711_000_001, "_node_id": 0}
"""Who makes messages in a process that is no task of Flower's; site i is node i + 1."""
PATIENCE = 5.0
"""Seconds after which a strategy that still looks for more nodes is told that there are none."""
PLAIN = {"server-round"}
"""What a site may leave unread of a strategy's configuration."""


@dataclass
class Session:
    """What changes in a run: the strategy's copy, the model it last gave, and the messages that await a reply.

    A strategy may put one record into all its messages, and empty what it is given: no record is used twice.
    """

    strategy: Any
    model: Tensors = field(default_factory=dict)
    seed: int = 0
    round: int = 0
    config: ConfigRecord | None = None
    asked: dict[int, Message] = field(default_factory=dict)
    warned: bool = False
    silent: list[int] = field(default_factory=list)

    def begin(self, params: Tensors, seed: int) -> None:
        """Set out; the order of the names is the model's from here on, since strategies go by position."""
        from flwr.app import ConfigRecord

        self.model = {k: v for k, v in params.items() if not fixed(k)}
        self.seed, self.config = seed, ConfigRecord()

    def ask(self, round: int, sites: int, seed: int) -> list[int]:
        """Return the sites of ``configure_train``'s messages."""
        self.round = round
        given = _arrays(self.model)
        with self._calling("configure_train", seed):
            messages = list(
                self.strategy.configure_train(round, _arrays(self.model), self.config, _grid_class()(sites))
            )
        name = name_of(self.strategy)
        self.asked = {}
        seen: set[int] = set()
        for message in messages:
            site = message.metadata.dst_node_id - 1
            if not 0 <= site < sites or site in self.asked:
                raise ValueError(
                    f"{name} sends to node {site + 1} in round {round}: a node is one of 1 to {sites}, asked once"
                )
            if id(message.content) not in seen:  # one record often serves all
                seen.add(id(message.content))
                self._check_content(message, given)
            message.metadata.__dict__["_message_id"] = f"round-{round}-site-{site}"
            self.asked[site] = message
        if not self.asked:
            raise ValueError(
                f"{name} asks no site in round {round}: raise fraction_train or min_train_nodes (there are {sites} "
                "sites)"
            )
        return sorted(self.asked)

    def _check_content(self, message: Message, given: ArrayRecord) -> None:
        """Refuse what plain SGD would get wrong, and say once what it leaves unread."""
        name, records = name_of(self.strategy), list(message.content.array_records.values())
        if message.metadata.message_type != "train":
            raise ValueError(
                f"{name} sends a message of type {message.metadata.message_type!r}: the sites know 'train' only"
            )
        if len(records) != 1 or dict(records[0]) != dict(given):
            raise ValueError(
                f"{name} sends its sites something else than the server's model: plain SGD starts from the model "
                "alone, so write such an algorithm as a class derived from fedlab.algorithms.Algorithm"
            )
        configs = message.content.config_records.values()
        unread = {key for config in configs for key, value in config.items() if value} - PLAIN  # 0: no such term
        if unread and not self.warned:
            self.warned = True
            warnings.warn(
                f"{name} tells its sites {', '.join(sorted(unread))}, which they leave unread: they train by plain SGD",
                stacklevel=2,
            )

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Sequence[float], who: Sequence[int]
    ) -> Tensors:
        """Return the tensors of ``aggregate_train``, or the model as it was."""
        place = {site: i for i, site in enumerate(who)}
        replies = [
            self._reply(message, place.get(site), uploads, extra, weights)
            for site, message in sorted(self.asked.items())
        ]
        self.asked = {}
        seed = int(np.random.SeedSequence([self.seed, self.round]).generate_state(1)[0])
        with self._calling("aggregate_train", seed):
            got = self.strategy.aggregate_train(self.round, replies)
            arrays = got[0]
        self.model = {k: params[k] for k in self.model}
        if arrays:
            self.model = self._tensors(arrays)
        else:
            self.silent.append(self.round)
        return dict(self.model)

    def _reply(
        self, message: Message, i: int | None, uploads: Tensors, extra: Tensors, weights: Sequence[float]
    ) -> Message:
        """Say what the i-th site sent; without i, that it failed."""
        from flwr.app import Error, Message, MetricRecord, RecordDict
        from flwr.common.constant import ErrorCode

        if i is None:
            error = Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason="the site could not answer")
            return Message(error, reply_to=message)
        metrics: dict[str, Any] = {setting(self.strategy, "weighted_by_key", "num-examples"): round(weights[i])}
        if "loss" in extra:
            metrics[setting(self.strategy, "train_loss_key")] = float(extra["loss"][i])
        arrays = _arrays({k: uploads[k][i] for k in self.model})
        key = setting(self.strategy, "arrayrecord_key", "arrays")
        return Message(RecordDict({key: arrays, "metrics": MetricRecord(metrics)}), reply_to=message)

    def _tensors(self, arrays: ArrayRecord) -> Tensors:
        """Return the arrays as the model's tensors: its names, shapes and dtypes."""
        name, out = name_of(self.strategy), {}
        if set(arrays) != set(self.model):
            other = sorted(set(arrays) ^ set(self.model))
            raise ValueError(f"{name} gave arrays of other names than the model's: {', '.join(other)}")
        for key, old in self.model.items():
            new = torch.tensor(arrays[key].numpy())
            if new.shape != old.shape:
                raise ValueError(
                    f"{name} gave {key!r} the shape {list(new.shape)}, where the model has {list(old.shape)}"
                )
            out[key] = new.to(old.dtype)
        return out

    @contextmanager
    def _calling(self, method: str, seed: int) -> Iterator[None]:
        """Call the strategy; if it fails, say whose failure it is."""
        try:
            with _as_flower(seed):
                yield
        except Exception as error:
            raise RuntimeError(
                f"Flower's {name_of(self.strategy)} failed in {method} in round {self.round} "
                f"({type(error).__name__}): {error}"
            ) from error


# ---------------------------------------------------------------------- what a strategy expects of its process

_ALONE = threading.RLock()  # what is lent below belongs to the whole process


@contextmanager
def _as_flower(seed: int) -> Iterator[None]:
    """Lend a strategy an identity for its messages, seeded global generators and a quiet log; then put all back."""
    from flwr.supercore.task_identity import TaskIdentity

    log = logging.getLogger("flwr")
    with _ALONE:
        drawn, numbers, level = random.getstate(), np.random.get_state(), log.level
        lent = {name: mine for name, mine in IDENTITY.items() if getattr(TaskIdentity, name) is None}
        for name, mine in lent.items():  # in Flower's simulation they are set, and stay
            setattr(TaskIdentity, name, mine)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        log.setLevel(max(level, logging.WARNING))
        freeze = not gc.get_freeze_count()
        if freeze:  # Bulyan and QFedAvg collect garbage for each reply: 0.1 s each with torch's objects, 10 s a run
            gc.freeze()
        try:
            yield
        finally:
            if freeze:
                gc.unfreeze()
            random.setstate(drawn)
            np.random.set_state(numbers)
            log.setLevel(level)
            for name, mine in lent.items():
                if getattr(TaskIdentity, name) == mine:  # else a simulation began meanwhile
                    setattr(TaskIdentity, name, None)


@cache
def _grid_class() -> Callable[[int], Grid]:
    """Return the class of the grid that stands in for Flower's: it knows the nodes, and carries nothing."""
    from flwr.app import Message
    from flwr.serverapp import Grid

    def closed(*args: Any, **options: Any) -> Any:
        raise NotImplementedError("it talks to the nodes itself, which FromFlower does not let it do")

    class InProcess(Grid):
        set_run = push_messages = pull_messages = send_and_receive = closed
        run = property(closed)

        def __init__(self, sites: int) -> None:
            self.sites, self.looks, self.began = sites, 0, time.monotonic()

        def create_message(
            self, content: Any, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
        ) -> Message:
            return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

        def get_node_ids(self) -> list[int]:
            self.looks += 1
            if self.looks > 4 and time.monotonic() - self.began > PATIENCE:
                raise ValueError(f"it waits for more nodes, and there are {self.sites}")
            return [1 + site for site in range(self.sites)]

    return InProcess


def _arrays(tensors: Tensors) -> ArrayRecord:
    from flwr.app import Array, ArrayRecord

    return ArrayRecord({k: Array(v.detach().contiguous().numpy()) for k, v in tensors.items()})


# ---------------------------------------------------------------------- what is asked of a strategy


def name_of(strategy: Any) -> str:
    """Return what to call it."""
    return type(strategy).__name__


def parts_of(strategy: Any) -> Iterator[Any]:
    """Go through a strategy and those that it wraps."""
    while hasattr(strategy, "aggregate_train"):
        yield strategy
        strategy = getattr(strategy, "strategy", None)


def setting(strategy: Any, name: str, default: Any = None) -> Any:
    """Return a setting of a strategy, or of the one that it wraps."""
    return next((getattr(part, name) for part in parts_of(strategy) if hasattr(part, name)), default)
