"""The Flower transport: the exchange's questions as Flower messages, for a simulation or a real federation.

Public message API only (``flwr.app``, ``flwr.serverapp``, ``flwr.clientapp``). What keeps the bits: nodes are asked
once for their site's name and ordered by it, and the sites run :class:`~fedlab.engine.site.SiteWork`, the code that
runs in process, behind the same :class:`~fedlab.engine.client.Door`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from fedlab.engine.batches import Job
from fedlab.engine.client import Door
from fedlab.engine.exchange import LATE, REFUSED, Reply
from fedlab.engine.purposes import PURPOSES, Purpose, register
from fedlab.engine.site import SiteWork, one_thread
from fedlab.engine.stamps import Copy, Holding
from fedlab.engine.work import Stop, Stopped
from fedlab.privacy import Policy
from fedlab.storage.codec import decode, encode

logging.getLogger("flwr").setLevel(logging.ERROR)  # only after the import, which sets its own level

POLL = 0.01  # seconds between two looks for replies
START = 300.0  # seconds in which some node must come, or say its name: a busy machine needs one or two minutes
# seconds in which a node that has gone may come back before its site is left out of a question: more than the minute
# after which a SuperLink gives up a node that was killed, whose name the one that is started again has
RETURN = 90.0
LONGEST = 86_400.0  # seconds in which some site must answer, where all lives that can be looked at
KINDS = {"train": MessageType.TRAIN, "evaluate": MessageType.EVALUATE}
FETCHED = ("keep", "export")
BEFORE = "before."  # what stands before the names of a question that travels with another, and of its answer
LOG = logging.getLogger("fedlab.site")
SILENT = "no answer"
HOSPITAL = Policy()


def version() -> str:
    """Return which fedlab this is."""
    try:
        return metadata.version("fedlab-workbench")
    except metadata.PackageNotFoundError:
        return "unknown"


class OtherVersion(RuntimeError):
    """The server runs another fedlab than the site: their numbers need not agree."""


# ---------------------------------------------------------------------- messages


def pack(payload: dict[str, Any], **about: str) -> RecordDict:
    """Pack any nest of tensors, numbers, texts, lists and ``None``; :func:`unpack` gives the same back.

    Examples
    --------
    >>> import torch
    >>> packed = pack({"a/b": {"w": torch.ones(2), "": {}}, "n": [1, None, ("x", float("inf"))]}, purpose="train")
    >>> unpack(packed)
    {'a/b': {'w': tensor([1., 1.]), '': {}}, 'n': [1, None, ('x', inf)]}
    >>> packed["plain"]["purpose"]
    'train'
    """
    tensors: dict[str, torch.Tensor] = {}
    jobs = [name for name, value in payload.items() if isinstance(value, Job)]
    nest = encode({name: asdict(value) if name in jobs else value for name, value in payload.items()}, tensors)
    names, record = list(tensors), RecordDict()
    # numpy has no bfloat16: its bits travel as whole numbers
    brief = [i for i, value in enumerate(tensors.values()) if value.dtype == torch.bfloat16]
    record["plain"] = ConfigRecord({**about, "nest": json.dumps([nest, names, jobs, brief])})
    record["tensors"] = ArrayRecord({str(i): _array(value) for i, value in enumerate(tensors.values())})
    return record


def unpack(record: RecordDict) -> dict[str, Any]:
    """Unpack what :func:`pack` packed."""
    nest, names, jobs, brief = json.loads(str(record["plain"]["nest"]))
    arrays = record.array_records["tensors"]
    tensors = {name: torch.from_numpy(arrays[str(i)].numpy().copy()) for i, name in enumerate(names)}
    tensors |= {names[i]: tensors[names[i]].view(torch.bfloat16) for i in brief}
    payload: dict[str, Any] = decode(nest, tensors)
    return payload | {name: Job(**payload[name]) for name in jobs}


def _array(value: torch.Tensor) -> Array:
    value = value.detach().cpu().contiguous()
    return Array((value.view(torch.int16) if value.dtype == torch.bfloat16 else value).numpy())


# ---------------------------------------------------------------------- at a site


def _greet(held: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Say who is there: which columns are held. The name and the version come with every reply."""
    return {"columns": list(getattr(held, "columns", ()))}


register(Purpose("greet", _greet, sends=("columns",)))


def _allowed(policy: Policy) -> list[str]:
    return [name for name, entry in PURPOSES.items() if policy.allows(name, reserved=entry.reserved)]


def client_app(
    held_of: Callable[[Context], Any],
    *,
    name_of: Callable[[Context], str] | None = None,
    policy: Policy = HOSPITAL,
    folder_of: Callable[[Context], str | Path | None] = lambda context: None,
) -> ClientApp:
    """Make a Flower ClientApp that answers the exchange.

    Parameters
    ----------
    held_of : callable
        Returns what lies at a node: a :class:`~fedlab.engine.site.SiteWork`, or what a survey asks about.
    name_of : callable, optional
        Returns the site's name, which has to be known where the rest cannot be read; by default the name of what is
        held. Nodes of a hospital have it in their configuration: ``lambda context: context.node_config["site"]``.
    policy : Policy
        Of the site; by default that of a hospital, whose personal models stay there. A simulation has
        :data:`~fedlab.privacy.SIMULATED`.
    folder_of : callable
        Returns where a site keeps what a restart would lose, on its own disk; by default nowhere.

    What a site keeps lives in ``context.state`` and is committed only when it succeeded. If it fails, the class of the
    exception and a fixed sentence leave the site; its text, which may hold a patient's data, goes to the site's log.
    """
    app = ClientApp()

    def respond(message: Message, context: Context) -> Message:
        about: dict[str, str] = {"fedlab": version()}
        content: dict[str, Any] = {}
        try:
            load = cache(partial(held_of, context))
            site = name_of(context) if name_of is not None else load().name
            about["site"] = site
            folder = folder_of(context)
            holding = _recalled(context, None if folder is None else Path(folder) / str(context.run_id))
            reply = _answered(site, message.content, load, holding, policy)
            content, about["hash"] = reply.content, reply.hash
            if reply.before is not None:
                about["before"] = reply.before.error
                content = {**content, **{f"{BEFORE}{name}": value for name, value in reply.before.content.items()}}
            if reply.error:
                about |= {"error": reply.error, "sentence": REFUSED}
            elif message.content["plain"]["purpose"] == "greet":
                content = {**content, "purposes": _allowed(policy)}
            elif reply.hash:
                _remembered(context, holding)
        except (Exception, SystemExit) as error:
            LOG.error("the question could not be read", exc_info=error)
            about |= {"error": type(error).__name__, "sentence": REFUSED}
        return Message(pack(content, **about), reply_to=message)

    for answered in (app.query(), app.train(), app.evaluate()):
        answered(respond)
    return app


def _answered(site: str, asked: RecordDict, load: Callable[[], Any], holding: Holding, policy: Policy) -> Reply:
    """Take a question through the site's door: what is held is given to it, and what it holds then is noted."""
    about, everything = asked["plain"], unpack(asked)
    purpose, expected = str(about["purpose"]), str(about.get("hash", ""))
    payload, own = _parted(everything)

    def held(purpose: str) -> Any:
        if (theirs := str(about.get("fedlab", version()))) != version():
            raise OtherVersion(f"the server runs fedlab {theirs}, this site {version()}: install the same")
        lies = load()
        if isinstance(lies, SiteWork):
            holding.give(lies, PURPOSES[purpose], expected)
            if purpose == "restore":
                holding.restore(lies, expected, payload["buffers"])
        return lies

    door = Door(site, partial(held, purpose), policy=policy, log=LOG)
    with one_thread():
        before = None
        if first := str(about.get("before", "")):
            # it looks at what the site was sent, and leaves nothing there
            before = Door(site, partial(held, first), policy=policy, log=LOG).answer(first, {**payload, **own})
        reply = door.answer(purpose, payload)
        reply.before = before
        if not reply.error and purpose != "greet" and isinstance(lies := door.held(), SiteWork):
            job = payload.get("job")
            holding.take(lies, job.round if purpose == "train" and job is not None else None)
            reply.hash = holding.now.hash
    return reply


def _parted(everything: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part what belongs to a question, or an answer, from what is of the one before it alone."""
    own = {name.removeprefix(BEFORE): value for name, value in everything.items() if name.startswith(BEFORE)}
    return {name: value for name, value in everything.items() if not name.startswith(BEFORE)}, own


def _recalled(context: Context, folder: Path | None) -> Holding:
    """Take what a node holds out of its context."""
    state = context.state
    if "holding" not in state:
        return Holding(folder=folder)
    about: dict[str, Any] = dict(state["holding"])

    def copy(name: str) -> Copy:
        packed = RecordDict({part: state[f"{name}.{part}"] for part in ("plain", "tensors")})
        return Copy(unpack(packed), int(about[f"{name}.round"]), str(about[f"{name}.hash"]))

    return Holding(str(about["salt"]), copy("now"), copy("before"), folder)


def _remembered(context: Context, holding: Holding) -> None:
    """Put what a node holds into its context."""
    about: dict[str, Any] = {"salt": holding.salt}
    for name, copy in (("now", holding.now), ("before", holding.before)):
        about |= {f"{name}.round": copy.round, f"{name}.hash": copy.hash}
        for part, record in pack(copy.state).items():
            context.state[f"{name}.{part}"] = record
    context.state["holding"] = ConfigRecord(about)


# ---------------------------------------------------------------------- at the server


class FlowerTransport:
    """Asks the nodes of a Flower ``Grid``.

    Nodes are known by the name of their site. One that comes later, or again under a new number, is greeted and asked
    from the next question on; of two that say one name, neither is asked before it is clear which is alive.

    Parameters
    ----------
    grid : Grid
        Of a simulation or a SuperLink.
    sites : int or sequence of str
        How many nodes to wait for, each a site; or the names of the sites, of which some may come late or never: then
        they are those that do not answer, and another node is left out.
    columns : sequence of str, optional
        What each site must hold, where it says so.
    patience : float, optional
        Seconds in which a further node must come, or say its name; five minutes by default.
    stop : callable
        Looked at in every wait; where it says yes, the wait ends with :class:`~fedlab.engine.work.Stopped`.
    check : callable
        Raises, where what carries the messages is gone: then no answer can come, however long one waits.
    tell : callable
        Told what is waited for before the first question.
    dear : bool
        A message is dear, as in a deployment, where each is a process at the site: the evaluation of a round travels
        with the training of the next wherever it can (:func:`fedlab.engine.rounds.rounds` says where).

    Attributes
    ----------
    greetings : list of Reply
        What the nodes said when they were asked who they are.
    allowed : dict of str to list of str
        By site, the purposes of the questions that it answers.
    late : list of (int, Reply)
        Answers that came after the deadline of their question, by its number.
    notes : list of str
        Which nodes were left out, and why.

    Raises
    ------
    TimeoutError
        If no further node comes, or says its name, and there are too few: of so many sites all must come, of named
        ones at least one.
    """

    def __init__(
        self,
        grid: Grid,
        sites: int | Sequence[str],
        *,
        columns: Sequence[str] | None = None,
        patience: float | None = None,
        stop: Stop = lambda: False,
        check: Callable[[], None] = lambda: None,
        tell: Callable[[str], None] = lambda doing: None,
        dear: bool = True,
    ) -> None:
        self.dear = dear
        self.grid, self.stop, self.check, self.columns = grid, stop, check, columns
        self.nodes: dict[str, int] = {}
        self.allowed: dict[str, list[str]] = {}
        self.greetings: list[Reply] = []
        self.late: list[tuple[int, Reply]] = []
        self.notes: list[str] = []
        self._hashes: dict[str, str] = {}
        self._met: set[int] = set()
        self._gone: set[str] = set()
        self._greeted: dict[str, int] = {}
        self._rivals: dict[int, tuple[str, int]] = {}
        self._overdue: dict[str, tuple[int, str, str]] = {}
        self._number = self._nameless = 0
        self.expected = None if isinstance(sites, int) else tuple(sorted(sites))
        if self.expected is not None and len(set(self.expected)) < len(self.expected):
            raise ValueError(f"sites are {list(self.expected)}: give each a name of its own")
        count = sites if isinstance(sites, int) else len(sites)
        self.patience = START if patience is None else patience
        self._wait_for(count, self.patience, tell)
        self.sites = self.places = self.expected or tuple(sorted(self.nodes))
        self._gone = set(self.sites) - set(self.nodes)

    def ask(
        self,
        purpose: str,
        who: Sequence[str],
        payload: dict[str, Any],
        *,
        each: Mapping[str, dict[str, Any]] | None = None,
        deadline: float | None = None,
        before: tuple[str, dict[str, Any]] | None = None,
    ) -> list[Reply]:
        """Send one message to each site and wait for all answers: until the deadline, or a day without a further one.

        ``each`` has what goes to one site alone, beside the payload; ``before`` is another question (purpose and
        payload) that travels in the same message and is answered first. What both hold is sent once.
        """
        about = {} if before is None else {"before": before[0]}
        more = {} if before is None else {
            f"{BEFORE}{name}": value for name, value in before[1].items() if payload.get(name) is not value
        }  # fmt: skip
        number, self._number = self._number, self._number + 1
        self._look_around()
        self._await_return(who, deadline)
        alive = set(self.grid.get_node_ids())
        there = [name for name in who if self.nodes.get(name, 0) in alive]
        contents = {
            self.nodes[name]: pack(
                {**payload, **(each or {}).get(name, {}), **more},
                purpose=purpose, fedlab=version(), hash=self._hashes.get(name, ""), **about,
            )
            for name in there
        }  # fmt: skip
        # what is held at a site is fetched even from a run that was stopped
        answers, open = self._send(
            contents, KINDS.get(purpose, MessageType.QUERY), stoppable=purpose not in FETCHED, deadline=deadline
        )
        names = {self.nodes[name]: name for name in there}
        self._overdue |= {message: (number, names[node], purpose) for message, node in open.items()}
        return [self._reply(name, answers.get(self.nodes.get(name, -1)), deadline is not None) for name in who]

    def close(self) -> None:
        """The grid belongs to whoever made it."""

    # ------------------------------------------------------------------ who is there

    def _wait_for(self, sites: int, limit: float, tell: Callable[[str], None]) -> None:
        """Wait until so many sites have said their names."""
        wait, told = Patience(limit), False
        while len(self.nodes) < sites or self._rivals:
            self._look_around()
            if len(self._met) >= sites and not told:
                tell("waiting for the sites")
                told = True
            if self.expected is None and len(self._met) >= sites and not self._greeted:
                break  # no further one is waited for, and these have said what they say
            if wait.over((len(self._met), len(self.nodes), len(self._greeted))):
                break
            self._rest()
        if len(self.nodes) < (1 if self.expected is not None else sites):
            raise TimeoutError(self._lacking(sites, limit))

    def _lacking(self, sites: int, limit: float) -> str:
        if len(self._met) < sites:
            return f"{len(self._met)} of {sites} sites came in {limit:.0f} s: start the others"
        if self._greeted:
            return f"{len(self._greeted)} of {sites} sites did not say their names (no answer in {limit:.0f} s)"
        if self._nameless:
            return f"{self._nameless} of {sites} sites did not say their names (they failed)"
        return f"{len(self.nodes)} of {sites} sites can be asked: {'; '.join(self.notes)}"

    def _look_around(self) -> None:
        """Greet the nodes that have come, and hear what greeted ones say."""
        if new := [node for node in self.grid.get_node_ids() if node not in self._met]:
            self._met.update(new)
            self._say_hello(new)
        if self._greeted:
            for message in self.grid.pull_messages(list(self._greeted)):
                node = self._greeted.pop(str(message.metadata.reply_to_message_id), None)
                if node is not None:
                    self._heard(node, message)

    def _say_hello(self, nodes: Iterable[int]) -> None:
        messages = [Message(pack({}, purpose="greet", fedlab=version()), node, MessageType.QUERY) for node in nodes]
        sent = self.grid.push_messages(messages)
        self._greeted |= dict(zip(map(str, sent), (m.metadata.dst_node_id for m in messages), strict=True))

    def _heard(self, node: int, message: Message) -> None:
        """Note what a node says of itself."""
        about = {} if message.has_error() else dict(message.content["plain"])
        name, error = str(about.get("site", "")), str(about.get("error", ""))
        if node in self._rivals:
            self._settle(node, alive=bool(name))
            return
        if not name:
            self.check()
            self._nameless += 1
            self.notes.append(f"a node did not say its name ({error or 'it failed'}) and is left out")
            return
        if self.expected is not None and name not in self.expected:
            self.notes.append(f"a node calls itself {name!r}, which is no site of this run: it is left out")
            return
        reply = Reply(name, {} if error else unpack(message.content), error)
        if not error and self._strange(reply, str(about.get("fedlab", ""))):
            self.greetings.append(Reply(name, error="does not fit"))
            return
        self.greetings.append(reply)
        if not error:
            self.allowed[name] = reply.content["purposes"]
        other = self.nodes.get(name)
        if other is None or other not in set(self.grid.get_node_ids()):
            self.nodes[name] = node
        elif other != node:  # which of the two is alive?
            self._rivals[other] = name, node
            self._say_hello([other])

    def _strange(self, reply: Reply, theirs: str) -> bool:
        columns = reply.content.get("columns") or []
        if theirs != version():
            self.notes.append(f"{reply.site} runs fedlab {theirs or 'unknown'}, the server {version()}: left out")
        elif self.columns is not None and columns and list(columns) != list(self.columns):
            apart = sorted(set(columns) ^ set(self.columns)) or ["their order"]
            self.notes.append(f"{reply.site} holds other columns ({', '.join(apart)}): it is left out")
        else:
            return False
        return True

    def _settle(self, old: int, *, alive: bool) -> None:
        """Of two nodes of one name keep the first if it is alive, else take the one that came after it.

        Before the first question it cannot be known which of them is meant.
        """
        name, newcomer = self._rivals.pop(old)
        if not alive:
            self.nodes[name] = newcomer
        elif self._number:
            self.notes.append(f"two nodes call themselves {name!r}: the one that came later is left out, stop it")
        else:
            self.nodes.pop(name, None)
            self.notes.append(
                f"two nodes call themselves {name!r}: neither is asked. Stop both, and start the right one"
            )

    def _await_return(self, who: Sequence[str], deadline: float | None) -> None:
        """Wait a while, and once, for a site that has gone: a node that is started again needs a minute."""

        def away() -> set[str]:
            there = set(self.grid.get_node_ids())
            return {name for name in who if self.nodes.get(name, 0) not in there}

        self._gone &= away() | (self._gone - set(who))
        wait = Patience(min(RETURN, self.patience, deadline or RETURN))
        while (away() - self._gone or self._rivals) and not wait.over(0):
            self._look_around()
            self._rest()
        self._gone |= away()

    # ------------------------------------------------------------------ messages

    def _rest(self, *, stoppable: bool = True) -> None:
        if stoppable and self.stop():
            raise Stopped
        time.sleep(POLL)

    def _send(
        self, contents: dict[int, RecordDict], kind: str, *, stoppable: bool = True, deadline: float | None = None
    ) -> tuple[dict[int, Message], dict[str, int]]:
        """Return what came back from each node, and the messages without an answer when nobody answers any more."""
        messages = [Message(content, node, kind) for node, content in contents.items()]
        of = dict(zip(map(str, self.grid.push_messages(messages)), contents, strict=True))
        answers: dict[int, Message] = {}
        began, wait = time.monotonic(), Patience(LONGEST)
        while of and not wait.over(len(of)):
            for message in self.grid.pull_messages([*of, *self._overdue]):
                number = str(message.metadata.reply_to_message_id)
                if number in self._overdue:
                    self._came_late(number, message)
                    continue
                if message.has_error():
                    self.check()  # did one site fail, or all of them with what carries the messages?
                answers[of.pop(number)] = message
            if deadline is not None and time.monotonic() - began > deadline:
                break
            if of:
                self._rest(stoppable=stoppable)
        return answers, of

    def _came_late(self, number: str, message: Message) -> None:
        asked, site, _ = self._overdue.pop(number)
        if not message.has_error():
            self.late.append((asked, Reply(site, _parted(unpack(message.content))[0], LATE)))

    def _reply(self, name: str, message: Message | None, limited: bool) -> Reply:
        if message is None:
            return Reply(name, error=LATE if limited and name in self.nodes else SILENT)
        if message.has_error():
            return Reply(name, error=SILENT)
        about = message.content["plain"]
        content, own = _parted(unpack(message.content))
        before = Reply(name, own, str(about["before"])) if "before" in about else None
        if "error" in about:
            return Reply(name, error=str(about["error"]), before=before)
        reply = Reply(name, content, hash=str(about.get("hash", "")), before=before)
        if reply.hash:
            self._hashes[name] = reply.hash
        return reply


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
