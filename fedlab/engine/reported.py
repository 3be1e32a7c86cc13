"""The purpose ``report``: what models are worth on a site's ``test`` rows, computed where the rows are.

Several models go to the site in one message, or none: then it judges the model of its own that it holds. Numbers come
back, as many as the question has models, metrics, bins, thresholds and groups, however many patients there are. At a
hospital, whose policy tells of at least so many patients, smaller cells are withheld at its door
(:mod:`fedlab.metrics.cells`), and the site counts by itself how often its ``test`` was opened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fedlab.algorithms.tensors import Tensors
from fedlab.engine import opened, openings
from fedlab.engine.absences import NO_MODEL, keeps_own, never_trained
from fedlab.engine.exchange import Ask, Exchange, TooFewSites
from fedlab.engine.net import Net
from fedlab.engine.opened import Counted
from fedlab.engine.purposes import Purpose, register
from fedlab.engine.site import SiteWork
from fedlab.engine.survey import Surveyed
from fedlab.federation import Site
from fedlab.federation.groups import group_by
from fedlab.federation.reserved import EVERY_SITE
from fedlab.metrics.cells import LEAST, screened
from fedlab.metrics.scores import NEEDS_EVERY_CLASS

if TYPE_CHECKING:
    from fedlab.engine.run import Run

REPORT = "report"
NAN = float("nan")
UNKNOWN = Counted(NAN, NAN)
LONGEST_WORDS = 300  # of a reason
OF_FEW = re.compile(r"\b(these|the) (\d+)\b")


# --------------------------------------------------------------------------- at a site


@dataclass(frozen=True)
class Judged:
    """A site, and the models that it is to judge there."""

    site: Site
    net: Net
    models: list[list[Tensors]]
    seed: int


def _scores(at: Judged, *, resamples: int) -> Any:
    return opened.report(at.site, at.net, at.models, resamples=resamples, seed=at.seed)


def _reliability(at: Judged, *, bins: int) -> Any:
    return opened.reliabilities(at.site, at.net, at.models, bins=bins, seed=at.seed)


def _calibration(at: Judged) -> Any:
    return opened.calibrations(at.site, at.net, at.models, seed=at.seed)


def _decisions(at: Judged, *, threshold: float, thresholds: Sequence[float]) -> Any:
    return opened.decisions(at.site, at.net, at.models, threshold=threshold, thresholds=thresholds)


def _subgroups(
    at: Judged, *, by: str, bands: Sequence[float] | None, smallest: int, fewest: int, resamples: int
) -> Any:
    grouping = group_by(at.site.features, by, bands)
    options = {"smallest": smallest, "fewest": fewest, "resamples": resamples, "seed": at.seed}
    return opened.by_group(at.site, at.net, at.models, grouping, **options)


def _delong(at: Judged, *, pairs: Sequence[tuple[int, int]], fewest: int) -> Any:
    return [opened.compared(at.site, at.net, at.models[i], at.models[j], fewest=fewest) for i, j in pairs]


def _metric(at: Judged, *, metric: str) -> Any:
    return [{metric: value} for value in opened.one_metric(at.site, at.net, at.models, metric)]


def _class_means(at: Judged) -> Any:
    found = opened.class_means(at.site, at.net, at.models)
    return [
        {metric: {str(c): value for c, value in enumerate(means[k].tolist())} for metric, means in found.items()}
        for k in range(len(at.models))
    ]


WANTED: dict[str, Callable[..., Any]] = {
    "scores": _scores,
    "reliability": _reliability,
    "calibration": _calibration,
    "decisions": _decisions,
    "subgroups": _subgroups,
    "delong": _delong,
    "metric": _metric,
    "class_means": _class_means,
}
"""What can be asked of the models; a list with what is told of each, of ``delong`` of each pair."""


def _report(held: SiteWork, asked: dict[str, Any]) -> dict[str, Any]:
    """Judge the models that are sent, or the site's own."""
    site, net = held.site, held.net
    if site is None:
        raise ValueError(f"{held.name} pools the rows of several sites, and a report is of one")
    models = [list(members) for members in asked["models"]]
    if asked["own"]:
        own = held.export()
        models = [[own[k] for k in sorted(own, key=int)]] if own else []
    told: dict[str, Any] = {"counted": _plain(opened.counted(site, net.task))}
    if not models:
        return told
    at = Judged(site, net, models, asked["seed"])
    for name, options in asked["wanted"].items():
        told[name] = _plain(WANTED[name](at, **options))
    openings.enter_site(site, asked["what"], by=asked["by"], words=asked["words"])
    return told


def _plain(value: Any) -> Any:
    """Return a nest of dicts and lists of plain numbers and words."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value.item() if isinstance(value, np.generic) else value


# --------------------------------------------------------------------------- what may leave


def withhold(content: dict[str, Any], least: int) -> dict[str, Any]:
    """Return a site's answer without what tells of fewer than ``least`` patients, of a class where it counts.

    Examples
    --------
    >>> told = {"counted": {"patients": 31, "fewest": 2}, "metric": [{"auc": 0.9}, {"auc": 0.8}]}
    >>> withhold(told, 5)["counted"], withhold(told, 5)["metric"][0]
    ({'patients': 31, 'fewest': nan}, {'auc': nan})
    >>> withhold(told, 2) == told
    True
    """
    counted = content["counted"]
    few = counted["fewest"] < least
    out = {**content, "counted": {**counted, "fewest": NAN if few else counted["fewest"]}}
    for name, screen in SCREENS.items():
        if name in content:
            out[name] = [screen(each, few, least) for each in content[name]]
    return _spoken(out, least)  # type: ignore[no-any-return]


def _without(each: dict[str, Any], why: str, *, keep: Sequence[str] = ()) -> dict[str, Any]:
    """Return something that was measured without its numbers, and why."""
    return {
        name: why if name == "reason" else NAN if isinstance(value, float) and name not in keep else value
        for name, value in each.items()
    }


def _of_a_class(least: int) -> str:
    return f"fewer than {least} test patients of a class"


def _small_scores(scores: dict[str, Any], few: bool, least: int) -> dict[str, Any]:
    hidden = NEEDS_EVERY_CLASS if few else ()
    return {name: _without(score, _of_a_class(least)) if name in hidden else score for name, score in scores.items()}


def _small_bins(told: dict[str, Any], few: bool, least: int) -> dict[str, Any]:
    if not any(0 < each["patients"] < least for each in told["bins"]):
        return told
    why = f"a bin of fewer than {least} test patients: ask for fewer bins"
    return {**told, "bins": [{**_without(b, why, keep=("low", "high")), "patients": NAN} for b in told["bins"]]}


def _small_measures(measures: dict[str, Any], few: bool, least: int) -> dict[str, Any]:
    return {
        name: _without(each, _of_a_class(least), keep=("calibrated",)) if few and name != "ece" else each
        for name, each in measures.items()
    }


def _small_decisions(curve: list[dict[str, Any]], few: bool, least: int) -> list[dict[str, Any]]:
    """A curve is told in steps of :data:`LEAST` patients: where more must be, nothing of it is but that of treating."""
    out = []
    for each in curve:
        why = _of_a_class(least) if few else ""
        if each["small"] or (least > LEAST and each["measure"] != "treat_all"):
            why = f"fewer than {least} test patients between two thresholds"
        out.append(_without(each, why, keep=("threshold",)) if why else each)
    return out


def _small_groups(groups: list[dict[str, Any]], few: bool, least: int) -> list[dict[str, Any]]:
    """Withhold small groups and, where one would follow by subtraction, the next larger one too."""
    counts = np.array([each["patients"] for each in groups], dtype=np.int64)
    told = screened(counts, least=max(least, 1))
    whole = bool((told == counts).all())
    every_class = not few and whole and all(each["fewest"] >= least for each in groups if each["patients"])
    out = []
    for each, count in zip(groups, told.tolist(), strict=True):
        if count or whole:
            scores = _small_scores(each["scores"], bool(each["patients"]) and each["fewest"] < least, least)
            out.append({**each, "fewest": each["fewest"] if every_class else NAN, "scores": scores})
            continue
        why = f"withheld: groups of fewer than {least} test patients"
        scores = {name: _without(score, why) for name, score in each["scores"].items()}
        out.append({**each, "patients": NAN, "fewest": NAN, "scores": scores})
    return out


def _small_value(each: dict[str, Any], few: bool, least: int) -> dict[str, Any]:
    return {name: NAN if few and name in NEEDS_EVERY_CLASS else value for name, value in each.items()}


def _small_classes(each: dict[str, Any], few: bool, least: int) -> dict[str, Any]:
    return {name: dict.fromkeys(means, NAN) if few else means for name, means in each.items()}


SCREENS: dict[str, Callable[[Any, bool, int], Any]] = {
    "scores": _small_scores,
    "reliability": _small_bins,
    "calibration": _small_measures,
    "decisions": _small_decisions,
    "subgroups": _small_groups,
    "delong": lambda each, few, least: _without(each, _of_a_class(least)) if few else each,
    "metric": _small_value,
    "class_means": _small_classes,
}
"""How each of :data:`WANTED` is told where ``few`` patients of a class are."""


def _spoken(value: Any, least: int) -> Any:
    """Return an answer whose sentences tell no small count."""
    if isinstance(value, dict):
        return {name: _spoken(part, least) for name, part in value.items()}
    if isinstance(value, list):
        return [_spoken(part, least) for part in value]
    if not isinstance(value, str):
        return value
    return OF_FEW.sub(lambda found: f"{found[1]} few" if int(found[2]) < least else found[0], value)


def _odd(content: dict[str, Any], like: Any) -> str:
    """Say what in an answer is no report: a list of bare values could be one of patients."""
    if "counted" not in content:
        return "sent no report: it does not say of how many patients"

    def look(value: Any, listed: bool) -> bool:
        if isinstance(value, dict):
            return any(look(part, False) for part in value.values())
        if isinstance(value, list):
            return any(look(part, True) for part in value)
        return listed or not isinstance(value, (bool, int, float, str)) or len(str(value)) > LONGEST_WORDS

    return "sent what is no report: a value that is neither a number of a model nor a short sentence" * look(
        content, False
    )


register(
    Purpose(
        REPORT, _report, sends=("counted", *WANTED), numbers=True, tells_of="test", on_held=True, screen=_odd,
        small=withhold,
    )
)  # fmt: skip


# --------------------------------------------------------------------------- at the server


class Told(NamedTuple):
    """What a site told of one model, which came from ``source``; ``found`` is ``None`` where nothing, for a reason."""

    source: str
    site: str
    about: Counted
    found: Any
    reason: str


def told(
    run: Run,
    wanted: str,
    options: Mapping[str, Any],
    *,
    what: str,
    sources: Sequence[str],
    models: Sequence[list[Tensors]],
    sites: Sequence[Site] | None = None,
) -> list[Told]:
    """Ask sites of models, through the gate.

    Parameters
    ----------
    run : Run
    wanted : str
        One of :data:`WANTED`, with its ``options``.
    what : str
        By which name the opening is entered at a site.
    sources : sequence of str
        Where each model comes from, for whoever reads the answer.
    models : sequence of list of dict of str to Tensor
        Each with its members; none where the sites' own models stayed there: each then judges the one that it holds.
    sites : sequence of Site, optional
        Which lie in this process; default: all of the run.

    Returns
    -------
    list of Told
        Site by site, in the order of the run's names, and of the sources.
    """
    own = run.stay_at_home
    answers, faults = _asked(run, {wanted: dict(options)}, models, own=own, what=what, sites=sites)
    never = {site: f"{NO_MODEL}: it {why}" for site, why in never_trained(run).items()} if own else {}
    out = []
    for site in run.names if sites is None else [site.name for site in sites]:
        mine = ([EVERY_SITE] if run.algorithm.one_model else [site]) if own else sources
        answer = answers.get(site, {})
        about = Counted(**answer["counted"]) if answer else UNKNOWN
        reason = faults.get(site) or never.get(site) or ("" if wanted in answer else f"{NO_MODEL}: it holds none")
        found = answer.get(wanted) or [None] * len(mine)
        out += [Told(source, site, about, each, reason) for source, each in zip(mine, found, strict=True)]
    return out


def _asked(
    run: Run,
    wanted: dict[str, Any],
    models: Sequence[list[Tensors]],
    *,
    own: bool,
    what: str,
    sites: Sequence[Site] | None,
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return what each site answered, and why others did not."""
    by = sha256(json.dumps([run.model_name, run.asked_for], sort_keys=True, default=str).encode()).hexdigest()
    payload = {
        "models": [list(members) for members in models], "own": own, "seed": run.settings.seed, "wanted": wanted,
        "what": what, "by": by, "words": run.words,
    }  # fmt: skip
    who = None
    if own and keeps_own(run.algorithm):
        who = [site for site in sorted(run.names) if site not in never_trained(run)]
        if not who:
            return {}, {}
    gate = run.gate if sites is None else None
    question = Ask(REPORT, payload, len(run.records), who)
    if gate is None:
        return _asked_here(run, question, run.federation.sites if sites is None else sites), {}
    gate.require([REPORT])
    before = len(gate.errors)
    answers = gate.ask(question)
    faults = {site: f"the site could not answer ({error})" for _, _, site, error in gate.errors[before:]}
    return dict(zip(answers.sites, answers.contents, strict=True)), faults


def _asked_here(run: Run, question: Ask, sites: Sequence[Site]) -> dict[str, dict[str, Any]]:
    """Ask sites in this process, which are the caller's: what fails there is raised, and the run enters the opening."""
    options: dict[str, Any] = {"optimizer": run.settings.optimizer, "prepared": run.prepared}
    held = {site.name: SiteWork.of(site, alg=run.algorithm, net=run.net, **options) for site in sites}
    gate = Exchange(Surveyed(held, run.policy), min_sites=len(held), ledger=run.ledger_book, policy=run.policy)
    try:
        with openings.quiet():
            answers = gate.ask(question)
    except TooFewSites as error:
        raise error.__cause__ or error from None
    return dict(zip(answers.sites, answers.contents, strict=True))
