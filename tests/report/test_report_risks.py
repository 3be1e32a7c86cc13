"""The report on calibration and decisions: judged by intervals, ECE beside chance, and what may be sent on."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import fedlab
from fedlab.engine.run import EVERY_SITE
from fedlab.federation import Federation
from fedlab.report import risks
from fedlab.report.door import outgoing
from fedlab.report.gap import Gap
from fedlab.report.measured import Asked
from fedlab.report.numbers import as_dict
from fedlab.report.page import About, page
from fedlab.study import compare

ABOUT = About("title", "source", "licence", {})


@pytest.fixture(scope="module")
def gap(hospitals: Federation) -> Gap:
    return Gap(compare(hospitals, "logistic", ["isolated", "fedavg"], seeds=3, rounds=4, progress=False))


def summary(gap: Gap, arm: str) -> pd.DataFrame:
    rows = gap.calibration_summary
    return rows[(rows["arm"] == arm) & ((rows["train"] == rows["test"]) | (rows["train"] == EVERY_SITE))]


def test_calibration_is_said_by_intervals_and_never_by_ece(gap: Gap) -> None:
    said = risks.calibration(gap)
    assert not [line for line in said if re.search("ECE|percentage points|off by", line)]
    assert said[-1].startswith("Each interval stands by itself") and len(said) == 1 + len(gap.study.arms)
    for arm, line in zip(gap.study.arms, said, strict=False):
        rows = summary(gap, arm)
        for measure, above, below in [
            ("slope", "too moderate", "too extreme"),
            ("observed_to_expected", "more events than predicted", "fewer events than predicted"),
        ]:
            high, low = (rows[(rows["measure"] == measure) & out] for out in (rows["low"] > 1, rows["high"] < 1))
            assert (above in line, below in line) == (len(high) > 0, len(low) > 0)
            for row in [*high.to_dict("records"), *low.to_dict("records")]:
                assert (
                    f"{row['test']} ({row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}])".replace("-", "−")
                    in line
                )


def test_ece_stands_only_beside_what_it_is_by_chance(gap: Gap) -> None:
    text, rows = risks.calibration_table(gap), summary(gap, "fedavg")
    row = rows[rows["test"] == "Switzerland"].set_index("measure")
    assert f"{row.loc['ece', 'value']:.3f} ({row.loc['ece', 'calibrated']:.3f})" in text
    assert row.loc["ece", "calibrated"] > 0.05 and np.isnan(row.loc["slope", "value"])
    assert "ece" not in set(gap.opened["metric"]) | set(gap.atlas["metric"])
    with pytest.raises(ValueError, match="no metric 'ece'"):
        gap.study.verdict(also="ece")


def test_decisions_are_told_where_a_threshold_was_named(gap: Gap) -> None:
    assert risks.decisions(gap) == "" and "worth acting on them" not in page(gap, ABOUT)
    acting = replace(gap, threshold=0.2)
    text = page(acting, ABOUT)
    assert "Is it worth acting on them" in text and "Acting on all whose risk is 20 % or more" in text
    row = acting.decisions.query("arm == 'fedavg' and test == 'Hungary' and named and measure == 'net_benefit'").iloc[0]
    assert f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]".replace("-", "−") in text
    told = as_dict(acting, 10.0)
    assert told["threshold"] == 0.2 and len(told["decisions"]) == len(acting.decisions)
    assert {each["measure"] for each in told["calibration"]} == {"in_the_large", "slope", "observed_to_expected", "ece"}


def test_a_report_tells_no_point_of_a_curve_that_few_patients_stand_behind(hospitals: Federation) -> None:
    study = compare(hospitals, "logistic", ["fedavg"], seeds=1, rounds=3, progress=False)
    mine, sent = Gap(study, threshold=0.2), outgoing(Gap(study, threshold=0.2))
    whole, left = mine.decisions, sent.decisions
    gone = whole["value"].notna() & left["value"].isna()
    assert (
        gone.any()
        and not gone[whole["named"]].any()
        and set(left.loc[gone, "reason"]) == {"fewer than 5 test patients between two thresholds"}
    )
    run = study.runs["fedavg"][0]
    with torch.no_grad():
        p = torch.sigmoid(run.model()(run.federation["Cleveland"].test.x))[:, 0].numpy()
    kept = left.query("test == 'Cleveland' and measure == 'net_benefit' and value == value")["threshold"].tolist()
    between = np.histogram(p, [0, *kept, 1])[0]
    assert between.sum() == len(p) and all(count == 0 or count >= 5 for count in between[1:-1]), between


def test_a_threshold_that_cannot_be_is_refused_before_anything_is_trained(hospitals: Federation) -> None:
    for wrong in (0, 1, 1.5, -0.2, float("nan")):
        with pytest.raises(ValueError, match="above 0 and below 1"):
            fedlab.report(hospitals, threshold=wrong, progress=False)
    asked = Asked.check(algorithms=["fedavg"], model="logistic", seeds=1, rounds=1, threshold=0.2)
    three = Federation.from_tensors({"A": (torch.randn(30, 2), torch.arange(30) % 3)})
    with pytest.raises(ValueError, match="a task of 3 classes has no risk to act on"):
        asked.suit(three)
