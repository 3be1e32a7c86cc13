"""The spine's speed: `python -m benchmarks.spine [--quick] [--json FILE]`.

Ratios are medians of pairs measured in turn, one after the other, so that a busy machine disturbs both sides alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import fedlab
from benchmarks.figures import Figure, at_most, main
from benchmarks.workloads import Plain, agree, many_sites, round_times, timed
from fedlab.engine.site import one_thread

ABOUT = "Speed of a federated run in one process"
SAME = 1e-5  # float32, a few rounds: the two loops sum in different orders


def measure(quick: bool) -> Iterator[Figure]:
    yield hospitals(3 if quick else 9)
    yield from hundred_sites(3 if quick else 9, rounds=3 if quick else 10)


def hospitals(repeats: int) -> Figure:
    """Time the run that everybody starts with."""
    four = fedlab.load("heart_disease")

    def run() -> None:
        fedlab.train(four, "logistic", "fedavg", rounds=20, progress=False)

    run()  # warm up
    took = median(timed(run) for _ in range(repeats))
    return at_most("20 rounds, 4 hospitals, logistic", took, "s", 0.5, f"median of {repeats}, with evaluation")


def hundred_sites(repeats: int, *, rounds: int) -> Iterator[Figure]:
    """Time a round over many small sites, and the other two ways to do the same."""
    many = many_sites(100, 100)
    apart = agree(many)
    if apart > SAME:
        raise SystemExit(f"the plain loop and fedlab give other weights ({apart:.1e} apart): nothing to compare")
    plain = Plain(many)
    together, alone, plainly = [], [], []
    with one_thread():
        for number in range(repeats + 1):  # the first turn warms up
            turn = (
                median(round_times(many, rounds, engine="batched", shuffle=False)),
                median(round_times(many, max(1, rounds // 3), engine="sequential", shuffle=False)),
                timed(plain.round),
            )
            if number:
                together.append(turn[0])
                alone.append(turn[1])
                plainly.append(turn[2])
    what, often = "a round, 100 sites × 100 rows, MLP 13-32-1", f"median of {repeats}, batch 16, no evaluation"
    yield at_most(f"{what}, all at once", 1000 * median(together), "ms", 20, often)
    yield Figure(f"{what}, one at a time", 1000 * median(alone), "ms", note=often)
    yield Figure(f"{what}, plain torch loop", 1000 * median(plainly), "ms", note=often)
    yield Figure("one at a time / all at once", ratio(alone, together), "×", note=f"median of {repeats} pairs")
    yield Figure("plain torch loop / all at once", ratio(plainly, together), "×", note=f"median of {repeats} pairs")
    yield at_most("weights apart, plain torch loop and all at once", apart, "", SAME, "largest, 3 rounds, float32")


def ratio(slow: list[float], fast: list[float]) -> float:
    """Median of the pairs' ratios."""
    return median(s / f for s, f in zip(slow, fast, strict=True))


if __name__ == "__main__":
    main("spine", ABOUT, measure)
