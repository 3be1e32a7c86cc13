"""What a site tells of few patients: nothing before the first round, nothing for choosing, no curve of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import fedlab
from fedlab.engine import Run
from fedlab.engine.exchange import Ask, Exchange, Stacked
from fedlab.federation import Examples, Federation, Split, fit, merge, summarise
from fedlab.metrics.cells import LEAST

QUIET: dict[str, Any] = {"progress": False}
ENGINES = ("sequential", "batched")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, dict[str, Any]]]:
    """Every answer that reaches the gate, by purpose and site; the last of each."""
    seen: dict[str, dict[str, dict[str, Any]]] = {}
    real = Exchange.receive

    def receive(self: Exchange, question: Ask, asked: list[str], got: Any) -> Any:
        told = seen.setdefault(question.purpose, {})
        if isinstance(got, Stacked):
            if question.purpose == "evaluate":
                told |= {s: {k: v[i] for k, v in got.content.items()} for i, s in enumerate(got.sites)}
        else:
            told |= {reply.site: reply.content for reply in got}
        return real(self, question, asked, got)

    monkeypatch.setattr(Exchange, "receive", receive)
    return seen


def clinic(n: int, *, seed: int = 0, ill: float = 0.5, columns: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, columns, generator=generator, dtype=torch.float64)
    return x, (torch.arange(n) < round(ill * n)).long()


def of(sites: dict[str, tuple[torch.Tensor, torch.Tensor]], valid: dict[str, int]) -> Federation:
    """Sites whose split is given: so many valid rows, six test rows, the rest to train on."""
    splits = {}
    for name, (_, y) in sites.items():
        order = np.random.default_rng(1).permutation(len(y))
        cuts = len(y) - 6 - valid[name], len(y) - 6
        splits[name] = Split(*(np.sort(part) for part in np.split(order, cuts)))
    return Federation.from_tensors(sites, splits=splits, prepared=False)


# --------------------------------------------------------------------------- before the first round


def test_a_column_that_one_patient_has_does_not_leave(hospitals: Federation, answers: dict[str, Any]) -> None:
    run = fedlab.train(hospitals, rounds=1, **QUIET)
    ca = hospitals.columns.index("ca")
    x = hospitals["Long Beach"].train.x[:, ca]
    assert 0 < (~x.isnan()).sum() < LEAST, "the case is not there"
    told = answers["statistics"]["Long Beach"]
    assert told["present"][ca] == told["total"][ca] == told["squares"][ca] == 0
    assert told["rows"] == len(x)
    for site in hospitals.names:
        present = answers["statistics"][site]["present"]
        assert ((present == 0) | (present >= LEAST)).all()
    assert "ca" in run.withheld["Long Beach"] and run.withheld["Switzerland"] == ["chol", "ca"]
    (note,) = (note for note in run.notes if "withheld" in note)
    assert "ca at Hungary, Long Beach" in note and "fewer than 5" in note


def test_nothing_that_was_told_depends_on_what_was_withheld(hospitals: Federation, answers: dict[str, Any]) -> None:
    """The attack of somebody who sees every message: another value of that patient would not change one of them."""
    from dataclasses import replace

    ca, site = hospitals.columns.index("ca"), hospitals["Long Beach"]
    x = site.rows.x.clone()
    those = site.split.train[(~x[site.split.train, ca].isnan()).numpy()]
    x[those, ca] = 99.0
    other = replace(site, rows=Examples(x, site.rows.y, site.rows.group))
    changed = replace(hospitals, sites=tuple(other if s is site else s for s in hospitals.sites))
    fedlab.train(hospitals, rounds=1, **QUIET)
    before = answers["statistics"].copy()
    fedlab.train(changed, rounds=1, **QUIET)
    for name, told in answers["statistics"].items():
        assert all(torch.equal(told[what], before[name][what]) for what in told)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("algorithm", ["fedavg", "scaffold"])
def test_the_preparation_is_that_of_the_pooled_rows_without_what_was_withheld(
    hospitals: Federation, engine: str, algorithm: str
) -> None:
    run = fedlab.train(hospitals, "logistic", algorithm, rounds=1, engine=engine, dtype="float64", **QUIET)
    pooled = torch.cat([site.train.x.double() for site in hospitals.sites])
    start = 0
    for site in hospitals.sites:
        rows = pooled[start : start + len(site.train)]
        start += len(rows)
        rows[:, (~rows.isnan()).sum(0) < LEAST] = torch.nan
    mean = pooled.nanmean(0)
    sd = (pooled - mean).square().nanmean(0).sqrt()
    torch.testing.assert_close(run.weights["prepare.fill"], mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(run.weights["prepare.scale"], sd, rtol=1e-12, atol=1e-12)


def test_who_learns_alone_sends_nothing_and_keeps_all_values(hospitals: Federation, answers: dict[str, Any]) -> None:
    run = fedlab.train(hospitals, algorithm="isolated", rounds=1, dtype="float64", **QUIET)
    own = fit(summarise(hospitals["Long Beach"].train.x))
    ca = hospitals.columns.index("ca")
    assert run.models["Long Beach"][0]["prepare.fill"][ca] == own["fill"][ca]
    assert run.models["Long Beach"][0]["prepare.measured"][ca] == 1
    assert all(told.keys() == {"rows"} for told in answers["statistics"].values())
    assert not run.withheld and not any("withheld" in note for note in run.notes)


def test_patients_are_counted_and_not_rows(answers: dict[str, Any]) -> None:
    """Twelve training rows with a value, of three patients; and in the other column of twelve."""
    rows = 60
    x = torch.full((rows, 2), torch.nan, dtype=torch.float64)
    group = np.arange(rows)
    group[:12] = np.repeat([0, 1, 2], 4)
    x[:12, 0] = torch.arange(12.0, dtype=torch.float64)
    x[12:24, 1] = torch.arange(12.0, dtype=torch.float64)
    y = torch.arange(rows) % 2
    at = np.arange(rows)
    site = fedlab.Site("A", Examples(x, y, group), Split(at[:36], at[36:48], at[48:]))
    other, labels = clinic(60, columns=2)
    second = fedlab.Site("B", Examples(other, labels, at), Split(at[:36], at[36:48], at[48:]))
    task = Federation.from_tensors({"A": (x, y)}, prepared=False).task
    run = fedlab.train(Federation("two", (site, second), task), rounds=1, **QUIET)
    assert answers["statistics"]["A"]["present"].tolist() == [0, 12]
    assert run.withheld == {"A": ["column 0"]}


def test_a_site_of_four_training_patients_takes_part_and_tells_of_no_column(answers: dict[str, Any]) -> None:
    """How many rows it has leaves it, as the server weighs by that; its rows are scaled as everybody's."""
    federation = of({"large": clinic(60), "tiny": clinic(20, seed=1)}, {"large": 10, "tiny": 10})
    assert len(federation["tiny"].train) == 4
    run = fedlab.train(federation, rounds=2, dtype="float64", **QUIET)
    told = answers["statistics"]["tiny"]
    assert told["rows"] == 4 and not any(told[what].any() for what in ("present", "total", "squares"))
    expected = fit(summarise(federation["large"].train.x))
    assert torch.equal(run.weights["prepare.fill"], expected["fill"])
    assert run.errors.empty and set(run.history["site"]) == {"large", "tiny"}


def test_where_no_site_can_tell_anything_the_run_says_what_to_do() -> None:
    federation = of({"a": clinic(20), "b": clinic(20, seed=1)}, {"a": 10, "b": 10})
    with pytest.raises(ValueError, match="no site has 5 training patients.*Join small sites, or give prepared rows"):
        fedlab.train(federation, rounds=1, **QUIET)
    assert fedlab.train(federation, algorithm="isolated", rounds=1, **QUIET).records


# --------------------------------------------------------------------------- each round


def small(valid: int, *, ill: float = 0.5) -> Federation:
    sizes = {"one": 60, "two": 60, "small": 40}
    sites = {name: clinic(n, seed=k, ill=ill) for k, (name, n) in enumerate(sizes.items())}
    return of(sites, {"one": 20, "two": 20, "small": valid})


@pytest.mark.parametrize("engine", ENGINES)
def test_of_four_validation_patients_nothing_leaves(engine: str, answers: dict[str, Any]) -> None:
    run = fedlab.train(small(4), "mlp", rounds=4, engine=engine, dtype="float64", **QUIET)
    told = answers["evaluate"]["small"]
    assert np.isnan(told["log_loss"]) and np.isnan(told["auc"]) and told["n"] == 0
    assert any("the round is chosen without small: fewer than 5 validation patients" in note for note in run.notes)
    history = run.history.set_index(["round", "site"])
    loss = history.drop("small", level="site")["log_loss"].groupby("round").mean()  # both have as many rows
    assert set(run.chosen.values()) == {int(loss.idxmin())}
    assert history.xs("small", level="site")["log_loss"].isna().all()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_log_loss_is_told_of_five_and_an_auc_of_five_of_each_class(engine: str, answers: dict[str, Any]) -> None:
    federation = small(6)
    y = federation["small"].valid.y
    assert 0 < min((y == 0).sum(), (y == 1).sum()) < LEAST, "the case is not there"
    fedlab.train(federation, rounds=1, engine=engine, **QUIET)
    told = answers["evaluate"]["small"]
    assert np.isfinite(told["log_loss"]) and told["n"] == 6 and np.isnan(told["auc"])
    assert np.isfinite(answers["evaluate"]["one"]["auc"])


def test_what_is_told_does_not_change_what_is_learnt() -> None:
    """The tiny site trains as before: only the choice of the round goes without it."""
    runs = [fedlab.train(small(4), rounds=3, evaluate=told, dtype="float64", **QUIET) for told in (True, False)]
    last = [event.weights for event in fedlab.stream(small(4), rounds=3, dtype="float64")][-1]
    assert all(torch.equal(last[k], runs[1].weights[k]) for k in last)
    assert len(runs[0].records) == 3


def test_where_no_site_tells_anything_it_is_the_last_round_and_said() -> None:
    federation = of({"a": clinic(40), "b": clinic(40, seed=1)}, {"a": 4, "b": 3})
    run = fedlab.train(federation, rounds=3, patience=1, **QUIET)
    assert set(run.chosen.values()) == {3} and len(run.records) == 3
    assert sum("every site has fewer than 5 validation patients" in note for note in run.notes) == 1
    alone = fedlab.train(federation, algorithm="isolated", rounds=3, **QUIET)
    assert alone.history["log_loss"].notna().all(), "who learns alone chooses on all that it has"
    with pytest.raises(ValueError, match="tune chooses on valid, but every site has fewer than 5"):
        fedlab.compare(federation, algorithms=["fedavg"], seeds=1, rounds=2, tune={"lr": [0.1, 1.0]}, **QUIET)


def test_the_history_of_all_seeds_at_once_is_that_of_each() -> None:
    federation = small(4)
    study = fedlab.compare(federation, algorithms=["fedavg"], seeds=2, rounds=2, dtype="float64", **QUIET)
    for run in study.runs["fedavg"]:
        alone = fedlab.train(run.federation, rounds=2, seed=run.settings.seed, dtype="float64", **QUIET)
        columns = ["round", "site", "log_loss", "auc", "patients", "chosen"]
        pd.testing.assert_frame_equal(run.history[columns], alone.history[columns], rtol=1e-9)
        assert run.withheld == alone.withheld and run.notes == alone.notes


# --------------------------------------------------------------------------- curves


@pytest.fixture(scope="module")
def run(hospitals: Federation) -> Run:
    return fedlab.train(hospitals, rounds=5, **QUIET)


@pytest.mark.parametrize("bins", [1, 7, 10, 100])
def test_no_bin_of_fewer_than_five_leaves(run: Run, bins: int) -> None:
    table = run.calibration(bins=bins)
    assert ((table["patients"] == 0) | (table["patients"] >= LEAST)).all()
    tested = {site.name: len(site.test.patients.first) for site in run.federation.sites}
    assert table.groupby("test", sort=False)["patients"].sum().to_dict() == tested
    assert (table.groupby("test")["bin"].count() == bins).all()
    for _, rows in table[table["patients"] > 0].groupby("test"):
        assert (rows["low"].to_numpy()[1:] >= rows["high"].to_numpy()[:-1] - 1e-12).all()  # no two overlap
    with torch.no_grad():
        p = torch.sigmoid(run.model()(run.federation["Switzerland"].test.x).double())[:, 0].numpy()
    for row in table.query("test == 'Switzerland' and patients > 0").to_dict("records"):
        inside = (p >= row["low"]) & ((p < row["high"]) | (row["high"] == 1))
        assert row["patients"] == inside.sum() and row["predicted"] == pytest.approx(p[inside].mean(), abs=1e-6)


def test_a_bin_says_with_which_it_was_put_together(run: Run) -> None:
    table = run.calibration(bins=100)
    joined = table[table["reason"].str.startswith("put together with bin ")]
    assert len(joined) and (joined["patients"] == 0).all() and joined["observed"].isna().all()
    for row in joined.to_dict("records"):
        first = table[(table["test"] == row["test"]) & (table["bin"] == int(row["reason"].split()[-1]))].iloc[0]
        assert first["patients"] >= LEAST and first["low"] < row["low"] and row["high"] <= first["high"] + 1e-12


def test_a_site_of_four_test_patients_tells_no_curve() -> None:
    x, y = clinic(40)
    at = np.arange(40)
    federation = Federation.from_tensors(
        {"a": (x, y), "b": clinic(40, seed=1)}, prepared=False,
        splits={"a": Split(at[:26], at[26:36], at[36:]), "b": Split(at[:20], at[20:30], at[30:])},
    )  # fmt: skip
    table = fedlab.train(federation, rounds=1, **QUIET).calibration(bins=3).query("test == 'a'")
    assert table["patients"].tolist() == [0, 0, 0] and set(table["reason"]) == {"fewer than 5 patients"}
    assert table[["predicted", "observed", "error"]].isna().all().all()


def test_merged_summaries_are_those_of_the_site_itself(hospitals: Federation) -> None:
    """What a person computes in their own process is not screened."""
    ca = hospitals.columns.index("ca")
    assert 0 < merge([summarise(hospitals["Long Beach"].train.x)]).present[ca] < LEAST
