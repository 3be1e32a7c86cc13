"""Relations between two columns that hold for every living patient, whoever a hospital treats.

Infants are small *and* light, so weight over height squared stays; heights in inches beside kilograms break it. How two
columns go together *within* a hospital cannot show it: another unit leaves every correlation as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_BODY = r"(body|admission|admit|patient)?[_ ]?"


@dataclass(frozen=True)
class Law:
    """``first ** powers[0] * second ** powers[1]``, in these units, has its median over patients within ``bounds``.

    Parameters
    ----------
    words : str
    first, second : str
        What the columns are called, as regular expressions.
    powers : (float, float)
    units : (str, str)
        In which the bounds hold.
    bounds : (float, float)
        Of any hospital's median, not of any patient.
    usual : float
        For columns whose unit nobody agreed on: of the other hospitals.
    """

    words: str
    first: str
    second: str
    powers: tuple[float, float]
    units: tuple[str, str]
    bounds: tuple[float, float]
    usual: float


_SYSTOLIC, _DIASTOLIC, _MEAN = "(systolic|sys|sbp)", "(diastolic|dia|dbp)", "(mean|map|mbp)"
_PRESSURE = r"([_ ]?(blood)?[_ ]?(arterial)?[_ ]?(pressure|bp))?"
LAWS = (
    Law("weight / height²", rf"{_BODY}weight([_ ]?kg)?", rf"{_BODY}(height|stature|length)([_ ]?cm)?",
        (1.0, -2.0), ("kg", "m"), (6.0, 55.0), 26.0),
    Law("hematocrit / hemoglobin", r"ha?ematocrit|hct", r"ha?emoglobin|hb|hgb",
        (1.0, -1.0), ("%", "g/dl"), (2.2, 4.2), 3.0),
    Law("systolic / diastolic", _SYSTOLIC + _PRESSURE, _DIASTOLIC + _PRESSURE,
        (1.0, -1.0), ("mmHg", "mmHg"), (1.1, 3.5), 1.7),
    Law("systolic / mean pressure", _SYSTOLIC + _PRESSURE, _MEAN + _PRESSURE,
        (1.0, -1.0), ("mmHg", "mmHg"), (1.05, 2.2), 1.4),
)  # fmt: skip
"""Bounds: preterm infants to surgery for obesity; the haemoglobin of red cells, 24 to 45 g/dl; pulse pressure."""


def between(columns: Iterable[str]) -> Iterator[tuple[Law, str, str]]:
    """Find the columns that a law is about, by their names.

    Examples
    --------
    >>> [(law.words, first, second) for law, first, second in between(["age", "height", "body_weight"])]
    [('weight / height²', 'body_weight', 'height')]
    """
    names = list(columns)
    for law in LAWS:
        first, second = (
            [name for name in names if re.fullmatch(pattern, name.lower())] for pattern in (law.first, law.second)
        )
        if len(first) == len(second) == 1:  # of two weights nobody knows which was meant
            yield law, first[0], second[0]
