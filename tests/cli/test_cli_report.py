"""``fedlab report``: one file that needs nothing, the same numbers as JSON, bad input refused before any training."""

from __future__ import annotations

import json
import os
import stat
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import Result

from fedlab.algorithms import FedProx
from fedlab.federation import METRICS
from tests.cli.called import call

SITES = ("Cleveland", "Hungary", "Switzerland", "Long Beach")
ARMS = ("isolated", "centralized", "ensemble", "fedavg")


class Page(HTMLParser):
    """What a page would load, and how it is built."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data", "poster", "action") or (name == "href" and tag != "a"):
                self.loads.append(f"{tag} {name}={value}")
            if name == "id":
                self.ids.append(str(value))
            if name == "href" and tag == "a":
                self.links.append(str(value))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Result]:
    folder = tmp_path_factory.mktemp("a report")
    files = folder / "gäp report.html", folder / "numbers.json"
    places = ["-o", str(files[0]), "--json", str(files[1]), "--csv", str(folder / "scores.csv")]
    done = call("report", "heart_disease", "--seeds", "2", "--rounds", "2", "--link", "2", *places)
    assert done.exit_code == 0, done.output
    return *files, done


@pytest.fixture(scope="module")
def text(made: tuple[Path, Path, Result]) -> str:
    return made[0].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def numbers(made: tuple[Path, Path, Result]) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    found: dict[str, Any] = json.loads(made[1].read_text(encoding="utf-8"), parse_constant=refuse)
    return found


# --------------------------------------------------------------------------- the page


def test_the_page_loads_nothing(text: str) -> None:
    page = Page(text)
    assert page.loads == []
    assert "default-src 'none'" in text and "@import" not in text and text.count("<script>") >= 1
    assert text.count("plotly.js v") == 1  # the library once, however many figures


def test_the_page_is_built_for_readers(text: str) -> None:
    page = Page(text)
    assert page.tags.count("h1") == 1 and page.tags.count("figure") == page.tags.count("figcaption") == 5
    assert page.tags.count("caption") == page.tags.count("table") >= 8
    assert 'lang="en"' in text and "@media print" in text and 'role="img" aria-label=' in text
    assert len(set(page.ids)) == len(page.ids)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


@pytest.mark.parametrize(
    "words",
    [
        *SITES,
        *(
            "In short",
            "The verdict",
            "Limits",
            "sensitivity at 90 %",
            "on the link,",
            "O:E ratio",
            "Each interval stands by itself",
            "own model, elsewhere",
            "that it has never seen",
            "ECE",
            "Brier score",
            "bytes",
        ),
        *("10.24432/C52P4X", "CC BY 4.0", "data fingerprint", "test opened", "fedlab report heart_disease", "torch 2."),
        "healthy test patients",
    ],
)
def test_the_page_says(text: str, words: str) -> None:
    assert words in text


def test_nothing_half_written_stays(made: tuple[Path, Path, Result]) -> None:
    assert sorted(path.name for path in made[0].parent.iterdir()) == ["gäp report.html", "numbers.json", "scores.csv"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(made[0].stat().st_mode) == 0o666 & ~umask


def test_the_terminal_has_the_story_and_the_files(made: tuple[Path, Path, Result]) -> None:
    said = made[2].stdout
    assert "FedAvg against pooling, everywhere and at home:" in said and "numbers.json" in said


def test_text_of_others_is_escaped(hospitals: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    from fedlab.report.gap import Gap
    from fedlab.report.page import About, page
    from fedlab.study import compare

    sites = tuple(replace(site, name=f"<b>{site.name}&") for site in hospitals.sites)
    study = compare(
        replace(hospitals, sites=sites), "logistic", ["isolated", "fedavg"], seeds=1, rounds=1, progress=False
    )
    text = page(Gap(study), About("<i>title", "see https://doi.org/1?a=b&c=d.", "<u>", {"what": "<s>"}))
    tags = Page(text).tags
    assert not {"i", "u", "s"} & set(tags) and "&lt;b&gt;Cleveland&amp;" in text
    assert 'href="https://doi.org/1?a=b' in text


# --------------------------------------------------------------------------- the numbers


def test_the_atlas_has_every_pair_and_the_unseen(numbers: dict[str, Any]) -> None:
    atlas = numbers["atlas"]
    assert set(atlas["isolated"]) == set(SITES)
    assert all(set(atlas["isolated"][train]) == set(SITES) for train in SITES)
    assert set(atlas["fedavg"]) == {"all sites", *(f"all but {site}" for site in SITES)}
    cell = atlas["fedavg"]["all but Hungary"]["Hungary"]["auc"]
    assert cell["low"] < cell["mean"] < cell["high"] and 73 <= cell["patients"] <= 74


def test_every_metric_is_in_the_numbers(numbers: dict[str, Any]) -> None:
    assert set(numbers["arms"]["fedavg"]["everywhere"]) == set(METRICS)
    assert list(numbers["verdict"]) == ["log_loss", "auc", "accuracy"] and numbers["primary"] == "log_loss"
    assert numbers["smallest"] is None and set(numbers["judged"]) == {"everywhere", "home"}
    assert all(row["p_holm"] is not None for rows in numbers["judged"].values() for row in rows)
    assert set(numbers["shown"]) == {"everywhere", "home", "sites", "away"}
    assert set(numbers["shown"]["home"]) == {"auc", "accuracy"}
    assert all(row["p_holm"] is None and not row["winner"] for row in numbers["shown"]["home"]["auc"])
    assert {row["by"] for row in numbers["more_data"]} == {"rows", "sites"}


def test_the_link_turns_bytes_into_seconds(numbers: dict[str, Any], text: str) -> None:
    cost = numbers["cost"]["fedavg"]
    assert numbers["link_mbit_s"] == 2 and cost["link_seconds"] == pytest.approx(8 * cost["bytes"] / 2e6)
    assert "on the link,<br>2 Mbit/s" in text and "share the server’s one link" in text


def test_the_scores_are_one_long_table(made: tuple[Path, Path, Result], numbers: dict[str, Any]) -> None:
    table = pd.read_csv(made[0].with_name("scores.csv"))
    assert list(table) == "arm seed train test metric value low high patients fewest reason".split()
    assert set(table["arm"]) == set(ARMS) and set(table["metric"]) == set(METRICS) and set(table["seed"]) == {0, 1}
    key = {"arm": "fedavg", "train": "all but Hungary", "test": "Hungary", "metric": "auc"}
    rows = table[(table[list(key)] == pd.Series(key)).all(axis=1)]
    mean = numbers["atlas"]["fedavg"]["all but Hungary"]["Hungary"]["auc"]["mean"]
    assert len(rows) == 2 and rows["value"].mean() == pytest.approx(mean)


def test_what_is_not_a_number_is_null() -> None:
    import numpy as np

    from fedlab.report.numbers import clean

    dirty = {1: [np.float64("nan"), np.int64(3), float("-inf")], "x": (np.bool_(True), "s", None)}
    assert clean(dirty) == {"1": [None, 3, None], "x": [True, "s", None]}


def test_without_the_reference_there_is_still_a_report(tmp_path: Path) -> None:
    for arms in ("fedavg,centralized", "isolated", "ensemble"):
        file = tmp_path / "one.html"
        done = call("report", "heart_disease", "--algorithms", arms, "--seeds", "1", "--rounds", "1", "-o", str(file))
        assert done.exit_code == 0, done.output
        assert "clearly" not in done.stdout and file.is_file()


@pytest.mark.filterwarnings("ignore::fedlab.study.SeedsFailed")
@pytest.mark.parametrize(("fails", "runs"), [((2,), 2), ((1, 2, 3), 0)], ids=["one seed", "all"])
def test_an_algorithm_that_fails_is_named_and_the_rest_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: tuple[int, ...], runs: int
) -> None:
    calls = iter(range(1, 1000))  # the seeds take turns
    real = FedProx.combine

    def breaks(self: FedProx, *given: Any) -> Any:
        assert float(given[3].sum()) > 0  # a server half that looks at its numbers goes run by run
        if next(calls) in fails:
            raise ZeroDivisionError("no step length left")
        return real(self, *given)

    monkeypatch.setattr(FedProx, "combine", breaks)
    page, numbers = tmp_path / "r.html", tmp_path / "r.json"
    asked = ("--algorithms", "isolated,fedavg,fedprox", "--seeds", "3", "--rounds", "1", "--json", str(numbers))
    done = call("report", "heart_disease", *asked, "-o", str(page))
    assert done.exit_code == 0, done.output
    assert f"fedprox failed on {len(fails)} of 3 seeds" in page.read_text(encoding="utf-8")
    told = json.loads(numbers.read_text(encoding="utf-8"))
    assert [row["error"] for row in told["failed"]] == ["ZeroDivisionError: no step length left"] * len(fails)
    assert ("fedprox" in told["cost"]) == bool(runs)
