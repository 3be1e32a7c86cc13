"""The contracts between the parts, one test for each: what other parts may rely on, in the words of the design.

Each is tried here once, through public names and on little data; the files beside this one go into the corners.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import threading
import warnings
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import data_recipes
import fedlab
from fedlab.algorithms import ALGORITHMS, Algorithm, FedAvg, algorithm
from fedlab.engine.exchange import Exchange
from fedlab.engine.hooks import Hooks, Upload
from fedlab.engine.identity import content
from fedlab.engine.local import LocalTransport
from fedlab.engine.purposes import PURPOSES
from fedlab.engine.rounds import rounds
from fedlab.engine.train import begin, run_live
from fedlab.federation import Classification, Feature, Federation, Split
from fedlab.privacy.policy import Policy
from fedlab.testing import check_algorithm
from tests.conftest import ragged
from tests.engine.test_resume import killed_after, same

QUICK: dict[str, Any] = {"rounds": 2, "progress": False, "dtype": "float64"}
MODES = ("sequential", "threads", "batched")


def furthest(one: fedlab.Run, other: fedlab.Run) -> float:
    return max(float((one.weights[name] - other.weights[name]).abs().max()) for name in one.weights)


# ---------------------------------------------------------------------- the idea


def test_data_flow_from_left_to_right() -> None:
    """A module imports only from packages to its left."""
    order = "storage metrics tasks models privacy algorithms engine testing study figures workbench course report cli"
    place = {name: number for number, name in enumerate(order.split())}
    for name in place:
        for path in (Path(fedlab.__file__).parent / name).rglob("*.py"):
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fedlab."):
                    other = str(node.module).split(".")[1]
                    assert place.get(other, -1) <= place[name], f"{path.name} in {name} imports {node.module}"


def test_an_import_is_light() -> None:
    """`import fedlab` loads no sklearn, flwr, ray, plotly or ipywidgets; a run in this process neither flwr nor ray."""
    code = """
import sys, fedlab
heavy = {"sklearn", "scipy.stats", "flwr", "ray", "plotly", "ipywidgets"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
fedlab.train(fedlab.load("heart_disease"), rounds=1, progress=False)
assert not {"flwr", "ray"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------------- federation


def test_a_federation_and_all_in_it_are_frozen(hospitals: Federation) -> None:
    for held, name in ((hospitals, "name"), (hospitals.sites[0], "name"), (hospitals.sites[0].split, "train")):
        with pytest.raises(FrozenInstanceError):
            setattr(held, name, "another")


def test_rows_are_raw_and_what_is_missing_is_nan(hospitals: Federation) -> None:
    x = torch.cat([site.rows.x for site in hospitals.sites])
    assert x.isnan().any() and float(x[:, hospitals.columns.index("age")].max()) > 60


def test_pictures_stay_bytes_until_the_batch() -> None:
    x, seen = torch.randint(0, 256, (24, 1, 4, 4), dtype=torch.uint8), []

    class Looks(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.head = nn.Linear(16, outputs)

        def forward(self, x: Tensor) -> Tensor:
            seen.append((x.dtype, float(x.max())))
            return self.head(x.flatten(1))

    fed = Federation.from_tensors({"A": (x, torch.arange(24) % 2), "B": (x + 1, torch.arange(24) % 2)})
    fedlab.train(fed, Looks, engine="sequential", **QUICK)
    assert {site.rows.x.dtype for site in fed.sites} == {torch.uint8}
    assert all(dtype == torch.float64 and top <= 1 for dtype, top in seen)


def test_bags_are_ragged_and_padded_per_batch_with_a_mask() -> None:
    seen: list[tuple[tuple[int, ...], int]] = []

    class Mean(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.head = nn.Linear(3, outputs)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            seen.append((tuple(x.shape), int(mask.sum())))
            return self.head((x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))

    bags = [torch.randn(1 + i % 7, 3) for i in range(40)]
    fed = Federation.from_tensors(bags={"A": (bags, torch.arange(40) % 2)})
    assert fed["A"].rows.offsets is not None and fed["A"].rows.offsets[-1] == sum(map(len, bags))
    fedlab.train(fed, Mean, engine="sequential", batch_size=4, **QUICK)
    assert any(many < shape[0] * shape[1] for shape, many in seen) and max(shape[1] for shape, _ in seen) <= 7


def test_a_patients_rows_are_never_split() -> None:
    x, y, who = torch.randn(60, 2), torch.arange(60) % 2, np.arange(60) // 3
    site = Federation.from_tensors({"A": (x, y)}, groups={"A": who})["A"]
    parts = [set(who[rows]) for rows in (site.split.train, site.split.valid, site.split.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 20


def test_a_site_knows_its_features_and_classes(hospitals: Federation) -> None:
    site = hospitals["Hungary"]
    assert [f.name for f in site.features] == [f.name for f in hospitals.features]
    assert site.classes == hospitals.task.classes and site.train.x is not None


def test_parts_are_views_of_the_rows_by_their_numbers(hospitals: Federation) -> None:
    site = hospitals["Cleveland"]
    assert torch.equal(site.test.y, site.rows.y[torch.from_numpy(site.split.test)])
    assert sorted(np.concatenate([site.split.train, site.split.valid, site.split.test])) == list(
        range(len(site.rows.y))
    )


def test_what_cannot_be_computed_is_nan_with_a_reason() -> None:
    x, y = torch.randn(40, 2), torch.arange(40) % 2
    fed = Federation.from_tensors({"A": (x, y), "B": (x + 1, torch.zeros(40, dtype=torch.int64))})
    report = fedlab.train(fed, **QUICK).report()
    (row,) = report[(report.test == "B") & (report.metric == "auc")].to_dict("records")
    assert np.isnan(row["value"]) and row["reason"]


@pytest.mark.parametrize("seed", range(3))
def test_splits_are_stratified_and_have_their_shares(hospitals: Federation, seed: int) -> None:
    for site in hospitals.resplit(seed).sites:
        n, ill = len(site.rows.y), float(site.rows.y.double().mean())
        for rows, share in ((site.split.train, 0.60), (site.split.valid, 0.15), (site.split.test, 0.25)):
            assert abs(len(rows) - share * n) <= 3
            assert abs(float(site.rows.y[torch.from_numpy(rows)].sum()) - ill * len(rows)) <= 2


def test_what_was_done_to_a_split_survives_another_seed(hospitals: Federation) -> None:
    locked = hospitals.lock(share=0.2, seed=1)
    before, after = (fed["Cleveland"].locked for fed in (locked, locked.resplit(5)))
    assert before is not None and len(before.y) > 40 and torch.equal(before.x.nan_to_num(), after.x.nan_to_num())
    assert [len(site.split.train) for site in hospitals.thinned(20, seed=0).resplit(5).sites] == [20] * 4


def test_a_seed_is_a_split_a_start_and_a_batch_order(hospitals: Federation) -> None:
    study = fedlab.compare(hospitals, "mlp", ["fedavg"], seeds=[0, 1], **QUICK)
    one, other = study.runs["fedavg"]
    splits = [run.federation["Hungary"].split.test.tolist() for run in (one, other)]
    assert splits[0] != splits[1] and one.settings.seed != other.settings.seed and furthest(one, other) > 0


def test_a_published_split_is_kept_by_every_seed() -> None:
    x, y = torch.randn(40, 2), torch.arange(40) % 2
    split = Split(np.arange(20), np.arange(20, 30), np.arange(30, 40))
    fed = Federation.from_tensors({"A": (x, y), "B": (x, y)}, splits={"A": split, "B": split})
    study = fedlab.compare(fed, algorithms=["fedavg"], seeds=3, **QUICK)
    assert all(run.federation["A"].split == split for run in study.runs["fedavg"])
    assert study.overlap == 0  # nothing was drawn again, so there is nothing to correct for


def test_the_first_question_is_for_statistics_of_those_that_train(hospitals: Federation) -> None:
    ledger = fedlab.train(hospitals.select("Cleveland", "Hungary"), **QUICK).ledger
    assert ledger.purpose.iloc[0] == "statistics" and set(ledger.site) == {"Cleveland", "Hungary"}


def test_fill_and_scale_are_the_pooled_ones_and_no_test_row_touches_them() -> None:
    fed = ragged()
    held = fedlab.train(fed, **QUICK).model().state_dict()
    rows = torch.cat([site.train.x for site in fed.sites]).numpy()
    assert held["fill"].numpy() == pytest.approx(np.nanmean(rows, 0), rel=1e-12)
    assert held["scale"].numpy() == pytest.approx(np.nanstd(rows, 0), rel=1e-12)
    splits = {site.name: site.split for site in fed.sites}
    as_it_was = {site.name: (site.rows.x, site.rows.y) for site in fed.sites}
    other = {
        site.name: (site.rows.x.index_fill(0, torch.from_numpy(site.split.test), 1e6), site.rows.y)
        for site in fed.sites
    }
    one, two = (
        fedlab.train(Federation.from_tensors(each, splits=splits, prepared=False), **QUICK)
        for each in (as_it_was, other)
    )
    assert furthest(one, two) == 0


def test_isolated_prepares_with_its_own_rows_alone() -> None:
    fed = ragged()
    run = fedlab.train(fed, algorithm="isolated", **QUICK)
    for site in fed.sites:
        own = np.nanmean(site.train.x.numpy(), 0)
        assert run.model(site.name).state_dict()["fill"].numpy() == pytest.approx(own, rel=1e-12)


def test_a_feature_that_few_have_counts_as_not_measured_there() -> None:
    x, y = torch.randn(60, 2, dtype=torch.float64), torch.arange(60) % 2
    x[4:, 1] = torch.nan  # at most four patients have it
    held = fedlab.train(Federation.from_tensors({"A": (x, y)}, prepared=False), **QUICK).model().state_dict()
    assert (float(held["fill"][1]), float(held["scale"][1]), float(held["indicator"][1])) == (0, 1, 1)


def test_of_prepared_rows_the_number_alone_is_told() -> None:
    x, y = torch.randn(40, 2), torch.arange(40) % 2
    run = fedlab.train(Federation.from_tensors({"A": (x, y), "B": (x, y)}, prepared=True), **QUICK)
    first = run.ledger.query("purpose == 'statistics' and direction == 'up'")
    assert set(first.content) == {"rows"} and "fill" not in run.model().state_dict()


# ---------------------------------------------------------------------- recipes


@pytest.mark.parametrize("name", sorted(data_recipes.recipes()))
def test_a_recipe_says_where_its_data_come_from(name: str) -> None:
    module = data_recipes.recipes()[name]
    for what in ("NAME", "TITLE", "FILES", "LICENCE", "CITATION", "SITE_KEY", "load"):
        assert hasattr(module, what), f"{name} lacks {what}"
    assert module.NAME == name and name in data_recipes.catalogue().index


def test_the_main_story_needs_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import socket

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("FEDLAB_DATA", str(tmp_path))
    monkeypatch.delenv("FEDLAB_MIRROR", raising=False)
    assert sum(len(site.rows.y) for site in fedlab.load("heart_disease").sites) == 920


# ---------------------------------------------------------------------- algorithms


@dataclass(frozen=True)
class Nothing(Algorithm):
    """Overrides nothing."""


def test_fedavg_is_the_class_with_nothing_overridden() -> None:
    assert furthest(fedlab.train(ragged(), algorithm=Nothing(), **QUICK), fedlab.train(ragged(), **QUICK)) == 0


NO_PAPER = ("isolated", "centralized", "ensemble")


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_every_algorithm_has_a_paper_and_is_frozen(name: str) -> None:
    made = algorithm(name)
    assert made.__dataclass_params__.frozen  # type: ignore[attr-defined]
    text = inspect.getmodule(type(made)).__doc__ or ""
    assert re.search(r"arXiv:\d{4}\.\d{5}|(19|20)\d\d", text) or name in NO_PAPER, f"{name} names no paper"
    assert "eviates" in text or name in NO_PAPER, f"{name} does not say where it deviates"


@dataclass(frozen=True)
class Half(Algorithm):
    """Sends half of what was learnt: a new algorithm writes only what it changes."""

    def finish(self, vars: Any, at: Any) -> Any:
        return {name: (at.anchor[name] + vars[name]) / 2 for name in vars}, {}, at.memory


@pytest.mark.parametrize("mode", MODES[1:])
def test_one_piece_of_site_code_runs_alone_in_threads_and_stacked(mode: str) -> None:
    one, other = (fedlab.train(ragged(), "mlp", Half(), engine=engine, **QUICK) for engine in (MODES[0], mode))
    assert furthest(one, other) < 1e-9 and furthest(one, fedlab.train(ragged(), "mlp", **QUICK)) > 1e-4


def test_what_the_server_needs_of_the_uploads_is_stated_and_checked() -> None:
    assert (algorithm("fedavg").sums, algorithm("scaffold").sums, algorithm("krum").sums) == ("rows", "equal", None)

    @dataclass(frozen=True)
    class Middle(Algorithm):
        """A median that says it is a sum."""

        sums = "rows"

        def combine(self, params: Any, uploads: Any, extra: Any, weights: Any, state: Any, who: Any) -> Any:
            return {name: uploads[name].median(0).values for name in uploads}, state

    with pytest.raises(AssertionError, match="sum"):
        check_algorithm(Middle())


def test_extra_counts_on_the_ledger_like_uploads() -> None:
    sent = {}
    for name in ("fedavg", "scaffold"):
        ledger = fedlab.train(ragged(), algorithm=name, **QUICK).ledger
        sent[name] = int(ledger.query("purpose == 'train'").filter(like="bytes").to_numpy().sum())
    assert sent["scaffold"] > 1.5 * sent["fedavg"]


def test_a_flower_strategy_is_taken_wherever_an_algorithm_is() -> None:
    strategies = pytest.importorskip("flwr.serverapp.strategy")
    theirs = fedlab.train(ragged(), algorithm=fedlab.algorithms.FromFlower(strategies.FedAvg()), **QUICK)
    assert furthest(theirs, fedlab.train(ragged(), engine="sequential", **QUICK)) < 1e-9


@dataclass(frozen=True)
class Rude(Algorithm):
    """Changes in place all that it is handed."""

    def combine(self, params: Any, uploads: Any, extra: Any, weights: Any, state: Any, who: Any) -> Any:
        found = super().combine(params, uploads, extra, weights, state, who)
        for tensor in (*params.values(), *uploads.values()):
            tensor.zero_()
        return found


def test_what_is_handed_to_user_code_is_theirs_alone() -> None:
    assert furthest(fedlab.train(ragged(), "mlp", Rude(), **QUICK), fedlab.train(ragged(), "mlp", **QUICK)) < 1e-12


# ---------------------------------------------------------------------- engine


def test_names_and_objects_are_the_same() -> None:
    one, other = fedlab.train(ragged(), "mlp", "fedavg", **QUICK), fedlab.train(ragged(), "mlp", FedAvg(), **QUICK)
    assert furthest(one, other) == 0


def test_closing_the_stream_stops_it_and_the_state_so_far_is_a_run() -> None:
    events = fedlab.stream(ragged(), rounds=50)
    event = next(events)
    events.close()
    assert event.run.history["round"].max() == 1 and len(event.run.report())


def test_stopping_from_another_thread_takes_effect() -> None:
    stop = threading.Event()
    seen = 0
    for _ in fedlab.stream(ragged(), rounds=500, stop=stop):
        seen += 1
        if seen == 2:
            stop.set()
    assert seen < 500


def test_the_ledger_has_every_question_and_answer() -> None:
    ledger = fedlab.train(ragged(), **QUICK).ledger
    assert set(ledger.query("round == 2 and purpose == 'train'").site) == {"site 0", "site 1", "site 2"}
    assert (ledger.filter(like="bytes") >= 0).all().all() and set(ledger.purpose) <= set(PURPOSES)


@pytest.mark.parametrize("mode", MODES)
def test_the_same_seed_gives_the_same_bits_and_leaves_the_global_generator_alone(mode: str) -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    one = fedlab.train(ragged(), "mlp", engine=mode, **QUICK)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(8)
    assert furthest(one, fedlab.train(ragged(), "mlp", engine=mode, **QUICK)) == 0


def test_the_clock_is_gradient_steps_of_the_largest_site_and_all_take_as_many() -> None:
    runs = {name: fedlab.train(ragged(), algorithm=name, **QUICK) for name in ("fedavg", "isolated", "centralized")}
    largest = max(len(site.split.train) for site in ragged().sites)
    settings = runs["fedavg"].settings
    assert runs["fedavg"].steps_per_round == settings.local_epochs * -(-largest // settings.batch_size)
    assert len({run.steps_per_round for run in runs.values()}) == 1


def test_the_reported_round_is_the_best_on_valid_and_the_earlier_of_equals() -> None:
    run = fedlab.train(ragged(), "mlp", **QUICK | {"rounds": 8, "lr": 1.0})
    table = run.history
    site = {name: len(run.federation[name].split.valid) for name in run.names}
    loss = (
        table.assign(n=table.site.map(site))
        .groupby("round")
        .apply(lambda of: float(np.average(of.log_loss, weights=of.n)), include_groups=False)
    )
    assert set(run.chosen.values()) == {int(loss.idxmin())}


def test_test_rows_are_opened_by_a_report_alone_and_counted() -> None:
    run = fedlab.train(ragged(seed=41), **QUICK)
    assert run.test_openings == 0
    first, again = run.report(), run.report()
    assert run.test_openings == 1 and first.equals(again)


@dataclass(frozen=True)
class Breaks(Algorithm):
    """Fails at one site with a patient's name in the exception."""

    site_rows: int = 60

    def finish(self, vars: Any, at: Any) -> Any:
        if int(at.n) == self.site_rows:
            raise RuntimeError("Jane Doe, born 1950")
        return vars, {}, at.memory


def test_a_site_that_fails_is_left_out_and_its_exceptions_text_stays_there() -> None:
    fed = ragged()
    rows = len(fed.sites[1].split.train)
    run = fedlab.train(fed, algorithm=Breaks(rows), engine="sequential", **QUICK)
    assert set(run.errors.site) == {"site 1"} and len(run.records) == 2
    assert "Jane" not in run.errors.to_string() + " ".join(run.notes)


def test_too_few_sites_end_the_run_with_their_names_and_the_rounds_before() -> None:
    fed = ragged()
    rows = len(fed.sites[1].split.train)
    with pytest.raises(fedlab.TooFewSites, match="site 1") as caught:
        fedlab.train(fed, algorithm=Breaks(rows), engine="sequential", min_sites=3, **QUICK)
    assert caught.value.run.records == []


def test_a_run_is_one_folder_and_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fed, folder = ragged(), tmp_path / "run"
    killed_after(2, folder, fed, "mlp", "scaffold", monkeypatch, rounds=4)
    assert len(fedlab.Run.load(folder, fed).records) == 2 and (folder / "run.json").is_file()
    same(fedlab.Run.resume(folder, fed, progress=False), fedlab.train(fed, "mlp", "scaffold", rounds=4, progress=False))


def test_a_plan_says_what_is_asked_without_a_row_and_both_ends_make_the_same_of_it(hospitals: Federation) -> None:
    plan = fedlab.Plan.of(hospitals, "mlp", "trimmedmean", **{k: v for k, v in QUICK.items() if k != "progress"})
    read = fedlab.Plan.from_json(plan.to_json())
    server = begin(read)
    assert not server.has_rows and repr(server.algorithm) == repr(begin(plan).algorithm)
    assert read == plan and read.sum == plan.sum
    cells = {f"{value:g}" for value in hospitals["Cleveland"].rows.x.flatten().tolist() if value > 200}
    assert not cells & set(read.to_json().replace(",", " ").split())


def test_every_question_is_one_entry_of_one_registry() -> None:
    asked = set(fedlab.train(ragged(), "mlp_norm", "fedbn", **QUICK).ledger.purpose)
    assert asked <= set(PURPOSES) and {"statistics", "prepare", "train", "evaluate"} <= asked


def test_evaluation_is_at_the_site_and_no_prediction_leaves_it() -> None:
    run = fedlab.train(ragged(), keep_messages=True, **QUICK)
    scores = run.ledger.query("purpose == 'evaluate' and direction == 'up'")
    assert len(scores) == 6 and set(scores.content) == {"log_loss, auc, n"}
    assert {entry.round for entry in run.messages} == {0, 1, 2}


def test_a_policy_that_forbids_what_the_run_needs_is_said_before_the_first_question() -> None:
    run = begin(fedlab.Plan.of(ragged(), rounds=2))
    gate = Exchange(LocalTransport(run, stop=lambda: False), policy=Policy(purposes=("statistics", "train")))
    with pytest.raises(PermissionError, match="prepare"):
        next(iter(rounds(run, gate)))
    assert gate.ledger.rows == []


@dataclass(frozen=True)
class Doubled:
    """Doubles what leaves, as a hostile site would."""

    sealed: bool = False

    def leave(self, upload: Upload) -> Upload:
        return replace(upload, model={name: 2 * tensor for name, tensor in upload.model.items()})

    def opened(self, sent: Any, like: Any) -> Any:
        raise AssertionError("nothing is sealed here")


@pytest.mark.parametrize("mode", MODES)
def test_all_that_leaves_a_site_passes_one_hook(mode: str) -> None:
    runs = [begin(fedlab.Plan.of(ragged(), "mlp", rounds=1, engine=mode, dtype="float64")) for _ in range(2)]
    runs[1].hooks = Hooks(upload=Doubled())
    for run in runs:
        for _ in run_live(run):
            pass
    assert all(torch.allclose(2 * w, runs[1].weights[name]) for name, w in runs[0].weights.items() if "." in name
               and not name.startswith("prepare"))  # fmt: skip


def test_identity_is_by_content_and_never_by_name() -> None:
    def made(scale: float) -> Any:
        def factory(inputs: int, outputs: int) -> nn.Module:
            layer = nn.Linear(inputs, outputs)
            nn.init.constant_(layer.weight, scale)
            return layer

        return factory

    one, other, same = (fedlab.Plan.of(ragged(), made(scale), rounds=1) for scale in (0.0, 1.0, 0.0))
    assert content(made(0.0)) == content(made(0.0)) != content(made(1.0))
    assert one.model.name == other.model.name == same.model.name


# ---------------------------------------------------------------------- study


@pytest.fixture(scope="module")
def study() -> fedlab.Study:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fedlab.compare(
            fedlab.load("heart_disease"), algorithms=["isolated", "fedavg"], seeds=6, rounds=10, progress=False
        )


def test_seeds_are_paired(study: fedlab.Study) -> None:
    for one, other in zip(study.runs["isolated"], study.runs["fedavg"], strict=True):
        assert one.federation.fingerprint == other.federation.fingerprint


def test_the_verdict_names_metric_and_estimand_and_what_could_have_been_seen(
    study: fedlab.Study,
) -> None:
    said = study.verdict()
    assert said.startswith("By log loss") and study.primary == "log_loss"
    assert "home" in said and "everywhere" in said
    assert "no clear" not in said or "could have" in said


def test_fewer_than_six_sites_are_not_ranked(study: fedlab.Study) -> None:
    with pytest.raises(ValueError, match=r"smallest p is 0\.125"):
        study.over_sites("isolated", "fedavg")


def test_what_a_study_cost_is_in_steps_examples_and_bytes(study: fedlab.Study) -> None:
    cost = study.cost()
    assert len(cost) == 2 and {"steps", "examples", "bytes"} <= set(cost.columns)


# ---------------------------------------------------------------------- workbench


def test_a_panel_shows_the_code_that_gives_the_same_numbers(hospitals: Federation) -> None:
    pytest.importorskip("ipywidgets")
    from fedlab.workbench import RunPanel

    panel = RunPanel(hospitals)
    panel.controls.numbers["rounds"].value = 2
    panel.start()
    panel.wait(120)
    space: dict[str, Any] = {}
    exec(panel.code, space)
    run = next(value for value in space.values() if isinstance(value, fedlab.Run))
    assert furthest(panel.run, run) == 0


def test_a_feature_is_an_entry_of_the_data_dictionary() -> None:
    assert [f.name for f in fields(Feature)][:5] == ["name", "kind", "unit", "range", "codes"]
    assert Classification(("no", "yes")).kind == "binary"
