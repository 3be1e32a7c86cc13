"""All metrics of all tasks, by name: which way is better and where they end is a matter of the name alone."""

from __future__ import annotations

from fedlab.metrics.errors import ERRORS
from fedlab.metrics.scores import METRICS, Metric

KNOWN: dict[str, Metric] = {**METRICS, **ERRORS}
