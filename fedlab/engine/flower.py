"""The Flower transport: the exchange's questions as Flower messages, for a simulation or a real federation.

Public message API only (``flwr.app``, ``flwr.serverapp``, ``flwr.clientapp``). What keeps the bits: nodes are asked
once for their site's name and ordered by it, and the sites run :class:`~fedlab.engine.site.SiteWork`, the code that
runs in process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from fedlab.algorithms.tensors import Tensors
from fedlab.engine.batches import Job
from fedlab.engine.exchange import REFUSED, Reply
from fedlab.engine.site import SiteWork, one_thread
from fedlab.engine.work import Stop, Stopped

logging.getLogger("flwr").setLevel(logging.ERROR)  # only after the import, which sets its own level

POLL = 0.01  # seconds between two looks for replies
START = 300.0  # seconds in which some node must come, or say its name: a busy machine needs one or two minutes
LONGEST = 86_400.0  # seconds in which some site must answer, where all lives that can be looked at
KINDS = {"train": MessageType.TRAIN, "evaluate": MessageType.EVALUATE}
STATE: dict[str, Tensors] = {"prepare": {}, "memory": {"alg": {}, "own": {}, "opt": {}}}


def pack(payload: dict[str, Any], *, purpose: str = "") -> RecordDict:
    """Pack a payload: each nest of tensors an ``ArrayRecord`` with flat names, plain numbers a ``ConfigRecord``."""
    record = RecordDict()
    plain: dict[str, Any] = {"purpose": purpose}
    for name, value in payload.items():
        if isinstance(value, dict):
            leaves = _flat(value)
            if leaves:
                record[name] = ArrayRecord({k: Array(v.detach().cpu().contiguous().numpy()) for k, v in leaves.items()})
        elif isinstance(value, Job):
            record[name] = ConfigRecord(asdict(value))
        elif isinstance(value, torch.Tensor):
            record[f"tensor.{name}"] = ArrayRecord({name: Array(value.detach().cpu().contiguous().numpy())})
        else:
            plain[name] = value
    record["plain"] = ConfigRecord(plain)
    return record


def unpack(record: RecordDict) -> dict[str, Any]:
    """Unpack what :func:`pack` packed; an empty nest is simply not there."""
    payload: dict[str, Any] = {}
    for name, part in record.items():
        if isinstance(part, ArrayRecord):
            nest = _nested({k: torch.from_numpy(a.numpy().copy()) for k, a in part.items()})
            payload |= nest if name.startswith("tensor.") else {name: nest}
        elif name == "job":
            numbers: dict[str, Any] = dict(part)
            payload["job"] = Job(**numbers)
        elif name == "plain":
            payload |= {k: v for k, v in part.items() if k != "purpose"}
    return payload


def _flat(tree: Tensors, prefix: str = "") -> Tensors:
    """Name each leaf by its path, written as a JSON pointer (RFC 6901): a name may hold any sign, also a ``/``."""
    out: Tensors = {}
    for name, value in tree.items():
        path = prefix + name.replace("~", "~0").replace("/", "~1")
        out |= _flat(value, f"{path}/") if isinstance(value, dict) else {path: value}
    return out


def _nested(flat: Tensors) -> Tensors:
    out: Tensors = {}
    for path, value in flat.items():
        *parents, last = (part.replace("~1", "/").replace("~0", "~") for part in path.split("/"))
        place = out
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return out


def client_app(work_of: Callable[[Context], SiteWork]) -> ClientApp:
    """Make a Flower ClientApp that answers the exchange.

    What a site keeps lives in ``context.state`` and is committed only when it succeeded. If it fails, the class of the
    exception and a fixed sentence leave the site; its text, which may hold a patient's data, goes to the site's log.
    """
    app = ClientApp()

    def respond(message: Message, context: Context) -> Message:
        work = work_of(context)
        purpose = str(message.content["plain"]["purpose"])
        try:
            with one_thread():
                content = {} if purpose == "name" else _work(work, purpose, unpack(message.content), context)
            reply = pack({**content, "site": work.name})
        except (Exception, SystemExit) as error:
            logging.getLogger("fedlab.site").exception("site %s could not answer %r", work.name, purpose)
            reply = pack({"site": work.name, "error": type(error).__name__, "sentence": REFUSED})
        return Message(reply, reply_to=message)

    for register in (app.query(), app.train(), app.evaluate()):
        register(respond)
    return app


def _work(work: SiteWork, purpose: str, payload: dict[str, Any], context: Context) -> dict[str, Any]:
    held = {name: part for name, part in context.state.items() if name != "plain"}
    work.state = unpack(RecordDict(held)) if held else {}
    for name, empty in STATE.items():
        if name in work.state or (name == "prepare" and purpose not in ("statistics", "prepare")):
            work.state[name] = {**empty, **work.state.get(name, {})}
    defaults: dict[str, Any] = {"model": {}, "extra": {}, "buffers": {}}
    content = work.answer(purpose, {**defaults, **payload})
    for name, part in pack(work.state).items():
        context.state[name] = part
    return content


class FlowerTransport:
    """Asks the nodes of a Flower ``Grid``.

    Parameters
    ----------
    grid : Grid
        Of a simulation or a SuperLink.
    sites : int
        How many nodes to wait for.
    stop : callable
        Looked at in every wait; where it says yes, the wait ends with :class:`~fedlab.engine.work.Stopped`.
    check : callable
        Raises, where what carries the messages is gone: then no answer can come, however long one waits.
    tell : callable
        Told what is waited for before the first question.

    Raises
    ------
    TimeoutError
        If for five minutes no further node comes, or says its name; or if one fails to say it.
    """

    def __init__(
        self,
        grid: Grid,
        sites: int,
        *,
        stop: Stop = lambda: False,
        check: Callable[[], None] = lambda: None,
        tell: Callable[[str], None] = lambda doing: None,
    ) -> None:
        self.grid, self.stop, self.check = grid, stop, check
        wait = Patience(START)
        while len(nodes := list(grid.get_node_ids())) < sites:
            if wait.over(len(nodes)):
                raise TimeoutError(f"{len(nodes)} of {sites} sites came in {START:.0f} s: start the others")
            self._rest()
        tell("waiting for the sites")
        hello = self._send({node: pack({}, purpose="name") for node in nodes}, MessageType.QUERY, limit=START)
        if len(silent := [node for node in nodes if node not in hello or hello[node].has_error()]):
            why = "they failed" if any(node in hello for node in silent) else f"no answer in {START:.0f} s"
            raise TimeoutError(f"{len(silent)} of {sites} sites did not say their names ({why})")
        self.nodes = dict(sorted((str(m.content["plain"]["site"]), node) for node, m in hello.items()))
        self.sites = self.places = tuple(self.nodes)

    def ask(self, purpose: str, who: Sequence[str], payload: dict[str, Any]) -> list[Reply]:
        """Send one message to each site and wait for all answers, for a day without a further one at most."""
        messages = {self.nodes[name]: pack(payload, purpose=purpose) for name in who}
        # what is held at a site is fetched even from a run that was stopped
        answers = self._send(
            messages, KINDS.get(purpose, MessageType.QUERY), stoppable=purpose not in ("keep", "export")
        )
        return [_reply(name, purpose, answers.get(self.nodes[name])) for name in who]

    def close(self) -> None:
        """The grid belongs to whoever made it."""

    def _rest(self, *, stoppable: bool = True) -> None:
        if stoppable and self.stop():
            raise Stopped
        time.sleep(POLL)

    def _send(
        self, contents: dict[int, RecordDict], kind: str, *, stoppable: bool = True, limit: float | None = None
    ) -> dict[int, Message]:
        """Return what came back from each node; who has not answered when nobody does any more is left out."""
        messages = [Message(content, node, kind) for node, content in contents.items()]
        of = dict(zip(self.grid.push_messages(messages), contents, strict=True))
        answers: dict[int, Message] = {}
        wait = Patience(limit or LONGEST)
        while of and not wait.over(len(of)):
            for message in self.grid.pull_messages(list(of)):
                if message.has_error():
                    self.check()  # did one site fail, or all of them with what carries the messages?
                answers[of.pop(message.metadata.reply_to_message_id)] = message
            if of:
                self._rest(stoppable=stoppable)
        return answers


class Patience:
    """A limit on silence: it is over when for so many seconds nothing has changed."""

    def __init__(self, limit: float) -> None:
        self.limit, self.since = limit, time.monotonic()
        self.seen: object = None

    def over(self, seen: object) -> bool:
        """Return whether nothing but ``seen`` was to be seen since long ago."""
        if seen != self.seen:
            self.seen, self.since = seen, time.monotonic()
        return time.monotonic() - self.since > self.limit


def _reply(name: str, purpose: str, message: Message | None) -> Reply:
    if message is None or message.has_error():
        return Reply(name, error="no answer")
    content = unpack(message.content)
    if "error" in content:
        return Reply(name, error=str(content["error"]))
    content.pop("site", None)
    trained: dict[str, Any] = {"model": {}, "extra": {}} if purpose == "train" else {}  # an empty nest does not travel
    return Reply(name, {**trained, **content})
