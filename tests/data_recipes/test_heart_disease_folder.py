"""The four hospitals from a folder of one's own: the same federation, and every kind of damaged copy refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from data_recipes import heart_disease


def test_folder_is_the_same_federation(folder: Path) -> None:
    assert heart_disease.load(source=folder).fingerprint == heart_disease.load().fingerprint
    assert heart_disease.load(source=str(folder)).names == heart_disease.load().names


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
