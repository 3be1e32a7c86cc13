"""What dies under a run on Ray ends it in a sentence, or is left out; the rounds before stay, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engine import on_ray

pytestmark = pytest.mark.ray
ROUNDS = 6
REMEDY = "Run it again, or use engine='auto', which gives the same numbers without Ray."


def told(tmp_path: Path, what: str, when: str, *, cluster: bool = False) -> dict[str, Any]:
    (got,) = on_ray.results(on_ray.run(tmp_path, str(on_ray.HERE / "ray_deaths.py"), what, when, cluster=cluster))
    assert got["acted"], f"nothing was killed: {got}"
    assert not got["left"], "it has left processes behind"
    return got


@pytest.mark.parametrize(
    ("what", "when", "rounds"),
    [
        ("raylet", "mid", 1),
        ("gcs_server", "mid", 1),
        ("raylet", "3", 3),
        ("raylet", "waiting", 0),
        ("gcs_server", "waiting", 0),
    ],
)
def test_a_dead_ray_ends_the_run_in_a_sentence(what: str, when: str, rounds: int, tmp_path: Path) -> None:
    got = told(tmp_path, what, when)
    assert got["error"] == "SimulationLost" and got["rounds"] == rounds
    assert REMEDY in got["sentence"] and "fedlab-ray-" in got["sentence"]
    if rounds:
        assert f"was lost after {rounds} of {ROUNDS} rounds" in got["sentence"] and got["model"]
        assert "The rounds before are kept (the error's .run)." in got["sentence"]
    else:
        assert "did not start (it was waiting for the sites)" in got["sentence"]


def test_ray_that_dies_while_it_starts(tmp_path: Path) -> None:
    got = told(tmp_path, "gcs_server", "starting Ray")
    assert got["error"] == "SimulationLost" and "did not start (it was starting Ray)" in got["sentence"]


def test_a_cluster_that_dies_is_named(tmp_path: Path) -> None:
    got = told(tmp_path, "raylet", "mid", cluster=True)
    assert got["error"] == "SimulationLost" and got["rounds"] == 1 and got["model"]
    assert "Look after the Ray cluster" in got["sentence"] and "unset RAY_ADDRESS" in got["sentence"]


def test_the_process_of_a_site_that_dies_is_started_again_and_does_what_it_was_at(tmp_path: Path) -> None:
    """The same message from the same state gives the same numbers; the run's note says that it happened."""
    got = told(tmp_path, "ray::ClientApp", "mid")
    assert got["error"] == "" and got["rounds"] == ROUNDS and got["model"] and got["errors"] == []
    assert got["notes"] == ["Flower's simulation on Ray; a site's process ended and was started again once"]


def test_a_site_that_kills_its_process_is_an_error_of_that_site_and_the_run_goes_on(tmp_path: Path) -> None:
    got = told(tmp_path, "itself", "mid")
    assert got["error"] == "" and got["rounds"] == ROUNDS and got["model"]
    assert got["errors"] == [[2, "site 1", "no answer"]] and any("2 times" in note for note in got["notes"])


@pytest.mark.parametrize("what", ["stop", "interrupt"])
@pytest.mark.parametrize(("when", "rounds"), [("starting Ray", 0), ("waiting", 0), ("mid", 1)])
def test_a_run_is_stopped_and_interrupted_in_every_wait(what: str, when: str, rounds: int, tmp_path: Path) -> None:
    got = told(tmp_path, what, when)
    assert got["error"] == ("KeyboardInterrupt" if what == "interrupt" else "") and got["rounds"] == rounds


def test_auto_without_a_cluster_says_so(tmp_path: Path) -> None:
    """Not the machine's last one, which Ray would look for until somebody stops it."""
    code = "import fedlab; fedlab.train(fedlab.load('heart_disease'), rounds=2, engine='ray')"
    last = tmp_path / "ray" / "ray_current_cluster"
    last.parent.mkdir()
    last.write_text("127.0.0.1:9")
    done = on_ray.run(tmp_path, "-c", code, RAY_ADDRESS="auto", RAY_TMPDIR=str(tmp_path))
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert "SimulationLost: Flower's simulation on Ray did not start (it was joining the Ray cluster)" in said
    assert "does not answer" in said and "Look after the Ray cluster auto" in said


def test_the_command_keeps_the_rounds_before(tmp_path: Path) -> None:
    done = on_ray.run(tmp_path, str(on_ray.HERE / "ray_simulate.py"))
    assert done.returncode == 1 and "ACTED" in done.stdout
    assert "rounds that there were:" in done.stdout and "Cleveland" in done.stdout
    assert "fedlab: Flower's simulation on Ray was lost after" in done.stderr and REMEDY in " ".join(
        done.stderr.split()
    )
