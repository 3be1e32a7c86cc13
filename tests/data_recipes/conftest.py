"""Copies of the hospitals' files, an empty cache, and a web server on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from recipes_support import Server

from data_recipes import heart_disease


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the four files, written from the embedded table: these tests need no mirror."""
    place = tmp_path / "four files"
    place.mkdir()
    for site, table in heart_disease.raw().items():
        text = "".join(",".join(row) + "\n" for row in table.to_numpy().tolist())
        (place / heart_disease.FILE_OF[site].name).write_bytes(text.encode())
    return place


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and no mirror."""
    place = tmp_path / "cache"
    monkeypatch.setenv("FEDLAB_DATA", str(place))
    monkeypatch.delenv("FEDLAB_MIRROR", raising=False)
    return place


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            if self.path in state.answers:
                state.answers[self.path](self)
            else:
                self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Server(f"http://127.0.0.1:{httpd.server_port}")
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield state
    httpd.shutdown()
    httpd.server_close()
