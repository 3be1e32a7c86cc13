"""eICU's stays as a federation: a few made-up ones of the same form, and the real ones where they are at hand."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

import data_recipes
from data_recipes import eicu_demo, files

AT_HAND = all(files.look("eicu_demo", file)[0] != "to download" for file in eicu_demo.FILES)
real = pytest.mark.skipif(not AT_HAND, reason="eICU's files are neither cached nor in a FEDLAB_MIRROR")

STAYS = range(1, 13)  # two hospitals of a named region, one of none; stay 12 is patient 1 again
HOSPITAL = {stay: ("56", "58", "99")[stay % 3] for stay in STAYS} | {12: "58"}


def frame(rows: list[dict[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, dtype="str")


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    """Twelve stays of eleven patients, every oddity once."""
    patient = [
        {
            "patientUnitStayID": str(stay),  # the release's header is in another case than the re-export's
            "uniquepid": f"p{1 if stay == 12 else stay}",
            "hospitalid": HOSPITAL[stay],
            "age": {1: "> 89", 2: ""}.get(stay, "60"),
            "gender": {3: "Unknown"}.get(stay, "Female" if stay % 2 else "Male"),
            "admissionheight": {4: "67"}.get(stay, "170"),
            "admissionweight": {5: "0.5"}.get(stay, "80"),
            "hospitaldischargestatus": {6: ""}.get(stay, "Expired" if stay % 4 == 0 else "Alive"),
        }
        for stay in STAYS
    ]
    apache = [
        {"patientunitstayid": str(stay)}
        | {feature.name: "1" for feature in eicu_demo.APACHE}
        | {"temperature": {7: "-1"}.get(stay, "36.6"), "ph": "7.4", "sodium": "140", "wbc": "10"}
        for stay in STAYS
        if stay != 8
    ]
    ill = [{"patientunitstayid": str(s)} | {f.name: "0" for f in eicu_demo.ILLNESSES} for s in STAYS]
    oxygen = [("1", "-5", "FiO2", "30"), ("1", "60", "FiO2", "0.6"), ("1", "90", "FiO2", "80"),
              ("2", "9", "FIO2 (%)", "45%"), ("3", "9", "FiO2", "4"), ("4", "2000", "FiO2", "50"),
              ("5", "9", "LPM O2", "6")]  # fmt: skip
    doses = [("1", "mcg/min", "8", "", ""), ("2", "mcg/kg/min", "0.1", "", ""), ("3", "ml/hr", "30", "4", "250"),
             ("4", "ml/hr", "30", "", ""), ("5", "mcg/kg/min", "0.1", "", ""), ("6", "", "9", "", "")]  # fmt: skip
    return {
        "patient": frame(patient),
        "hospital": frame([{"hospitalid": h, "region": r} for h, r in (("56", "South"), ("58", "South"), ("99", ""))]),
        "apacheApsVar": frame(apache),
        "apachePredVar": frame(ill),
        "infusionDrug": frame(
            [
                {
                    "patientunitstayid": stay, "infusionoffset": "30", "drugname": f"Norepinephrine ({unit})",
                    "drugrate": rate, "drugamount": mg, "volumeoffluid": ml,
                }
                for stay, unit, rate, mg, ml in doses
            ]
        ),
        "respiratoryCharting": frame(
            [
                dict(zip(eicu_demo.NEEDED["respiratoryCharting"], row, strict=True))
                for row in oxygen
            ]
        ),
    }  # fmt: skip


@pytest.fixture
def mirror(tables: dict[str, pd.DataFrame], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stays as official files in a mirror."""
    folder = tmp_path / "mirror" / "eicu_demo"
    folder.mkdir(parents=True)
    for name, table in tables.items():
        table.to_csv(folder / eicu_demo.FILE_OF[name].name, index=False)
    monkeypatch.setenv("FEDLAB_MIRROR", str(tmp_path / "mirror"))
    return folder


@pytest.fixture
def tidied(mirror: Path) -> pd.DataFrame:
    return eicu_demo.tidy(eicu_demo.first_day())


def test_sites_patients_and_outcomes(mirror: Path, tidied: pd.DataFrame) -> None:
    federation = eicu_demo.load()
    assert federation.names == ("South", "Unknown region")
    assert [len(site) for site in federation.sites] == [7, 4] and "6" not in tidied.index  # its outcome is unknown
    assert sum(int(site.rows.y.sum()) for site in federation.sites) == (tidied["outcome"] == "died").sum() == 3
    for site in federation.resplit(5).sites:  # patient p1 has two stays, which no split parts
        assert len({part for part, rows in site.split.parts().items() if "p1" in site.rows.group[rows]}) <= 1


def test_small_sites_are_left_out_and_named(mirror: Path) -> None:
    federation = eicu_demo.load(sites="hospital")
    assert federation.names == ("Hospital 58", "Hospital 99")
    assert "Left out, fewer than 3 patients: Hospital 56." in federation.source
    with pytest.raises(ValueError, match="no site has least=400 patients: the largest has 4"):
        eicu_demo.load(sites="hospital", least=400)
    with pytest.raises(ValueError, match="a site needs at least 3 patients"):
        eicu_demo.load(least=1)
    with pytest.raises(ValueError, match="a 'region' or a 'hospital'"):
        eicu_demo.load(sites="ward")


def test_what_is_missing_and_what_is_not(tidied: pd.DataFrame) -> None:
    assert tidied.loc["1", "age"] == 90 and pd.isna(tidied.loc["2", "age"])
    assert pd.isna(tidied.loc["3", "gender"])
    assert pd.isna(tidied.loc["4", "admissionheight"]) and pd.isna(tidied.loc["5", "admissionweight"])
    assert pd.isna(tidied.loc["7", "temperature"]) and tidied.loc["9", "temperature"] == 36.6
    assert tidied.loc["8", [feature.name for feature in eicu_demo.APACHE]].isna().all()


def test_oxygen_and_norepinephrine_in_one_unit(tidied: pd.DataFrame) -> None:
    assert tidied["fio2"].dropna().to_dict() == {"1": 60, "2": 45}  # first of the first day; 4 is litres
    assert tidied["norepinephrine"].dropna().to_dict() == {"1": 8, "2": 8, "3": 8}
    assert (tidied["norepinephrine_charted"] == "1").sum() == 5  # charted too where the dose is not known


def test_as_written(mirror: Path) -> None:
    assert eicu_demo.first_day()["Unknown region"].loc["2", "norepinephrine_unit"] == "mcg/kg/min"
    written = eicu_demo.tidy(eicu_demo.first_day(), harmonised=False)
    assert written.loc["4", "admissionheight"] == 67
    assert written["fio2"].dropna().to_dict() == {"1": 0.6, "2": 45, "3": 4}
    assert written.loc[["1", "2", "3"], "norepinephrine"].tolist() == [8, 0.1, 30]
    assert pd.isna(written.loc["7", "temperature"])  # -1 is missing everywhere alike
    assert eicu_demo.load(harmonised=False).fingerprint != eicu_demo.load().fingerprint


def test_nothing_that_knows_the_end() -> None:
    named = {feature.name for feature in eicu_demo.FEATURES}
    assert not {"diedinhospital", "dischargelocation", "dischargeweight", "var03hspxlos", "activetx"} & named
    assert not [name for name in named if "discharge" in name or "actual" in name or "predicted" in name]


def test_units_are_readable() -> None:
    pint = pytest.importorskip("pint")
    for feature in eicu_demo.FEATURES:
        pint.UnitRegistry().parse_units(feature.unit)


def spoil(mirror: Path, name: str, **changes: str) -> None:
    table = pd.read_csv(mirror / eicu_demo.FILE_OF[name].name, dtype="str").rename(columns=str.lower)
    table.assign(**changes).to_csv(mirror / eicu_demo.FILE_OF[name].name, index=False)


def test_cut_file(mirror: Path) -> None:
    path = mirror / "patient.csv.gz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"patient\.csv\.gz is cut.*get the file again"):
        eicu_demo.load()
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(ValueError, match=r"patient\.csv\.gz is empty"):
        eicu_demo.load()


def test_missing_column(mirror: Path, tables: dict[str, pd.DataFrame]) -> None:
    tables["apacheApsVar"].drop(columns=["ph", "bun"]).to_csv(mirror / "apacheApsVar.csv.gz", index=False)
    with pytest.raises(ValueError, match=r"apacheApsVar\.csv\.gz lacks the columns ph, bun"):
        eicu_demo.raw()


def test_text_in_a_column_of_numbers(mirror: Path) -> None:
    spoil(mirror, "apacheApsVar", temperature="warm")
    with pytest.raises(ValueError, match="stay .*, column 'temperature': 'warm' is not a number"):
        eicu_demo.load()


def test_a_stay_twice(mirror: Path) -> None:
    spoil(mirror, "patient", patientunitstayid="1")
    with pytest.raises(ValueError, match="the table patient has stay 1 twice"):
        eicu_demo.load()


def test_no_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(url: str, *_: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(files, "_downloader", lambda: none)
    with pytest.raises(OSError, match=r"patient\.csv\.gz is not in the cache.*fedlab fetch eicu_demo"):
        eicu_demo.load()


def test_the_licence_is_told(mirror: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_recipes.load("eicu_demo")
    assert "ODbL 1.0, which is share-alike" in capsys.readouterr().out


@real
def test_the_real_stays() -> None:
    written = eicu_demo.first_day()
    assert list(written) == ["Midwest", "Northeast", "South", "West", "Unknown region"]
    assert sum(map(len, written.values())) == 2520
    every = eicu_demo.tidy(written)
    assert (len(every), (every["outcome"] == "died").sum(), every["uniquepid"].nunique()) == (2492, 212, 1820)
    units = pd.concat(written.values())["norepinephrine_unit"].value_counts().to_dict()
    assert set(units) == {"mcg/min", "ml/hr", "", "mcg/kg/min"}
    assert every["norepinephrine"].between(0, 200).sum() == every["norepinephrine"].notna().sum() == 80
    assert every["fio2"].min() == 21 and every["age"].max() == 90


@real
def test_the_real_hospitals() -> None:
    federation = eicu_demo.load(sites="hospital")
    assert len(federation.sites) == 186
    assert sum(bool((site.rows.y == 1).any()) for site in federation.sites) == 117
