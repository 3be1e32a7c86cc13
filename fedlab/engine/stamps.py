"""What a site holds between two questions, stamped, so that one that has lost it never goes on from zero in silence.

Every answer of a node says what it holds by a hash, and every question what the server takes it to hold. A node that
holds something else goes back to that if it still has it (its last work came too late and was not used), or says that
it is lost; then it is asked to *restore*: from its own folder or, where an algorithm keeps nothing at the sites, out of
the preparation that the server sends once more.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedlab.algorithms.base import whole
from fedlab.algorithms.tensors import PREPARATION, Tensors
from fedlab.engine.purposes import Purpose, register
from fedlab.storage.codec import decode, encode, from_bytes, to_bytes

if TYPE_CHECKING:
    from fedlab.engine.site import SiteWork

NEST = "nest"


class StateLost(RuntimeError):
    """The site does not hold what it held: it was started again, without a folder of its own."""


class Copy(NamedTuple):
    """What a site held after a question: its stamp is ``(round, hash)``."""

    state: Tensors
    round: int = 0
    hash: str = ""


def digest(state: Tensors, salt: str) -> str:
    """Return the hash of what a site holds.

    Without ``salt`` where it is the server's own preparation and no more: then it is the same at a site that is asked
    to prepare again. Anything else is hashed with the site's own salt: a head of one number could be guessed from its
    hash.

    Examples
    --------
    >>> import torch
    >>> digest({"prepare": {"mean": torch.ones(2)}}, "a") == digest({"prepare": {"mean": torch.ones(2)}}, "b")
    True
    >>> digest({"memory": {"c": torch.ones(2)}}, "a") == digest({"memory": {"c": torch.ones(2)}}, "b")
    False
    """
    tensors: dict[str, Tensor] = {}
    encode(state, tensors)
    # what an algorithm leaves at the site has the preparation once more
    tensors = {name: value for name, value in tensors.items() if not name.startswith(f"memory/own/{PREPARATION}")}
    own = any(not name.startswith("prepare/") for name in tensors)
    found = hashlib.blake2b(digest_size=16, key=salt.encode() if own else b"")
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        found.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return found.hexdigest()


@dataclass
class Holding:
    """What a node holds of a run: the last copy, the one before, and those in its folder.

    Parameters
    ----------
    salt : str
        The node's own, drawn once.
    folder : Path, optional
        On the node's own disk, where the last two copies outlive its process.
    """

    salt: str = field(default_factory=lambda: secrets.token_hex(8))
    now: Copy = Copy({})
    before: Copy = Copy({})
    folder: Path | None = None

    def give(self, site: SiteWork, entry: Purpose, expected: str) -> None:
        """Let the site hold what the server takes it to hold.

        Raises
        ------
        StateLost
            If the question needs it, and it is not here.
        """
        if expected and expected == self.before.hash != self.now.hash:
            self.now = self.before
        if entry.on_held and (not self.now.state or (expected and self.now.hash != expected)):
            raise StateLost(f"{site.name} does not hold what it held ({self.now.hash or 'nothing'}, not {expected})")
        site.state = dict(self.now.state)

    def take(self, site: SiteWork, round: int | None) -> None:
        """Note what the site holds after a question."""
        state = {
            name: part for name, part in site.state.items() if name in ("prepare", "memory") or not whole(site.alg)
        }
        found = digest(state, self.salt)
        if found != self.now.hash and self.now.hash:
            self.before = self.now
        self.now = Copy(state, self.now.round if round is None else round, found)
        if self.folder is not None and not self._path(found).exists():
            self._write()

    def restore(self, site: SiteWork, expected: str, buffers: Tensors) -> None:
        """Hold again what the site held.

        Raises
        ------
        StateLost
            If that is not in the folder, and the preparation is not all of it.
        """
        kept = self._read(expected)
        if kept is None:
            site.state = {}
            site.prepare(buffers)
            state = dict(site.state)
            kept = Copy(state, 0, digest(state, self.salt))
        if expected and kept.hash != expected:
            raise StateLost(f"{site.name} cannot restore {expected}: it has no copy, give it a folder")
        self.now = self.before = kept
        site.state = dict(kept.state)

    def _write(self) -> None:
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        tensors: dict[str, Tensor] = {}
        nest = encode({"state": self.now.state, "round": self.now.round, "salt": self.salt}, tensors)
        names = list(tensors)
        text = json.dumps([nest, names]).encode()
        content = {str(i): tensors[name] for i, name in enumerate(names)}
        handle, name = tempfile.mkstemp(dir=self.folder)  # for its owner alone
        with os.fdopen(handle, "wb") as file:
            file.write(to_bytes({**content, NEST: torch.from_numpy(np.frombuffer(text, np.uint8).copy())}))
        os.replace(name, self._path(self.now.hash))
        for path in self.folder.glob("*.held"):
            if path.stem not in (self.now.hash, self.before.hash):
                path.unlink(missing_ok=True)

    def _read(self, wanted: str) -> Copy | None:
        if self.folder is None or not wanted.isalnum() or not self._path(wanted).exists():
            return None
        tensors = from_bytes(self._path(wanted).read_bytes())
        nest, names = json.loads(tensors.pop(NEST).numpy().tobytes())
        held: dict[str, Any] = decode(nest, {name: tensors[str(i)] for i, name in enumerate(names)})
        self.salt = held["salt"]
        found = digest(held["state"], self.salt)
        return Copy(held["state"], held["round"], found) if found == wanted else None

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}.held"


def _restore(site: SiteWork, asked: dict[str, Any]) -> dict[str, Any]:
    """Hold again what the server sends: in a process that has not ended there is nothing else to restore."""
    if "state" in asked:
        site.state = dict(asked["state"])
    else:
        site.prepare(asked["buffers"])
    return {}


def _hold(site: SiteWork, asked: dict[str, Any]) -> dict[str, Any]:
    """Hand out all that the site holds."""
    return {"state": dict(site.state)}


register(Purpose("restore", _restore))
register(Purpose("hold", _hold, sends=("state",), reserved=True))
