"""The gap and what is said of it: the tables, the sentences and the study judge alike."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest

from fedlab.engine.run import EVERY_SITE
from fedlab.federation import Federation
from fedlab.report import tables
from fedlab.report.findings import findings, judged, limits, verdict
from fedlab.report.gap import Gap, lead
from fedlab.report.judged import Difference, judge
from fedlab.report.page import About, page
from fedlab.report.short import in_short
from fedlab.report.table import table
from fedlab.study import at_holdout, compare, over_seeds, unseen_sites
from fedlab.study.pairs import gains
from fedlab.study.words import signed

SITES = ("Cleveland", "Hungary", "Switzerland", "Long Beach")
ABOUT = About("Four hospitals", "cited", "free", {})

INTERVAL = re.compile(r"\[([+−]?\d\.\d{3}), ([+−]?\d\.\d{3})\]")


@pytest.fixture(scope="module")
def gap(hospitals: Federation) -> Gap:
    study = compare(
        hospitals, "logistic", ["isolated", "centralized", "ensemble", "fedavg"], seeds=4, rounds=3, progress=False
    )
    parts = [
        unseen_sites(hospitals, "logistic", "fedavg", seeds=[seed], rounds=3, resamples=20, progress=False).assign(
            seed=seed
        )
        for seed in study.seeds
    ]
    return Gap(study, pd.concat(parts, ignore_index=True), resamples=20)


def row(low: float, high: float, p: float, winner: str) -> dict[str, object]:
    return {
        "one": "a",
        "other": "b",
        "difference": (low + high) / 2,
        "low": low,
        "high": high,
        "p": p,
        "p_holm": p,
        "detectable": 0.1,
        "same": False,
        "winner": winner,
    }


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (row(0.01, 0.2, 0.01, "a"), "better"),
        (row(-0.2, -0.01, 0.01, "b"), "worse"),
        (row(0.01, 0.2, 0.04, ""), "no clear difference"),  # by itself it leaves zero out, among the others it does not
        (row(-0.01, 0.2, 0.4, ""), "no clear difference"),
        (row(math.nan, math.nan, math.nan, ""), "not known"),
    ],
)
def test_what_may_be_said(found: dict[str, object], said: str) -> None:
    assert judge(found, "log_loss", "a").said == said
    other = {"better": "worse", "worse": "better"}.get(said, said)
    back = judge(found, "log_loss", "b")
    assert back.said == other and not back.low > back.high


def test_signs_are_real_and_zero_has_none() -> None:
    assert (
        signed(-0.5, 3) == "−0.500" and signed(0.5, 3) == "+0.500" and signed(-0.0001, 3) == signed(0.0, 3) == "0.000"
    )


def test_places_are_means_over_their_cells(gap: Gap) -> None:
    scores = gap.study.report()
    rows = scores[(scores["arm"] == "isolated") & (scores["metric"] == "accuracy") & (scores["seed"] == 1)]
    own = rows["train"] == rows["test"]
    for place, cells in (("home", rows[own]), ("elsewhere", rows[~own]), ("everywhere", rows)):
        assert gap.series("isolated", "accuracy", place)[1] == pytest.approx(cells["value"].mean())
    large = rows[own & (rows["test"] != "Switzerland")]
    assert gap.few == {"Switzerland": 2}
    assert gap.series("isolated", "accuracy", "home, large sites")[1] == pytest.approx(large["value"].mean())


def test_the_report_calls_clear_what_the_study_calls_a_winner(gap: Gap) -> None:
    clear = 0
    assert gap.metrics == ("log_loss", "auc", "accuracy")
    for metric in ("auc", "accuracy", "log_loss"):
        for where in ("everywhere", "home"):
            for row in gap.study.pairs(metric=metric, where=where).to_dict("records"):
                said = gap.between(metric, row["other"], row["one"], where).said
                expected = {"": "no clear difference", row["one"]: "worse", row["other"]: "better"}[row["winner"]]
                assert said == (expected if metric == "log_loss" else "")
                clear += said in ("better", "worse")
        for row in gains(gap.study, metric=metric, against="isolated").to_dict("records"):
            apart = gap.at_home(row["one"], row["where"], metric)
            assert apart.mean == pytest.approx(row["difference"]) and apart.said == ""
    assert clear  # else nothing was tested


def test_what_is_not_judged_is_named_nowhere(gap: Gap) -> None:
    """No sentence, table or line of the page calls a difference clear that the one family does not have."""
    text = re.sub("<script.*?</script>", "", page(gap, ABOUT), flags=re.S)
    judged = [row["winner"] for where in ("everywhere", "home") for row in gap.family(where, "log_loss").values()]
    assert text.count("▲ clearly") + text.count("▼ clearly") <= 2 * len(judged)
    shown = [said for heading, each in findings(gap) for said in each] + [verdict(gap)["auc"], verdict(gap)["accuracy"]]
    assert not [said for said in shown if "clear" in said]
    told = dict(in_short(gap))
    for what in ("Own models, at other hospitals against home:", "FedAvg at a hospital it has never seen"):
        line = next(said for heading, said in told.items() if heading.startswith(what))
        assert line.startswith("shown, not judged: log loss")


def test_differences_are_those_of_the_study(gap: Gap) -> None:
    table = gap.study.table().set_index(["arm", "where", "metric"])
    for metric in ("auc", "accuracy", "log_loss"):
        apart = gap.between(metric, "fedavg", "isolated", "everywhere")
        row = table.loc[("fedavg", "everywhere", metric)]
        assert apart[1:4] == pytest.approx(tuple(row[["difference", "difference_low", "difference_high"]]))


def test_unseen_is_paired_with_seen_and_shown(gap: Gap) -> None:
    never = gap.unseen[(gap.unseen["test"] == "Cleveland") & (gap.unseen["metric"] == "auc")].set_index("seed")["value"]
    seen = gap.series("fedavg", "auc", (EVERY_SITE, "Cleveland"))
    mean, _, low, high = over_seeds((never - seen).tolist(), overlap=gap.study.overlap)
    assert gap.away("auc", "Cleveland")[:4] == pytest.approx(("auc", mean, low, high))
    family = gap.family("away", "auc")
    assert list(family) == ["elsewhere", "unseen", *SITES]
    assert all(math.isnan(row["p_holm"]) and not row["winner"] for row in family.values())
    atlas = gap.atlas.set_index(["arm", "train", "test", "metric"])
    assert atlas.loc[("fedavg", "all but Cleveland", "Cleveland", "auc"), "value"] == pytest.approx(never.mean())


def test_no_sentence_calls_a_difference_whose_interval_holds_zero(gap: Gap) -> None:
    seen = 0
    for clause in (part for _, said in findings(gap) for line in said for part in re.split("; |: ", line)):
        ends = [[float(end.replace("−", "-")) for end in pair] for pair in INTERVAL.findall(clause)]
        seen += len(ends)
        if "clearly" in clause:
            assert not [pair for pair in ends if pair[0] < 0 < pair[1]], clause
    # Away: three metrics, one without the small site, the largest drop. Unseen: three means, and AUC at four sites.
    assert seen == (3 + 1 + 1) + (3 + 4)


def test_the_story_is_complete(gap: Gap) -> None:
    told = {heading: " ".join(said) for heading, said in findings(gap)}
    assert len(told) == 3
    assert "36% at Hungary to 93% at Switzerland" in told["What AUC hides"]
    assert all(name in told["A hospital that the model has never seen"] for name in SITES)
    assert "2 healthy test patients" in " ".join(limits(gap)) and "4 seeds make an interval" in " ".join(limits(gap))
    assert verdict(gap)["log_loss"] == gap.study.verdict() and list(verdict(gap)) == list(gap.metrics)
    assert "shown and not judged" in verdict(gap)["auc"] and "By log loss" not in verdict(gap)["auc"]


@pytest.mark.parametrize(("low", "after"), [(0.01, " after Holm’s correction"), (-0.01, "")])
def test_an_unclear_difference_names_the_correction_where_its_interval_leaves_zero_out(low: float, after: str) -> None:
    apart = Difference("auc", 0.1, low, 0.2 - low, "no clear difference", 0.12)
    text = table("", ["difference", "AUC"], [["one − other", apart]])
    assert f">no clear difference{after} (0.12 could have been seen)<" in text


def test_short_lines_say_what_the_families_say(gap: Gap) -> None:
    for where, place in (("everywhere", "everywhere"), ("home", "at home")):
        told = dict(in_short(gap))[f"FedAvg against the own models, {place}:"]
        apart = gap.between("log_loss", "fedavg", "isolated", where)
        clear = apart.said in ("better", "worse")
        assert told.startswith(f"log loss {f'clearly {apart.said}' if clear else apart.unclear} ({apart}")
        assert ("could have been seen" in told) == (not clear)
        assert f"shown, not judged: AUC {gap.between('auc', 'fedavg', 'isolated', where)}; accuracy " in told


def test_one_seed_is_never_judged(hospitals: Federation) -> None:
    study = compare(hospitals, "logistic", ["isolated", "fedavg"], seeds=1, rounds=1, progress=False)
    one = Gap(study)
    lines = [line for _, said in findings(one) for line in said] + [said for _, said in in_short(one)]
    assert not [line for line in lines if "clear" in line]
    assert "not judged" in judged(one.at_home("fedavg", "Hungary", "auc"))
    assert (
        "cannot be judged" in verdict(one)["log_loss"]
        and list(verdict(one)) == ["log_loss"]
        and limits(one)[0].startswith("One seed")
    )


def test_one_algorithm_has_nothing_to_be_compared_with(hospitals: Federation) -> None:
    one = Gap(compare(hospitals, "logistic", ["fedavg"], seeds=2, rounds=1, progress=False))
    assert "nothing to compare" in verdict(one)["log_loss"] and in_short(one) == []
    text = page(one, ABOUT)
    assert "nothing to compare" in text and "clearly" not in text.partition("<body>")[2]


def test_a_hospital_held_out_is_tested_and_learnt_from_by_none(hospitals: Federation) -> None:
    rest, late = hospitals.holdout("Hungary")
    study = compare(rest, "logistic", ["isolated", "fedavg"], seeds=2, rounds=1, progress=False)
    gap = Gap(study, held=at_holdout(study, late))
    assert gap.held_out == "Hungary" and "Hungary" not in gap.study.federation.names
    rows = gap.atlas[gap.atlas["test"] == "Hungary"]
    assert rows["holdout"].all() and set(rows["train"]) == {"Cleveland", "Switzerland", "Long Beach", EVERY_SITE}
    told = dict(findings(gap))["A hospital that the model has never seen"]
    assert "Hungary was held out" in told[0] and f"{gap.interval('fedavg', 'auc', 'held out').mean:.3f}" in told[0]
    assert "at Hungary,<br>held out" in page(gap, ABOUT)


def test_many_hospitals_stand_below_each_other() -> None:
    import torch

    noise, y = torch.Generator().manual_seed(0), torch.arange(40) % 2
    nine = Federation.from_tensors({f"site {i}": (torch.randn(40, 3, generator=noise), y) for i in range(9)})
    gap = Gap(compare(nine, "logistic", ["isolated", "fedavg"], seeds=1, rounds=1, progress=False))
    text = tables.atlas(gap, "auc")
    assert text.count('<th scope="row">') == 9 and "its own model" in text and "site 3 alone" not in text
    assert "The 4 hospitals with most test patients of 9." in page(gap, ABOUT)


def test_fedavg_leads_then_whoever_exchanges_models() -> None:
    from fedlab.algorithms import algorithm

    def of(*names: str) -> str | None:
        return lead({name: algorithm(name) for name in names})

    assert of("isolated", "scaffold", "fedavg") == "fedavg" and of("fedprox", "scaffold") == "fedprox"
    assert of("isolated", "centralized", "ensemble") is None


def test_a_site_of_one_class_is_a_gap_in_the_table_and_no_error() -> None:
    import torch

    x, y = torch.randn(40, 3), torch.arange(40) % 2
    sites = {"A": (x, y), "B": (x + 1, y), "C": (x, torch.ones(40, dtype=torch.long))}
    study = compare(
        Federation.from_tensors(sites), "logistic", ["isolated", "fedavg"], seeds=2, rounds=1, progress=False
    )
    gap = Gap(study)
    assert np.isnan(gap.interval("fedavg", "auc", (EVERY_SITE, "C")).mean)
    assert gap.at_home("fedavg", "C", "auc").said == "not known"
    assert "nan" not in re.sub("<script.*?</script>", "", page(gap, ABOUT), flags=re.S).lower()
