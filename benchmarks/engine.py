"""The engine against its peers: `python -m benchmarks.engine [--quick] [--json FILE]`.

Every comparison first checks in float64 that both sides give the same weights; what is timed is float32. Ratios are
medians of pairs that are measured in turn, so that a busy machine disturbs both alike, and are judged only on a quiet
one; everything is imported before a clock starts. Flower's simulation needs the extra `ray` and an interpreter in a
path without a space; `--quick` leaves it out.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch

import fedlab
from benchmarks import peers
from benchmarks.figures import Figure, at_least, at_most, load, main, timing
from benchmarks.workloads import (
    BATCH,
    LR,
    BagTransformer,
    bags,
    cnn,
    events,
    furthest,
    last_weights,
    many_sites,
    pictures,
    ratio,
    round_time,
    timed,
)  # fmt: skip
from fedlab.engine import batched
from fedlab.engine.plan import planned
from fedlab.engine.resume import keeping
from fedlab.engine.site import one_thread
from fedlab.engine.train import begin, run_live
from fedlab.engine.work import Work
from fedlab.federation import Federation, fit, merge, prepare, summarise

ABOUT = "The engine against its peers"
ARMS = ["isolated", "centralized", "fedavg", "fedprox", "scaffold"]


def measure(quick: bool) -> Iterator[Figure]:
    """Measure everything, the quick things first."""
    yield from plain_loops(quick)
    yield from growth(quick)
    yield between_sites()
    yield from seeds(3 if quick else 9)
    yield matrix_share()
    yield memory()
    yield held_once()
    yield saving()
    if not quick:
        yield from simulation()


# ---------------------------------------------------------------------- the plain torch loop


def plain_loops(quick: bool) -> Iterator[Figure]:
    """Compare with the loop that a tutorial writes."""
    repeats = 3 if quick else 7
    for sites, target in ((100, 20), (1000, 15)):
        if sites == 100 or not quick:
            few = repeats if sites == 100 else 3
            what = f"plain torch loop / all at once, MLP, {sites} sites"
            yield against_plain(what, many_sites(sites, 100), "mlp", target, few, threads=1, engine="batched")
    what = "plain torch loop / one site a thread, CNN 28 px, 4 sites"
    yield against_plain(what, pictures(), cnn, 1.3, repeats, engine="threads")
    for pixels, rows, valid, target in ((28, 300, 75, 1.3), (64, 100, 25, 1.2)):
        what = f"the same with evaluation each round, CNN {pixels} px, {valid} validation rows a site"
        federation = pictures(rows=rows, pixels=pixels, valid=valid)
        yield against_plain(what, federation, cnn, target, repeats, engine="threads", evaluate=True)
    what = "plain torch loop / one site a thread, transformer bags, 6 sites"
    yield against_plain(what, bags(), BagTransformer, 1.3, max(repeats, 5), engine="threads")


def against_plain(
    what: str, federation: Federation, model: Any, target: float, repeats: int, *, threads: int = 0, **settings: Any
) -> Figure:
    """Time a round both ways, in turn; ``threads`` of torch for the loop (0: all that there are)."""
    apart = peers.apart(federation, model, **settings)
    scored = bool(settings.get("evaluate", False))
    if apart > peers.SAME:
        raise SystemExit(f"{what}: the two give other weights ({apart:.1e} apart), so there is nothing to compare")
    before = load()
    loop, slow, fast = peers.Plain(federation, model), [], []
    turn = loop.round_and_scores if scored else loop.round
    for number in range(repeats + 1):  # the first turn warms up
        fast.append(round_time(federation, 3, model, **settings))
        if threads == 1:
            with one_thread():
                slow.append(timed(turn))
        else:
            slow.append(timed(turn))
        if not number:
            slow, fast = [], []
    told = f"{1000 * median(slow):.0f} / {1000 * median(fast):.1f} ms a round; weights {apart:.0e} apart in float64"
    return timing(at_least(what, ratio(slow, fast), "×", target, told), load=before, same=slow)


# ---------------------------------------------------------------------- inside the engine


def growth(quick: bool) -> Iterator[Figure]:
    """Time a round of more and more sites."""
    for sites in (4, 10, 30, 100) if quick else (4, 10, 30, 100, 300, 1000):
        took = median(round_time(many_sites(sites, 100), 5, engine="batched") for _ in range(3))
        yield Figure(
            f"a round of {sites} sites × 100 rows, MLP 13-32-1", 1000 * took, "ms", note="batch 16, all at once"
        )


def between_sites() -> Figure:
    """Share of a round that is not the sites' own work (batch order and training): stack, combine, evaluate, ledger."""
    own, before = [0.0], load()
    plain, plan = Work.train, batched.row_plans

    def watched(what: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            began = time.perf_counter()
            try:
                return what(*given)
            finally:
                own[0] += time.perf_counter() - began

        return call

    running, whole, inside = events(many_sites(100, 100), 31, engine="batched", evaluate=True, shuffle=True), [], []
    Work.train, batched.row_plans = watched(plain), watched(plan)  # type: ignore[method-assign]
    try:
        for _ in range(31):
            own[0] = 0.0
            whole.append(timed(lambda: next(running)))
            inside.append(own[0])
    finally:
        Work.train, batched.row_plans = plain, plan  # type: ignore[method-assign]
    share = median((a - b) / a for a, b in zip(whole[1:], inside[1:], strict=True))
    told = f"median of 30 rounds of {1000 * median(whole):.1f} ms, with evaluation"
    return timing(at_most("share of a round between the sites, 100 sites", 100 * share, "%", 25, told), load=before)


def seeds(repeats: int) -> Iterator[Figure]:
    """Compare many seeds in one stacked pass with one."""
    four = fedlab.load("heart_disease")

    def together(count: int) -> float:
        return timed(lambda: list(fedlab.stream(four, "logistic", "fedavg", seeds=count, rounds=30)))

    before = load()
    turns = [(together(1), together(10), together(30)) for _ in range(repeats + 1)][1:]
    one, ten, thirty = (list(column) for column in zip(*turns, strict=True))
    told = f"{median(one):.2f} s for one run of 30 rounds, four hospitals, logistic, splits and evaluation included"
    yield timing(at_most("ten seeds / one seed", ratio(ten, one), "×", 2.5, told), load=before, same=one)
    told = f"{median(thirty):.2f} s for thirty"
    yield timing(at_most("thirty seeds / one seed", ratio(thirty, one), "×", 4, told), load=before, same=one)


def matrix_share() -> Figure:
    """Share of a CNN's training that is spent in products of matrices, all that a faster engine cannot save."""
    running = events(pictures(), 3, cnn, engine="sequential")
    next(running)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        next(running)
    every = profile.key_averages()
    products = ("conv", "mkldnn", "addmm", "::mm", "bmm")
    spent = sum(e.self_cpu_time_total for e in every if any(word in e.key for word in products))
    share = 100 * spent / sum(e.self_cpu_time_total for e in every)
    return Figure(
        "share of matrix products in a round, CNN 28 px", share, "%", note="one site at a time, torch.profiler"
    )


MEMORY = """
import re, resource, sys
from pathlib import Path
from benchmarks.workloads import events, many_sites
def kib(name):  # not ru_maxrss, which on Linux starts with what the parent held
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(rf"{name}:\\s+(\\d+)", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
many = many_sites(1000, 100)
list(events(many_sites(4, 100), 2, engine="batched"))
before = kib("VmRSS")
list(events(many, 3, engine="batched"))
print((kib("VmHWM") - before) / 1024)
"""


def memory() -> Figure:
    """Peak memory that training a thousand sites adds, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    return at_most("memory added, 1,000 sites × 100 rows, MLP", float(done.stdout), "MB", 500, "peak, a fresh process")


def saving() -> Figure:
    """Compare what keeping a round costs late in a long run with what it costs at its beginning."""
    run, took = begin(planned(fedlab.load("heart_disease"), "logistic", "fedavg", {"rounds": 1510})), list[float]()
    before = load()
    with tempfile.TemporaryDirectory() as folder, keeping(run, Path(folder) / "run") as keep:
        for _ in run_live(run, keep=lambda loop: took.append(timed(lambda: keep(loop)))):
            pass
    early, late = took[5:25], took[1490:1510]
    told = f"{1000 * median(late):.1f} / {1000 * median(early):.1f} ms, medians of twenty rounds"
    return timing(at_most("keeping round 1,500 / round 10", median(late) / median(early), "×", 1.25, told), load=before)


HELD = """
import gc, warnings
import torch
import fedlab
from benchmarks.workloads import cnn
from fedlab.federation import Federation
warnings.simplefilter("ignore")
draw = torch.Generator().manual_seed(0)
def pictures():
    return torch.randint(0, 256, (1500, 3, 28, 28), generator=draw, dtype=torch.uint8)
sites = Federation.from_tensors({name: (pictures(), torch.arange(1500) % 2) for name in "ABCD"})
once = sum(site.rows.x.nbytes for site in sites.sites)
for event in fedlab.stream(sites, cnn, "fedavg", rounds=1, seeds=10):
    every = [each for each in gc.get_objects() if type(each) is torch.Tensor and each.shape[-2:] == (28, 28)]
    stores = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in every}
print(sum(stores.values()) / once)
"""


def held_once() -> Figure:
    """How often ten seeds of four sites hold the sites' pictures, counted in a process of its own after a round."""
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True)
    what = "copies of 6,000 pictures that ten seeds hold"
    return at_most(what, float(done.stdout), "×", 1.01, "four sites, bytes of all tensors of pictures / of the sites'")


# ---------------------------------------------------------------------- Flower's simulation


def simulation() -> Iterator[Figure]:
    """Compare with FedAvg on Flower's simulation, Ray started for each run as Flower does."""
    few, many = many_sites(10, 100), many_sites(100, 100)
    check_simulation(few, "mlp")
    before = load()
    far = peers.simulate(few, 20)
    yield warm("10 sites", far, few, 30)
    ours = [timed(lambda: list(events(few, 20, engine="batched"))) for _ in range(5)]
    what, each = "20 rounds with start-up, Flower's simulation / fedlab, 10 sites", median(ours)
    yield timing(at_least(what, far.whole / each, "×", 50, f"{far.whole:.0f} / {each:.2f} s"), load=before, same=ours)
    yield warm("100 sites", peers.simulate(many, 5), many, 100)
    yield whole_study()


def check_simulation(federation: Federation, model: str) -> None:
    """Insist on the same weights, in float64, before the same work is timed in float32."""
    found = peers.simulate(federation, 2, model, dtype=torch.float64)
    apart = furthest(last_weights(federation, 2, model, engine="batched", dtype="float64"), found.weights)
    if apart > peers.SAME:
        raise SystemExit(f"Flower's simulation and fedlab give other weights ({apart:.1e} apart): nothing to compare")


def warm(sites: str, far: peers.Simulated, federation: Federation, target: float) -> Figure:
    """Compare the rounds after the first."""
    before = load()
    near = [round_time(federation, 10, engine="batched") for _ in range(5)]
    told = f"{1000 * median(far.rounds):.0f} / {1000 * median(near):.1f} ms; median of {len(far.rounds)} rounds"
    what = f"warm round, Flower's simulation / all at once, {sites}"
    return timing(at_least(what, median(far.rounds) / median(near), "×", target, told), load=before, same=near)


def whole_study() -> Figure:
    """Compare a study of five algorithms and ten seeds; Flower's side is extrapolated from three of its fifty runs.

    Flower's runs are FedAvg on the hospitals' prepared rows, without evaluation; ours evaluate each round.
    """
    four = fedlab.load("heart_disease")
    check_simulation(ready(four), "logistic")
    before = load()
    settings: dict[str, Any] = dict(rounds=30, batch_size=BATCH, lr=LR)
    ours = timed(lambda: fedlab.compare(four, "logistic", ARMS, seeds=10, progress=False, **settings))
    theirs = [peers.simulate(ready(four), 30, "logistic").whole for _ in range(3)]
    whole = 50 * median(theirs)
    told = f"{whole:.0f} s, extrapolated from three runs of {whole / 50:.0f} s / {ours:.1f} s with evaluation"
    what = "5 algorithms × 10 seeds × 30 rounds, Flower's simulation / fedlab"
    return timing(at_least(what, whole / ours, "×", 80, told), load=before, same=theirs)


def ready(federation: Federation) -> Federation:
    """The same rows as a model sees them, since Flower's app prepares nothing."""
    buffers = fit(merge([summarise(site.train.x) for site in federation.sites]))
    rows = {site.name: (prepare(site.rows.x, buffers).float(), site.rows.y) for site in federation.sites}
    return Federation.from_tensors(rows, splits={s.name: s.split for s in federation.sites}, prepared=True)


if __name__ == "__main__":
    main("engine", ABOUT, measure)
