"""Properties of the server's half, found by calling ``combine`` once more than the run does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fedlab.algorithms.payload import leaves
from fedlab.engine.trees import tree_map
from fedlab.testing.trial import CLOSE, SIZES, Trial, apart

Watch = Callable[[Callable[..., Any], dict[str, Any]], None]
ANSWERED = (0, 2, 3, 4)
"""The sites that are asked, so that numbers and places differ."""


def leaves_its_input(trial: Trial) -> str:
    """It changes nothing in place."""
    seen: set[str] = set()

    def watch(combine: Callable[..., Any], given: dict[str, Any]) -> None:
        before = {name: [t.clone() for t in leaves(given[name])] for name in ("params", "uploads", "extra", "weights")}
        combine(**given)
        for name, old in before.items():
            if not all(torch.equal(a, b) for a, b in zip(old, leaves(given[name]), strict=True)):
                seen.add(name)

    _watched(trial, watch)
    if not seen:
        return ""
    return f"combine changes {', '.join(sorted(seen))} in place: other parts still hold them; make new tensors"


def follows_who(trial: Trial) -> str:
    """The same uploads in another order, with their ``who``, are combined to the same."""
    gaps: list[float] = []

    def watch(combine: Callable[..., Any], given: dict[str, Any]) -> None:
        turn = torch.arange(len(given["who"]) - 1, -1, -1)
        turned = {name: tree_map(lambda v: v[turn], given[name]) for name in ("uploads", "extra", "weights", "who")}
        gaps.append(_apart(combine(**given)[0], combine(**{**given, **turned})[0]))

    try:
        _watched(trial, watch, asks=ANSWERED)
    except RuntimeError as error:
        return (
            f"combine fails where only some sites answer ({error}): what is kept for a site is found by state[…][who]"
        )
    if max(gaps, default=0.0) <= CLOSE:
        return ""
    return (
        "the same uploads in another order, with their who, are combined to something else: what the server keeps for "
        "a site stands at its number, state[…][who]"
    )


def divides_by_who_answered(trial: Trial) -> str:
    """Sites that send back what they got give the same model, whether four of them answered or all five."""
    if not trial.alg.one_model or trial.alg.alone:
        return ""
    gaps: list[float] = []

    def watch(combine: Callable[..., Any], given: dict[str, Any]) -> None:
        def equal(sites: list[int]) -> dict[str, Any]:
            def all_alike(v: Tensor) -> Tensor:
                return v[:1].expand(len(sites), *v.shape[1:])

            sent = {k: given["params"][k].expand(len(sites), *given["params"][k].shape) for k in given["uploads"]}
            alike = {name: tree_map(all_alike, given[name]) for name in ("extra", "weights")}
            return {**given, **alike, "uploads": sent, "who": torch.tensor(sites)}

        few, every = combine(**equal(list(ANSWERED)))[0], combine(**equal(list(range(len(SIZES)))))[0]
        gaps.append(_apart(few, every))

    try:
        _watched(trial, watch, asks=ANSWERED, rounds=1)
    except RuntimeError:
        return ""  # said already
    if max(gaps, default=0.0) <= CLOSE:
        return ""
    return (
        f"four sites that send back what they got give another model (by {max(gaps):.1e}) than five that do: divide by "
        "those that answered, len(who), and not by the number of sites"
    )


def sums_as_stated(trial: Trial) -> str:
    """It makes the same of the sites' sum as of their uploads, where it says that it needs no more."""
    stated = trial.alg.sums
    if stated not in ("rows", "equal", None):
        return (
            f"sums is {stated!r}: say 'rows' (a sum weighted by rows), 'equal' (a plain sum) or None (each by itself)"
        )
    if stated is None or trial.pools:
        return ""
    cls = type(trial.alg)

    def combine(self: Any, params: Any, uploads: Any, extra: Any, weights: Tensor, state: Any, who: Tensor) -> Any:
        share = (weights if stated == "rows" else torch.ones_like(weights)).double()

        def mean(v: Tensor) -> Tensor:
            one: Tensor = torch.tensordot(share / share.sum(), v.double(), 1)
            return one.expand(v.shape).to(v.dtype)

        uploads, extra, weights = (tree_map(mean, tree) for tree in (uploads, extra, weights))
        return cls.combine(self, params, uploads, extra, weights, state, who)

    gap, where = apart(trial.plain, trial.run(trial.variant(combine=combine)))
    if gap <= CLOSE:
        return ""
    weighted = "the sum of the uploads weighted by rows" if stated == "rows" else "their plain sum"
    return (
        f"it says sums = {stated!r}, and of {weighted} alone it makes another model (by {gap:.1e}, {where}): combine "
        "looks at each upload by itself, say sums = None"
    )


def _watched(trial: Trial, watch: Watch, *, asks: tuple[int, ...] = (), **options: Any) -> None:
    """Run with an eye on ``combine``; with ``asks``, of these sites alone."""
    if asks and (trial.pools or trial.alg.quorum(len(SIZES)) > len(asks)):
        return
    cls = type(trial.alg)
    names = ("params", "uploads", "extra", "weights", "state", "who")

    def combine(self: Any, *given: Any) -> Any:
        watch(lambda **changed: cls.combine(self, *changed.values()), dict(zip(names, given, strict=True)))
        return cls.combine(self, *given)

    methods: dict[str, Any] = {"combine": combine}
    if asks:
        methods["asks"] = lambda self, round, sites, rng: list(asks)
    trial.run(trial.variant(**methods), **options)


def _apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    gaps = [float((one[k] - other[k]).abs().max().nan_to_num(nan=float("inf"))) for k in one]
    return max(gaps, default=0.0)
