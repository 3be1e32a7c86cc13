"""The lookup: cache, mirror, official address; a wrong sum is never used and nothing half-written stays."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from recipes_support import CONTENT, Server, data_file, say, sha256

from data_recipes import files

OTHER = CONTENT[:-1] + b"!"


def put(folder: Path, content: bytes, name: str = "ward.csv") -> Path:
    path = folder / "demo" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def one_sentence(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert error.value.__context__ is None or error.value.__suppress_context__  # no traceback of somebody else's
    return text


@pytest.fixture
def mirror(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "mirror"
    monkeypatch.setenv("FEDLAB_MIRROR", str(place))
    return place


def test_cache_before_mirror_before_address(cache: Path, mirror: Path, server: Server) -> None:
    server.answers["/ward.csv"] = say(CONTENT)
    file = data_file(server.url + "/ward.csv")
    assert files.look("demo", file) == ("to download", None)

    mirrored = put(mirror, CONTENT)
    assert files.look("demo", file)[0] == "mirror"
    assert files.find("demo", file) == mirrored  # read in place
    assert not cache.exists() and server.asked == []

    cached = put(cache, CONTENT)
    assert files.look("demo", file)[0] == "cached"
    assert files.find("demo", file) == cached
    assert server.asked == []


def test_download_is_kept_and_not_repeated(cache: Path, server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    server.answers["/ward.csv"] = say(CONTENT)
    file = data_file(server.url + "/ward.csv")
    path = files.find("demo", file)
    assert path == cache / "demo" / "ward.csv" and path.read_bytes() == CONTENT
    assert "100%" in capfd.readouterr().err  # the progress bar
    assert files.find("demo", file) == path
    assert server.asked == ["/ward.csv"]
    assert left(cache) == ["ward.csv"]


def test_name_may_be_a_path(cache: Path, server: Server) -> None:
    server.answers["/a"] = say(CONTENT)
    assert files.find("demo", data_file(server.url + "/a", name="tables/a.csv")) == cache / "demo/tables/a.csv"


def test_altered_download_is_refused_with_both_sums(cache: Path, server: Server) -> None:
    server.answers["/ward.csv"] = say(OTHER)
    with pytest.raises(ValueError, match="nothing was kept") as error:
        files.find("demo", data_file(server.url + "/ward.csv"))
    assert sha256(CONTENT) in one_sentence(error) and sha256(OTHER) in str(error.value)
    assert left(cache) == []


def test_truncated_download_that_promised_more(cache: Path, server: Server) -> None:
    server.answers["/ward.csv"] = say(CONTENT[:5000], promised=len(CONTENT))
    with pytest.raises(OSError, match="the download broke off"):
        files.find("demo", data_file(server.url + "/ward.csv"))
    assert left(cache) == []


def test_a_server_that_says_no_more_is_not_waited_for(
    cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def stall(handler: BaseHTTPRequestHandler) -> None:
        say(CONTENT[:100], promised=len(CONTENT))(handler)
        handler.wfile.flush()
        over.wait()

    monkeypatch.setattr(files, "TIMEOUT", 0.5)
    server.answers["/ward.csv"] = stall
    try:
        with pytest.raises(OSError, match="could not be fetched .no answer in 0.5 s"):
            files.find("demo", data_file(server.url + "/ward.csv"))
    finally:
        over.set()
    assert left(cache) == []


def test_truncated_download_that_looks_whole(cache: Path, server: Server) -> None:
    server.answers["/ward.csv"] = say(CONTENT[:5000])
    with pytest.raises(ValueError, match=r"expected sha256 .* found .*\(5000 bytes\)"):
        files.find("demo", data_file(server.url + "/ward.csv"))
    assert left(cache) == []


def test_interrupted_download_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(url: str, output: str, _: None) -> None:
        Path(output).write_bytes(CONTENT[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "_downloader", lambda: half)
    with pytest.raises(KeyboardInterrupt):
        files.find("demo", data_file("http://nowhere.invalid/"))
    assert left(cache) == []


def test_missing_page(cache: Path, server: Server) -> None:
    with pytest.raises(OSError, match="the server answers 404") as error:
        files.find("demo", data_file(server.url + "/gone.csv"))
    assert server.url in one_sentence(error)
    assert left(cache) == []


def test_no_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        file = data_file(f"http://127.0.0.1:{closed.getsockname()[1]}/ward.csv", instead="use source='embedded'")
    with pytest.raises(OSError, match="no network") as error:
        files.find("demo", file)
    for remedy in ("fedlab fetch demo", "FEDLAB_MIRROR", "demo/ward.csv", "source='embedded'"):
        assert remedy in one_sentence(error)
    assert left(cache) == []


def test_cache_that_cannot_be_written(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root writes everywhere: a folder below a regular file is one that even root cannot make.
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEDLAB_DATA", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match="cannot be written") as error:
        files.find("demo", data_file("http://nowhere.invalid/"))
    for remedy in ("FEDLAB_DATA", "FEDLAB_MIRROR"):
        assert remedy in one_sentence(error)


def test_cache_that_is_read_only(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(OSError, match=r"cannot be written \(Permission denied\).*set FEDLAB_DATA"):
        files.find("demo", data_file("http://nowhere.invalid/"))


def test_read_only_cache_with_the_file_in_it_is_enough(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(cache, CONTENT)
    monkeypatch.setattr(files, "_writable", lambda *_: pytest.fail("nothing needs to be written"))
    assert files.find("demo", data_file("http://nowhere.invalid/")) == path


def test_corrupt_cache_is_refused_and_fetch_replaces_it(cache: Path, server: Server) -> None:
    server.answers["/ward.csv"] = say(CONTENT)
    file = data_file(server.url + "/ward.csv")
    path = put(cache, OTHER)
    with pytest.raises(ValueError, match="fedlab fetch demo.*delete it") as error:
        files.find("demo", file)
    assert sha256(CONTENT) in one_sentence(error) and sha256(OTHER) in str(error.value)
    assert path.read_bytes() == OTHER and server.asked == []

    assert [step.done for step in files.fetch("demo", [file])] == [f"was damaged, replaced from {file.url}"]
    assert path.read_bytes() == CONTENT
    assert [step.done for step in files.fetch("demo", [file])] == ["is in the cache (official)"]


def test_corrupt_cache_stays_if_its_replacement_is_no_better(cache: Path, server: Server) -> None:
    server.answers["/ward.csv"] = say(OTHER)
    put(cache, b"half")
    with pytest.raises(ValueError, match="nothing was kept"):
        list(files.fetch("demo", [data_file(server.url + "/ward.csv")]))
    assert left(cache) == ["ward.csv"] and (cache / "demo/ward.csv").read_bytes() == b"half"


def test_corrupt_mirror_is_refused(cache: Path, mirror: Path, server: Server) -> None:
    server.answers["/ward.csv"] = say(CONTENT)
    put(mirror, OTHER)
    file = data_file(server.url + "/ward.csv")
    with pytest.raises(ValueError, match="unset FEDLAB_MIRROR") as error:
        files.find("demo", file)
    assert sha256(CONTENT) in str(error.value) and sha256(OTHER) in str(error.value)
    with pytest.raises(ValueError, match="nothing was kept"):
        list(files.fetch("demo", [file]))
    assert server.asked == [] and left(cache) == []


def test_fetch_copies_from_the_mirror(cache: Path, mirror: Path) -> None:
    put(mirror, CONTENT)
    (step,) = files.fetch("demo", [data_file("http://nowhere.invalid/")])
    assert step.path == cache / "demo/ward.csv" and step.path.read_bytes() == CONTENT
    assert str(step) == f"demo: ward.csv from {mirror}/demo/ward.csv: {cache}/demo/ward.csv"


def test_any_accepted_sum_will_do(cache: Path) -> None:
    path = put(cache, CONTENT)
    sums = {f"sha256:{sha256(OTHER)}": "official", f"sha256:{sha256(CONTENT)}": "mirror re-export"}
    assert files.check(path, sums, remedy="") == "mirror re-export"
    assert files.check(path, {}, remedy="") == "unverified"


def test_unknown_sum_is_recorded_at_the_first_download(
    cache: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers["/ward.csv"] = say(CONTENT)
    file = data_file(server.url + "/ward.csv", sums=None)
    path = files.find("demo", file)
    assert sha256(CONTENT) in capsys.readouterr().out
    assert files.find("demo", file) == path

    path.write_bytes(OTHER)
    with pytest.raises(ValueError, match="recorded at the first download"):
        files.find("demo", file)
    path.unlink()
    server.answers["/ward.csv"] = say(OTHER)
    with pytest.raises(ValueError, match="if the publisher has changed the file, delete"):
        files.find("demo", file)


def test_default_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLAB_DATA", "")
    monkeypatch.setenv("FEDLAB_MIRROR", "")
    assert "fedlab" in files.cache_folder().parts
    assert files.mirror_folder() is None


@pytest.fixture
def two_forms() -> files.DataFile:
    """A file of unknown sum, and a mirror's re-export of it."""
    copy = data_file("", name="again/ward.csv", sums={f"sha256:{sha256(OTHER)}": "mirror re-export"})
    return data_file("http://nowhere.invalid/ward.csv", sums=None, copy=copy)


def test_a_copy_is_taken_where_the_official_file_is_not(
    cache: Path, mirror: Path, two_forms: files.DataFile, capsys: pytest.CaptureFixture[str]
) -> None:
    again = put(mirror, OTHER, "again/ward.csv")
    assert files.look("demo", two_forms) == ("mirror", again) and files.find("demo", two_forms) == again
    (step,) = files.fetch("demo", [two_forms])
    assert step.path == cache / "demo/again/ward.csv" and step.file == "again/ward.csv"
    assert [s.done for s in files.fetch("demo", [two_forms])] == ["is in the cache (mirror re-export)"]
    assert capsys.readouterr().out == ""  # its sum is known
    official = put(cache, CONTENT)
    assert files.find("demo", two_forms) == official


def test_a_damaged_copy_is_refused_and_replaced_by_the_official_file(
    cache: Path, server: Server, two_forms: files.DataFile
) -> None:
    damaged = put(cache, b"half", "again/ward.csv")
    with pytest.raises(ValueError, match="is truncated or altered"):
        files.find("demo", two_forms)
    server.answers["/ward.csv"] = say(CONTENT)
    (step,) = files.fetch("demo", [replace(two_forms, url=server.url + "/ward.csv")])
    assert step.path == cache / "demo/ward.csv" and not damaged.exists()
