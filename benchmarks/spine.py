"""The spine's speed: `python -m benchmarks.spine [--quick] [--json FILE]`.

The run that everybody starts with, and a round over many small sites; the whole picture is in `benchmarks.engine`.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import fedlab
from benchmarks.figures import Figure, at_most, load, main, timing
from benchmarks.workloads import many_sites, round_time, timed

ABOUT = "Speed of a federated run in one process"


def measure(quick: bool) -> Iterator[Figure]:
    """Time both."""
    repeats = 3 if quick else 9
    four, many = fedlab.load("heart_disease"), many_sites(100, 100)

    def run() -> None:
        fedlab.train(four, "logistic", "fedavg", rounds=20, progress=False)

    run()  # warm up
    before = load()
    took = [timed(run) for _ in range(repeats)]
    told = f"median of {repeats}, with evaluation"
    yield timing(at_most("20 rounds, 4 hospitals, logistic", median(took), "s", 0.5, told), load=before, same=took)
    each = [round_time(many, 10, engine="batched") for _ in range(repeats)]
    what = "a round, 100 sites × 100 rows, MLP 13-32-1, all at once"
    told = f"median of {repeats}, batch 16, no evaluation"
    yield timing(at_most(what, 1000 * median(each), "ms", 20, told), load=before, same=each)


if __name__ == "__main__":
    main("spine", ABOUT, measure)
