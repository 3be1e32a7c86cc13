"""eICU Collaborative Research Database, demo 2.0.1: 2,520 intensive-care stays in 186 real hospitals of the USA.

The question: does the patient die in the hospital, from what is known after the first day in the unit.

- A **row** is a stay; stays of one patient (``uniquepid``) have one group and are never split. Of the 1,841 patients 19
  were in two hospitals: with ``sites="hospital"`` they are patients of both. Stays of one hospital admission share its
  outcome. The 28 stays without an outcome are left out.
- A **site** is a region (``sites="region"``; the 210 stays whose hospital names none are ``Unknown region``) or a
  hospital (``sites="hospital"``: most have ten patients, and many no death, so that no AUC exists there).
- **Known after the first day**: APACHE's worst values of that day, what was charted first in it (FiO2,
  norepinephrine), age, sex, size, illnesses. Not used, because they know the end: discharge times, places and weights,
  lengths of stay, APACHE's predictions, and ``diedinhospital``, ``dischargelocation`` and ``var03hspxlos`` that stand
  among the *predictors* in ``apachePredVar``.
- ``-1`` is *not measured* in APACHE's tables, at every hospital. An age of ``> 89`` is an age: 90 is used.
- **Units as written** (``harmonised=False``) differ: norepinephrine is charted in µg/min, µg/kg/min, ml/h, or in no
  unit; FiO2 as a percentage, now and then with a sign or as a fraction; heights of 66 to 71 are inches in a column of
  centimetres. ``harmonised=True`` converts what can be converted, and makes missing what cannot (a rate in ml/h whose
  concentration was not written) or is outside the data dictionary's range. A single 66 is not turned into 168.

The Open Database License is share-alike: a table that is derived from this one must be offered under it too. A model's
figures are no such table; name the source beside them.

References
----------
Pollard et al. (2018), Scientific Data 5, 180178. Johnson et al. (2021), https://doi.org/10.13026/4mxk-na84
"""

from __future__ import annotations

import pandas as pd

from data_recipes import eicu_tables as cells
from data_recipes import files
from data_recipes.eicu_dictionary import APACHE, CHARTED, FEATURES, FIO2, ILLNESSES, NEEDED, NOREPINEPHRINE, PATIENT
from fedlab.federation import Federation

NAME = "eicu_demo"
TITLE = "eICU demo, intensive care in 186 hospitals"
MODALITY = "table"
SITES = 5
ROWS = 2492
EMBEDDED = 0
LICENCE = "ODbL 1.0"
CITATION = (
    "Johnson A., Pollard T., Badawi O., Raffa J. (2021). eICU Collaborative Research Database Demo (version 2.0.1) "
    "[data set]. PhysioNet. https://doi.org/10.13026/4mxk-na84"
)
SITE_KEY = "hospitalid"

CLASSES = ("survived", "died")
OUTCOMES = {"Alive": "survived", "Expired": "died"}
LEAST = 3  # patients a site: train, valid and test need one each
OLD = "> 89"
NO_REGION = "Unknown region"


def _file(table: str, size: int, sha256: str, official: str = "") -> files.DataFile:
    name = f"{official or table}.csv.gz"
    return files.DataFile(
        name=name,
        url=f"https://physionet.org/files/eicu-crd-demo/2.0.1/{name}",
        sums=None,
        size=size,  # of the re-export: the official ones differ a little
        copy=files.DataFile(f"csv_from_fst/{table}.csv.gz", "", {f"sha256:{sha256}": "mirror re-export"}, size),
    )


FILE_OF = {
    "patient": _file("patient", 136_865, "d9d1abc23d62150cdc15a0d452c9aa0231acb88e9598c0331639df792e6cc314"),
    "hospital": _file("hospital", 768, "06e62267eff2eb5115a97722e5c03a18f9937199f13f4fd234897430f3674e09"),
    "apacheApsVar": _file("apacheApsVar", 66_427, "1d5740df51e09f8879214cee793d2e56b8cd9b34ec8a7216ad21fd8ef3b7413c"),
    "apachePredVar": _file("apachePredVar", 50_293, "c8811f98c639589af6535ec943ef3d6368acdf89b912823091172afcbdacf280"),
    "infusionDrug": _file(
        "infusionDrug",
        394_044,
        "b177e8642dd27440f0d6b982e2e653dc3e5774336e9bb2e3e80f70e2140f5e58",
        official="infusiondrug",
    ),
    "respiratoryCharting": _file(
        "respiratoryCharting", 1_631_568, "e10d4a51f9ba3fb052bd946734f460bdc5dc718509e0774df6a7b9fd1292c361"
    ),
}
FILES = tuple(FILE_OF.values())


def raw() -> dict[str, pd.DataFrame]:
    """Return the six tables as they are written: text, ``nan`` where a cell is empty.

    Raises
    ------
    ValueError
        If a file is not what it should be.
    OSError
        If a file can be neither found nor downloaded.
    """
    return {name: cells.read_table(files.find(NAME, file), NEEDED[name]) for name, file in FILE_OF.items()}


def first_day(*, sites: str = "region", tables: dict[str, pd.DataFrame] | None = None) -> dict[str, pd.DataFrame]:
    """Return each site's table of first-day values *as its hospitals wrote them*: what must be harmonised.

    Parameters
    ----------
    sites : {"region", "hospital"}
    tables : dict of str to DataFrame, optional
        As :func:`raw` gives them, which is the default.

    Returns
    -------
    dict of str to DataFrame
        By site; text, indexed by ``patientunitstayid``: ``uniquepid, hospitalid, region, hospitaldischargestatus``, the
        columns of ``FEATURES``, and what norepinephrine was charted with: ``norepinephrine_unit``, and the bag's
        ``norepinephrine_mg`` and ``norepinephrine_ml``.
    """
    if sites not in ("region", "hospital"):
        raise ValueError(f"sites={sites!r}: a site is a 'region' or a 'hospital'")
    tables = raw() if tables is None else tables
    key = "patientunitstayid"
    every = tables["patient"][list(NEEDED["patient"])].merge(
        tables["hospital"][["hospitalid", "region"]], on="hospitalid", how="left", validate="many_to_one"
    )
    twice = every[key].duplicated()
    if twice.any():
        raise ValueError(f"the table patient has stay {every[key][twice].iloc[0]} twice: get the file again")
    every = every.set_index(key)
    for name in ("apacheApsVar", "apachePredVar"):
        columns = list(NEEDED[name])
        every = every.join(tables[name][columns].drop_duplicates(key).set_index(key))
    every = every.join(cells.fio2(tables["respiratoryCharting"])).join(cells.norepinephrine(tables["infusionDrug"]))
    every["norepinephrine_charted"] = every["norepinephrine"].notna().map({True: "1", False: "0"})
    if sites == "region":
        where = every["region"].fillna(NO_REGION)
        order = [name for name in sorted(where.unique()) if name != NO_REGION]
        order += [NO_REGION] if (where == NO_REGION).any() else []
    else:
        where = "Hospital " + every["hospitalid"]
        order = sorted(where.unique(), key=lambda name: (len(name), name))
    return {name: every[where == name] for name in order}


def tidy(sites: dict[str, pd.DataFrame], *, harmonised: bool = True) -> pd.DataFrame:
    """Put the sites' first-day tables together: numbers and codes, ``nan`` where missing, and the outcome.

    Parameters
    ----------
    sites : dict of str to DataFrame
        As :func:`first_day` gives them.
    harmonised : bool
        ``False`` takes every number as it is written, whatever its unit, plausible or not.

    Returns
    -------
    DataFrame
        ``site``, ``uniquepid``, the columns of ``FEATURES`` and ``outcome``; stays without an outcome are left out.
    """
    every = pd.concat([table.assign(site=site) for site, table in sites.items()])
    tidied = every[["site", "uniquepid"]].copy()
    tidied["outcome"] = every["hospitaldischargestatus"].map(OUTCOMES)
    every["age"] = every["age"].where(every["age"].str.strip() != OLD, "90")
    for feature in (*PATIENT, *APACHE, *ILLNESSES, CHARTED):
        if feature.kind == "category":  # "Other" and "Unknown" of gender are missing, as -1 is
            tidied[feature.name] = every[feature.name].where(every[feature.name].isin(list(feature.codes or {})))
        else:
            numbers = cells.to_number(every, feature, sentinel="-1" if feature in APACHE else "")
            tidied[feature.name] = cells.plausible(numbers, feature) if harmonised else numbers
    fio2, rate = cells.as_charted(every["fio2"]), cells.as_charted(every["norepinephrine"])
    if harmonised:
        mg, ml = (cells.as_charted(every[f"norepinephrine_{what}"]) for what in ("mg", "ml"))
        unit, weight = every["norepinephrine_unit"], tidied["admissionweight"]
        fio2 = cells.plausible(cells.percent(fio2), FIO2)
        rate = cells.plausible(cells.per_minute(rate, unit, weight=weight, mg=mg, ml=ml), NOREPINEPHRINE)
    tidied["fio2"], tidied["norepinephrine"] = fio2, rate
    known = tidied["outcome"].notna()
    return tidied.loc[known, ["site", "uniquepid", *(f.name for f in FEATURES), "outcome"]]


def load(*, sites: str = "region", harmonised: bool = True, least: int = LEAST, seed: int = 0) -> Federation:
    """Load the stays as a federation; the question: does the patient die in the hospital.

    Parameters
    ----------
    sites : {"region", "hospital"}
        Five sites, or 186.
    harmonised : bool
        Units converted and the implausible made missing, or every number as it is written.
    least : int
        A site with fewer patients is left out and named in ``source``; at least 3, one for each part of a split.
    seed : int
        Of the split.

    Returns
    -------
    Federation

    Raises
    ------
    ValueError
        If an option or a file is not what it should be, or no site is large enough.
    OSError
        If a file can be neither found nor downloaded.
    """
    if least < LEAST:
        raise ValueError(f"least={least!r}: a site needs at least {LEAST} patients, one each to train, choose and test")
    tables = first_day(sites=sites)
    every = tidy(tables, harmonised=harmonised)
    patients = every.groupby("site")["uniquepid"].nunique()
    small = [site for site in tables if patients.get(site, 0) < least]
    if len(small) == len(tables):
        raise ValueError(f"no site has least={least} patients: the largest has {patients.max()}")
    told = f" Left out, fewer than {least} patients: {', '.join(small)}." if small else ""
    units = "units harmonised" if harmonised else "units as written"
    return Federation.from_frame(
        every[~every["site"].isin(small)],
        site="site",
        label="outcome",
        group="uniquepid",
        features=FEATURES,
        classes=CLASSES,
        name=NAME,
        source=f"{TITLE} (sites by {sites}, {units}). {CITATION}{told}",
        licence=LICENCE,
        about={site: _about(table) for site, table in tables.items() if site not in small},
        seed=seed,
    )


def _about(table: pd.DataFrame) -> dict[str, str]:
    hospitals = str(table["hospitalid"].nunique())
    region = table["region"].fillna(NO_REGION).iloc[0]
    return {"country": "USA", "region": region, "hospitals": hospitals, "years": "2014 and 2015"}
