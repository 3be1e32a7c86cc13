"""``check_algorithm``: whether an algorithm is one that every part of fedlab can rely on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import pandas as pd

from fedlab.algorithms import Algorithm, algorithm
from fedlab.models import ModelLike
from fedlab.testing import properties, server
from fedlab.testing.trial import Trial

Property: TypeAlias = Callable[[Trial], str]
ENGINES = ("sequential", "batched", "threads")


def check_algorithm(
    alg: str | Algorithm | type[Algorithm],
    *,
    model: ModelLike = "mlp_norm",
    engines: Sequence[str] = ENGINES,
    on_fail: Literal["raise", "report"] = "raise",
) -> pd.DataFrame:
    """Run the properties that any algorithm must have, on five small, ragged sites in float64.

    It leaves the global generators alone; gives the same result in every engine mode and beside other seeds, and the
    same bits when run again; whatever the order of the sites, and whoever answers; changes nothing in place; needs of
    the uploads no more than its ``sums`` say; survives a site that fails; can be saved and resumed between two rounds;
    sends what its description says; and learns where the sites step with momentum. What fails first may end the list:
    the rest would only repeat it.

    Parameters
    ----------
    alg : str, Algorithm or class
    model : str, callable or Module
        One that the algorithm can train; ``"mlp_norm"`` has a body, a norm layer, a head and ``features``.
    engines : sequence of str
        Modes to compare with one site at a time; ``"ray"`` may be among them, and takes half a minute.
    on_fail : {"raise", "report"}

    Returns
    -------
    DataFrame
        One row a property: ``property``, ``holds``, ``says`` (what is wrong, and what it means).

    Raises
    ------
    AssertionError
        If a property does not hold; names each, and what it means.

    Examples
    --------
    >>> check_algorithm("fedprox")["holds"].all().item()
    True
    """
    trial = Trial(algorithm(alg), model)
    rows = []
    for name, test in _properties(engines):
        try:
            says = test(trial)
        except Exception as error:
            says = f"it cannot be run: {type(error).__name__}: {error}"
        rows.append((name, not says, says))
        if says and name in ("runs", "global generators"):
            break  # what follows would only repeat it
    table = pd.DataFrame(rows, columns=["property", "holds", "says"])
    failed = table[~table["holds"]]
    if len(failed) and on_fail == "raise":
        told = "\n".join(f"- {row.property}: {row.says}" for row in failed.itertuples())
        raise AssertionError(f"{trial.alg} fails {len(failed)} of {len(table)} checks:\n{told}")
    return table


def _properties(engines: Sequence[str]) -> list[tuple[str, Property]]:
    modes = [(f"engine {name!r} agrees", properties.in_mode(name)) for name in engines if name != "sequential"]
    return [
        ("runs", properties.runs),
        ("global generators", properties.global_generators),
        *modes,
        ("seeds beside each other agree", properties.beside_other_seeds),
        ("same seed, same bits", properties.repeats),
        ("order of the sites", properties.order_of_sites),
        ("what it is given stays", server.leaves_its_input),
        ("who answered", server.follows_who),
        ("how many answered", server.divides_by_who_answered),
        ("sums as stated", server.sums_as_stated),
        ("a site fails", properties.survives_a_failed_site),
        ("saved and resumed", properties.resumes),
        ("messages as described", properties.messages),
        ("momentum at the sites", properties.momentum),
    ]
