"""The process that runs Flower's simulation on Ray for another one, and asks its nodes what that one wants to know.

It is a process of its own because Ray ends the process that it runs in when its head is gone, a kernel with all that
stands in it; and because what hangs in Ray can be ended for certain only with its process. Started, asked and ended by
:class:`~fedlab.engine.simulation.SimulationTransport`; the two talk in pickles over its standard input and output.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from flwr.app import Context
    from flwr.serverapp import Grid

    from fedlab.engine.site import SiteWork
    from fedlab.privacy import Policy

LOOK = 1.0  # seconds between two looks at Ray
KNOCK = 10.0  # seconds to wait for an answer when knocking at a port
JOINING = "joining the Ray cluster"
UNUSED = ("METRICS_AGENT_PORT_NAME", "METRICS_EXPORT_PORT_NAME", "DASHBOARD_AGENT_LISTEN_PORT_NAME")


@dataclass(frozen=True)
class Order:
    """What is to be simulated.

    Parameters
    ----------
    sites : int
    work : bytes
        A pickled function from a node's ``Context`` to its :class:`~fedlab.engine.site.SiteWork`.
    address : str
        Of a Ray cluster, ``"auto"``, or ``"local"``: start Ray here.
    cpus : int
        How many site processes at most, where Ray is started here.
    policy : Policy
        Of every site.
    """

    sites: int
    work: bytes
    address: str
    cpus: int
    policy: Policy


@dataclass
class Line:
    """The way to the process that asked: one pickle a message, from whichever thread."""

    out: BinaryIO
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def say(self, kind: str, value: Any = None) -> None:
        """Send ``(kind, value)``; to nobody, if the other process has ended."""
        content = pickle.dumps((kind, value))
        with self._lock, suppress(OSError, ValueError):
            self.out.write(content)
            self.out.flush()


def main() -> None:
    """Run the simulation that is ordered on standard input."""
    line = Line(os.fdopen(os.dup(sys.stdout.fileno()), "wb"))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever prints goes to the log
    order: Order = pickle.load(sys.stdin.buffer)
    try:
        Simulator(order, line).run()
    except BaseException as error:
        while error.__cause__ is not None:  # "Simulation Runtime crashed" is not what went wrong
            error = error.__cause__
        line.say("dead", f"{error or type(error).__name__}".strip())
        os._exit(1)  # Ray's own end might hang
    os._exit(0)


class Simulator:
    """One simulation: Flower in the main thread, its server in a second, questions and Ray's health in two more."""

    def __init__(self, order: Order, line: Line) -> None:
        self.order, self.line = order, line
        self.questions: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self.broken_off = threading.Event()
        self.doors: dict[str, tuple[str, int]] = {}
        self.node = self.job = ""
        self.again, self.over = 0, False
        self.starting: dict[str, float] = {}

    def run(self) -> None:
        """Start Ray, then Flower; return when the other process says that it is over."""
        for work in (self._read, self._look):
            threading.Thread(target=work, daemon=True).start()
        self.line.say("doing", "loading Flower and Ray")
        from flwr.serverapp import ServerApp
        from flwr.simulation import run_simulation

        from fedlab.engine.flower import client_app

        self.line.say("doing", "starting Ray" if self.order.address == "local" else JOINING)
        self._start_ray()
        self.line.say("doing", "starting the sites' processes")
        server = ServerApp()

        @server.main()
        def main(grid: Grid, context: Context) -> None:
            self._serve(grid)

        run_simulation(
            server_app=server,
            client_app=client_app(partial(_work, self.order.work), policy=self.order.policy),
            num_supernodes=self.order.sites,
            # A site's process that ends is started again, and does again what it was at: else it would fail all that
            # Flower gives it from then on. What kills it twice is an error reply.
            backend_config={"client_resources": {"num_cpus": 1, "max_restarts": -1, "max_task_retries": 1}},
        )

    # ------------------------------------------------------------------ Ray

    def _start_ray(self) -> None:
        import ray

        options: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
        if self.order.address == "local":  # not without an address: Ray would try the machine's last cluster first
            unhurried()
            ray.init(address="local", num_cpus=self.order.cpus, include_dashboard=False, **options)
        else:
            known = _named(self.order.address)
            for name, door in known.items():
                _knock(name, door)
            paths = {"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}}
            ray.init(address=self.order.address, runtime_env=paths, **options)
            self.doors |= known
            if self.order.address.startswith("ray://"):  # this process is a guest, and sees nothing but the door
                return
        self.node, self.job = ray.get_runtime_context().get_node_id(), ray.get_runtime_context().get_job_id()
        mine = next((node for node in ray.nodes() if node["NodeID"] == self.node), None)
        if mine is not None:
            self.doors["Ray's raylet"] = mine["NodeManagerAddress"], int(mine["NodeManagerPort"])
        self.doors |= _named(ray.get_runtime_context().gcs_address)

    def _look(self) -> None:
        """Say every second that all is well, for as long as Ray answers."""
        while not self.over:
            try:
                self.check()
            except Exception as error:
                if not self.over:
                    self.line.say("dead", str(error) or type(error).__name__)
                return
            self.line.say("alive", self.again)
            time.sleep(LOOK)

    def check(self) -> None:
        """Look whether Ray and the sites' processes live.

        Raises
        ------
        ConnectionError
            If Ray does not, or one of those has been starting for five minutes.
        """
        for name, door in list(self.doors.items()):
            _knock(name, door)
        if self.node:
            import ray

            alive = {node["NodeID"]: node["Alive"] for node in ray.nodes()}
            if not alive.get(self.node, True):
                raise ConnectionError("Ray has given up its raylet, which no longer answers it")
            self._count()

    def _count(self) -> None:
        """Count how often a site's process was started again, and see how long it takes."""
        if not self.job:
            return
        from ray._private.state import actors

        from fedlab.engine.flower import START

        mine = [actor for actor in actors().values() if actor["JobID"] == self.job]
        self.again = sum(int(actor["NumRestarts"]) for actor in mine)
        now, up = time.monotonic(), ("ALIVE", "DEAD")
        self.starting = {a["ActorID"]: self.starting.get(a["ActorID"], now) for a in mine if a["State"] not in up}
        if now - min(self.starting.values(), default=now) > START:
            raise ConnectionError(f"a site's process has not started in {START:.0f} s: are all of Ray's CPUs taken?")

    # ------------------------------------------------------------------ questions

    def _read(self) -> None:
        """Take what the other process says; when it ends, end too."""
        with suppress(Exception):
            while True:
                message = pickle.load(sys.stdin.buffer)
                if message[0] == "break":
                    self.broken_off.set()
                else:
                    self.questions.put(message)
        end_group(os.getpid())
        os._exit(1)

    def _serve(self, grid: Grid) -> None:
        from fedlab.engine.flower import FlowerTransport
        from fedlab.engine.work import Stopped

        try:
            nodes = FlowerTransport(
                grid,
                self.order.sites,
                stop=self.broken_off.is_set,
                check=self.check,
                tell=partial(self.line.say, "doing"),
            )
            self.line.say("ready", nodes.sites)
            while (question := self.questions.get())[0] == "ask":
                number, purpose, who, payload, options = question[1:]
                self.broken_off.clear()
                with suppress(Stopped):
                    replies = nodes.ask(purpose, who, payload, **options)
                    self._count()
                    self.line.say("late", nodes.late)
                    nodes.late = []
                    self.line.say("alive", self.again)
                    self.line.say("replies", (number, replies))
        except Exception as error:
            self.line.say("dead", str(error) or type(error).__name__)
        self.over = True


def _work(work: bytes, context: Context) -> SiteWork:
    """Find a node's site, in its own process."""
    find: Callable[[Context], SiteWork] = pickle.loads(work)
    return find(context)


def _named(address: str) -> dict[str, tuple[str, int]]:
    """Return the door that an address names, if it does."""
    if address == "auto":
        from ray._private.services import canonicalize_bootstrap_address

        address = canonicalize_bootstrap_address(address, None) or ""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    return {"Ray's head": (host, int(port))} if host and port.isdigit() else {}


def _knock(name: str, door: tuple[str, int]) -> None:
    try:
        socket.create_connection(door, timeout=KNOCK).close()
    except OSError as error:
        raise ConnectionError(f"{name} at {door[0]}:{door[1]} does not answer ({error})") from None


def end_group(pid: int) -> None:
    """Kill a process that leads a group, and with it all that it has started: Ray's processes stay in the group."""
    if hasattr(os, "killpg"):
        with suppress(OSError):
            if os.getpgid(pid) == pid:
                os.killpg(pid, signal.SIGKILL)


def unhurried() -> None:
    """Let Ray start on a busy machine, and nothing that a simulation has no use for.

    Its raylet ends itself when three ports are not written down within 15 seconds by Python processes that on a busy
    machine are still importing, and a run that waits for it then waits in vain. They are written down beforehand: two
    as those processes would (there is no dashboard), the third is chosen here. The autoscaler, the forwarding of logs
    and the dashboard's server are half of the start's work. All of it is private to Ray, whose version Flower's fixes:
    in another one Ray starts as it would.
    """
    try:
        node: Any = import_module("ray._private.node").Node
        parameters: Any = import_module("ray._private.parameter").RayParams
        raylet: Any = import_module("ray._raylet")
        absent = [getattr(raylet, name) for name in UNUSED]
        begin, start, persist = parameters.__init__, node.start_raylet, raylet.persist_port
    except (ImportError, AttributeError):
        return

    def params(self: Any, *args: Any, **options: Any) -> None:
        with socket.create_server(("", 0)) as free:
            port = free.getsockname()[1]
        begin(self, *args, **options, no_monitor=True, include_log_monitor=False, runtime_env_agent_port=port)

    def start_raylet(self: Any, *args: Any, **options: Any) -> None:
        for name in absent:
            persist(self._session_dir, self._node_id, name, -1)
        start(self, *args, **options)

    parameters.__init__, node.start_raylet = params, start_raylet
    node.start_api_server = lambda self, **options: None
