"""A quantity is read, split, trained on, chosen by and predicted in its own unit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

import fedlab
from fedlab.federation import Classification, Dirichlet, Examples, Federation, Regression, Site, Split
from tests.tasks.wards_of_stay import stays, wards

QUICK = {"rounds": 4, "progress": False}


# --------------------------------------------------------------------------- reading


def test_a_label_is_read_as_a_quantity_only_where_that_is_said() -> None:
    table = stays()
    with pytest.raises(ValueError, match=r'260 different values.*say task="regression"'):
        Federation.from_frame(table, site="ward", label="stay")
    read = wards()
    assert read.task == Regression("stay", center=8.0, scale=2.0)
    assert any("around 8 ± 2, read off all rows to one digit" in note for note in read.notes)
    held = torch.cat([site.rows.y for site in read.sites]).numpy()
    assert held.dtype == np.float64 and np.array_equal(held, table["stay"].to_numpy())
    given = Regression("length of stay", center=5, scale=4, unit="days")
    assert Federation.from_frame(table, site="ward", label="stay", task=given).task == given


def test_numbers_are_read_however_they_are_written() -> None:
    table = stays((20, 20))
    written = Federation.from_frame(
        table.assign(stay=table["stay"].map("{:.6f}".format)), site="ward", label="stay", task="regression"
    )
    assert written["W0"].rows.y.numpy() == pytest.approx(table["stay"][:20].to_numpy(), abs=1e-6)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda y: y.where(y.index != 3), r"missing in 1 rows \({'W0': 1}\)"),
        (lambda y: y.astype(object).where(y.index != 3, "long"), "'long', which is no number"),
        (lambda y: y.where(y.index != 3, np.inf), "infinite"),
        (lambda y: y * 0 + 7, "one value only"),
    ],
    ids=["missing", "a text", "infinite", "constant"],
)
def test_what_is_no_quantity_is_refused(change, match) -> None:  # type: ignore[no-untyped-def]
    table = stays((20, 20))
    with pytest.raises(ValueError, match=match):
        Federation.from_frame(table.assign(stay=change(table["stay"])), site="ward", label="stay", task="regression")


def test_a_task_that_does_not_fit_the_call_is_refused() -> None:
    with pytest.raises(ValueError, match="of classes leave it out"):
        Federation.from_frame(stays(), site="ward", label="stay", task=Classification(("a", "b")))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="leave one of them out"):
        Federation.from_frame(stays(), site="ward", label="stay", classes=[1, 2], task="regression")


@pytest.mark.parametrize(
    ("options", "match"),
    [({"scale": 0}, "above 0"), ({"scale": np.nan}, "scale"), ({"center": "5"}, "center"), ({"name": " "}, "name")],
)
def test_a_scale_that_cannot_be_is_refused(options: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Regression(**options)  # type: ignore[arg-type]


def test_a_column_that_is_the_label_in_another_unit_is_told() -> None:
    table = stays().assign(hours=lambda t: t["stay"] * 24)
    with pytest.warns(UserWarning, match="'hours' follows the label"):
        Federation.from_frame(table, site="ward", label="stay", task="regression")


def test_a_unit_in_which_errors_round_to_zero_is_told() -> None:
    table = stays().assign(stay=lambda t: t["stay"] / 1000)
    with pytest.warns(UserWarning, match="give it in a smaller unit"):
        Federation.from_frame(table, site="ward", label="stay", task="regression")


def test_seeds_side_by_side_are_each_as_if_alone() -> None:
    study = fedlab.compare(wards(), "mlp", ["fedavg"], seeds=3, dtype="float64", **QUICK)
    alone = fedlab.train(wards().resplit(2), "mlp", "fedavg", seed=2, dtype="float64", **QUICK)
    together = study.runs["fedavg"][2]
    assert together.history["mse"].tolist() == pytest.approx(alone.history["mse"].tolist(), rel=1e-9)


def test_tensors_are_classes_or_a_quantity_as_is_said() -> None:
    x, y = torch.randn(40, 3), torch.linspace(3, 9, 40)
    with pytest.raises(ValueError, match=r'cannot be learnt as classes.*task="regression"'):
        Federation.from_tensors({"A": (x, y)})
    made = Federation.from_tensors({"A": (x, y), "B": (x, y[:, None].numpy())}, task="regression", duplicates="keep")
    assert made.task == Regression("quantity", center=6.0, scale=2.0)
    assert made["B"].rows.y.dtype == torch.float64 and made["B"].rows.y.shape == (40,)
    with pytest.raises(ValueError, match="one quantity a row"):
        Federation.from_tensors({"A": (x, torch.stack([y, y], dim=1))}, task="regression")
    with pytest.raises(ValueError, match="infinite labels"):
        Federation.from_tensors({"A": (x, y / 0)}, task="regression")
    with pytest.raises(TypeError, match="'ordinal'"):
        Federation.from_tensors({"A": (x, (y > 5).long())}, task="ordinal")


@pytest.mark.parametrize(
    ("task", "y", "match"),
    [
        (Regression(), torch.arange(6), "int64.*floats"),
        (Regression(), torch.tensor([1.0, 2, 3, float("nan"), 5, 6]), "missing or infinite"),
        (Regression(), torch.zeros(6, 2), r"shape \[6, 2\]"),
        (Classification(("a", "b")), torch.linspace(0, 1, 6), "float32.*task is a binary task of 2 classes"),
        (Classification(("a", "b")), torch.arange(6), "outside 0 … 1"),
    ],
)
def test_y_of_the_wrong_kind_is_refused_with_the_sites_name(task, y, match) -> None:  # type: ignore[no-untyped-def]
    rows = Examples(torch.randn(6, 2), y, np.arange(6))
    with pytest.raises(ValueError, match=rf"site 'A' has .*{match}"):
        Federation("f", (Site("A", rows, Split(np.arange(3), np.array([3]), np.array([4, 5]))),), task, prepared=True)


def test_a_hospital_of_classes_is_not_taken_for_one_of_a_quantity() -> None:
    with pytest.raises(ValueError, match="has classes for labels, and the task here is a regression of 'stay'"):
        wards().admit(fedlab.load("heart_disease")["Hungary"])


# --------------------------------------------------------------------------- splitting


@settings(max_examples=30, deadline=None)
@given(n=st.integers(3, 200), ties=st.booleans(), seed=st.integers(0, 99))
def test_strata_are_few_in_order_and_alike_for_equal_values(n: int, ties: bool, seed: int) -> None:
    y = np.random.default_rng(seed).normal(size=n)
    y = np.round(y) if ties else y
    stratum = Regression().stratum(y)
    assert stratum.min() >= 0 and stratum.max() < 5
    order = np.argsort(y, kind="stable")
    assert (np.diff(stratum[order]) >= 0).all()
    assert all(len(set(stratum[y == value])) == 1 for value in np.unique(y))
    if n >= 25 and not ties:
        assert np.bincount(stratum).min() >= n // 5 - 1


def test_the_parts_of_a_split_are_alike_in_the_quantity() -> None:
    """Random thirds of 80 skewed values would differ by far more than stratified ones do."""
    y = torch.from_numpy(np.random.default_rng(0).lognormal(2, 1, 80))
    made = Federation.from_tensors({"A": (torch.randn(80, 2), y)}, task="regression")
    apart = []
    for seed in range(40):
        site = made.resplit(seed).sites[0]
        apart.append(float(site.test.y.log().mean() - site.train.y.log().mean()))
    assert np.std(apart) < 0.13  # 0.27 at random
    assert abs(np.mean(apart)) < 0.08


def test_federations_made_of_one_keep_its_task() -> None:
    whole = wards()
    for made in (whole.thinned(30, seed=0), whole.lock(0.2), whole.partition(Dirichlet(0.5), sites=3),
                 whole.select("W0", "W1"), whole.holdout("W1")[0]):  # fmt: skip
        assert made.task == whole.task and all(site.rows.y.dtype == torch.float64 for site in made.sites)
    assert whole.fingerprint != wards(seed=1).fingerprint
    other = Federation.from_frame(stays(), site="ward", label="stay", task=Regression("stay", center=0, scale=2))
    assert whole.fingerprint != other.fingerprint  # it trains another model


def test_a_table_of_sites_says_what_the_quantity_is_like() -> None:
    table, y = wards().describe(), stays().groupby("ward")["stay"]
    assert table["mean stay"].tolist() == pytest.approx(y.mean().tolist())
    assert table["sd stay"].tolist() == pytest.approx(y.std(ddof=0).tolist())
    assert "regression ('stay',)" in repr(wards()) and "stay" in wards()._repr_html_()


# --------------------------------------------------------------------------- training


def test_pooled_training_comes_to_the_least_squares_of_scikit_learn() -> None:
    table = stays((300,), noise=1.0).drop(columns=["sex"]).dropna()
    made = Federation.from_frame(table, site="ward", label="stay", task="regression")
    run = fedlab.train(made, algorithm="centralized", rounds=60, batch_size=10**6, lr=0.3, dtype="float64",
                       local_epochs=5, progress=False)  # fmt: skip
    assert run.model_name == "linear"
    rows = made.sites[0].train
    fitted = LinearRegression().fit(rows.x.numpy(), rows.y.numpy()).predict(rows.x.numpy())
    assert run.model()(rows.x).detach().numpy()[:, 0] == pytest.approx(fitted, abs=1e-2)


@pytest.mark.parametrize("algorithm", ["fedavg", "scaffold", "ditto", "isolated", "ensemble", "fedbn"])
def test_sites_alone_and_stacked_train_the_same(algorithm: str) -> None:
    model = "mlp_norm" if algorithm == "fedbn" else "mlp"
    one, other = (
        fedlab.train(wards(), model, algorithm, engine=engine, dtype="float64", **QUICK)
        for engine in ("sequential", "batched")
    )
    for mine, theirs in zip(one.history.itertuples(), other.history.itertuples(), strict=True):
        assert mine.mse == pytest.approx(theirs.mse, rel=1e-9) and mine.r2 == pytest.approx(theirs.r2, rel=1e-7)


def test_the_scale_changes_how_a_model_is_trained_and_not_what_it_is_measured_in() -> None:
    """The same numbers in another unit, with the scale in that unit: the same model, errors in that unit."""
    table, day = stays(), {"center": 8, "scale": 2}
    hours = table.assign(stay=table["stay"] * 24)
    runs = [
        fedlab.train(Federation.from_frame(t, site="ward", label="stay", task=Regression("stay", **scale)),
                     dtype="float64", **QUICK)
        for t, scale in ((table, day), (hours, {k: 24 * v for k, v in day.items()}))
    ]  # fmt: skip
    days, in_hours = (run.history.iloc[-1] for run in runs)
    assert in_hours["mse"] == pytest.approx(24**2 * days["mse"]) and in_hours["r2"] == pytest.approx(days["r2"])
    assert runs[0].weights["weight"] == pytest.approx(runs[1].weights["weight"])


def test_the_round_is_chosen_by_the_squared_error() -> None:
    run = fedlab.train(wards(), "mlp", rounds=12, lr=0.3, progress=False)
    mean = run.history.groupby("round").apply(lambda g: np.average(g["mse"], weights=g["patients"]))
    assert set(run.chosen.values()) == {int(mean.idxmin())}
    assert run.history.columns[2:4].tolist() == ["mse", "r2"] == list(run.scored)


def test_new_patients_are_predicted_in_the_unit_of_the_label() -> None:
    run = fedlab.train(wards(), rounds=15, progress=False)
    new = stays((50,), seed=7)
    told = run.predict(new)
    assert told.columns.tolist() == ["stay"]
    assert abs(told["stay"].mean() - new["stay"].mean()) < 1
    x = run.federation.encode(new)
    assert run.model()(x).detach().numpy()[:, 0] == pytest.approx(told["stay"].to_numpy(), rel=1e-5)
    with pytest.raises(ValueError, match=r"run\.predict"):
        run.predict_proba(new)
    vote = fedlab.train(wards(), algorithm="ensemble", **QUICK)
    x = vote.federation.encode(new)
    assert vote.model()(x).detach().numpy()[:, 0] == pytest.approx(vote.predict(new)["stay"].to_numpy(), rel=1e-5)


def test_a_model_of_the_other_task_is_refused_with_the_one_to_take() -> None:
    with pytest.raises(ValueError, match="'logistic' is not for a regression of 'stay': take 'linear'"):
        fedlab.train(wards(), "logistic", **QUICK)
    with pytest.raises(ValueError, match="'linear' is not for a binary task of 2 classes: take 'logistic'"):
        fedlab.train(fedlab.load("heart_disease"), "linear", **QUICK)
    with pytest.raises(ValueError, match=r"a regression of 'stay' needs \[2, 1\]"):
        fedlab.train(wards(), lambda inputs, outputs: torch.nn.Linear(inputs, 3), **QUICK)


def test_a_hospital_of_few_validation_patients_tells_no_score() -> None:
    run = fedlab.train(wards((120, 80, 20)), **QUICK)
    told = run.history[run.history["site"] == "W2"]
    assert len(run.federation["W2"].split.valid) < 5
    assert told["mse"].isna().all() and told["r2"].isna().all() and (told["patients"] == 0).all()


# --------------------------------------------------------------------------- the record


def test_a_run_is_kept_and_goes_on(tmp_path) -> None:  # type: ignore[no-untyped-def]
    run = fedlab.train(wards(), save=tmp_path / "run", **QUICK)
    again = fedlab.Run.load(tmp_path / "run", wards())
    pd.testing.assert_frame_equal(again.history, run.history)
    pd.testing.assert_frame_equal(again.report(), run.report())
    with pytest.raises(ValueError, match="not for a binary task"):
        fedlab.Run.load(tmp_path / "run", fedlab.load("heart_disease"))
