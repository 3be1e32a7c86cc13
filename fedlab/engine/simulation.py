"""``engine="ray"``: the same run on Flower's simulation, in this process's name but on Ray's workers."""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fedlab.engine.exchange import Reply
from fedlab.engine.run import Run
from fedlab.engine.site import SiteWork
from fedlab.engine.work import Stop, Stopped

if TYPE_CHECKING:
    from flwr.app import Context
    from flwr.serverapp import Grid

KNOCK = 10.0  # seconds to wait for a cluster's answer
INSTALL = "pip install 'fedlab-workbench[ray]'"


class SimulationTransport:
    """Sites as nodes of Flower's simulation.

    Flower runs in a thread of its own and lends its grid; the round loop stays with the caller, so that a run on Ray
    can be watched and stopped like any other.

    Raises
    ------
    ImportError
        Without the extra ``ray``.
    ConnectionError
        If nothing answers at ``RAY_ADDRESS``.
    RuntimeError
        If the interpreter's path has a space: Ray starts its workers through it unquoted, and retries for ever.
    ValueError
        If the algorithm pools rows: they do not leave their sites here.
    """

    def __init__(self, run: Run, *, stop: Stop) -> None:
        _check(run)
        from fedlab.engine.flower import FlowerTransport

        self._done = threading.Event()
        self._grid: queue.Queue[Any] = queue.Queue()
        self._thread = threading.Thread(target=self._simulate, args=(run,), daemon=True)
        self._thread.start()
        try:
            self._inner = FlowerTransport(self._wait_for_grid(stop), len(run.federation.sites), stop=stop)
        except BaseException:
            self.close()
            raise
        self.sites, self.places = self._inner.sites, self._inner.places
        self.note = "Flower's simulation on Ray"

    def ask(self, purpose: str, who: Sequence[str], payload: dict[str, Any]) -> list[Reply]:
        """Ask the nodes."""
        return self._inner.ask(purpose, who, payload)

    def close(self) -> None:
        """End the simulation."""
        self._done.set()
        self._thread.join(timeout=60)

    def _wait_for_grid(self, stop: Stop) -> Grid:
        while True:
            if stop():
                raise Stopped
            try:
                got = self._grid.get(timeout=0.1)
            except queue.Empty:
                continue
            if isinstance(got, BaseException):
                raise RuntimeError(f"Flower's simulation did not start: {got}") from got
            return got  # type: ignore[no-any-return]

    def _simulate(self, run: Run) -> None:
        from flwr.serverapp import ServerApp
        from flwr.simulation import run_simulation

        from fedlab.engine.flower import client_app

        server = ServerApp()

        @server.main()
        def main(grid: Grid, context: Context) -> None:
            self._grid.put(grid)
            self._done.wait()

        try:
            run_simulation(
                server_app=server,
                client_app=client_app(_work_of(run)),
                num_supernodes=len(run.federation.sites),
                backend_config={"init_args": _cluster(), "client_resources": {"num_cpus": 1}},
            )
        except BaseException as error:
            self._grid.put(error)


def _work_of(run: Run) -> Callable[[Context], SiteWork]:
    """Return how a node finds its site; what it holds on to is all that is sent to Ray's workers."""
    sites = sorted(run.federation.sites, key=lambda site: site.name)
    options: dict[str, Any] = dict(
        alg=run.algorithm, net=run.net, optimizer=run.settings.optimizer, prepared=run.federation.prepared
    )

    def work_of(context: Context) -> SiteWork:
        return SiteWork.of(sites[int(context.node_config["partition-id"])], **options)

    return work_of


def _cluster() -> dict[str, Any]:
    """Return how Ray is to start: in the cluster that ``RAY_ADDRESS`` names, where these modules must be, or here.

    ``"local"``, because Ray without an address first tries the machine's last cluster, for minutes if it is dead.
    """
    return {"logging_level": "error", "log_to_driver": False, "address": os.environ.get("RAY_ADDRESS") or "local"}


def _check_cluster() -> None:
    """Knock at the cluster that ``RAY_ADDRESS`` names: Ray itself would try a dead one for many minutes."""
    told = os.environ.get("RAY_ADDRESS", "")
    host, _, port = told.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return  # "auto", "local": Ray's own words
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
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns in the notebook
    try:
        import flwr
        import ray
    except ImportError as error:
        raise ImportError(f"engine='ray' needs Flower's simulation: {INSTALL}") from error
    del flwr, ray
    _check_cluster()
