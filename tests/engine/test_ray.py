"""Flower's simulation gives the bits of one site at a time in process; what cannot run there is refused at once."""

from __future__ import annotations

import importlib.util
import socket
import sys
from pathlib import Path

import pytest

import fedlab
from fedlab.engine import simulation
from fedlab.federation import Federation
from tests.engine import on_ray

GROUPS = [
    ("fedavg", "fedprox", "fedadam"),
    ("scaffold", "fedbn", "fedrep"),
    ("trimmedmean", "krum", "ensemble", "fromflower"),
]
SIMULATE = ("-c", on_ray.APP, "simulate", "heart_disease", "--rounds", "2", "--algorithm", "scaffold", "--compare")


@pytest.mark.ray
@pytest.mark.parametrize("names", GROUPS)
def test_the_same_bits_as_one_site_at_a_time(names: tuple[str, ...], tmp_path: Path) -> None:
    found = on_ray.results(on_ray.run(tmp_path, str(on_ray.HERE / "ray_runs.py"), *names))
    assert [got["name"] for got in found] == list(names)
    for got in found:
        assert got["difference"] == 0.0 and got["leaves"] >= 4, got["name"]
        assert got["history"] and got["ledger"] and not got["errors"], got["name"]
        assert got["notes"] == ["Flower's simulation on Ray"]


@pytest.mark.ray
@pytest.mark.parametrize("cluster", [False, True])
def test_the_command_says_that_the_bits_are_the_same(cluster: bool, tmp_path: Path) -> None:
    """Where Ray is started for it, and in the cluster that RAY_ADDRESS names."""
    done = on_ray.run(tmp_path, *SIMULATE, cluster=cluster)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "largest difference of any weight 0.0e+00, the same bits" in done.stdout


def test_a_cluster_that_does_not_answer_is_named_at_once(uneven: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Flower's simulation is not installed: pip install 'fedlab-workbench[ray]'")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
    monkeypatch.setattr(sys, "executable", "/venv/bin/python")
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConnectionError, match=f"RAY_ADDRESS={address}.*ray start --head"):
        fedlab.train(uneven, engine="ray")


def test_an_existing_cluster_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert simulation._address() == "local"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.5:6379")
    assert simulation._address() == "10.0.0.5:6379"


@pytest.mark.ray
def test_a_failing_site_is_left_out_and_its_text_stays_there(tmp_path: Path) -> None:
    (got,) = on_ray.results(on_ray.run(tmp_path, str(on_ray.HERE / "ray_runs.py"), "leaky"))
    assert got["errors"] == [[2, "site 1", "LookupError"]] and not got["leaked"]
    assert got["difference"] == 0.0 and got["ledger"]


def test_an_interpreter_path_with_a_space_is_refused_at_once(
    uneven: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/my venv/bin/python")
    with pytest.raises(RuntimeError, match="path has a space .*folder without one, or use engine='auto'"):
        fedlab.train(uneven, engine="ray")


def test_without_the_extra_the_install_line_is_named(uneven: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/venv/bin/python")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'fedlab-workbench\[ray\]'"):
        fedlab.train(uneven, engine="ray")


def test_pooling_rows_is_refused_on_ray(uneven: Federation) -> None:
    with pytest.raises(ValueError, match="centralized moves rows.*use engine='auto'"):
        fedlab.train(uneven, algorithm="centralized", engine="ray")
