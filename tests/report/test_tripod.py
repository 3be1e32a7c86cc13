"""What to report: the list holds what the study knows, nothing else, and no count that may not leave."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedlab
from fedlab.engine import openings
from fedlab.federation import Federation
from fedlab.metrics.cells import LEAST
from fedlab.report.across import at_the_next, over_hospitals, pooled
from fedlab.report.door import outgoing
from fedlab.report.findings import findings
from fedlab.report.gap import Gap
from fedlab.report.numbers import as_dict
from fedlab.report.page import About, page
from fedlab.report.report import Report
from fedlab.report.tripod import CHECKLIST, FILLED, FILLS, OPEN, PARTLY, as_html, as_rows, tripod
from fedlab.study import compare

ABOUT = About("Four hospitals", "Who collected them. 1988", "CC BY 4.0", {})


@pytest.fixture(scope="module")
def gap(hospitals: Federation) -> Gap:
    options: dict[str, Any] = dict(seeds=4, rounds=2, tune={"lr": [0.03, 0.1]}, choose="hospitals", progress=False)
    return Gap(compare(hospitals, "logistic", ["isolated", "fedavg"], **options))


@pytest.fixture(scope="module")
def said(gap: Gap) -> dict[str, str]:
    return {item.number: item.said for item in tripod(gap, ABOUT)}


def test_every_item_of_the_statement_is_there_once_in_order() -> None:
    """27 items with their parts, 52 in all."""
    assert len(CHECKLIST) == 52 and set(FILLS) <= set(CHECKLIST)
    numbers = [int(re.match(r"\d+", key)[0]) for key in CHECKLIST]  # type: ignore[index]
    assert numbers == sorted(numbers) and set(numbers) == set(range(1, 28))


def test_each_item_is_filled_or_says_what_to_write(gap: Gap) -> None:
    items = tripod(gap, ABOUT)
    for item in items:
        assert item.status == (OPEN if not item.said else PARTLY if item.left else FILLED)
        assert item.said or item.left, item.number
    assert {item.status for item in items} == {FILLED, PARTLY, OPEN}
    never = {"1", "3a", "3c", "6b", "13", "14", "17", "18a", "18b", "18c", "18d", "19", "25"}  # what no study knows
    assert {item.number for item in items if item.status == OPEN} >= never


def test_it_says_what_the_study_knows(said: dict[str, str], gap: Gap) -> None:
    federation = gap.study.federation
    assert said["5a"] == "Who collected them. 1988. Licence: CC BY 4.0."
    assert all(name in said["6a"] for name in federation.names) and said["6a"].startswith("4 sites: Cleveland (")
    assert said["8a"] == "“ill” against “healthy”." and "age (years)" in said["9b"] and "sex (category)" in said["9b"]
    table = federation.describe()
    ill = {
        part: sum(
            len({site.rows.group[k] for k in (site.split.parts()[part] if part != "all" else range(len(site)))
                 if site.rows.y[k]}) for site in federation.sites)
        for part in ("all", "train", "valid", "test")
    }  # fmt: skip
    assert said["10"] == f"{table['patients'].sum()} patients, {ill['all']} of them “ill”, at 4 sites."
    for name in federation.names:
        assert f"{name} {table.loc[name, 'patients']} patients" in said["20a"]
    for part, what in (("train", "development"), ("valid", "choosing"), ("test", "evaluation")):
        assert f"{what} {table[part].sum()} rows, {ill[part]} patients “ill”" in said["21"]
    assert "lr of 0.03, 0.1" in said["12c"] and "Seeds 0, 1, 2, 3." in said["12c"] and "choose hospitals" in said["12c"]
    assert "chosen by the mean over hospitals" in said["12c"] and "rounds 2" in said["12c"]
    assert f"[{outgoing(gap).interval('fedavg', 'auc', 'home').low:.3f}" in said["23a"], "as the page has it"


def test_heterogeneity_is_that_of_the_study(said: dict[str, str], gap: Gap) -> None:
    row = gap.study.random_effects().set_index("arm").loc["fedavg"]
    text = f"mean {row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    assert text in said["23b"] and f"[{row['next_low']:.3f}, {row['next_high']:.3f}]" in said["23b"]
    (sentence,) = at_the_next(gap)
    assert f"AUC of FedAvg {row['mean']:.2f}, 95 % prediction interval {row['next_low']:.2f}–" in sentence
    assert "over 3 hospitals, without Switzerland (fewer than 20" in sentence
    assert sentence in dict(findings(gap))["A hospital that the model has never seen"]
    assert f"[{row['next_low']:.2f}, {row['next_high']:.2f}]" in over_hospitals(gap)
    rows = as_dict(gap, 10.0)["over_hospitals"]["rows"]
    assert rows[1]["mean"] == row["mean"] and rows[1]["hospitals"] == 3


def test_where_it_cannot_be_pooled_it_says_why(hospitals: Federation) -> None:
    gap = Gap(compare(hospitals, algorithms=["fedavg"], seeds=1, rounds=1, progress=False))
    rows, why = pooled(gap)
    assert rows == [] and "2 of 4 hospitals (Cleveland, Hungary)" in why and over_hospitals(gap) == ""
    items = {item.number: item for item in tripod(gap, ABOUT)}
    assert why in items["12d"].said and items["23b"].status == OPEN and items["23b"].left
    assert as_dict(gap, 10.0)["over_hospitals"] == {"rows": [], "reason": why}


def test_groups_are_named_once_they_were_computed(hospitals: Federation) -> None:
    study = compare(hospitals, algorithms=["fedavg"], seeds=2, rounds=1, progress=False)
    before = {item.number: item.said for item in tripod(Gap(study), ABOUT)}["23a"]
    study.subgroups(by="sex")
    after = {item.number: item.said for item in tripod(Gap(study), ABOUT)}["23a"]
    assert "Subgroups" not in before and after.endswith("Subgroups were computed by sex.")


def test_what_is_not_known_is_not_said() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    table = pd.DataFrame({"site": np.array(["a", "b", "c"])[np.arange(120) % 3], "x": rng.normal(size=120) + y, "y": y})
    federation = Federation.from_frame(table, site="site", label="y")
    gap = Gap(compare(federation, algorithms=["fedavg"], seeds=1, rounds=1, progress=False))
    items = {item.number: item for item in tripod(gap, About("mine", "", "not stated", {}))}
    assert items["5a"].status == OPEN and items["9b"].said == "1 predictors: x (number, no unit stated)."
    assert "not known" not in items["23a"].said and "nan" not in " ".join(item.said for item in items.values())
    assert "Nothing was tuned." in items["12c"].said


def small() -> Federation:
    """Hospitals of 80 and 60 patients, and one with three ill."""
    rng = np.random.default_rng(0)
    parts = []
    for name, n, ill in (("large", 80, 40), ("other", 60, 30), ("rare", 60, 3)):
        y = np.arange(n) < ill
        parts.append(pd.DataFrame({"x": rng.normal(size=n) + y, "ill": np.where(y, "ill", "well"), "site": name}))
    return Federation.from_frame(pd.concat(parts), site="site", label="ill", classes=["well", "ill"])


def test_no_small_count_leaves_nor_follows() -> None:
    gap = Gap(compare(small(), algorithms=["isolated", "fedavg"], seeds=2, rounds=1, progress=False))
    said = {item.number: item.said for item in tripod(gap, ABOUT)}
    assert said["20a"] == "large 80 patients, 40 “ill”; other 60 patients, 30 “ill”; rare 60 patients."
    assert "“ill”" not in said["10"] and "“ill”" not in said["21"], "less the others it would be that of rare"
    found = re.findall(r"(\d+) (?:patients|“ill”|rows)", " ".join(said.values()))
    assert found and not [number for number in found if 0 < int(number) < LEAST]


class Details(HTMLParser):
    """The tags inside ``<details>``, and whether the first is its summary."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.inside = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.inside += tag == "details"
        if self.inside:
            self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.inside -= tag == "details"


def test_on_the_page_it_is_folded_and_names_are_text(gap: Gap) -> None:
    items = tripod(gap, About("x", "<img src=x onerror=alert(1)>", "<script>alert(2)</script>", {}))
    found = Details(as_html(items))
    assert found.seen[:3] == ["details", "summary", "div"] and found.inside == 0
    assert not {"img", "script"} & set(found.seen) and found.seen.count("tr") == 1 + len(CHECKLIST)
    body = page(gap, ABOUT)
    assert '<h2 id="what-to-report">What to report</h2><details' in body and "<details open" not in body
    assert len(items) == 52 and "52 items: " in as_html(items)


def test_the_json_of_a_report_has_it(hospitals: Federation) -> None:
    made = fedlab.report(hospitals, algorithms=["isolated", "fedavg"], seeds=2, rounds=1, progress=False)
    assert isinstance(made, Report)
    found = json.loads(made.json)["tripod_ai"]
    assert found == json.loads(json.dumps(as_rows(tripod(made.gap, made.about))))
    assert {row["status"] for row in found} == {FILLED, PARTLY, OPEN} and found[0]["item"] == "1"
    openings = json.loads(made.json)["test_openings"]
    assert f"{openings} times by this study" in made.about.facts["test opened"], "pooling is counted too"
    assert not any(math.isnan(x) for row in pooled(made.gap)[0] for x in (row["low"], row["high"]))


# ---------------------------------------------------------------------- what was seen, and what is locked


def test_it_says_what_was_opened_before_and_what_is_locked(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, hospitals: Federation
) -> None:
    monkeypatch.setenv("FEDLAB_STATE", str(tmp_path))
    options: dict[str, Any] = dict(algorithms=["isolated", "fedavg"], seeds=2, rounds=1, progress=False)
    locked = hospitals.lock(share=0.2, seed=3)

    def items(study: Any) -> dict[str, str]:
        return {item.number: item.said for item in tripod(Gap(study, earlier=earlier), ABOUT)}

    earlier = openings.of_test(locked)
    study = compare(locked, **options)
    first = items(study)
    away = "20 % of the patients of each hospital (seed 3) are locked, in no split, and not opened"
    assert all(away in first[number] for number in ("10", "12a", "20a", "21"))
    assert "had not been opened before this study" in first["12a"]
    earlier = openings.of_test(locked)
    again = items(compare(locked, **options | {"rounds": 2}))
    assert f"had been opened {earlier.openings} times before this study" in again["12a"] and earlier.openings == 2
    study.final()
    assert "opened 1 time, last on" in items(study)["12a"]
    assert "locked" not in "".join(items(compare(hospitals, **options)).values())


def test_it_lists_what_is_on_the_page_and_no_more(hospitals: Federation) -> None:
    study = compare(hospitals, "logistic", ["isolated", "fedavg"], seeds=2, rounds=1, progress=False)
    plain, acting = (
        {item.number: item for item in tripod(Gap(study, threshold=threshold), ABOUT)} for threshold in (None, 0.2)
    )
    assert "calibration slope and observed over expected" in plain["12e"].said
    assert "net benefit" not in plain["12e"].said and "net benefit" in plain["12e"].left
    assert "net benefit, sensitivity and specificity at a risk of 20 %, and the decision curve" in acting["12e"].said
    assert acting["12e"].left == "" and acting["12e"].status == FILLED
    assert "prespecified for acting is 20 %" in acting["15"].said and acting["15"].left == "why this threshold"
