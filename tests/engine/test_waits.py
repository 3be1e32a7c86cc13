"""No wait is without an end: on Flower's nodes, and on the process that runs its simulation. Neither needs Ray here."""

from __future__ import annotations

import importlib.util
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fedlab.algorithms import FedAvg
from fedlab.engine import Run, TooFewSites, simulation
from fedlab.engine.local import LocalTransport
from fedlab.engine.plan import planned
from fedlab.engine.simulation import SimulationLost, SimulationTransport
from fedlab.engine.train import begin, carry
from fedlab.engine.work import Stopped
from fedlab.federation import Federation
from fedlab.privacy import SIMULATED
from tests.patience import until

needs_flower = pytest.mark.skipif(
    importlib.util.find_spec("flwr") is None or importlib.util.find_spec("ray") is None,
    reason="Flower's simulation is not installed: pip install 'fedlab-workbench[ray]'",
)
SITES = ["A", "B", "C"]

# ---------------------------------------------------------------------- Flower's nodes


class Nodes:
    """A grid whose nodes do as they are told: ``does(site, times asked)`` is ``answer``, ``die`` or ``nothing``."""

    def __init__(self, does: Callable[[str, int], str] = lambda site, times: "answer", come: int = 3) -> None:
        self.does, self.come = does, come
        self.waiting: dict[str, Any] = {}
        self.asked: list[str] = []

    def get_node_ids(self) -> Iterable[int]:
        return range(1, self.come + 1)

    def push_messages(self, messages: Iterable[Any]) -> Iterable[str]:
        numbers = []
        for message in messages:
            number = f"message {len(self.asked)}"
            message.metadata.__dict__["_message_id"] = number
            site = SITES[message.metadata.dst_node_id - 1]
            self.asked.append(site)
            self.waiting[number] = site, message
            numbers.append(number)
        return numbers

    def pull_messages(self, numbers: Iterable[str]) -> Iterator[Any]:
        from flwr.app import Error, Message

        from fedlab.engine.flower import pack, version

        for number in list(numbers):
            site, message = self.waiting.get(number, ("", None))
            named = message is not None and message.content["plain"]["purpose"] == "greet"
            does = "answer" if named else self.does(site, self.asked.count(site) - 1)
            if message is not None and does != "nothing":
                del self.waiting[number]
                told = {"purposes": []} if named else {"rows": 1.0}
                content = (
                    pack(told, site=site, fedlab=version()) if does == "answer" else Error(code=0, reason="it died")
                )
                yield Message(content, reply_to=message)


@pytest.fixture
def flower(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The transport, in a process that may make Flower's messages, with little patience."""
    pytest.importorskip("flwr", reason="Flower is not installed: pip install 'fedlab-workbench[ray]'")
    from fedlab.algorithms.flower_session import _as_flower
    from fedlab.engine import flower

    monkeypatch.setattr(flower, "START", 0.3)
    with _as_flower(0):
        yield flower


def test_all_nodes_answer(flower: Any) -> None:
    transport = flower.FlowerTransport(Nodes(), 3)
    assert transport.sites == ("A", "B", "C")
    assert [(r.site, r.content["rows"], r.error) for r in transport.ask("statistics", SITES, {})] == [
        (site, 1.0, "") for site in SITES
    ]


def test_nodes_that_do_not_come_are_counted(flower: Any) -> None:
    with pytest.raises(TimeoutError, match=r"2 of 3 sites came in 0 s: start the others"):
        flower.FlowerTransport(Nodes(come=2), 3)


def test_nodes_that_do_not_say_their_names_are_counted(flower: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes()
    monkeypatch.setattr(nodes, "pull_messages", lambda numbers: [])
    with pytest.raises(TimeoutError, match=r"3 of 3 sites did not say their names \(no answer in 0 s\)"):
        flower.FlowerTransport(nodes, 3)


def test_a_site_that_never_answers_is_an_error_reply(flower: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = flower.FlowerTransport(Nodes(lambda site, times: "nothing" if site == "B" else "answer"), 3)
    monkeypatch.setattr(flower, "LONGEST", 0.3)
    assert [r.error for r in transport.ask("train", SITES, {})] == ["", "no answer", ""]


def test_what_carries_the_messages_is_looked_at_when_one_is_lost(flower: Any) -> None:
    def gone() -> None:
        raise ConnectionError("the raylet is gone")

    transport = flower.FlowerTransport(Nodes(lambda site, times: "die"), 3, check=gone)
    with pytest.raises(ConnectionError, match="the raylet is gone"):
        transport.ask("train", SITES, {})


def test_a_site_whose_process_died_is_an_error_reply(flower: Any) -> None:
    transport = flower.FlowerTransport(Nodes(lambda site, times: "die" if site == "B" and times == 1 else "answer"), 3)
    assert [r.error for r in transport.ask("train", SITES, {})] == ["", "no answer", ""]
    assert not any(r.error for r in transport.ask("train", SITES, {}))


@pytest.mark.parametrize("purpose", ["statistics", "train"])
def test_every_wait_on_nodes_can_be_stopped(purpose: str, flower: Any) -> None:
    stop = threading.Event()
    with pytest.raises(Stopped):
        flower.FlowerTransport(Nodes(come=0), 3, stop=lambda: True)
    transport = flower.FlowerTransport(Nodes(lambda site, times: "nothing"), 3, stop=stop.is_set)
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(Stopped):
        transport.ask(purpose, SITES, {})


# ---------------------------------------------------------------------- the process of the simulation

SPEAK = """
import os, pickle, signal, sys, time
def say(*message): sys.stdout.buffer.write(pickle.dumps(message)); sys.stdout.buffer.flush()
"""
READY = SPEAK + "say('ready', ('site 0', 'site 1', 'site 2'))\n"
ALIVE = "while True: say('alive', None); time.sleep(0.05)\n"


@pytest.fixture
def simulated(
    uneven: Federation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., SimulationTransport]:
    """A transport whose process does something else than it should."""
    monkeypatch.setattr(sys, "executable", os.path.realpath(sys.executable))  # a path without a space
    monkeypatch.setattr(simulation, "_order", lambda run: None)
    monkeypatch.setattr(simulation.tempfile, "tempdir", str(tmp_path))

    def start(code: str, stop: Callable[[], bool] = lambda: False) -> SimulationTransport:
        monkeypatch.setattr(simulation, "BEGIN", code)
        return SimulationTransport(run_of(uneven), stop=stop)

    return start


def run_of(federation: Federation) -> Run:
    return begin(planned(federation, "logistic", "fedavg", {"rounds": 9, "engine": "ray"}))


@needs_flower
def test_what_cannot_be_sent_is_said_before_anything_starts(uneven: Federation) -> None:
    class Locked(FedAvg):
        lock = threading.Lock()

    run = begin(planned(uneven, "logistic", Locked(), {"rounds": 9, "engine": "ray"}))
    with pytest.raises(ValueError, match="cannot be sent to the sites' processes .cannot pickle.*use engine='auto'"):
        simulation._order(run)


@needs_flower
@pytest.mark.parametrize(
    ("code", "why"),
    [
        (
            SPEAK + "say('doing', 'starting Ray'); sys.exit(3)",
            r"starting Ray\): its process ended with exit code 3",
        ),
        (SPEAK + "os.kill(os.getpid(), signal.SIGKILL)", "its process ended with SIGKILL"),
        (SPEAK + "say('dead', 'Ray has no room'); time.sleep(1000)", "Ray has no room"),
        (SPEAK + "sys.stdout.buffer.write(pickle.dumps('half a word')[:5])", "its process ended with exit code 0"),
    ],
)
def test_a_start_that_fails_says_why_and_leaves_nothing(code: str, why: str, simulated: Any) -> None:
    sentence = rf"did not start \(it was .*{why}.*use engine='auto'.*fedlab-ray-"
    with pytest.raises(SimulationLost, match=sentence) as caught:
        simulated(code)
    assert isinstance(caught.value, TooFewSites) and caught.value.run.records == []


@needs_flower
def test_a_process_that_says_nothing_is_given_up(simulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "SILENCE", 0.5)
    with pytest.raises(SimulationLost, match="nothing was heard of it for 0 s"):
        simulated("import time; time.sleep(1000)")


@needs_flower
@pytest.mark.parametrize(("step", "limit"), [("starting Ray", "STEP"), ("joining the Ray cluster", "JOIN")])
def test_a_step_of_the_start_has_a_limit_though_all_is_well(
    step: str, limit: str, simulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell(self: Run, doing: str) -> None:
        if step in doing:  # however long the process took to come so far
            monkeypatch.setattr(simulation, limit, 0.5)

    monkeypatch.setattr(Run, "tell", tell)
    with pytest.raises(SimulationLost, match=rf"it was {step}\): that took more than 0 s"):
        simulated(SPEAK + f"say('doing', '{step}')\n" + ALIVE)


@needs_flower
def test_the_start_says_how_long_it_has_taken_and_when_that_is_too_long(
    simulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Run, "tell", lambda self, doing: said.append(doing))
    monkeypatch.setattr(simulation, "USUAL", 0.3)
    over = "Flower's simulation starts (starting Ray), "
    with pytest.raises(Stopped):
        simulated(
            SPEAK + "say('doing', 'starting Ray')\n" + ALIVE,
            lambda: bool(said) and over in said[-1] and "longer" in said[-1],
        )
    assert said[0].startswith("Flower's simulation starts (its process), ")
    assert said[-1].endswith(" s, longer than usual: wait, or interrupt and take engine='auto'")


@needs_flower
@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("time.sleep(0.3); sys.exit(1)", "its process ended with exit code 1"),
        ("say('alive', None); say('dead', 'its raylet is gone'); time.sleep(1000)", "its raylet is gone"),
    ],
)
def test_a_loss_in_mid_run_keeps_the_rounds_and_ends_all_questions(code: str, why: str, simulated: Any) -> None:
    transport = simulated(READY + code)
    transport.run.records = [None] * 4
    with pytest.raises(SimulationLost, match=rf"lost after 4 of 9 rounds: {why}.*kept \(the error's .run\)") as caught:
        transport.ask("train", ["site 0"], {"model": {"w": torch.zeros(100_000)}})
    assert caught.value.run is transport.run
    with pytest.raises(SimulationLost, match=why):
        transport.ask("export", ["site 0"], {})
    transport.close()
    log = Path(str(caught.value).rpartition(" ")[2])
    assert log.exists(), "what Ray said is still there to be read"


@needs_flower
def test_a_process_that_is_frozen_is_given_up_though_it_reads_nothing(
    simulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = simulated(READY + "os.kill(os.getpid(), signal.SIGSTOP)")
    monkeypatch.setattr(simulation, "SILENCE", 1.0)
    with pytest.raises(SimulationLost, match="nothing was heard of it for 1 s"):
        transport.ask("train", ["site 0"], {"model": {"w": torch.zeros(1_000_000)}})
    transport.close()


@needs_flower
def test_a_question_is_stopped_and_what_is_fetched_then_has_a_limit(
    simulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sites that are still at work cannot hand out what they hold: the rounds stand without it."""
    stop = threading.Event()
    transport = simulated(READY + ALIVE, stop.is_set)
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(Stopped):
        transport.ask("train", ["site 0"], {})
    monkeypatch.setattr(simulation, "FETCH", 0.3)
    assert transport.ask("export", ["site 0"], {}) == []
    process = transport._process
    monkeypatch.setattr(simulation, "CLOSE", 0.3)
    transport.close()
    assert process.returncode == -signal.SIGKILL
    assert not list(transport._log.parent.glob("fedlab-ray-*"))


@needs_flower
def test_a_late_answer_is_not_taken_for_that_of_the_next_question(simulated: Any) -> None:
    transport = simulated(READY + "for n in (7, 1): say('replies', (n, ['answer', n])); time.sleep(0.2)\n" + ALIVE)
    assert transport.ask("train", ["site 0"], {}) == ["answer", 1]
    transport.close()


HANGS = """
import subprocess, sys, time
from fedlab.engine import simulator
def hang(self):
    print(subprocess.Popen(["sleep", "1000"]).pid, file=sys.stderr, flush=True)
    time.sleep(1000)
simulator.Simulator._start_ray = hang
simulator.main()
"""


@needs_flower
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="this system has no groups of processes")
def test_when_this_process_ends_the_other_one_does_with_all_that_it_has_started() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HANGS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdin and process.stdout and process.stderr
    process.stdin.write(pickle.dumps(simulation.Order(3, b"", "local", 1, SIMULATED)))
    process.stdin.flush()
    started = next(int(line) for line in process.stderr if line.strip().isdigit())
    process.stdin.close()
    until(lambda: process.poll() is not None)
    until(lambda: not Path(f"/proc/{started}/cmdline").exists() or not Path(f"/proc/{started}/cmdline").read_bytes())
    process.stdout.close()
    process.stderr.close()


def test_a_run_that_is_lost_comes_with_its_error(uneven: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost(LocalTransport):
        def ask(self, purpose: str, who: Any, payload: Any) -> Any:
            if len(run.records) == 2:
                raise SimulationLost("Flower's simulation on Ray was lost after 2 of 9 rounds")
            return super().ask(purpose, who, payload)

    run = begin(planned(uneven, "logistic", "isolated", {"rounds": 9, "engine": "ray"}))
    monkeypatch.setattr(simulation, "SimulationTransport", Lost)
    with pytest.raises(SimulationLost) as caught:
        carry(run, progress=False)
    assert caught.value.run is run and len(run.records) == 2 and set(run.weights) >= {"weight", "bias"}


@needs_flower
def test_ray_is_the_one_that_can_be_given_time() -> None:
    """What lets it start on a busy machine is private to it: another version must not undo that in silence."""
    code = (
        "from fedlab.engine.simulator import unhurried; unhurried()\n"
        "from ray._private import node, parameter\n"
        "own = (node.Node.start_raylet, node.Node.start_api_server, parameter.RayParams.__init__)\n"
        "assert {each.__module__ for each in own} == {'fedlab.engine.simulator'}\n"
        "made = parameter.RayParams()\n"
        "assert made.no_monitor and not made.include_log_monitor and made.runtime_env_agent_port\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
