"""Every number of a report: nested as JSON, and long as CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from fedlab.metrics.cells import ENOUGH, FEW, LEAST, written
from fedlab.report.across import pooled
from fedlab.report.door import BARS, HOME, outgoing
from fedlab.report.findings import findings, limits, verdict
from fedlab.report.gap import Gap
from fedlab.report.short import in_short
from fedlab.report.tables import on_link
from fedlab.study.pairs import FAMILY, rows_of
from fedlab.study.prevalence import BEYOND

OVER_SEEDS = f"corrected resampled t over seeds; of accuracy, log loss and Brier score wider {BEYOND}"
WITHHELD = f"a count below {LEAST} is withheld"
COLUMNS = ["arm", "seed", "train", "test", "metric", "value", "low", "high", "patients", "fewest", "reason"]


def as_json(gap: Gap, link: float, about: dict[str, Any]) -> str:
    """Return the numbers as strict JSON, with ``about`` beside them; null is what was withheld, or cannot be."""
    return json.dumps(clean(as_dict(gap, link) | about), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def as_csv(gap: Gap) -> str:
    """Return one row per arm, seed, training and test hospital and metric.

    ``low`` and ``high`` are the 95 % interval over the test patients, ``fewest`` those of the rarest class,
    and ``reason`` says why there is no value. A count below five is written ``<5``.
    """
    table = outgoing(gap).opened[COLUMNS]
    words = table.select_dtypes(exclude="number").columns
    safe = {column: table[column].map(no_formula) for column in words}
    counts = {column: table[column].map(written) for column in ("patients", "fewest")}
    return str(table.assign(**safe, **counts).to_csv(index=False, lineterminator="\n"))


FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet computes: ``=HYPERLINK(…)`` sends what stands beside it to anybody."""
QUOTE = "'"


def no_formula(cell: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula; numbers stay numbers.

    A quotation mark comes before it, and before one that is there already: one taken away gives what was there.

    Examples
    --------
    >>> no_formula("=1+1"), no_formula("O'Hare"), no_formula(-0.5)
    ("'=1+1", "O'Hare", -0.5)
    """
    return QUOTE + cell if isinstance(cell, str) and cell.startswith((*FORMULA, QUOTE)) else cell


def as_dict(gap: Gap, link: float) -> dict[str, Any]:
    """Return every number of the report, in the form that the README's tables are made from, as it may be sent on."""
    gap = outgoing(gap)
    study = gap.study
    atlas: dict[str, Any] = {}
    for row in gap.atlas.to_dict("records"):
        place = atlas.setdefault(row["arm"], {}).setdefault(row["train"], {}).setdefault(row["test"], {})
        kept = ("sd", "low", "high", "patients", "fewest", "seeds")
        reason = row["reason"] or WITHHELD * bool(math.isnan(row["fewest"]))
        place[row["metric"]] = {"mean": row["value"]} | {key: row[key] for key in kept} | {"reason": reason}
    cost = {str(row["arm"]): row | {"link_seconds": on_link(row["bytes"], link)}
            for row in rows_of(study.cost().reset_index())}  # fmt: skip
    primary, *others = gap.metrics
    return {
        "arms": study.as_dict(),
        "atlas": atlas,
        "seeds": list(study.seeds),
        "failed": rows_of(study.failed),
        "federation": study.federation.name,
        "model": study.model_name,
        "federated": gap.federated,
        "held_out": gap.held_out or None,
        "settings": settings(gap),
        "cost": cost,
        "link_mbit_s": link,
        "fingerprint": study.federation.fingerprint,
        "test_openings": study.test_openings,
        "in_short": dict(in_short(gap)),
        "verdict": verdict(gap),
        "findings": {heading: said for heading, said in findings(gap)} | {"Limits": limits(gap)},
        "primary": study.primary,
        "smallest": study.smallest,
        "judged": {name: list(gap.family(name, primary).values()) for name in FAMILY},
        "shown": {
            **{name: {m: list(gap.family(name, m).values()) for m in others} for name in FAMILY},
            **{name: {m: list(gap.family(name, m).values()) for m in gap.metrics} for name in ("sites", "away")},
        },
        "calibration": rows_of(gap.calibration_summary.drop(columns=["patients", "fewest"], errors="ignore")),
        "threshold": gap.threshold,
        "decisions": rows_of(gap.decisions.drop(columns=["patients", "fewest"], errors="ignore")),
        "more_data": rows_of(gap.curve.table()) if gap.curve else [],
        "over_hospitals": dict(zip(("rows", "reason"), pooled(gap), strict=True)),
        "bars": {"told": LEAST, "in_headline_means": FEW, "interval": ENOUGH, "said": BARS, "home": HOME},
        "intervals": {
            "arms": f"95 %, {OVER_SEEDS}",
            "judged": f"95 %, {OVER_SEEDS}, each by itself; p_holm is adjusted for all of them, "
            "everywhere and at home, where both arms have one model for all counted once",
            "shown": f"95 %, {OVER_SEEDS}, each by itself; not judged. Of a hospital left out of training: of "
            "other splits and training runs of these patients, not of other patients",
            "atlas": "95 %, corrected resampled t over seeds, no narrower than what the splits say of all patients "
            "whom they test; with one seed over its test patients",
            "more_data": "95 %, corrected resampled t over seeds: other splits and training of these patients, not "
            "other patients",
            "calibration": "as of the atlas, each by itself; ece has none, and is judged by nothing",
            "decisions": "as of the atlas, each by itself; only the prespecified threshold is to be used",
        },
    }


def settings(gap: Gap) -> dict[str, str]:
    """Return the settings that all runs share."""
    first = next(iter(gap.study.runs.values()))[0].settings
    return {name: str(value) for name, value in vars(first).items() if name != "seed"}


def clean(content: Any) -> Any:
    """Return what strict JSON can hold: ``nan`` and infinity become null, numpy's numbers plain ones.

    Examples
    --------
    >>> clean({"a": [float("nan"), 1]})
    {'a': [None, 1]}
    """
    if isinstance(content, Mapping):
        return {str(key): clean(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [clean(value) for value in content]
    if hasattr(content, "item"):
        content = content.item()
    if isinstance(content, float) and not abs(content) < float("inf"):
        return None
    return content
