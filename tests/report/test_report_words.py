"""The gap and what is said of it: no difference is called one whose interval holds zero."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest

from fedlab.cli.gap import Difference, Gap, lead, signed
from fedlab.cli.short import in_short
from fedlab.cli.verdict import judged, verdict
from fedlab.engine.run import EVERY_SITE
from fedlab.federation import METRICS, Federation
from fedlab.study import compare, over_seeds, unseen_sites

INTERVAL = re.compile(r"\[([+−]?\d\.\d{3}), ([+−]?\d\.\d{3})\]")


@pytest.fixture(scope="module")
def gap(hospitals: Federation) -> Gap:
    study = compare(
        hospitals, "logistic", ["isolated", "centralized", "ensemble", "fedavg"], seeds=3, rounds=3, progress=False
    )
    parts = [
        unseen_sites(hospitals, "logistic", "fedavg", seeds=[seed], rounds=3, resamples=20, progress=False).assign(
            seed=seed
        )
        for seed in study.seeds
    ]
    return Gap(study, pd.concat(parts, ignore_index=True), 20)


@pytest.mark.parametrize(
    ("metric", "mean", "low", "high", "said"),
    [
        ("auc", 0.1, 0.01, 0.2, "better"),
        ("auc", -0.1, -0.2, -0.01, "worse"),
        ("log_loss", 0.1, 0.01, 0.2, "worse"),
        ("ece", -0.1, -0.2, -0.01, "better"),
        ("accuracy", 0.1, 0.0, 0.2, "no clear difference"),
        ("accuracy", 0.1, -0.01, 0.2, "no clear difference"),
        ("auc", 0.1, math.nan, math.nan, "not known"),
        ("auc", math.nan, math.nan, math.nan, "not known"),
    ],
)
def test_what_may_be_said(metric: str, mean: float, low: float, high: float, said: str) -> None:
    assert Difference(metric, mean, low, high).said == said


def test_signs_are_real_and_zero_has_none() -> None:
    assert signed(-0.5) == "−0.500" and signed(0.5) == "+0.500" and signed(-0.0001) == signed(0.0) == "0.000"


def test_places_are_means_over_their_cells(gap: Gap) -> None:
    scores = gap.study.report()
    rows = scores[(scores["arm"] == "isolated") & (scores["metric"] == "accuracy") & (scores["seed"] == 1)]
    own = rows["train"] == rows["test"]
    for place, cells in (("home", rows[own]), ("elsewhere", rows[~own]), ("everywhere", rows)):
        assert gap.series("isolated", "accuracy", place)[1] == pytest.approx(cells["value"].mean())
    large = rows[own & (rows["test"] != "Switzerland")]
    assert gap.few == {"Switzerland": 2}
    assert gap.series("isolated", "accuracy", "home, large sites")[1] == pytest.approx(large["value"].mean())


def test_agrees_with_the_study(gap: Gap) -> None:
    table = gap.study.table().set_index(["arm", "where", "metric"])
    for metric in METRICS:
        apart = gap.difference(metric, ("fedavg", "everywhere"), ("isolated", "everywhere"))
        row = table.loc[("fedavg", "everywhere", metric)]
        assert apart[1:] == pytest.approx(tuple(row[["difference", "difference_low", "difference_high"]]))
        assert gap.at_home("fedavg", "Hungary", metric).mean == pytest.approx(
            table.loc[("fedavg", "Hungary", metric), "difference"]
        )


def test_unseen_is_paired_with_seen(gap: Gap) -> None:
    never = gap.unseen[(gap.unseen["test"] == "Cleveland") & (gap.unseen["metric"] == "auc")].set_index("seed")["value"]
    seen = gap.series("fedavg", "auc", (EVERY_SITE, "Cleveland"))
    mean, _, low, high = over_seeds((never - seen).tolist(), overlap=gap.study.overlap)
    assert gap.not_seen("Cleveland", "auc") == Difference("auc", mean, low, high)
    atlas = gap.atlas.set_index(["arm", "train", "test", "metric"])
    assert atlas.loc[("fedavg", "all but Cleveland", "Cleveland", "auc"), "value"] == pytest.approx(never.mean())


def test_no_sentence_calls_a_difference_whose_interval_holds_zero(gap: Gap) -> None:
    seen = 0
    for clause in (part for _, said in verdict(gap) for line in said for part in re.split("; |: ", line)):
        ends = [[float(end.replace("−", "-")) for end in pair] for pair in INTERVAL.findall(clause)]
        if ends and "clear" in clause:
            seen += len(ends)
            holds = {low <= 0 <= high for low, high in ends if low and high}  # rounded, an end may read 0.000
            assert holds <= {"no clear difference" in clause}, clause
    # Three metrics. Away: 3, one without small sites, the largest drop; everywhere: 3 arms; two rivals; home: 4 sites;
    # unseen: the means, and AUC at 4 sites. None may escape the pattern above.
    assert seen == (3 + 1 + 1) + 3 * 3 + 3 * 2 + 3 * 4 + (3 + 4)


def test_the_story_is_complete(gap: Gap) -> None:
    told = {heading: " ".join(said) for heading, said in verdict(gap)}
    assert len(told) == 7
    whole = " ".join(told.values())
    for words in ("2 healthy test patients", "36% at Hungary to 93% at Switzerland", "3 seeds make an interval"):
        assert words in whole
    assert all(name in told["A hospital that the model has never seen"] for name in gap.study.federation.names)
    assert any("leaves out Switzerland" in said for _, said in in_short(gap))


def test_short_lines_say_what_the_intervals_say(gap: Gap) -> None:
    told = dict(in_short(gap))["FedAvg against the own models, everywhere:"]
    apart = gap.difference("log_loss", ("fedavg", "everywhere"), ("isolated", "everywhere"))
    assert (f"log loss clearly {apart.said}" if apart.said in ("better", "worse") else f"log loss {apart.said}") in told


def test_one_seed_is_never_judged(hospitals: Federation) -> None:
    study = compare(hospitals, "logistic", ["isolated", "fedavg"], seeds=1, rounds=1, progress=False)
    one = Gap(study)
    lines = [line for _, said in verdict(one) for line in said] + [said for _, said in in_short(one)]
    assert not [line for line in lines if "clearly" in line or "clear gain" in line or "clear loss" in line]
    assert "not judged" in judged(one.at_home("fedavg", "Hungary", "auc"))


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
    assert verdict(gap) and in_short(gap)
