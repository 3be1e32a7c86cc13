"""``engine="ray"``: the same run on Flower's simulation, in this process's name but on Ray's workers."""

from __future__ import annotations

import importlib.util
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedlab.engine.exchange import Reply, TooFewSites
from fedlab.engine.local import CORES
from fedlab.engine.run import Run
from fedlab.engine.simulator import JOINING, KNOCK, Order, end_group
from fedlab.engine.site import SiteWork
from fedlab.engine.work import Stop, Stopped
from fedlab.privacy.policy import Policy

if TYPE_CHECKING:
    from flwr.app import Context

TICK = 0.1  # seconds between two looks whether to stop
USUAL = 60.0  # seconds that a start takes at most on a machine that has little else to do
STEP = 360.0  # seconds for one step of the start: several times what a machine with a load of 10 a core needs
JOIN = 120.0  # seconds to join a cluster that runs: nothing has to be started for it
SILENCE = 120.0  # seconds without a sign of life, which comes every second: Ray or this machine hangs
FETCH = 60.0  # seconds for what the sites hold, where the run was broken off and they may still be at work
CLOSE = 10.0  # seconds in which Ray may end by itself
LONG = 10.0  # seconds after which it is said how long the sites have been at work
INSTALL = "pip install 'fedlab-workbench[ray]'"
BEGIN = "from fedlab.engine.simulator import main; main()"
NOTE = "Flower's simulation on Ray"
FETCHED = ("keep", "export")


class SimulationLost(TooFewSites):
    """Ray, or the process that runs the simulation, is gone or hangs; ``run`` holds all rounds so far."""


class SimulationTransport:
    """Sites as nodes of Flower's simulation.

    Flower and Ray run in a process of their own (:mod:`fedlab.engine.simulator`); the round loop stays with the caller,
    so that a run on Ray can be watched and stopped like any other. That process says every second that all is well, as
    far as can be seen: Ray's head and raylet answer. Sites that live may train for as long as a day; what is dead is
    noticed within seconds, what hangs within minutes. Either way the run ends with a :class:`SimulationLost`, and with
    it all that was started here.

    Raises
    ------
    ImportError
        Without the extra ``ray``.
    ConnectionError
        If nothing answers at ``RAY_ADDRESS``.
    RuntimeError
        If the interpreter's path has a space: Ray starts its workers through it unquoted, and retries for ever.
    SimulationLost
        If the simulation does not start.
    ValueError
        If the algorithm pools rows: they do not leave their sites here.
    """

    def __init__(self, run: Run, *, stop: Stop) -> None:
        _check(run)
        self.run, self.stop = run, stop
        self.note = NOTE
        self.sites: tuple[str, ...] = ()
        self.late: list[tuple[int, Reply]] = []  # answers that came after the deadline of their question
        self._step, self._number, self._broken_off = "its process", 0, False
        self._lost: SimulationLost | None = None
        self._heard: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._said: queue.Queue[bytes] = queue.Queue()
        self._gone = threading.Event()
        began = time.monotonic()
        self.run.tell(self._starting(0.0))
        self._process, self._log = _begin()
        try:
            for work in (self._listen, self._speak):
                threading.Thread(target=work, daemon=True).start()
            self._said.put(pickle.dumps(_order(run)))
            self.sites = tuple(self._wait("ready", self._starting, since=began))
        except BaseException:
            self.close()
            raise
        self.places = self.sites

    def ask(
        self,
        purpose: str,
        who: Sequence[str],
        payload: dict[str, Any],
        *,
        each: Mapping[str, dict[str, Any]] | None = None,
        deadline: float | None = None,
    ) -> list[Reply]:
        """Ask the nodes."""
        if self._lost is not None:
            raise self._lost
        self._number += 1
        self._say("ask", self._number, purpose, list(who), payload, {"each": each, "deadline": deadline})

        def doing(seconds: float) -> str:
            return f"{purpose}, {len(who)} sites" + (f", {seconds:.0f} s" if seconds > LONG else "")

        try:
            replies: list[Reply] = self._wait("replies", doing, stoppable=purpose not in FETCHED)[1]
        except BaseException as error:
            self._broken_off = True
            self._say("break")
            if isinstance(error, TimeoutError):
                return []
            raise
        return replies

    def close(self) -> None:
        """End the simulation, and all processes that it has started."""
        try:
            if self._lost is None:
                self._say("break")
                self._say("close")
                self._gone.wait(CLOSE)
        finally:
            self._kill()
            if self._lost is None:
                self._log.unlink(missing_ok=True)

    # ------------------------------------------------------------------ waiting

    def _wait(
        self, wanted: str, doing: Callable[[float], str], *, since: float | None = None, stoppable: bool = True
    ) -> Any:
        """Wait for a message of a kind, of the last question if it is an answer, and say what is waited for.

        Raises
        ------
        Stopped
            If the run is to stop.
        SimulationLost
            If no answer can come, or a step of the start takes too long.
        TimeoutError
            If a run that was broken off waits for what the sites hold.
        """
        asked = began = heard = time.monotonic()
        while True:
            stopped = self.stop()
            if stopped and stoppable:
                raise Stopped
            try:
                kind, value = self._heard.get(timeout=TICK)
            except queue.Empty:
                kind, value = "", None
            now = time.monotonic()
            heard = now if kind else heard
            if kind == wanted and (wanted == "ready" or value[0] == self._number):
                return value
            if kind == "alive" and value:
                often = "once" if value == 1 else f"{value} times"
                self.note = f"{NOTE}; a site's process ended and was started again {often}"
            if kind == "late":
                self.late += value
            if kind == "doing":
                self._step, began = value, now
            elif kind in ("dead", "gone"):
                raise self._end(value or self._exit())
            if now - heard > SILENCE:
                raise self._end(f"nothing was heard of it for {SILENCE:.0f} s")
            if wanted == "ready" and now - began > (limit := JOIN if self._step == JOINING else STEP):
                raise self._end(f"that took more than {limit:.0f} s")
            if (stopped or self._broken_off) and now - asked > FETCH:
                raise TimeoutError
            self.run.tell(doing(now - (since or asked)))

    def _starting(self, seconds: float) -> str:
        late = ", longer than usual: wait, or interrupt and take engine='auto'" if seconds > USUAL else ""
        return f"Flower's simulation starts ({self._step}), {seconds:.0f} s{late}"

    def _end(self, why: str) -> SimulationLost:
        """Give the simulation up, and all that belongs to it; say why, and what is left."""
        self._kill()
        done, rounds = len(self.run.records), self.run.settings.rounds
        what = f"was lost after {done} of {rounds} rounds" if self.sites else f"did not start (it was {self._step})"
        kept = "The rounds before are kept (the error's .run). " if done else ""
        self._lost = SimulationLost(
            f"Flower's simulation on Ray {what}: {why.rstrip('.')}{_busy()}. {kept}{_remedy()}. "
            f"What Ray and Flower say of it: {self._log}"
        )
        self._lost.run = self.run
        return self._lost

    def _exit(self) -> str:
        """Say how a process that speaks no more has ended."""
        self._kill()
        code = self._process.returncode
        return f"its process ended with {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"

    # ------------------------------------------------------------------ the process

    def _say(self, *message: Any) -> None:
        self._said.put(pickle.dumps(message))

    def _speak(self) -> None:
        """Send what is to be said, in a thread: a process that hangs does not read."""
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):
            while content := self._said.get():
                self._process.stdin.write(content)
                self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with suppress(Exception), self._process.stdout as out:  # its end, or half a word of one that was killed
            while True:
                self._heard.put(pickle.load(out))
        self._heard.put(("gone", ""))
        self._gone.set()

    def _kill(self) -> None:
        if self._process.returncode is None:  # then its number is still its own, and that of its group
            end_group(self._process.pid)
            self._process.kill()
            self._process.wait()
        self._said.put(b"")


def _begin() -> tuple[subprocess.Popen[bytes], Path]:
    """Start the process; return it, and where its own words go."""
    handle, name = tempfile.mkstemp(prefix="fedlab-ray-", suffix=".log")
    env = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"} | os.environ
    env["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, sys.path))  # also for Ray's workers
    with os.fdopen(handle, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", BEGIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            env=env, start_new_session=True,
        )  # fmt: skip
    return process, Path(name)


def _order(run: Run) -> Order:
    from ray import cloudpickle

    pack: Callable[[object], bytes] = cloudpickle.dumps
    try:
        work = pack(_work_of(run))
    except Exception as error:
        raise ValueError(
            f"{run.algorithm.name} on {run.model_name} cannot be sent to the sites' processes ({error}): leave out "
            "what holds locks, files or connections, or use engine='auto'"
        ) from error
    sites = len(run.federation.sites)
    return Order(sites, work, _address(), min(sites, CORES), _at_nodes(run.policy))


def _at_nodes(policy: Policy) -> Policy:
    """Add to what is asked in any process what is asked of nodes: who they are, and to take again what they held."""
    return policy if policy.purposes is None else replace(policy, purposes=(*policy.purposes, "greet", "restore"))


def _work_of(run: Run) -> Callable[[Context], SiteWork]:
    """Return how a node finds its site; what it holds on to is all that is sent to Ray's workers."""
    sites = sorted(run.federation.sites, key=lambda site: site.name)
    options: dict[str, Any] = dict(
        alg=run.algorithm,
        net=run.net,
        optimizer=run.settings.optimizer,
        prepared=run.federation.prepared,
        hooks=run.hooks,
    )

    def work_of(context: Context) -> SiteWork:
        return SiteWork.of(sites[int(context.node_config["partition-id"])], **options)

    return work_of


def _remedy() -> str:
    again = "Run it again"
    if (address := _address()) != "local":
        again = f"Look after the Ray cluster {address} and run it again, unset RAY_ADDRESS to simulate on this machine"
    return f"{again}, or use engine='auto', which gives the same numbers without Ray"


def _busy() -> str:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return f" (this machine is busy: a load of {load:.1f} on {CORES} cores)" if load > 2 * CORES else ""


# ---------------------------------------------------------------------- what cannot run is refused at once


def _address() -> str:
    """Return where Ray is: where it runs in this process already, else where ``RAY_ADDRESS`` says, else nowhere yet.

    These modules must be there too. ``"local"``, because Ray without an address first tries the machine's last cluster.
    """
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        return str(ray.get_runtime_context().gcs_address)
    return os.environ.get("RAY_ADDRESS") or "local"


def _check_cluster() -> None:
    """Knock at the cluster that is to be joined: Ray itself would try a dead one for many minutes."""
    told = _address()
    host, _, port = told.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return  # "local"; "auto", which the simulation finds and knocks at
    try:
        socket.create_connection((host, int(port)), timeout=KNOCK).close()
    except OSError as error:
        raise ConnectionError(
            f"no Ray cluster answers at RAY_ADDRESS={told} ({error}): start it (ray start --head), or unset "
            "RAY_ADDRESS to simulate on this machine"
        ) from None


def _check(run: Run) -> None:
    if any(len(group) > 1 for group in run.algorithm.arrange(run.federation.sites)):
        raise ValueError(
            f"{run.algorithm.name} moves rows of several sites into one place, which engine='ray' does not: "
            "use engine='auto'"
        )
    if " " in sys.executable:
        raise RuntimeError(
            f"Ray cannot start workers from an interpreter whose path has a space ({sys.executable}): make the virtual "
            "environment in a folder without one, or use engine='auto', which gives the same numbers"
        )
    for package in ("flwr", "ray"):
        if importlib.util.find_spec(package) is None:
            raise ImportError(f"engine='ray' needs Flower's simulation ({package} is missing): {INSTALL}")
    _check_cluster()
