"""A report is a door: no small count, no score of too few patients and nothing from which either would follow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedlab
from fedlab.federation import Federation
from fedlab.metrics.cells import ENOUGH, FEW, LEAST
from fedlab.metrics.scores import NEEDS_EVERY_CLASS
from fedlab.report.door import FEW_OF_A_CLASS, FEW_PATIENTS, Outgoing, described, leaving, outgoing
from fedlab.report.gap import Gap
from fedlab.report.numbers import as_csv, as_dict, as_json
from fedlab.report.page import About, page
from fedlab.study import compare, learning_curve, unseen_sites

ABOUT = About("Hospitals", "cited", "free", {})
SMALL = set(range(1, LEAST))
COUNTS = re.compile(
    r"n = ([\d.]+)|([\d.]+) of the rarest class|([\d.]+) test patients?|([\d.]+) patients"
    r"|among these ([\d.]+)|the ([\d.]+) valid|([\d.]+) (?:well|ill) test"
)


def clinics() -> Federation:
    """Of 200, 60, 27 and 11 patients, the second with a few ill, the last with three test patients."""
    rng = np.random.default_rng(0)
    parts = []
    for name, n, ill in (("large", 200, 0.5), ("rare", 60, 0.1), ("few", 27, 0.5), ("tiny", 11, 0.45)):
        y = np.arange(n) < round(ill * n)
        x = rng.normal(size=(n, 3)) + y[:, None]
        parts.append(pd.DataFrame(x, columns=["a", "b", "c"]).assign(ill=np.where(y, "ill", "well"), site=name))
    return Federation.from_frame(pd.concat(parts), site="site", label="ill", classes=["well", "ill"])


@pytest.fixture(scope="module")
def gap() -> Gap:
    federation = clinics()
    study = compare(federation, algorithms=["isolated", "centralized", "fedavg"], seeds=3, rounds=2, progress=False)
    unseen = unseen_sites(federation, seeds=study.seeds, rounds=2, resamples=20, progress=False).assign(arm="fedavg")
    curve = learning_curve(
        federation, algorithms=["fedavg"], seeds=2, rounds=2, rows=[8, 16], sites=[4], progress=False
    )
    return Gap(study, unseen, curve=curve, resamples=20)


def numbers(found: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Every number in a nest, with its key."""
    if isinstance(found, dict):
        for key, value in found.items():
            yield from numbers(value, str(key))
    elif isinstance(found, list):
        for value in found:
            yield from numbers(value, at)
    else:
        yield at, found


def test_the_cases_are_there(gap: Gap) -> None:
    scores = gap.study.report().query("arm == 'fedavg' and metric == 'auc' and seed == 0").set_index("test")
    assert scores["patients"].to_dict()["tiny"] in SMALL
    assert scores["fewest"].to_dict()["rare"] in SMALL and scores["fewest"].to_dict()["few"] in SMALL
    assert gap.study.federation.describe().loc["few", "valid"] in SMALL


def test_the_csv_has_no_small_count_and_says_so(gap: Gap) -> None:
    text = as_csv(gap)
    table = pd.read_csv(__import__("io").StringIO(text), dtype=str, keep_default_na=False)
    for name in ("patients", "fewest"):
        assert f"<{LEAST}" in set(table[name])
        assert not {cell for cell in table[name] if cell.isdigit() and int(cell) in SMALL}
    assert not [reason for reason in table["reason"] if re.search(r"\b[1-4]\b (?!of the classes)", reason + " ")]
    tiny = table[table["test"] == "tiny"]
    assert (tiny["value"] == "").all() and set(tiny["reason"]) == {FEW_PATIENTS}
    rare = table[table["test"] == "rare"]
    needs = rare["metric"].isin(NEEDS_EVERY_CLASS)
    assert (rare[needs]["value"] == "").all() and set(rare[needs]["reason"]) == {FEW_OF_A_CLASS}
    assert (rare[~needs]["value"] != "").all(), "an accuracy, a log loss and a Brier score are sums over all"


def test_the_json_has_no_small_count_and_null_has_its_reason(gap: Gap) -> None:
    found = json.loads(as_json(gap, 10.0, {}))
    counts = ("patients", "fewest", "train", "valid", "test", "rows_of_class")
    assert not [(key, value) for key, value in numbers(found) if key in counts and value in SMALL]
    cell = found["atlas"]["fedavg"]["all sites"]["rare"]["auc"]
    assert cell["mean"] is None and cell["fewest"] is None and cell["reason"] == f"3 of 3 seeds: {FEW_OF_A_CLASS}"
    assert found["atlas"]["fedavg"]["all sites"]["rare"]["log_loss"]["mean"] > 0
    tiny = found["atlas"]["fedavg"]["all sites"]["tiny"]["accuracy"]
    assert tiny["mean"] is None and tiny["patients"] is None and tiny["reason"].endswith(FEW_PATIENTS)
    assert found["bars"]["told"], found["bars"]["in_headline_means"] == (LEAST, FEW)
    told = [text for key, text in numbers(found) if isinstance(text, str) and key != "settings"]
    assert not [m for text in told for m in small_counts(text)]


def small_counts(text: str) -> list[str]:
    found = [next(filter(None, m.groups())) for m in COUNTS.finditer(text)]
    return [number for number in found if number.rstrip(".") in {str(n) for n in SMALL}]


def test_the_page_has_no_small_count_in_a_table_a_figure_or_a_sentence(gap: Gap) -> None:
    text = page(gap, ABOUT)
    body = re.sub(r"<script>.*?</script>", "", text, count=1, flags=re.S)  # the library of the figures
    assert small_counts(body.replace("\\u003c", "<")) == []
    sites = body[body.index('id="the-sites"') : body.index('id="the-gap"')]
    rows = dict(re.findall(r'<th scope="row">(\w+)</th>(.*?)</tr>', sites))
    assert rows.keys() == {"large", "rare", "few", "tiny"}
    for row in rows.values():
        assert not {cell for cell in re.findall(r">([\d,]+)</td>", row) if cell in {str(n) for n in SMALL}}
    assert "&lt;5" in rows["few"] and "A count below 5 is written &lt;5" in body and "At home: each hospital" in body


def test_no_count_follows_by_subtraction(gap: Gap) -> None:
    """All patients less train and test would be valid: where that is small, another goes with it."""
    table, held = described(gap.study.federation), gap.study.federation.describe()
    for site in table.index:
        known = table.loc[site, ["train", "valid", "test"]]
        hidden = int(held.loc[site, "patients"] - known.sum())
        assert hidden == 0 or hidden >= LEAST or known.isna().all()
        assert known.isna().sum() != 1
    ill = held["share ill"] * held["patients"]
    small = ((ill < LEAST) | (held["patients"] - ill < LEAST)).tolist()
    assert table["share ill"].isna().tolist() == small


def test_a_mean_over_hospitals_has_none_that_would_follow_from_it(gap: Gap) -> None:
    """Four times the mean less the other three is the score that was withheld, if it is in the mean."""
    out = outgoing(gap)
    scores = out.study.report()
    large = scores[(scores["test"] == "large") & (scores["metric"] == "auc") & (scores["arm"] == "fedavg")]
    for where in ("home", "everywhere", "home, large sites"):
        assert out.series("fedavg", "auc", where).tolist() == pytest.approx(large["value"].tolist())
    told = as_dict(gap, 10.0)["arms"]["fedavg"]
    means = [place["auc"]["mean"] for place in (told["home"], told["everywhere"], told["sites"]["large"])]
    assert means == pytest.approx([means[0]] * 3)
    loss = scores[(scores["metric"] == "log_loss") & (scores["arm"] == "fedavg") & (scores["test"] != "tiny")]
    assert out.series("fedavg", "log_loss", "home").tolist() == pytest.approx(
        loss.groupby("seed")["value"].mean().tolist()
    )


def row(fewest: int, patients: int = 60, metric: str = "auc") -> dict[str, Any]:
    return {
        "metric": metric,
        "value": 0.8,
        "low": 0.7,
        "high": 0.9,
        "patients": patients,
        "fewest": fewest,
        "reason": "",
    }


@pytest.mark.parametrize(
    ("fewest", "value", "interval", "headline"),
    [(4, False, False, False), (5, True, False, False), (9, True, False, False), (10, True, False, True),
     (ENOUGH - 1, True, False, True), (ENOUGH, True, True, True)],
)  # fmt: skip
def test_the_three_bars_of_an_auc(fewest: int, value: bool, interval: bool, headline: bool) -> None:
    told = leaving(pd.DataFrame([row(fewest)])).iloc[0]
    assert (not np.isnan(told["value"]), not np.isnan(told["low"]), told["headline"]) == (value, interval, headline)
    loss = leaving(pd.DataFrame([row(fewest, metric="log_loss")])).iloc[0]
    assert loss["value"] == 0.8 and loss["low"] == 0.7 and loss["headline"]


def test_reasons_give_no_count_away() -> None:
    why = ["1 of the classes has no patient among these 3", "the 4 valid patients are of one class: none",
           "the 14 valid patients are of one class: none"]  # fmt: skip
    table = pd.DataFrame([{**row(9), "reason": reason} for reason in why])
    assert leaving(table)["reason"].tolist() == [
        "1 of the classes has no patient among these few", "the few valid patients are of one class: none", why[2]
    ]  # fmt: skip


def test_a_study_in_ones_own_process_shows_all_and_is_left_as_it_is(gap: Gap) -> None:
    before = gap.study.report()
    out = outgoing(gap)
    assert isinstance(out.study, Outgoing) and outgoing(out) is out
    assert not isinstance(gap.study, Outgoing)
    pd.testing.assert_frame_equal(gap.study.report(), before)
    assert set(before["patients"]) & SMALL and gap.study.federation.describe().loc["few", "valid"] in SMALL
    assert out.study.test_openings == gap.study.test_openings, "the same looks at the same patients"


def test_the_bars_stand_once_and_everything_uses_them() -> None:
    from fedlab.metrics import cells
    from fedlab.study import places

    assert places.FEW is cells.FEW and fedlab.study.heterogeneity.__kwdefaults__["least"] == cells.LEAST
