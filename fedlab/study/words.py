"""What things are called in figures, reports and verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from fedlab.algorithms import ALGORITHMS
from fedlab.federation import Federation, Task
from fedlab.metrics.cells import is_few, written
from fedlab.metrics.known import KNOWN
from fedlab.metrics.scores import LOWER_IS_BETTER


@dataclass(frozen=True)
class Words:
    """A metric's name, what stands on its axis, and which way is better."""

    name: str
    axis: str
    higher: bool


WORDS = {
    "auc": ("AUC", "AUC (0.5 guesses, 1 ranks perfectly)"),
    "accuracy": ("accuracy", "accuracy (share of patients classified right)"),
    "balanced_accuracy": ("balanced accuracy", "balanced accuracy (mean over classes)"),
    "log_loss": ("log loss", "log loss (nats per patient, lower is better)"),
    "brier": ("Brier score", "Brier score (squared error, lower is better)"),
    "average_precision": ("average precision", "average precision (a guess scores the share of positives)"),
    "balanced_accuracy_chosen": (
        "balanced accuracy, own threshold",
        "balanced accuracy at the threshold chosen on valid",
    ),
    "sensitivity_at_specificity_90": (
        "sensitivity at 90 % specificity",
        "sensitivity at 90 % specificity (read off the ROC curve)",
    ),
    "r2": ("R²", "R² (0 tells all the mean, 1 is exact)"),
    "mae": ("MAE", "mean absolute error (in the unit of the label, lower is better)"),
    "rmse": ("RMSE", "root of the mean squared error (in the unit of the label, lower is better)"),
    "mse": ("mean squared error", "mean squared error (in the squared unit of the label, lower is better)"),
}

ARMS = {"isolated": "own model", "centralized": "pooled", "ensemble": "ensemble", "cyclic": "cyclic",
        "finetuned": "fine-tuned FedAvg", "scaffold": "SCAFFOLD", "moon": "MOON", "lgfedavg": "LG-FedAvg",
        "perfedavg": "Per-FedAvg", "pfedme": "pFedMe", "qfedavg": "q-FedAvg", "fedmedian": "median",
        "trimmedmean": "trimmed mean", "multikrum": "Multi-Krum", "normclipping": "norm clipping"}  # fmt: skip

OWN = "isolated"
CALLED = {OWN: "the hospitals’ own models", "centralized": "the pooled model", "ensemble": "the ensemble"}
"""What a sentence calls an arm; nobody may give such a name to something else."""
COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def words(metric: str, task: Task | None = None) -> Words:
    """Return the words for a metric, or refuse it with the list of those there are, or that the task has."""
    known = tuple(KNOWN if task is None else task.metrics)
    if metric not in known:
        raise ValueError(f"there is no metric {metric!r}; known are {', '.join(known)}")
    return Words(*WORDS.get(metric, (metric, metric)), higher=metric not in LOWER_IS_BETTER)


def arm_name(arm: str) -> str:
    """Return how an arm is called in a figure: as its paper has it."""
    if arm in ARMS or arm not in ALGORITHMS:
        return ARMS.get(arm, arm)
    return ALGORITHMS[arm].__name__


def called(arm: str) -> str:
    """Return how a sentence calls an arm.

    Examples
    --------
    >>> called("isolated"), called("fedavg")
    ('the hospitals’ own models', 'FedAvg')
    """
    return CALLED.get(arm) or arm_name(arm)


def counted(n: int) -> str:
    """Write a small number in letters.

    Examples
    --------
    >>> counted(3), counted(186)
    ('three', '186')
    """
    return COUNTS[n] if n < len(COUNTS) else str(n)


def number(value: float, digits: int = 2) -> str:
    """Format a score; ``nan`` is a dash.

    Examples
    --------
    >>> number(0.876), number(float("nan"))
    ('0.88', '–')
    """
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def signed(value: float, digits: int = 2) -> str:
    """Format a difference with its sign; one that rounds to zero has none.

    Examples
    --------
    >>> signed(-0.014), signed(0.0123, 3), signed(-0.001)
    ('−0.01', '+0.012', '0.00')
    """
    text = f"{abs(value):.{digits}f}"
    return "–" if math.isnan(value) else text if float(text) == 0 else ("+" if value > 0 else "−") + text


def digits_of(low: float, high: float) -> int:
    """Return with how many digits an interval is written: two, or more where a bound would look like zero and is not.

    Examples
    --------
    >>> digits_of(0.01, 0.09), digits_of(-0.1, -0.004)
    (2, 3)
    """
    digits = 2
    while digits < 9 and float(f"{min(abs(low), abs(high)):.{digits}f}") == 0:
        digits += 1
    return digits


def listed(names: list[str]) -> str:
    """Join names as in a sentence.

    Examples
    --------
    >>> listed(["Cleveland", "Hungary", "Long Beach"])
    'Cleveland, Hungary and Long Beach'
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""


def few(federation: Federation, part: str = "test", *, told: Callable[[float], str] = written) -> dict[str, str]:
    """Name the sites with fewer than ten patients (of a class, where there are classes) in a part of the split.

    ``told`` writes a count: :func:`~fedlab.metrics.cells.shown` for what is to be sent on.

    Returns
    -------
    dict of str to str
        Site to ``"2 healthy test patients"``.
    """
    found, names = {}, federation.task.classes or ("",)
    for site in federation.sites:
        at = site.split.parts()[part]
        y, who = site.rows.y.numpy()[at], site.rows.patients.of[at]  # no inputs: pictures are large
        count, rarest = min(zip(federation.task.counts(who, y).tolist(), names, strict=True))
        if is_few(count):
            whom = [told(count), rarest, part, "patient" if count == 1 else "patients"]
            found[site.name] = " ".join(filter(None, whom))
    return found
