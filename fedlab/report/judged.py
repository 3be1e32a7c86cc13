"""What a difference may be called: one judgement for the tables, the sentences and ``study.verdict()``.

One family of comparisons is judged, as in ``fedlab.study.pairs``: every pair of arms, everywhere and at home, by the
prespecified metric. Every other difference is shown with its interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from fedlab.study.words import signed

UNCLEAR = "no clear difference"
UNKNOWN = "not known"
SAME = "the same"


class Difference(NamedTuple):
    """A paired difference over seeds with its 95 % interval, and what may be said of it.

    ``said`` is ``better``, ``worse``, ``no clear difference``, ``the same`` (for what matters), ``not known`` (no test
    could be made, e.g. one seed) or nothing: the difference is shown, not judged. ``seen`` is the smallest difference
    that the study could have seen.
    """

    metric: str
    mean: float
    low: float
    high: float
    said: str = ""
    seen: float = math.nan

    @property
    def unclear(self) -> str:
        """How *no clear difference* is said: where the interval by itself leaves zero out, it was the correction.

        Examples
        --------
        >>> Difference("auc", 0.1, 0.01, 0.19).unclear, Difference("auc", 0.1, -0.01, 0.21).unclear
        ('no clear difference after Holm’s correction', 'no clear difference')
        """
        return UNCLEAR + " after Holm’s correction" * (self.low > 0 or self.high < 0)

    def __str__(self) -> str:
        if not math.isfinite(self.mean):
            return "–"
        if not math.isfinite(self.low):
            return signed(self.mean, 3)
        return f"{signed(self.mean, 3)} [{signed(self.low, 3)}, {signed(self.high, 3)}]"


def judge(row: Mapping[str, Any], metric: str, one: str) -> Difference:
    """Read a row of ``study.pairs()`` from the side of ``one``.

    Examples
    --------
    >>> row = {"one": "a", "other": "b", "difference": 0.1, "low": 0.05, "high": 0.15, "p": 0.001, "p_holm": 0.003,
    ...        "detectable": 0.04, "same": False, "winner": "a"}
    >>> judge(row, "auc", "a").said, judge(row, "auc", "b").said, str(judge(row, "auc", "b"))
    ('better', 'worse', '−0.100 [−0.150, −0.050]')
    """
    sign = 1 if row["one"] == one else -1
    low, high = sorted((sign * row["low"], sign * row["high"]))
    if math.isnan(row["p"]):
        said = UNKNOWN
    elif math.isnan(row["p_holm"]):
        said = ""
    elif not row["winner"]:
        said = SAME if row["same"] else UNCLEAR
    else:
        said = "better" if row["winner"] == one else "worse"
    return Difference(metric, sign * row["difference"], low, high, said, row["detectable"])
