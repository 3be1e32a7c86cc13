"""``fedlab simulate``: a run on Flower's simulation, and whether it is the run that this process would make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fedlab
from fedlab.algorithms import algorithm
from fedlab.cli.fetch import need
from fedlab.cli.wrong import Wrong
from fedlab.engine import Run, Settings, TooFewSites
from fedlab.models import MODELS


@dataclass(frozen=True)
class Simulation:
    """What is to be run."""

    recipe: str
    which: str
    model: str
    rounds: int
    seed: int
    compare: bool

    @classmethod
    def check(cls, recipe: str, which: str, model: str, rounds: int, seed: int, compare: bool) -> Simulation:
        """Refuse what there is not, before anything starts."""
        import data_recipes

        need(recipe, list(data_recipes.recipes()))
        if model not in MODELS:
            raise Wrong(f"there is no model {model!r}; the models are {', '.join(MODELS)}.")
        try:
            algorithm(which)
            Settings(rounds=rounds, seed=seed)
        except ValueError as error:
            raise Wrong(f"{error}.") from error
        return cls(recipe, which, model, rounds, seed, compare)


def carry_out(asked: Simulation) -> Iterator[str]:
    """Run, and say what came of it, line by line."""
    options: dict[str, Any] = dict(rounds=asked.rounds, seed=asked.seed)
    federation = fedlab.load(asked.recipe)
    yield f"{asked.which}, {asked.model}, {federation.name}: {asked.rounds} rounds on Flower's simulation."
    try:
        far = fedlab.train(federation, asked.model, asked.which, engine="ray", **options)
    except TooFewSites as error:  # the rounds before are not thrown away with the error
        if error.run is not None and error.run.records:
            yield from _told(error.run)
        raise
    yield from _told(far)
    if asked.compare:
        near = fedlab.train(federation, asked.model, asked.which, engine="sequential", **options)
        gap = difference(far, near)
        same = "the same bits" if gap == 0 else "NOT the same numbers"
        yield f"Beside the same run in this process: largest difference of any weight {gap:.1e}, {same}."
        if gap:
            raise RuntimeError("the simulation gave other numbers than this process")


def _told(run: Run) -> Iterator[str]:
    if len(run.records) < run.settings.rounds:
        yield f"The {len(run.records)} of {run.settings.rounds} rounds that there were:"
    table = run.history[run.history["chosen"]][["site", "round", *run.scored, "patients"]]
    yield table.to_string(index=False, float_format="{:.3f}".format)
    last = run.records[-1]
    yield f"{last.seconds:.1f} s for the rounds, Ray once started; {last.bytes:,} bytes."
    yield "Scores on valid; test stays unopened."


def difference(a: Run, b: Run) -> float:
    """Largest difference of any weight of two runs, the sites' own models included."""
    pairs = [(a.weights, b.weights)]
    pairs += [(one, other) for site in a.models for one, other in zip(a.models[site], b.models[site], strict=True)]
    return max(float((one[k] - other[k]).abs().max()) for one, other in pairs for k in one)
