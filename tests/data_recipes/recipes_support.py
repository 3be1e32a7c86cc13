"""A server that can be told to misbehave, and a file to ask it for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from data_recipes.files import DataFile


@dataclass
class Server:
    """A web server on this machine: ``answers`` by path, ``asked`` how often."""

    url: str
    answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


def say(content: bytes, *, promised: int | None = None) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer with ``content``, having promised that many bytes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content) if promised is None else promised))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


CONTENT = b"63,1,?\n" * 3000


def data_file(url: str, **changes: object) -> DataFile:
    """A file of ``CONTENT`` with its official sum."""
    known: dict[str, object] = {
        "name": "ward.csv",
        "url": url,
        "sums": {f"sha256:{sha256(CONTENT)}": "official"},
        "size": len(CONTENT),
    }
    return DataFile(**(known | changes))  # type: ignore[arg-type]
