"""The report's tables."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from fedlab.federation.reserved import ALL_BUT, EVERY_SITE
from fedlab.metrics.cells import LEAST, shown, withheld
from fedlab.report.door import FEW_PATIENTS, HOME, described
from fedlab.report.gap import Gap, Place
from fedlab.report.table import Against, Cell, table
from fedlab.study.estimand import estimand
from fedlab.study.pairs import away
from fedlab.study.study import REFERENCE
from fedlab.study.words import arm_name, words

DECISIONS = ("average_precision", "balanced_accuracy", "balanced_accuracy_chosen", "sensitivity_at_specificity_90")
HEADS = {
    "average_precision": "average\nprecision",
    "balanced_accuracy": "balanced accuracy,\nthreshold one half",
    "balanced_accuracy_chosen": "balanced accuracy,\nthreshold from valid",
    "sensitivity_at_specificity_90": "sensitivity at 90 %\nspecificity",
}
ACROSS = 8  # hospitals that fit side by side on paper


def sites(gap: Gap) -> str:
    """The hospitals and their patients."""
    found, held = described(gap.study.federation), gap.study.federation.describe()
    told = found.columns[list(found.columns).index("test") + 1 :]
    where = {site.name: _where(site.about) for site in gap.study.federation.sites}
    known = any(where.values())
    rows = []
    for site, row in found.iterrows():
        counts = [_told(held.loc[site, column], row[column]) for column in ("patients", "train", "valid", "test")]
        parts = [_like(column, row[column]) for column in told]
        rows.append([str(site), *[where[str(site)]] * known, *counts, *parts])
    head = ["site", *["hospital"] * known, "patients", "train", "valid", "test", *told]
    caption = (
        "The sites, with one split’s rows to fit on, choose on and report on. –: withheld, as a count below "
        f"{LEAST} would follow from it."
    )
    return table(caption, head, rows, text=1 + known)


def _like(column: str, value: float) -> str:
    """Write what the label is like at a site: a share, or a quantity."""
    return "–" if math.isnan(value) else f"{value:.0%}" if column.startswith("share") else f"{value:.3g}"


def _where(about: Mapping[str, str]) -> str:
    return ", ".join(filter(None, [about.get("hospital", ""), about.get("country", "")]))


def _told(count: float, told: float) -> str:
    """Write a count of a site: of one that is not small, but would give a small one away, a dash."""
    return "–" if math.isnan(told) and not withheld(count) else shown(count)


def differences(gap: Gap) -> str:
    """Everywhere: each arm against the own models, and the federated one against the other shared ones."""
    against = [(arm, REFERENCE) for arm in gap.shared if gap.isolated]
    against += [(str(gap.federated), arm) for arm in gap.shared if gap.federated in gap.shared and arm != gap.federated]
    if not against:
        return ""
    apart, rows = away(gap.study), list[list[Cell]]()
    for one, other in against:
        name = f"{arm_name(one)} − {arm_name(other)}"
        if not apart & {one, other}:
            rows.append([name, *(gap.between(metric, one, other, "everywhere") for metric in gap.metrics)])
            continue
        for where, place in (("everywhere", "everywhere"), ("home", "at home")):
            rows.append([f"{name}, {place}", *(gap.between(metric, one, other, where) for metric in gap.metrics)])
        if gap.large:
            places = (one, "home" + gap.large), (other, "home" + gap.large)
            rows.append([f"{name}, at home, large sites", *(gap.shown(metric, *places) for metric in gap.metrics)])
    caption = (
        f"Paired differences on the same seeds, each with its 95 % interval. {estimand(gap.study, gap.study.primary)} "
        f"Only {words(gap.study.primary).name} is judged: a difference is called clear where it stays so among all "
        "pairs of models, everywhere and at home (Holm). The others are shown. ↓ lower is better."
    )
    return table(caption, ["difference", *map(_head, gap.metrics)], rows)


def worth(gap: Gap) -> str:
    """What a model is worth at home, elsewhere, everywhere and unseen: its probabilities, then as decisions."""
    places = _places(gap)
    large = [(f"{label}, large sites", arm, where + gap.large) for label, arm, where in places] if gap.large else []
    without = f" Large sites: tested without {', '.join(gap.few)}." if gap.large else ""
    first = (
        f"What a model is worth: mean ± sd over {_seeds(gap)} on test patients; hospitals weigh equally. Everywhere: "
        "own models over all pairs of training and test hospital, one model over all hospitals. ↓ lower is better."
        f"{without}"
    )
    second = (
        "For those who will set a threshold: the same models, higher is better throughout. Threshold from valid: the "
        "one with the best balanced accuracy on the validation patients of the hospital that is tested. "
        f"Sensitivity: share of the ill who are found where nine in ten of the others are ruled out.{without}"
    )
    return _worth(gap, first, _first(gap), [*places, *large]) + (
        _worth(gap, second, DECISIONS, large or places) if gap.task.classes else ""
    )


def _first(gap: Gap) -> tuple[str, ...]:
    """Return the metrics of predictions as they are: the main ones, and the squared error."""
    return (*gap.main, "brier" if gap.task.classes else gap.task.choosing)


def _places(gap: Gap) -> list[tuple[str, str, str]]:
    places = []
    if gap.isolated:
        places += [(f"own model, {where}", REFERENCE, where) for where in ("home", "elsewhere", "everywhere")]
    places += [(f"{arm_name(arm)}, everywhere", arm, "everywhere") for arm in gap.shared]
    if not gap.unseen.empty:
        arm = str(gap.federated)
        places.append((f"{arm_name(arm)}, at a hospital\nthat it has never seen", arm, "unseen"))
    if gap.held_out:
        places += [(f"{arm_name(arm)}, at {gap.held_out},\nheld out", arm, "held out") for arm in gap.study.arms]
    return places


def _worth(gap: Gap, caption: str, metrics: tuple[str, ...], places: list[tuple[str, str, str]]) -> str:
    rows = [[label, *(_spread(gap, arm, metric, where) for metric in metrics)] for label, arm, where in places]
    return table(caption, ["model", *map(_head, metrics)], rows)


def at_home(gap: Gap) -> str:
    """Each hospital's own patients, by each arm."""
    rows: list[list[Cell]] = []
    for site in gap.study.federation.names:
        rows.append([site])
        for arm in gap.study.arms:
            differs = gap.isolated and arm != REFERENCE
            cells = [
                Against(_spread(gap, arm, m, gap.own(arm, site)[1]), gap.at_home(arm, site, m) if differs else None)
                for m in gap.metrics
            ]
            rows.append([arm_name(arm), *cells])
    of = ", or of a class" * bool(gap.task.classes)
    caption = (
        f"{HOME} –: {FEW_PATIENTS}{of}. Mean ± sd over seeds; below it the paired difference to the "
        "hospital’s own model with its 95 % interval, each by itself: shown, not judged. ↓ lower is better."
    )
    return table(caption, ["model", *map(_head, gap.metrics)], rows, kind="long")


def atlas(gap: Gap, metric: str) -> str:
    """Train here (rows), test there (columns); of many hospitals the models stand side by side instead."""
    cells = gap.atlas[gap.atlas["metric"] == metric].set_index(["arm", "train", "test"])
    names, tested = gap.study.federation.names, [*gap.study.federation.names, *filter(None, [gap.held_out])]
    models: dict[str, list[tuple[str, str, str]]] = {}
    if gap.isolated and len(tested) <= ACROSS:
        models |= {f"{t} alone": [(REFERENCE, t, s) for s in tested] for t in names}
    elif gap.isolated:
        models["its own model"] = [(REFERENCE, s, s) for s in tested]
    models |= {f"all, {arm_name(a)}": [(a, EVERY_SITE, s) for s in tested] for a in gap.shared}
    if not gap.unseen.empty:
        arm = str(gap.federated)
        models[f"all the others, {arm_name(arm)}"] = [(arm, f"{ALL_BUT}{s}", s) for s in tested]
    drawn = f"95 % interval over {'the seeds' if len(gap.study.seeds) > 1 else 'its test patients'}"
    shown = {name: [_interval(cells, key) for key in keys] for name, keys in models.items()}
    told = f"{_head(metric)}: trained at {{}}, tested at {{}}. Mean over seeds; {drawn}."
    if len(tested) <= ACROSS:
        rows = [[name, *values] for name, values in shown.items()]
        return table(told.format("(row)", "(column)"), ["trained at", *tested], rows)
    rows = [[site, *(values[k] for values in shown.values())] for k, site in enumerate(tested)]
    return table(told.format("(column)", "(row)"), ["tested at", *shown], rows)


def cost(gap: Gap, link: float) -> str:
    """What each arm took, and how long its messages take over a link of so many Mbit/s."""
    rows = []
    for arm, row in gap.study.cost().iterrows():
        took = [f"{row[c]:,.0f}" for c in ("rounds", "steps", "bytes")]
        rows.append([arm_name(str(arm)), *took, _time(on_link(row["bytes"], link)), _time(row["seconds"])])
    head = ["model", "rounds", "gradient steps\nin sequence", "bytes\nmoved", f"on the link,\n{link:g} Mbit/s"]
    caption = (
        "Cost of one run, mean over seeds. Bytes: arrays in all messages to and from the sites (validation included); "
        f"pooled counts the patients’ rows that would have to move. On the link: all hospitals share the server’s one "
        f"link of {link:g} Mbit/s, one message after the other, waiting times and protocol not counted; where each "
        "hospital has such a link of its own it is less. Computing: here, on one machine, all seeds side by side."
    )
    return table(caption, [*head, "computing,\nall seeds"], rows)


def on_link(moved: float, link: float) -> float:
    """Seconds that so many bytes take over a link of so many Mbit/s.

    Examples
    --------
    >>> on_link(1_250_000, 10)
    1.0
    """
    return 8 * moved / (link * 1e6)


def facts(caption: str, what: dict[str, str]) -> str:
    """Two columns: what, and its value."""
    return table(caption, ["what", "value"], [[key, value] for key, value in what.items()], text=2, kind="facts")


# --------------------------------------------------------------------------- cells


def _seeds(gap: Gap) -> str:
    number = len(gap.study.seeds)
    return f"{number} seed{'s' * (number != 1)}"


def _head(metric: str) -> str:
    what = words(metric)
    return HEADS.get(metric, what.name) + ("" if what.higher else " ↓")


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 60 else f"{seconds / 60:,.1f} min"


def _spread(gap: Gap, arm: str, metric: str, where: Place) -> str:
    found = gap.interval(arm, metric, where)
    if math.isnan(found.mean):
        return "–"
    return f"{found.mean:.3f}" + ("" if math.isnan(found.sd) else f" ± {found.sd:.3f}")


def _interval(cells: pd.DataFrame, key: tuple[str, str, str]) -> str:
    if key not in cells.index:
        return "–"
    value, low, high = (float(v) for v in cells.loc[key, ["value", "low", "high"]])
    if math.isnan(value):
        return "–"
    return f"{value:.3f}" + ("" if math.isnan(low) else f"\n[{low:.2f}, {high:.2f}]")
