"""What to report of a prediction model: the TRIPOD+AI list, filled with what the study knows.

Collins et al., *TRIPOD+AI statement*, BMJ 2024;385:e078378; the titles are in our words. What the study does not know
is left to the author: nothing is guessed. Every count is one that may be sent on.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fedlab.metrics.cells import LEAST, patients_by_class, screened
from fedlab.report.across import METHOD, pooled
from fedlab.report.door import described, outgoing
from fedlab.report.findings import limits
from fedlab.report.gap import Gap
from fedlab.report.numbers import settings
from fedlab.report.table import table
from fedlab.report.versions import versions
from fedlab.study.openings import before, locked
from fedlab.study.tuning import chosen_by
from fedlab.study.words import arm_name, listed, words

if TYPE_CHECKING:
    from fedlab.report.page import About

FILLED, PARTLY, OPEN = "filled", "filled in part", "for you to fill"
MOST = 40  # names in a cell

# Number: (what it asks for, what the study cannot know of it).
CHECKLIST: dict[str, tuple[str, str]] = {
    "1": ("Title", "say that a prediction model is developed and evaluated, for whom and for which outcome"),
    "2": ("Abstract", "write it by the list of TRIPOD+AI for abstracts"),
    "3a": ("Medical background", "the medical problem, why it is predicted, and which models there are"),
    "3b": ("Whom it is for", "the patients, the place in their care and who would use the model"),
    "3c": ("Known inequalities", "known inequalities in health between groups of such patients"),
    "4": ("Objectives", "what was to be found out, and whether it is development, evaluation or both"),
    "5a": ("Sources of the data", "why these data, and how representative they are"),
    "5b": ("Dates of the data", "when the first and the last patient were seen, and the end of follow-up"),
    "6a": ("Setting", "primary or hospital care, and the places where the list does not have them"),
    "6b": ("Who was eligible", "the criteria by which patients were taken in"),
    "6c": ("Treatments", "which treatments the patients had, and how that was handled"),
    "7": ("Preparation and checks of the data", "checks made before, and whether groups were checked in the same way"),
    "8a": ("Outcome", "how and when it was assessed, over which time, and why it was chosen"),
    "8b": ("Who judged the outcome", "if it takes judgement: who judged, and how they were qualified"),
    "8c": ("Blinding of the outcome", "whether who judged it knew the predictors"),
    "9a": ("Choice of predictors", "why these, and which were dropped before"),
    "9b": ("Definition of predictors", "how and when each was measured"),
    "9c": ("Who judged the predictors", "if they take judgement: who judged, and how they were qualified"),
    "10": ("Sample size", "why that many are enough, for development and for evaluation"),
    "11": ("Missing data", "why they are missing, and patients who were left out for it"),
    "12a": ("Use of the data", ""),
    "12b": ("Handling of predictors", ""),
    "12c": ("Model, building and tuning", "why this kind of model"),
    "12d": ("Differences between hospitals, how examined", ""),
    "12e": ("Measures of performance", "clinical usefulness (net benefit), if the model is to guide a decision"),
    "12f": ("Updating of the model, how", "whether it was recalibrated or changed after the evaluation"),
    "12g": ("How predictions were made", ""),
    "13": ("Class imbalance", "methods against it, if any, and recalibration after them"),
    "14": ("Fairness, how addressed", "what was done for it, and why"),
    "15": ("Output of the model", "the threshold that is meant for use, and why"),
    "16": ("Development against evaluation data", "differences in setting, eligibility, outcome and predictors"),
    "17": ("Ethics", "the committee and its number, and consent or its waiver"),
    "18a": ("Funding", "who paid, and what they had to say in it"),
    "18b": ("Conflicts of interest", "those of all authors"),
    "18c": ("Protocol", "where it is, or that there was none"),
    "18d": ("Registration", "its number, or that there was none"),
    "18e": ("Sharing of the data", "where and how others get them"),
    "18f": ("Sharing of the code", "where your own code is"),
    "19": ("Patients and the public", "how they were involved, or that they were not"),
    "20a": ("Flow of patients", "who was excluded before, and follow-up"),
    "20b": ("Characteristics of patients", "age, sex, key predictors, treatments and missing values, by hospital"),
    "20c": ("Predictors, development against evaluation", "how their distributions compare"),
    "21": ("Patients and events in each analysis", ""),
    "22": ("The model in full", "where its weights are (run.save writes them), and who may use them"),
    "23a": ("Performance", "important groups of patients (study.subgroups), if they are not among what is filled in"),
    "23b": ("Differences between hospitals, found", ""),
    "24": ("Updating of the model, found", "the updated model and its performance, if it was updated"),
    "25": ("Interpretation", "what it means, fairness included, beside the aims and other studies"),
    "26": ("Limitations", "those of your data and of how they came to be"),
    "27a": ("Poor or missing input in use", "which quality the input must have, and who checks it"),
    "27b": ("What users must do", "what it takes of them, and what they must know"),
    "27c": ("What next", "where it may be used, and what is to be studied"),
}


class Item(NamedTuple):
    """One item of the list: what it asks for, what the study says of it, and what is left to write."""

    number: str
    title: str
    said: str
    left: str

    @property
    def status(self) -> str:
        """Whether it is filled, in part, or for you to fill."""
        if not self.said:
            return OPEN
        return PARTLY if self.left else FILLED


def tripod(gap: Gap, about: About) -> list[Item]:
    """Return the list, filled with what this study knows.

    Parameters
    ----------
    gap : Gap
    about : About
        Of the page: citation and licence of the data.
    """
    gap = outgoing(gap)
    filled = {number: fill(gap, about) for number, fill in FILLS.items()}
    lefts = {number: left for number, (_, left) in CHECKLIST.items()}
    if gap.threshold is not None:  # what is on the page is not left to be written
        lefts |= {"12e": "", "15": "why this threshold"}
    return [
        Item(number, title, filled.get(number, ""), lefts[number] or ("" if filled.get(number) else "what was done"))
        for number, (title, _) in CHECKLIST.items()
    ]


def as_rows(items: list[Item]) -> list[dict[str, str]]:
    """Return the list for JSON."""
    return [{"item": i.number, "title": i.title, "status": i.status, "said": i.said, "left": i.left} for i in items]


def as_html(items: list[Item]) -> str:
    """Return the list as a table that is folded until it is wanted."""
    count = {status: sum(item.status == status for item in items) for status in (FILLED, PARTLY, OPEN)}
    rows = [
        [item.number, item.title, item.status,
         "\n".join(filter(None, [item.said, f"For you: {item.left}." if item.left else ""]))]
        for item in items
    ]  # fmt: skip
    caption = (
        "TRIPOD+AI (Collins et al., BMJ 2024;385:e078378), titles in our words. Filled in is what this study knows; "
        "nothing is guessed. Filled does not mean enough: read it with the statement beside you."
    )
    told = ", ".join(f"{number} {html.escape(status)}" for status, number in count.items())
    listing = table(caption, ["item", "asks for", "status", "what this study says, and what is left"], rows, text=4)
    return f'<details class="tripod"><summary>{len(items)} items: {told}</summary>{listing}</details>'


# --------------------------------------------------------------------------- what the study knows

Fill = Callable[[Gap, "About"], str]


def _sources(gap: Gap, about: About) -> str:
    citation = about.citation.strip()
    return _joined(citation and f"{citation.rstrip('.')}.", f"Licence: {about.licence}." if citation else "")


def _setting(gap: Gap, about: About) -> str:
    sites = gap.study.federation.sites
    where = {s.name: ", ".join(filter(None, map(s.about.get, ("hospital", "country")))) for s in sites}
    names = [name + (f" ({where[name]})" if where[name] else "") for name in where]
    kind = "simulated hospitals of real patients" if about.simulated else f"site{'s' * (len(names) != 1)}"
    return f"{len(names)} {kind}: {_some(names)}."


def _prepared(gap: Gap, about: About) -> str:
    notes = [str(getattr(note, "outgoing", note)) for note in gap.study.federation.notes]
    return _joined(f"Found in the data: {'; '.join(notes)}." if notes else "")


def _outcome(gap: Gap, about: About) -> str:
    task = gap.study.federation.task
    if task.kind == "binary":
        return f"“{task.classes[1]}” against “{task.classes[0]}”."
    if not task.classes:
        return f"{_capital(task.about)}."
    return f"One of {len(task.classes)} classes: {_some(list(task.classes))}."


def _predictors(gap: Gap, about: About) -> str:
    features = gap.study.federation.features
    named = [f"{f.name} ({f.unit or ('category' if f.kind == 'category' else 'number, no unit stated')})"
             for f in features]  # fmt: skip
    return f"{len(named)} predictors: {_some(named)}." if named else ""


def _missing(gap: Gap, about: About) -> str:
    if gap.study.federation.prepared:
        return ""
    silent = any(run.withheld for runs in gap.study.runs.values() for run in runs)
    told = (
        "A missing value is filled with the mean of the hospitals’ training patients, and a column of its own tells "
        "the model so, where some training patient lacks the predictor. No patient is left out for it here."
    )
    return told + " A hospital with fewer than five training patients with a value tells nothing of it." * silent


def _use(gap: Gap, about: About) -> str:
    federation, seeds = gap.study.federation, len(gap.study.seeds)
    split = (
        f"The published split of the data, for all of {seeds} seeds"
        if federation.published
        else f"Each hospital’s patients are split at random into train, valid and test, again for each of {seeds} seeds"
    )
    never = [f"{gap.held_out} was held out of all of it"] if gap.held_out else []
    never += ["each hospital was left out of the training in turn"] if not gap.unseen.empty else []
    never += [away] if (away := locked(gap.study)) else []
    parts = "; ".join([f"{split}: fit on train, choose on valid, report on test", *never])
    return _joined(f"{parts}.", before(gap.earlier))


def _handling(gap: Gap, about: About) -> str:
    if gap.study.federation.prepared:
        return ""
    return (
        "Numbers are centred on the mean and divided by the standard deviation of the training patients, of sums that "
        "the hospitals tell; a category is one column a code."
    )


def _building(gap: Gap, about: About) -> str:
    study = gap.study
    arms = "; ".join(f"{arm_name(arm)}: {runs[0].algorithm}" for arm, runs in study.runs.items())
    trials = study.trials
    kept = [] if trials.empty else [c for c in trials if c not in ("arm", "seed", gap.task.choosing, "chosen")]
    tried = [f"{name} of {_some(list(dict.fromkeys(map(str, trials[name]))))}" for name in kept]
    tuned = f"Tuned for every arm and seed: {', '.join(tried)}." if tried else "Nothing was tuned."
    asked = ", ".join(f"{name} {value}" for name, value in settings(gap).items() if name not in kept)
    seeds = ", ".join(map(str, study.seeds))
    return f"Model {study.model_name}. {arms}. Settings: {asked}. Seeds {seeds}. {tuned} {chosen_by(study)}"


def _heterogeneity(gap: Gap, about: About) -> str:
    rows, why = pooled(gap)
    name = words(gap.headline).name
    return f"{name} by {METHOD}." if rows else f"{name} is not pooled over hospitals: {why}." if why else ""


def _measures(gap: Gap, about: About) -> str:
    known = list(dict.fromkeys(gap.study.report()["metric"]))
    judged = limits(gap)[0]
    shown = listed([words(name).name for name in known])
    if not gap.calibration_summary.empty:
        shown += "; calibration curves, calibration-in-the-large, calibration slope and observed over expected"
    if not gap.decisions.empty:
        shown += (
            f"; net benefit, sensitivity and specificity at a risk of {_percent(gap.threshold)}, and the decision curve"
        )
    return f"{_capital(shown)}. {judged}"


def _predictions(gap: Gap, about: About) -> str:
    return (
        "Each hospital computes them with the trained model where its patients are; the model takes raw rows, its "
        f"preparation is inside. fedlab {versions()['fedlab']}."
    )


def _output(gap: Gap, about: About) -> str:
    if not gap.task.classes:
        return "The quantity, in its unit."
    return (
        "The probability of each class. Accuracy and balanced accuracy call the class of the highest probability; "
        "“own threshold” is the one of the best balanced accuracy on the valid patients of the hospital that is tested."
        + ("" if gap.threshold is None else f" The threshold prespecified for acting is {_percent(gap.threshold)}.")
    )


def _apart(gap: Gap, about: About) -> str:
    told = "Development and evaluation are different patients, by their numbers in the table, of the same hospitals"
    if gap.held_out:
        told += f"; {gap.held_out} is evaluation only"
    if not gap.unseen.empty:
        told += "; a model that learnt without a hospital is evaluated there too"
    return f"{told}."


def _data_shared(gap: Gap, about: About) -> str:
    return f"Fingerprint of the data: {gap.study.federation.fingerprint}."


def _code_shared(gap: Gap, about: About) -> str:
    return f"Versions: {', '.join(f'{name} {number}' for name, number in versions().items())}."


def _counts(gap: Gap, about: About) -> str:
    """Patients of each hospital, and with the outcome, as far as they may be told."""
    federation, known = gap.study.federation, described(gap.study.federation)
    events, parts = _events(gap), []
    for name in federation.names:
        patients, ill = known.loc[name, "patients"], events.get(name)
        said = "withheld" if np.isnan(patients) else f"{patients:,.0f} patients"
        parts.append(f"{name} {said}{'' if ill is None else f', {ill:,} “{federation.task.classes[1]}”'}")
    return f"{_some(parts, joint='; ')}{_besides(gap)}."


def _besides(gap: Gap) -> str:
    """Return what is to be said of locked patients where patients are counted; empty if there are none."""
    away = locked(gap.study)
    return f"; not among these: {away}" if away else ""


def _percent(share: float | None) -> str:
    return f"{100 * float(share or 0):.3g} %"


def _events(gap: Gap) -> dict[str, int]:
    """Patients with the outcome, by hospital, where neither class is too small to be told."""
    federation = gap.study.federation
    if federation.task.kind != "binary":
        return {}
    each = {s.name: patients_by_class(s.rows.patients.of, s.rows.y.numpy(), 2) for s in federation.sites}
    return {name: int(counts[1]) for name, counts in each.items() if (screened(counts) == counts).all()}


def _size(gap: Gap, about: About) -> str:
    federation, known = gap.study.federation, described(gap.study.federation)["patients"]
    events = _events(gap)
    told = f"{'more than ' * bool(known.isna().any())}{known.sum():,.0f} patients"
    if events and len(events) == len(federation.sites):
        told += f", {sum(events.values()):,} of them “{federation.task.classes[1]}”"
    return f"{told}, at {len(federation.sites)} sites{_besides(gap)}."


def _analyses(gap: Gap, about: About) -> str:
    known, ill = described(gap.study.federation)[["train", "valid", "test"]], _events_of_parts(gap)
    told = []
    for part, what in (("train", "development"), ("valid", "choosing"), ("test", "evaluation")):
        rows = "withheld" if known[part].isna().any() else f"{known[part].sum():,.0f} rows"
        told.append(
            f"{what} {rows}" + (f", {ill[part]:,} patients “{gap.study.federation.task.classes[1]}”" if ill else "")
        )
    whole = f"In one split, all hospitals together: {'; '.join(told)}{_besides(gap)}"
    return f"{whole}. By hospital under “The sites”."


def _events_of_parts(gap: Gap) -> dict[str, int]:
    """Patients with the outcome in each part of one split; none where one of a hospital would follow from them."""
    federation = gap.study.federation
    if len(_events(gap)) < len(federation.sites):
        return {}
    parts: dict[str, int] = {}
    for part in ("train", "valid", "test"):
        counts = np.zeros(2, dtype=np.int64)
        for site in federation.sites:
            at = site.split.parts()[part]
            counts += patients_by_class(site.rows.patients.of[at], site.rows.y.numpy()[at], 2)
        if counts.min() < LEAST:
            return {}
        parts[part] = int(counts[1])
    return parts


def _full(gap: Gap, about: About) -> str:
    run = next(iter(gap.study.runs.values()))[0]
    weights = sum(p.numel() for p in run.net.model.parameters())
    return f"Model {gap.study.model_name}, {weights:,} weights and its preparation."


def _performance(gap: Gap, about: About) -> str:
    told = []
    for arm in gap.study.arms:
        each = [f"{words(m).name} {_spread(gap, arm, m)}" for m in gap.main]
        told.append(f"{arm_name(arm)} at home: {', '.join(each)}")
    groups = dict.fromkeys(str(key[1]) for key in gap.study._reports if key and isinstance(key, tuple)
                           and key[0] == "subgroups")  # fmt: skip
    also = f" Subgroups were computed by {listed(list(groups))}." if groups else ""
    return f"Mean over hospitals and seeds, 95 % interval over seeds. {'; '.join(told)}.{also}"


def _spread(gap: Gap, arm: str, metric: str) -> str:
    found = gap.interval(arm, metric, "home")
    if np.isnan(found.mean):
        return "not known"
    return f"{found.mean:.3f}" + ("" if np.isnan(found.low) else f" [{found.low:.3f}, {found.high:.3f}]")


def _between(gap: Gap, about: About) -> str:
    rows, why = pooled(gap)
    told = [
        f"{arm_name(row['arm'])}: mean {row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}], a hospital not yet "
        f"seen [{row['next_low']:.3f}, {row['next_high']:.3f}] ({row['hospitals']} hospitals)"
        if np.isfinite(row["mean"])
        else f"{arm_name(row['arm'])}: {row['reason']}"
        for row in rows
    ]
    return f"AUC. {'; '.join(told)}. Each hospital under “Who gains at home”." if told else ""


def _limitations(gap: Gap, about: About) -> str:
    return " ".join(limits(gap))


def _input(gap: Gap, about: About) -> str:
    return "" if gap.study.federation.prepared else "The model takes a missing value as it was taken in training."


FILLS: Mapping[str, Fill] = {
    "5a": _sources, "6a": _setting, "7": _prepared, "8a": _outcome, "9b": _predictors, "10": _size, "11": _missing,
    "12a": _use, "12b": _handling, "12c": _building, "12d": _heterogeneity, "12e": _measures, "12g": _predictions,
    "15": _output, "16": _apart, "18e": _data_shared, "18f": _code_shared, "20a": _counts, "21": _analyses,
    "22": _full, "23a": _performance, "23b": _between, "26": _limitations, "27a": _input,
}  # fmt: skip


# --------------------------------------------------------------------------- words


def _some(names: list[str], joint: str = ", ") -> str:
    rest = len(names) - MOST
    return joint.join(names[:MOST]) + (f" and {rest} more" if rest > 0 else "")


def _joined(*parts: Any) -> str:
    return " ".join(filter(None, parts))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
