"""Units that hospitals write, and what turns one into another."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

FAMILIES: dict[str, tuple[str, ...]] = {
    "length": ("cm", "m", "mm", "in", "ft"),
    "mass": ("kg", "lb", "g"),
    "temperature": ("°C", "°F", "K"),
    "pressure": ("mmHg", "kPa", "cmH2O"),
    "concentration": ("mg/dl", "g/dl", "g/l", "mg/l", "µg/dl", "µg/l", "mmol/l", "µmol/l", "nmol/l"),
    "share": ("fraction", "%"),
    "dose": ("µg/kg/min", "µg/kg/h", "mg/kg/h", "µg/min", "µg/h", "mg/h", "mg/min"),
    "time": ("years", "months", "weeks", "days", "hours", "minutes"),
    "volume": ("l", "ml"),
}
COMMON = (
    {"cm", "in"}, {"cm", "m"}, {"kg", "lb"}, {"°C", "°F"}, {"fraction", "%"}, {"mmHg", "kPa"},
    {"mg/dl", "mmol/l"}, {"mg/dl", "µmol/l"}, {"mmol/l", "µmol/l"}, {"g/dl", "g/l"}, {"mg/dl", "mg/l"},
    {"mg/dl", "g/l"},
    {"µg/kg/min", "µg/min"}, {"µg/min", "mg/h"}, {"years", "months"}, {"hours", "days"}, {"hours", "minutes"},
)  # fmt: skip
"""What hospitals really disagree on."""
RARE = 1 / 30  # how often any other pair of units is met, beside one of these
WEIGHT = 80.0  # kg: of a patient whose weight nobody wrote down
NEAR = 0.25  # two units whose values differ by less than a quarter (log scale) cannot be told apart by values
GRAMS_PER_MOL = {
    r"glucose|gluc|sugar": 180.16,
    r"creat": 113.12,
    r"chol|ldl|hdl": 386.65,
    r"triglycerid": 885.4,
    r"lact": 90.08,
    r"bili": 584.66,
    r"bun|urea_n": 28.01,
    r"urea": 60.06,
    r"uric": 168.11,
    r"calcium": 40.08,
    r"h(a)?emoglobin|^hb$|^hgb$": 16114.0,
}
"""By what a column's name holds; for a data dictionary made from features, which have no molar mass."""
HINTS = {
    r"height|length|stature": ("length",),
    r"weight|mass(?!.*index)": ("mass",),
    r"temp": ("temperature",),
    r"fio2|fraction|spo2|sao2|saturation|percent|hematocrit|hct": ("share",),
    r"norepi|epineph|dopamine|dobut|vasopr|propofol|dose|rate_of": ("dose",),
    r"bp|pressure|^map$|pao2|pco2|paco2|trestbps|systol|diastol": ("pressure",),
    r"^age|duration|^los|days|hours": ("time",),
    r"urine|volume|fluid": ("volume",),
    r"albumin|crp|protein": ("concentration",),
    **dict.fromkeys(GRAMS_PER_MOL, ("concentration",)),
}
_WORDS = {"°C": "degC", "°F": "degF", "%": "percent", "fraction": "dimensionless", "mcg": "microgram"}


OF_WARDS = (
    "beat = count = beats",
    "breath = count = breaths",
    "vessel = count = vessels",
    "point_score = count = points = score",
    "billion_count = 1e9 count",
    "trillion_count = 1e12 count",
    "IU = enzyme_unit",
    "mEq = millimole",
)
_TENS = {"9": "billion_count", "12": "trillion_count"}


@dataclass(frozen=True)
class Conversion:
    """``agreed = factor * written + offset``."""

    written: str
    agreed: str
    factor: float
    offset: float = 0.0
    per_weight: bool = False  # factor then holds for a patient of ``WEIGHT``


@lru_cache(maxsize=1)
def registry() -> Any:
    """Return pint's registry, with the words that wards use."""
    import pint  # half a second: only where units are asked for

    units: Any = pint.UnitRegistry()
    for line in OF_WARDS:
        units.define(line)
    return units


@lru_cache(maxsize=1024)
def read_unit(text: str) -> Any:
    """Read a unit; words behind it are taken for a note, as in ``"mm ST depression"``.

    Raises
    ------
    ValueError
        If no unit stands there.

    Examples
    --------
    >>> str(read_unit("mm ST depression")), str(read_unit("beats/min"))
    ('millimeter', 'beat / minute')
    """
    import pint

    words = text.split()
    for count in range(len(words), 0, -1):
        part = " ".join(words[:count])
        try:
            return registry().Unit(_WORDS.get(part, re.sub(r"^10\^?(9|12)(?=/)", lambda m: _TENS[m[1]], part)))
        except (pint.PintError, ValueError, TypeError, AttributeError, SyntaxError, AssertionError):
            continue
    raise ValueError(
        f"{text!r} is no unit that can be read: write it as in 'mg/dl', 'µg/kg/min', '°C', '%' or 'beats/min'"
    )


def is_unit(text: str) -> bool:
    """Tell whether a code names one of the units above, alone or in brackets.

    Examples
    --------
    >>> is_unit("Norepinephrine (mcg/min)"), is_unit("M")
    (True, False)
    """
    return named(text) is not None


def named(text: str) -> str | None:
    """Return the unit that a code names: between brackets, or all of it if it has a slash or a sign."""
    inside = re.search(r"\(([^()]+)\)\s*$", text)
    word = inside[1].strip() if inside else text.strip()
    if not inside and not re.search(r"[/%°]", word):
        return None
    try:
        unit = read_unit(re.sub(r"\bhr\b", "h", word))
    except ValueError:
        return None
    return next((m for members in FAMILIES.values() for m in members if read_unit(m) == unit), word)


@lru_cache(maxsize=4096)
def convert(written: str, agreed: str, molar_mass: float | None = None) -> Conversion | None:
    """Return what turns one unit into the other; None if nothing does.

    Parameters
    ----------
    written, agreed : str
    molar_mass : float, optional
        Grams per mole: needed between mass and amount.

    Examples
    --------
    >>> convert("in", "cm")
    Conversion(written='in', agreed='cm', factor=2.54, offset=0.0, per_weight=False)
    >>> convert("mmol/l", "mg/dl", 180.16).factor
    18.016
    """
    units = registry()
    zero, one = (units.Quantity(v, read_unit(written)) for v in (0.0, 1.0))
    goal = units.Quantity(1.0, read_unit(agreed))
    heavy = _per_kg(written) - _per_kg(agreed)
    if heavy:
        weight = units.Quantity(WEIGHT, "kg")
        zero, one = (q * weight if heavy > 0 else q / weight for q in (zero, one))
    if zero.dimensionality != goal.dimensionality and molar_mass and "/" in written:
        molar = units.Quantity(molar_mass, "g/mol")
        zero, one = (q * molar if "mol" in written else q / molar for q in (zero, one))
    if zero.dimensionality != goal.dimensionality:
        return None
    offset = float(zero.to(goal.units).magnitude)
    factor = float(one.to(goal.units).magnitude) - offset
    return Conversion(written, agreed, float(f"{factor:.10g}"), float(f"{offset:.10g}"), bool(heavy))


def _per_kg(unit: str) -> int:
    return int("kg" in unit.split("/")[1:])


def family(unit: str) -> str | None:
    """Name the family a unit belongs to."""
    try:
        known = read_unit(unit)
    except ValueError:
        return None
    return next((name for name, members in FAMILIES.items() if any(read_unit(m) == known for m in members)), None)


def to_agreed(unit: str, molar_mass: float | None = None) -> list[Conversion]:
    """List what turns other units that hospitals write into the agreed one."""
    kind = family(unit)
    found = [convert(other, unit, molar_mass) for other in FAMILIES.get(kind or "", ())]
    return [c for c in found if c is not None and _telling(c)]


def by_name(column: str) -> list[Conversion]:
    """List conversions between any two units of what the column's name seems to be."""
    kinds = dict.fromkeys(k for word, ks in HINTS.items() if re.search(word, column.lower()) for k in ks)
    return _between(tuple(kinds), molar_mass(column))


def molar_mass(column: str) -> float | None:
    """Grams per mole of the substance that a column's name tells; None if it tells none."""
    return next((mass for word, mass in GRAMS_PER_MOL.items() if re.search(word, column.lower())), None)


def common(c: Conversion) -> float:
    """Weight of a conversion before anything is seen: 1, a tenth between masses (the other has moles), or ``RARE``."""
    if {c.written, c.agreed} not in COMMON:
        return RARE
    return 0.1 if {c.written, c.agreed} <= {"g/l", "g/dl", "mg/l", "mg/dl"} else 1.0


def key(c: Conversion) -> str:
    """Name what a conversion does, whatever the units are called.

    Examples
    --------
    >>> key(Conversion("in", "cm", 2.54))
    '2.54 0'
    """
    return f"{c.factor:.3g} {c.offset:.3g}"


@lru_cache(maxsize=64)
def _between(kinds: tuple[str, ...], mass: float | None) -> list[Conversion]:
    found: dict[str, Conversion] = {}
    for kind in kinds:
        for written in FAMILIES[kind]:
            for agreed in FAMILIES[kind]:
                c = convert(written, agreed, mass)
                if c is not None and _telling(c):
                    found[key(c)] = max(found.get(key(c), c), c, key=common)
    return list(found.values())


def anything() -> list[Conversion]:
    """List the conversions that need no knowledge of the column: those within every family."""
    return _between(tuple(k for k in FAMILIES if k not in ("dose", "time")), None)


def _telling(c: Conversion) -> bool:
    return c.offset != 0 or abs(math.log(abs(c.factor))) > NEAR
