"""The four hospitals: the embedded table against the official files, and every kind of damaged copy refused."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from recipes_support import sha256

from data_recipes import files, heart_disease

SITES = ["Cleveland", "Hungary", "Switzerland", "Long Beach"]
PATIENTS = [303, 294, 123, 200]
ILL = [139, 106, 115, 149]

official = pytest.mark.skipif(
    any(files.look(heart_disease.NAME, file)[1] is None for file in heart_disease.FILES),
    reason="no official files in the cache or the mirror: run `fedlab fetch heart_disease`, or set FEDLAB_MIRROR",
)

# ---------------------------------------------------------------- the real table


@official
def test_embedded_is_official_cell_by_cell() -> None:
    embedded, official = heart_disease.raw(), heart_disease.raw(source="official")
    assert list(embedded) == list(official) == SITES
    for site in SITES:
        assert embedded[site].equals(official[site])
        written = files.find(heart_disease.NAME, heart_disease.FILE_OF[site]).read_text().splitlines()
        assert [",".join(row) for row in embedded[site].to_numpy().tolist()] == written


@official
def test_rebuild_gives_the_same_bytes() -> None:
    assert heart_disease.rebuild() == heart_disease.TABLE.read_bytes()


@official
def test_rebuild_as_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    released = heart_disease.TABLE.read_bytes()
    monkeypatch.setattr(heart_disease, "TABLE", tmp_path / "heart_disease.csv")
    monkeypatch.setattr(sys, "argv", ["heart_disease", "--rebuild"])
    heart_disease.main()
    assert "920 patients, as released" in capsys.readouterr().out
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("heart_disease.csv", released)]


@official
def test_official_source_is_the_same_federation() -> None:
    assert heart_disease.load(source="official").fingerprint == heart_disease.load().fingerprint


@pytest.mark.parametrize("file", heart_disease.FILES, ids=lambda file: file.name)
def test_both_sums_of_the_official_files(file: files.DataFile, tmp_path: Path) -> None:
    """The embedded rows are the official files: both their sums (sha256, and the md5 that FLamby published) fit."""
    site = next(site for site, known in heart_disease.FILE_OF.items() if known is file)
    text = "".join(",".join(row) + "\n" for row in heart_disease.raw()[site].to_numpy().tolist())
    (tmp_path / file.name).write_bytes(text.encode())
    assert len(text) == file.size
    assert len(file.sums or {}) == 2
    for known in file.sums or {}:
        assert files.check(tmp_path / file.name, {known: "official"}, remedy="") == "official"


def test_table_is_as_promised() -> None:
    content = heart_disease.TABLE.read_bytes()
    assert len(content) == heart_disease.EMBEDDED and b"\r" not in content and content.endswith(b"\n")
    assert content.split(b"\n")[0].decode() == (
        "site,age,sex,cp,trestbps,chol,fbs,restecg,thalach,exang,oldpeak,slope,ca,thal,num"
    )
    assert content.count(b"\n") == 921
    raw = heart_disease.raw()
    assert raw["Cleveland"].loc[1, "age"] == "63.0" and raw["Switzerland"].loc[1, "oldpeak"] == ".7"


def test_notice_names_everybody() -> None:
    notice = heart_disease.TABLE.with_name("heart_disease.NOTICE.md").read_text()
    for word in (
        "Janosi",
        "Steinbrunn",
        "Pfisterer",
        "Detrano",
        "10.24432/C52P4X",
        "creativecommons.org/licenses/by/4.0",
    ):
        assert word in notice
    assert "four files combined, site column added" in notice


def test_patients_and_prevalence() -> None:
    federation = heart_disease.load()
    assert list(federation.names) == SITES
    assert [len(site) for site in federation.sites] == PATIENTS
    assert [int(site.rows.y.sum()) for site in federation.sites] == ILL
    assert federation.task.classes == ("healthy", "ill")
    assert all(set(site.about) == {"hospital", "city", "country", "investigator"} for site in federation.sites)


def test_missing_values() -> None:
    table = heart_disease.tidy(heart_disease.raw())
    absent = table.isna().groupby(table["site"], sort=False).sum()
    assert absent["chol"].tolist() == [0, 23, 123, 7 + 49]  # 0 is missing, too
    assert absent["trestbps"].tolist() == [0, 1, 2, 56 + 1]
    assert absent["ca"].tolist() == [4, 291, 118, 198]
    assert absent["thal"].tolist() == [2, 266, 52, 166]
    assert not table[["age", "sex", "num"]].isna().any(axis=None)
    assert table.loc[table["site"] == "Hungary", "num"].isin([0, 1]).all()
    assert (table["oldpeak"] < 0).groupby(table["site"], sort=False).sum().tolist() == [0, 0, 11, 1]


def test_equal_rows_are_two_patients() -> None:
    twice = heart_disease.tidy(heart_disease.raw())
    twice = twice[twice.duplicated()]
    assert twice["site"].tolist() == ["Hungary", "Long Beach"]
    hungary = heart_disease.load()["Hungary"].rows
    assert len(np.unique(hungary.group)) == 294


def test_codes_are_numbers_at_every_hospital() -> None:
    """Cleveland writes 3.0 where the others write 3: one column per code, not per spelling."""
    federation = heart_disease.load()
    assert [c for c in federation.columns if c.startswith("cp")] == ["cp=1", "cp=2", "cp=3", "cp=4"]
    for site in federation.sites:
        hot = site.rows.x[:, [federation.columns.index(f"cp={code}") for code in (1, 2, 3, 4)]]
        assert hot.sum(1).eq(1).all()


# ---------------------------------------------------------------- the embedded table, altered


@pytest.mark.parametrize(
    "alter",
    [
        lambda b: b.replace(b"Cleveland,63.0", b"Cleveland,64.0", 1),
        lambda b: b[:-100],
        lambda b: b.replace(b"\n", b"\r\n"),
        lambda b: b"",
    ],
    ids=["one cell", "truncated", "line ends", "empty"],
)
def test_altered_embedded_table(
    alter: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = alter(heart_disease.TABLE.read_bytes())
    altered = tmp_path / "heart_disease.csv"
    altered.write_bytes(content)
    monkeypatch.setattr(heart_disease, "TABLE", altered)
    with pytest.raises(ValueError, match="the embedded table .* restore it") as error:
        heart_disease.load()
    assert sha256(content) in str(error.value)
    assert next(iter(heart_disease.TABLE_SUMS)).split(":")[1] in str(error.value)


def test_embedded_table_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heart_disease, "TABLE", tmp_path / "heart_disease.csv")
    with pytest.raises(ValueError, match="is gone: restore it"):
        heart_disease.load()


def test_altered_official_file(cache: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    folder.rename(mirror / "heart_disease")
    monkeypatch.setenv("FEDLAB_MIRROR", str(mirror))
    assert heart_disease.load(source="official").fingerprint == heart_disease.load().fingerprint
    path = mirror / "heart_disease" / "processed.va.data"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="processed.va.data is truncated or altered") as error:
        heart_disease.load(source="official")
    assert "e7c93d8d0d2a" in str(error.value) and sha256(path.read_bytes()) in str(error.value)


# ---------------------------------------------------------------- a folder


def test_folder_is_the_same_federation(folder: Path) -> None:
    assert heart_disease.load(source=folder).fingerprint == heart_disease.load().fingerprint
    assert heart_disease.load(source=str(folder)).names == tuple(SITES)


def test_what_a_folder_may_differ_in(folder: Path) -> None:
    """Windows line ends, a byte order mark, blanks, another number of rows, one class only."""
    for path in folder.iterdir():
        rows = path.read_bytes().splitlines()[:50]
        rows = [row[:-1] + b"0" for row in rows] if "cleveland" in path.name else rows
        path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(row.replace(b",", b", ") for row in rows) + b"\r\n")
    federation = heart_disease.load(source=folder)
    assert [len(site) for site in federation.sites] == [50] * 4
    assert federation["Cleveland"].rows.y.sum() == 0


def test_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither 'embedded' nor 'official', and no such folder"):
        heart_disease.load(source="offical")
    with pytest.raises(ValueError, match=r"lacks processed.cleveland.data, .*processed.va.data"):
        heart_disease.load(source=tmp_path)


def test_folder_that_lacks_a_file(folder: Path) -> None:
    (folder / "processed.va.data").unlink()
    with pytest.raises(ValueError, match=r"lacks processed.va.data: put the file of every hospital there"):
        heart_disease.load(source=folder)


def test_same_file_twice(folder: Path) -> None:
    (folder / "processed.va.data").write_bytes((folder / "processed.hungarian.data").read_bytes())
    with pytest.raises(ValueError, match="processed.va.data is a copy of processed.hungarian.data"):
        heart_disease.load(source=folder)


def cell(line: int, column: str, value: str) -> Callable[[str], str]:
    def alter(text: str) -> str:
        lines = text.splitlines()
        cells = lines[line - 1].split(",")
        cells[heart_disease.COLUMNS.index(column)] = value
        lines[line - 1] = ",".join(cells)
        return "\n".join(lines) + "\n"

    return alter


def each_line(change: Callable[[list[str]], list[str]]) -> Callable[[str], str]:
    return lambda text: "".join(",".join(change(line.split(","))) + "\n" for line in text.splitlines())


HEADER = ",".join(heart_disease.COLUMNS) + "\n"
WHOLE_FILE = {
    "empty": (lambda t: "", "is empty: put the hospital's table there"),
    "blank": (lambda t: "\n\n", "is empty"),
    "one patient": (lambda t: t.splitlines()[0] + "\n", r"\(Hungary\) has 1 patient: a site needs at least 3"),
    "semicolons": (lambda t: t.replace(",", ";"), "separates its cells by semicolons .* save it with commas"),
    "semicolons, decimal commas": (lambda t: t.replace(",", ";").replace(".", ","), "by semicolons"),
    "tabs": (lambda t: t.replace(",", "\t"), "by tabs"),
    "spaces": (lambda t: t.replace(",", " "), "by spaces"),
    "header": (lambda t: HEADER + t, "line 1 is a header .* delete line 1"),
    "header of own names": (lambda t: "a,b,c,d,e,f,g,h,i,j,k,l,m,n\n" + t, "line 1 is a header"),
    "header and row numbers": (
        lambda t: "," + HEADER + "".join(f"{k},{line}\n" for k, line in enumerate(t.splitlines())),
        "line 1 is a header",
    ),
    "header of numbers": (lambda t: ",".join(map(str, range(14))) + "\n" + t, "line 1, column"),
    "missing column": (each_line(lambda c: c[:5] + c[6:]), r"has 13 columns, not 14 \(age,.*,num\): restore"),
    "extra column": (each_line(lambda c: ["7", *c]), r"has 15 columns, not 14 .* delete what was added"),
    "cut in a line": (lambda t: t[:-9], "ends in the middle of line 294 .* it was cut, get it again"),
    "cut before the line break": (lambda t: t[:-1], "if the line is whole, add the line break"),
    "last line short": (lambda t: t[:-9] + "\n", r"line 294 \(the last line: the file was cut\) has 1\d columns"),
    "line short": (lambda t: t.replace("29,1,2,120,", "29,1,2,", 1), "line 2 has 13 columns, not 14"),
    "blank line": (lambda t: t.replace("\n", "\n\n", 1), "line 2 has 1 column, not 14"),
}
ONE_CELL = {
    "text": ("age", "sixty", "'sixty' is not a number: correct it, or write ?"),
    "empty cell": ("chol", "", "'' is not a number"),
    "NaN": ("chol", "NaN", "'NaN' is not a number"),
    "inf": ("chol", "inf", "'inf' is not a number"),
    "quoted": ("age", '"28"', "is not a number"),
    "-9": ("chol", "-9", r"'-9' marks a missing value in the unprocessed files only: write \?"),
    "-9.0 among codes": ("thal", "-9.0", "marks a missing value"),
    "sex": ("sex", "2", "'2' is none of its codes 0, 1"),
    "cp": ("cp", "0", "none of its codes 1, 2, 3, 4"),
    "thal": ("thal", "5", "none of its codes 3, 6, 7"),
    "ca": ("ca", "1.5", "none of its codes 0, 1, 2, 3"),
    "age": ("age", "280", r"'280' is outside 0 … 120 years"),
    "negative age": ("age", "-1", "outside 0 … 120 years"),
    "blood pressure": ("trestbps", "13.0", "outside 40 … 300 mmHg"),
    "heart rate": ("thalach", "0", "outside 30 … 250 beats/min"),
    "cholesterol in mmol/l": ("chol", "5.2", "outside 40 … 1000 mg/dl"),
    "label out of range": ("num", "5", "none of its codes 0, 1, 2, 3, 4"),
    "label ?": ("num", "?", r"'\?', but every patient needs a value here: leave the patient out"),
    "label NaN": ("num", "NaN", "'NaN', but every patient needs a value"),
    "label empty": ("num", "", "every patient needs a value"),
}


@pytest.mark.parametrize(("alter", "says"), WHOLE_FILE.values(), ids=WHOLE_FILE)
def test_damaged_file(alter: Callable[[str], str], says: str, folder: Path) -> None:
    path = folder / "processed.hungarian.data"
    path.write_text(alter(path.read_text()))
    with pytest.raises(ValueError, match=f"^processed.hungarian.data.*{says}") as error:
        heart_disease.load(source=folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("column", "value", "says"), ONE_CELL.values(), ids=ONE_CELL)
def test_damaged_cell(column: str, value: str, says: str, folder: Path) -> None:
    path = folder / "processed.hungarian.data"
    path.write_text(cell(17, column, value)(path.read_text()))
    with pytest.raises(
        ValueError, match=re.escape(f"processed.hungarian.data, line 17, column '{column}': ") + f".*{says}"
    ):
        heart_disease.load(source=folder)


def test_file_that_is_no_text(folder: Path) -> None:
    (folder / "processed.va.data").write_bytes(b"\x1f\x8b\x08\x00\xff\xfe")
    with pytest.raises(ValueError, match=r"processed.va.data is not plain text \(UTF-8\)"):
        heart_disease.load(source=folder)


def test_seed_is_the_split() -> None:
    one, other = heart_disease.load(seed=1), heart_disease.load(seed=2)
    assert one.fingerprint == heart_disease.load(seed=1).fingerprint != other.fingerprint
    assert one.resplit(2).fingerprint == other.fingerprint
