"""What a comparison was asked, in words, so that the same question can be told from another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedlab.algorithms import Algorithm
from fedlab.engine.identity import content, differences
from fedlab.engine.parts import differs, named, say_algorithm, say_model, say_settings
from fedlab.engine.plan import planned
from fedlab.engine.record import same_data, say_data
from fedlab.engine.settings import Settings
from fedlab.engine.train import begin
from fedlab.federation import Federation
from fedlab.models import ModelLike

WHERE = ("device",)  # the same question on another machine


@dataclass(frozen=True)
class Given:
    """What no record holds: a model, algorithms and settings of one's own, the latter as sets that were tried."""

    model: ModelLike | None
    algorithms: Mapping[str, Algorithm]
    tried: Sequence[Mapping[str, Any]]

    def settings(self, unsaid: Mapping[str, str]) -> dict[str, Any]:
        """Return those that a run had; of several that were tried the one of that name."""
        out: dict[str, Any] = {}
        for name, was in unsaid.items():
            there = [each[name] for each in self.tried if name in each]
            alike = [value for value in there if named(value) == was] or there
            out |= {name: alike[0]} if alike else {}
        return out | {k: v for each in self.tried[:1] for k, v in each.items() if k in ("device", "engine")}


def say_plan(
    federation: Federation,
    model: ModelLike,
    arms: Mapping[str, Algorithm],
    seeds: Sequence[int],
    tried: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    *,
    stated: Mapping[str, Any],
) -> dict[str, Any]:
    """Say what ``compare`` is asked; ``stated`` is what it will be judged by."""
    first = begin(
        planned(federation.resplit(seeds[0]), model, next(iter(arms.values())), {**settings, "seed": seeds[0]})
    )
    said = say_settings(Settings(**settings))
    said |= said.pop("unsaid") | said.pop("content")
    return {
        "described": said.pop("described"),
        "data": say_data(federation),
        "model": say_model(first.model_name, first.net),
        "seeds": list(seeds),
        "stated": dict(stated),
        "settings": {name: value for name, value in said.items() if name not in ("seed", *WHERE)},
        "trials": [{name: content(value) for name, value in trial.items()} for trial in tried],
        "arms": {name: say_algorithm(alg) for name, alg in arms.items()},
    }


def apart(
    then: Mapping[str, Any], asked: Mapping[str, Any], finished: Sequence[str], federation: Federation
) -> list[str]:
    """Say in what two plans differ, with both values; arms that are not finished yet may."""
    if not then:
        return ["what was asked (the folder does not say it)"]
    out = []
    for what in ("data", "model"):
        out += [
            f"{what} {name} ({_short(old)} there, {_short(asked[what].get(name))} asked)"
            for name, old in then[what].items()
            if old != asked[what].get(name)
            and name not in ("content", "described")
            and not (name == "fingerprint" and same_data(federation, then["data"]))
        ]
    out += [f"the model's {what}" for what in _other_content(then["model"], asked["model"])]
    if then["seeds"] != asked["seeds"]:
        out.append(f"seeds ({then['seeds']} there, {asked['seeds']} asked)")
    stated = then.get("stated", {"primary": "log_loss", "smallest": None})  # what an older fedlab did not ask
    out += [
        f"{name} ({stated.get(name)} there, {new} asked): it is named once, before anything is seen"
        for name, new in asked["stated"].items()
        if stated.get(name) != new
    ]
    described = then.get("described", 1)
    out += differences({"trials": then["trials"]}, {"trials": asked["trials"]}, described)
    for name in dict.fromkeys([*then["settings"], *asked["settings"]]):
        old, new = (plan["settings"].get(name) for plan in (then, asked))
        if isinstance(new, (dict, list)):
            out += [f"{name}: {what}" for what in differences(old, new, described)]
        elif old != new:
            out.append(f"{name} ({old} there, {new} asked)")
    for name in finished:
        old, new = (plan["arms"].get(name, {}) for plan in (then, asked))
        other = _other_content(old, new)
        if _class(old, new) != _class(new, old) or old.get("fields") != new.get("fields") or (other and not new):
            out.append(f"the arm {name} ({old.get('said')} there, {new.get('said', 'nothing')} asked)")
        elif other:
            out.append(f"the arm {name}: {', '.join(other)}")
        elif "content" not in old and old.get("fields") is None:
            out.append(f"the arm {name} (an older fedlab kept it without what {old.get('said')} was made of)")
    return out


def _other_content(then: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Say in what the content of two things differs; nothing where the older does not have it."""
    return differs(then, asked.get("content"))


def _class(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return the name of an arm's class; without its file where the content of both is compared."""
    name: str = one.get("class", "")
    return name.rpartition(":")[2] if "content" in one and "content" in other else name


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) and len(value) == 64 else str(value)
