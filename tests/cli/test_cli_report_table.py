"""``fedlab report my.csv``: a table of one's own, and what is wrong with one in a sentence."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fedlab.cli import report
from tests.cli.called import call

SHORT = ("--seeds", "1", "--rounds", "1")
COLUMNS = ("--site", "ward", "--label", "died")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 180
    age = rng.normal(60, 10, n).round()
    died = (rng.random(n) < 1 / (1 + np.exp(-(age - 60) / 8))).astype(int)
    wards = np.array(["Nord", "Süd", "O'Hare"])[np.arange(n) % 3]
    return pd.DataFrame(
        {"ward": wards, "patient": np.arange(n) // 2, "age": age, "crp": rng.gamma(2, 5, n), "died": died}
    )


@pytest.fixture
def folder(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    table.to_csv(tmp_path / "my.csv", index=False)
    table.to_csv(tmp_path / "semi.csv", index=False, sep=";")
    table.to_csv(tmp_path / "tabs.tsv", index=False, sep="\t")
    table.assign(died=table["died"].map({0: "alive", 1: "dead"})).to_csv(tmp_path / "words.csv", index=False)
    table.to_csv(tmp_path / "old.csv", index=False, encoding="latin-1")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "broken.csv").write_text('a,b\n1,2,3\n"x\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore")
def test_a_table_becomes_a_report_that_says_how_it_was_made(folder: Path) -> None:
    line = ("my.csv", *COLUMNS, "--group", "patient", "--features", "age,crp", *SHORT, "--holdout", "O'Hare")
    done = call("report", *line, "-o", "r.html", "--json", "n.json")
    assert done.exit_code == 0, done.output
    page = (folder / "r.html").read_text(encoding="utf-8")
    assert "my: the gap report" in page and "The table my.csv, 180 rows." in page and "Licence: not stated." in page
    assert "2 hospitals, " in page and "Süd" in page and "Hare was held out" in page
    assert "my.csv --site ward --label died --group patient --features age,crp" in page
    assert "Traceback" not in done.output and "Wrote r.html and n.json" in done.stdout


@pytest.mark.parametrize(
    ("line", "classes"),
    [
        (("my.csv", "--classes", "1,0"), "1"),
        (("semi.csv", "--sep", ";"), "1"),
        (("tabs.tsv",), "1"),
        (("words.csv", "--classes", "dead,alive", "--sep", ","), "alive"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_how_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch, line: tuple[str, ...], classes: str) -> None:
    seen: list[Any] = []

    def stop(federation: Any, *_: Any, **__: Any) -> None:
        seen.append(federation)
        raise ValueError("enough")

    monkeypatch.setattr(report, "make", stop)
    done = call("report", *line, *COLUMNS, *SHORT, "-o", "r.html")
    assert done.exit_code == 1 and "enough" in done.stderr
    (federation,) = seen
    assert federation.names == ("Nord", "Süd", "O'Hare") and "age" in federation.columns
    positive = {"my.csv": "0"}.get(line[0], classes)
    assert federation.task.classes[1] == positive


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("my.csv",), "say with --site which column names the hospital, and with --label which is to be predicted"),
        (("my.csv", "--site", "ward"), "its columns are 'ward', 'patient', 'age', 'crp', 'died'"),
        (("my.csv", "--site", "ward", "--label", "dead"), "no column 'dead', named by --label;"),
        (("my.csv", *COLUMNS, "--features", "age,,x"), "no column 'x', named by --features;"),
        (("my.csv", *COLUMNS, "--classes", "no,yes"), "not among --classes ['no', 'yes']"),
        (("my.csv", *COLUMNS, "--holdout", "West"), "--holdout: there is no site 'West'; the sites are Nord"),
        (("semi.csv", *COLUMNS), "wrong separator? try --sep ';'"),
        (("old.csv", *COLUMNS), "old.csv is not UTF-8 text"),
        (("empty.csv", *COLUMNS), "empty.csv is empty."),
        (("broken.csv", *COLUMNS), "broken.csv cannot be read as a table"),
        (("nofile.csv", *COLUMNS), "there is no file nofile.csv."),
        (("heart_disease", "--site", "ward"), "--site is for a table of your own, and 'heart_disease' is none"),
        (("my.csv", *COLUMNS, "--model", "mpl"), "did you mean 'mlp'?"),
        ((".", *COLUMNS), "--site is for a table of your own, and '.' is none"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_wrong_is_a_sentence_before_any_training(folder: Path, line: tuple[str, ...], said: str) -> None:
    before = sorted(folder.iterdir())
    done = call("report", *line, *SHORT, "-o", "r.html")
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.stderr.split()) and "Traceback" not in done.output
    assert sorted(folder.iterdir()) == before


def test_the_command_in_the_page_is_one_that_can_be_given(folder: Path) -> None:
    from fedlab.cli.report import Order, command
    from fedlab.cli.table import Table

    table = Table(Path("my table.csv"), "ward", "died", classes=("0", "1"), sep=";")
    order = Order.check(recipe="my table.csv", table=table, link=10.0, output=Path("r.html"), json=None, csv=None,
                        algorithms=["isolated"], seeds=1, rounds=1, model="logistic", holdout="O'Hare")  # fmt: skip
    words = shlex.split(command(order))
    assert words[2:9] == ["my table.csv", "--site", "ward", "--label", "died", "--classes", "0,1"]
    assert words[-2:] == ["--holdout", "O'Hare"] and "--sep" in words
