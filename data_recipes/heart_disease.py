"""UCI Heart Disease: 920 records of patients of four real hospitals who had an angiography, donated in 1988.

The table is embedded, ``heart_disease.csv`` beside this file: the four official files one below the other with the
site in front, every value as the hospital wrote it. See ``heart_disease.NOTICE.md`` for whom to thank.

What the files do not say loudly, and :func:`tidy` knows:

- ``?`` is *not measured*; so is a serum cholesterol of 0 (all of Switzerland, 49 patients of Long Beach) and a
  resting blood pressure of 0 (one patient of Long Beach).
- Cleveland writes ``3.0`` where the others write ``3``, and ``.7`` is 0.7.
- Hungary codes the diagnosis 0 or 1, the others 0 to 4: ill is everything above 0.
- Two rows of Hungary are equal, and two of Long Beach. Nothing says whether they are one patient: all are kept, and
  the equal ones stand in one part of every split, as one patient's would.
- An ST depression below 0 is an elevation (Switzerland, Long Beach).

References
----------
Detrano et al. (1989), American Journal of Cardiology 64, 304-310. Meanings and codes: ``heart-disease.names`` at
https://archive.ics.uci.edu/dataset/45/heart+disease
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pandas as pd

from data_recipes import files, tables
from fedlab.federation import Feature, Federation

NAME = "heart_disease"
TITLE = "UCI Heart Disease, four hospitals"
MODALITY = "table"
SITES = 4
ROWS = 920
EMBEDDED = 48_710
LICENCE = "CC BY 4.0"
CITATION = (
    "Janosi A., Steinbrunn W., Pfisterer M., Detrano R. (1988). Heart Disease [data set]. UCI Machine Learning "
    "Repository. https://doi.org/10.24432/C52P4X"
)
SITE_KEY = "site"

TABLE = Path(__file__).with_suffix(".csv")
TABLE_SUMS = {"sha256:3560f69e6b2621335ae5049683b9c895065e4cb0125271dea5e72ccd6f1a1a1a": "as released"}
CLASSES = ("healthy", "ill")
REPEATED = {"Hungary": 1, "Long Beach": 1}
"""Rows that repeat another of their hospital in every column: so many are known, and another number is another file."""
LEAST = 3  # patients: train, valid and test need one each


def _official(file: str, size: int, sha256: str, md5: str) -> files.DataFile:
    return files.DataFile(
        name=f"processed.{file}.data",
        url=f"https://archive.ics.uci.edu/ml/machine-learning-databases/heart-disease/processed.{file}.data",
        sums={f"sha256:{sha256}": "official", f"md5:{md5}": "official, as published by FLamby"},
        size=size,
        instead="use source='embedded', the same patients without a download",
    )


FILE_OF = {
    "Cleveland": _official(
        "cleveland",
        18_461,
        "a74b7efa387bc9d108d7d0115d831fe9b414b29ae7124f331b622b4efa0427c8",
        "2d91a8ff69cfd9616aa47b59d6f843db",
    ),
    "Hungary": _official(
        "hungarian",
        10_263,
        "d1ad108f785768cd3d7e82dc522e6f5a61eea93cccfb3a46ee8076f73fc3d796",
        "22e96bee155b5973568101c93b3705f6",
    ),
    "Switzerland": _official(
        "switzerland",
        4_109,
        "834a405ccf5b66ab4056bb77794adc8df0b7125186454c0a1d002d33c6c3b314",
        "9a87f7577310b3917730d06ba9349e20",
    ),
    "Long Beach": _official(
        "va",
        6_737,
        "e7c93d8d0d2acdadfa4c5e8de768e2191e7f618b952e29623f1f0d5949ff6b8f",
        "4249d03ca7711e84f4444768c9426170",
    ),
}
FILES = tuple(FILE_OF.values())

FEATURES = (
    Feature("age", unit="years", range=(0, 120)),
    Feature("sex", kind="category", codes={0: "female", 1: "male"}),
    Feature(
        "cp",
        kind="category",
        codes={1: "typical angina", 2: "atypical angina", 3: "non-anginal pain", 4: "asymptomatic"},
    ),
    Feature("trestbps", unit="mmHg", range=(40, 300)),
    Feature("chol", unit="mg/dl", range=(40, 1000)),
    Feature("fbs", kind="category", codes={0: "fasting blood sugar up to 120 mg/dl", 1: "above 120 mg/dl"}),
    Feature(
        "restecg",
        kind="category",
        codes={0: "normal", 1: "ST-T wave abnormality", 2: "left ventricular hypertrophy (Estes' criteria)"},
    ),
    Feature("thalach", unit="beats/min", range=(30, 250)),
    Feature("exang", kind="category", codes={0: "no angina by exercise", 1: "angina by exercise"}),
    Feature("oldpeak", unit="mm ST depression", range=(-10, 10)),
    Feature("slope", kind="category", codes={1: "upsloping", 2: "flat", 3: "downsloping"}),
    Feature("ca", unit="vessels", range=(0, 3), codes={0: "none", 1: "one", 2: "two", 3: "three"}),
    Feature("thal", kind="category", codes={3: "normal", 6: "fixed defect", 7: "reversible defect"}),
)
"""The data dictionary: ``trestbps`` resting blood pressure on admission, ``chol`` serum cholesterol, ``thalach``
maximum heart rate achieved, ``oldpeak`` ST depression by exercise relative to rest, ``slope`` of the peak exercise
ST segment, ``ca`` major vessels coloured by fluoroscopy, ``thal`` defects in the thallium scan, ``cp`` chest pain,
``restecg`` resting electrocardiogram. ``range`` is what a living adult can have, wider than what occurs."""

LABEL = Feature(
    "num",
    kind="category",
    codes={0: "no vessel narrowed by half", **dict.fromkeys((1, 2, 3, 4), "narrowed by more than half")},
)
COLUMNS = [feature.name for feature in (*FEATURES, LABEL)]

ABOUT = {
    "Cleveland": {
        "hospital": "Cleveland Clinic Foundation",
        "city": "Cleveland",
        "country": "USA",
        "investigator": "Robert Detrano, M.D., Ph.D.",
    },
    "Hungary": {
        "hospital": "Hungarian Institute of Cardiology",
        "city": "Budapest",
        "country": "Hungary",
        "investigator": "Andras Janosi, M.D.",
    },
    "Switzerland": {
        "hospital": "University Hospital, Zurich, and University Hospital, Basel",
        "city": "Zurich and Basel",
        "country": "Switzerland",
        "investigator": "William Steinbrunn, M.D., and Matthias Pfisterer, M.D.",
    },
    "Long Beach": {
        "hospital": "V.A. Medical Center",
        "city": "Long Beach, California",
        "country": "USA",
        "investigator": "Robert Detrano, M.D., Ph.D.",
    },
}


def raw(*, source: str | os.PathLike[str] = "embedded") -> dict[str, pd.DataFrame]:
    """Return each hospital's table as it wrote it: text, ``?`` where nothing was measured.

    Parameters
    ----------
    source : {"embedded", "official"} or folder
        ``"official"`` looks for the four files in the cache, the mirror and at their address; a folder must hold
        four files of the same names, and is only checked for being well-formed.

    Returns
    -------
    dict of str to DataFrame
        By site; 14 columns, indexed by the ``line`` of the hospital's file.

    Examples
    --------
    >>> raw()["Hungary"].loc[1, ["age", "chol", "thal"]].tolist()
    ['28', '132', '?']
    """
    if source == "embedded":
        return _embedded()
    if source == "official":
        return {site: tables.read_cells(files.find(NAME, file), COLUMNS) for site, file in FILE_OF.items()}
    return {site: tables.read_cells(path, COLUMNS) for site, path in _in_folder(Path(source)).items()}


def tidy(sites: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Put the raw tables together: numbers, ``nan`` where missing, and the diagnosis in words.

    Returns
    -------
    DataFrame
        ``site``, the 13 measurements, ``num`` as coded and ``diagnosis`` (``healthy`` or ``ill``).

    Examples
    --------
    >>> tidy(raw()).groupby("site", sort=False)["chol"].count().to_dict()
    {'Cleveland': 303, 'Hungary': 271, 'Switzerland': 0, 'Long Beach': 144}
    """
    parts = []
    for site, table in sites.items():
        file = FILE_OF[site].name
        if len(table) < LEAST:
            raise ValueError(
                f"{file} ({site}) has {len(table)} patient{'s' if len(table) != 1 else ''}: a site needs at least "
                f"{LEAST}, one each to train, choose and test; get the whole file"
            )
        numbers = tables.to_numbers(
            table, (*FEATURES, LABEL), name=file, zero_is_missing=("trestbps", "chol"), needed=("num",)
        )
        parts.append(numbers.assign(site=site))
    every = pd.concat(parts, ignore_index=True)
    every["diagnosis"] = [CLASSES[int(num > 0)] for num in every["num"]]
    return every[["site", *COLUMNS, "diagnosis"]]


def load(*, source: str | os.PathLike[str] = "embedded", seed: int = 0) -> Federation:
    """Load the four hospitals as a federation; the question: is a coronary vessel narrowed by more than half.

    Parameters
    ----------
    source : {"embedded", "official"} or folder
        See :func:`raw`.
    seed : int
        Of the split.

    Returns
    -------
    Federation
        Sites Cleveland (303 patients), Hungary (294), Switzerland (123) and Long Beach (200).

    Raises
    ------
    ValueError
        If a file or the embedded table is not what it should be.
    OSError
        If a file can be neither found nor downloaded.

    Examples
    --------
    >>> [len(site) for site in load().sites]
    [303, 294, 123, 200]
    """
    return Federation.from_frame(
        tidy(raw(source=source)),
        site=SITE_KEY,
        label="diagnosis",
        features=FEATURES,
        classes=CLASSES,
        duplicates=REPEATED if source in ("embedded", "official") else "keep",
        name=NAME,
        source=f"{TITLE} ({source}). {CITATION}",
        licence=LICENCE,
        about=ABOUT,
        seed=seed,
    )


def _embedded() -> dict[str, pd.DataFrame]:
    remedy = "restore it (`git checkout data_recipes/heart_disease.csv`, or install fedlab again)"
    if not TABLE.is_file():
        raise ValueError(f"the embedded table {TABLE} is gone: {remedy}")
    files.check(TABLE, TABLE_SUMS, remedy=remedy, name=f"the embedded table {TABLE}")
    every = pd.read_csv(TABLE, dtype="str", keep_default_na=False)
    parts = {site: every[every["site"] == site].drop(columns="site") for site in FILE_OF}
    return {
        site: part.set_axis(pd.RangeIndex(1, len(part) + 1, name="line"), axis="index") for site, part in parts.items()
    }


def _in_folder(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise ValueError(f"source={str(folder)!r} is neither 'embedded' nor 'official', and no such folder exists")
    paths = {site: folder / file.name for site, file in FILE_OF.items()}
    absent = [path.name for path in paths.values() if not path.is_file()]
    if absent:
        raise ValueError(f"the folder {folder} lacks {', '.join(absent)}: put the file of every hospital there")
    seen: dict[bytes, str] = {}
    for path in paths.values():
        twin = seen.setdefault(path.read_bytes(), path.name)
        if twin != path.name:
            raise ValueError(f"{path.name} is a copy of {twin}: give each hospital its own file")
    return paths


def rebuild() -> bytes:
    """Return the embedded table as the four official files give it."""
    lines = [",".join([SITE_KEY, *COLUMNS])]
    for site, file in FILE_OF.items():
        text = files.find(NAME, file).read_text(encoding="ascii")
        lines += [f"{site},{line}" for line in text.splitlines()]
    return ("\n".join(lines) + "\n").encode("ascii")


def main() -> None:
    """Write the embedded table anew: ``python -m data_recipes.heart_disease --rebuild``."""
    parser = argparse.ArgumentParser(prog="python -m data_recipes.heart_disease", description=TITLE)
    parser.add_argument("--rebuild", action="store_true", required=True, help="write the table from the official files")
    parser.parse_args()
    beside = TABLE.with_suffix(".part")
    beside.write_bytes(rebuild())
    os.replace(beside, TABLE)
    word = files.check(TABLE, TABLE_SUMS, remedy="if that is meant, put the new sum into TABLE_SUMS")
    print(f"{TABLE}: {ROWS} patients, {word}")


if __name__ == "__main__":
    main()
