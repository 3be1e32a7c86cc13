"""Wide tables and many hospitals: `python -m benchmarks.wide [--quick] [--json FILE]`.

Every figure is a ratio of two measurements in one run, or of a measurement to what the same run takes step by step, so
that it says the same on a fast and on a slow machine. The tables are drawn here, 4 sites × 300 patients; the hospitals
are phantoms of 25 patients each. Seconds are of the processor, all threads together: they do not count waiting for it.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

import data_recipes
from benchmarks.figures import Figure, at_least, at_most, main
from fedlab.engine import opened
from fedlab.engine.run import Run
from fedlab.federation import METRICS, Federation
from fedlab.study import Study, atlas, compare, heterogeneity

ABOUT = "Wide tables and many hospitals: what it costs, and how that grows"
NARROW, WIDE = (100, 400), (500, 5000)  # columns
MANY = 186  # hospitals, as many as in the eICU demo
ROUNDS = 3


def measure(quick: bool) -> Iterator[Figure]:
    yield reading(*(NARROW if quick else WIDE))
    yield growth(NARROW, repeats=1 if quick else 3)
    if not quick:
        yield growth(WIDE, repeats=1)
    hospitals = 40 if quick else MANY
    study = own_models(hospitals)
    yield scoring(study)
    yield tables(study)
    yield whole_atlas(hospitals)


def reading(few: int, many: int) -> Figure:
    """Make a federation of a table: how many times the seconds for so many times the columns."""
    frames = [frame(number) for number in (few, many)]
    read(frames[0])  # what is imported once
    before, after = (min(seconds(lambda each=each: read(each)) for _ in range(3)) for each in frames)
    times = many / few
    note = f"{before:.2f} s and {after:.2f} s; columns × {times:g}"
    return at_most(f"from_frame, {few} → {many:,} columns", after / before, "×", 1.25 * times, note)


def growth(columns: tuple[int, int], *, repeats: int) -> Figure:
    """Heterogeneity with all its measures: how many times the seconds for so many times the columns."""
    heterogeneity(read(frame(10)), progress=False)  # what is imported and compiled once
    few, many = (read(frame(number)) for number in columns)
    pairs = [(seconds(lambda: heterogeneity(few, progress=False)), seconds(lambda: heterogeneity(many, progress=False)))
             for _ in range(repeats)]  # fmt: skip
    before, after = min(pairs, key=lambda pair: pair[1] / pair[0])
    times = columns[1] / columns[0]
    note = f"{before:.1f} s and {after:.1f} s; columns × {times:g}"
    return at_most(f"heterogeneity, {columns[0]} → {columns[1]:,} columns", after / before, "×", 1.125 * times, note)


def own_models(hospitals: int) -> Study:
    """Train every hospital's own model."""
    phantoms = data_recipes.load("phantom_ehr", hospitals=hospitals, patients=25)
    return compare(phantoms, algorithms=["isolated"], seeds=1, rounds=ROUNDS, progress=False)


def scoring(study: Study) -> Figure:
    """Every model at every hospital with a bootstrap: all models of a hospital's report at once, against one by one."""
    (run,), sites = study.runs["isolated"], study.federation.sites[:6]
    _, models = run._sources()

    def score(models: list[list[dict]]) -> None:
        for site in sites:
            opened.report(site, run.net, models, resamples=500, seed=0)

    together = seconds(lambda: score(models))
    alone = seconds(lambda: [score([one]) for one in models])
    note = f"{len(models)} models at {len(sites)} hospitals: {1e3 * together / (len(models) * len(sites)):.2f} ms each"
    return at_least("scores of all models of a hospital, one by one / at once", alone / together, "×", 3, note)


def tables(study: Study) -> Figure:
    """The study's table, against the scores it is made from."""
    run: Run = study.runs["isolated"][0]
    opening = seconds(lambda: run.report())
    study.report()
    made = seconds(lambda: study.table())
    sites = len(study.federation.sites)
    note = (
        f"{sites} × {sites} pairs × {len(METRICS)} metrics, one seed: {made:.1f} s of table, {opening:.1f} s of scores"
    )
    return at_most("table of isolated / its scores", made / opening, "×", 1, note)


def whole_atlas(hospitals: int) -> Figure:
    """The atlas, unseen hospitals and bootstrap included, against the training runs that it takes."""
    phantoms = data_recipes.load("phantom_ehr", hospitals=hospitals, patients=25)
    options = {"algorithms": ["isolated", "fedavg"], "rounds": ROUNDS, "progress": False}
    trained = seconds(lambda: compare(phantoms, seeds=1, **options))
    everything = seconds(lambda: atlas(phantoms, **options))
    pairs = hospitals * (hospitals + 2)
    note = (
        f"{everything:.0f} s, {1e3 * everything / pairs:.1f} ms a pair; {hospitals} runs without a hospital, bootstrap"
    )
    return at_most(
        f"atlas of {hospitals} hospitals / training runs in it", everything / (hospitals * trained), "×", 1, note
    )


def seconds(work: Callable[[], object]) -> float:
    """Return the processor's seconds for a piece of work."""
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


def frame(columns: int, *, sites: int = 4, rows: int = 300) -> pd.DataFrame:
    """Draw a table of normal columns, a twentieth of the cells missing; the first site is shifted."""
    rng = np.random.default_rng(columns)
    x = rng.normal(size=(sites * rows, columns))
    x[:rows] += 0.3
    ill = (x[:, :5].sum(1) + rng.normal(size=len(x)) > 0).astype(int)
    x[rng.random(x.shape) < 0.05] = np.nan
    drawn = pd.DataFrame(x, columns=[f"column {k}" for k in range(columns)])
    return drawn.assign(ill=ill, site=np.repeat([f"site {k}" for k in range(sites)], rows))


def read(drawn: pd.DataFrame) -> Federation:
    """Make a federation of it."""
    return Federation.from_frame(drawn, site="site", label="ill")


if __name__ == "__main__":
    main("wide", ABOUT, measure)
