"""The four hospitals: the embedded table against the official files; altered ones are refused."""

from __future__ import annotations

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


def test_equal_rows_share_a_patient() -> None:
    twice = heart_disease.tidy(heart_disease.raw())
    twice = twice[twice.duplicated()]
    assert twice["site"].tolist() == ["Hungary", "Long Beach"]
    loaded = heart_disease.load()
    assert [len(np.unique(site.rows.group)) for site in loaded.sites] == [303, 293, 123, 199]
    assert any("Hungary" in note and "Long Beach" in note for note in loaded.notes)


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


def test_seed_is_the_split() -> None:
    one, other = heart_disease.load(seed=1), heart_disease.load(seed=2)
    assert one.fingerprint == heart_disease.load(seed=1).fingerprint != other.fingerprint
    assert one.resplit(2).fingerprint == other.fingerprint
