"""Nodes in this process: a grid that carries messages to real ClientApps, which can die, hang and come back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fedlab.engine import Run
from fedlab.engine.exchange import Exchange
from fedlab.engine.rounds import rounds
from fedlab.engine.site import SiteWork
from fedlab.privacy import SIMULATED


class Grid:
    """Nodes, each with a ClientApp and what Flower keeps for it."""

    def __init__(self) -> None:
        self.nodes: dict[int, tuple[Any, Any]] = {}
        self.waiting: dict[str, Any] = {}
        self.holds: Callable[[str, int], bool] = lambda purpose, node: False
        self.numbers = itertools.count(1)
        self.asked: list[tuple[str, int]] = []

    def start(self, app: Any, **config: Any) -> int:
        """Start a node; one that is started again is a new one to Flower."""
        from flwr.app import Context, RecordDict

        node = next(self.numbers)
        self.nodes[node] = app, Context(7, node, config, RecordDict(), {})
        return node

    def stop(self, node: int) -> None:
        """End a node; what it kept is gone."""
        del self.nodes[node]

    def get_node_ids(self) -> Iterable[int]:
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Any]) -> Iterable[str]:
        numbers = []
        for message in messages:
            number = f"message {next(self.numbers)}"
            message.metadata.__dict__["_message_id"] = number
            self.waiting[number] = message
            self.asked.append((str(message.content["plain"]["purpose"]), message.metadata.dst_node_id))
            numbers.append(number)
        return numbers

    def pull_messages(self, numbers: Iterable[str]) -> Iterator[Any]:
        from flwr.app import Error, Message

        for number in list(numbers):
            message = self.waiting.get(number)
            if message is None or self.holds(str(message.content["plain"]["purpose"]), message.metadata.dst_node_id):
                continue
            del self.waiting[number]
            if message.metadata.dst_node_id not in self.nodes:
                yield Message(Error(code=0, reason="it died"), reply_to=message)
                continue
            app, context = self.nodes[message.metadata.dst_node_id]
            yield app(message, context)


def site_work(run: Run, name: str) -> SiteWork:
    """Put a site of a run's federation to work, as a node does."""
    site = run.federation[name]
    net = run.net.copy()
    return SiteWork.of(
        site, alg=run.algorithm, net=net, optimizer=run.settings.optimizer, prepared=run.federation.prepared
    )


def app_of(run: Run, **options: Any) -> Any:
    """A ClientApp whose node is told in its configuration which site it is."""
    from fedlab.engine.flower import client_app

    def name_of(context: Any) -> str:
        return str(context.node_config["site"])

    options = {"policy": SIMULATED, **options}
    return client_app(lambda context: site_work(run, name_of(context)), name_of=name_of, **options)


def carry(run: Run, transport: Any, **options: Any) -> Run:
    """Carry a run through over a transport."""
    exchange = Exchange(transport, min_sites=run.settings.min_sites, ledger=run.ledger_book, **options)
    for _ in rounds(run, exchange):
        pass
    return run
