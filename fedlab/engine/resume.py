"""A run that is kept after every round, and one that goes on where it was stopped, to the same bits.

Between rounds the server holds a few numbers and tensors (:meth:`~fedlab.engine.held.Held.snapshot`), the sites what
their algorithm remembers; batches, dropout and noise are drawn anew from (seed, round, site). That is all there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedlab.engine import record
from fedlab.engine.choice import EARLY
from fedlab.engine.record import Growing
from fedlab.engine.rounds import Loop
from fedlab.engine.run import Run
from fedlab.engine.train import carry
from fedlab.federation import Federation
from fedlab.storage import hold


@dataclass
class Keeper:
    """What keeps a run after every round, as long as its folder is held."""

    run: Run
    into: Growing

    def __call__(self, loop: Loop) -> None:
        """Keep a round."""
        record.save(self.run, self.into.writer.folder, loop=loop, into=self.into)

    def end(self) -> None:
        """Keep the run as it is when it has come to its end: it does not go on from there."""
        record.save(self.run, self.into.writer.folder, into=self.into)


@contextmanager
def keeping(run: Run, folder: str | Path) -> Iterator[Keeper]:
    """Hold a folder for a run that begins; one that cannot be used is said before the first round.

    Raises
    ------
    FolderInUse
        If another process writes there.
    ValueError
        If the folder holds something else, or a run already.
    """
    with hold(folder, record.RUN, "trains a run") as writer:
        if writer.body is not None:
            raise ValueError(f"{writer.folder} keeps a run already: go on with Run.resume, or choose another folder")
        yield Keeper(run, Growing(writer))


def resume(folder: str | Path, federation: Federation | None = None, *, progress: bool = True, **given: Any) -> Run:
    """Go on with a run that was stopped; :meth:`fedlab.Run.resume`."""
    packed = record.read(folder)
    about, state, where = packed.about, packed.state, packed.where.parent
    if "engine" in given:
        raise ValueError("engine is in the record: a run goes on with the one that it had")
    found = federation or record.find_data(about["data"], about["settings"]["seed"])
    own = {name: given.pop(name, None) for name in ("model", "algorithm")}
    run, apart = record.unpack(packed, found, **own, settings=given)
    if apart or not record.same_data(found, about["data"]):
        apart = record.differences({**about, "versions": {}}, found) + apart
        raise ValueError(f"the run in {where} cannot go on with other: {'; '.join(apart)}. Give those of then")
    if "loop" not in state:
        if len(run.records) < run.settings.rounds and not any(note.startswith(EARLY) for note in run.notes):
            why = state.get("stuck", "it was saved by run.save, and not by train(…, save=FOLDER)")
            raise ValueError(f"the run in {where} cannot go on: {why}. Run.load reads it, train it anew")
        return run
    record.tell(where, record.differences(about))
    with hold(folder, record.RUN, "goes on with a run") as writer:
        if writer.body != about:
            raise ValueError(f"another process went on with the run in {where} while this one read it: resume it again")
        there = record.HISTORY in writer.entries  # format 1 had another: it is written anew
        into = Growing(writer, len(run.records), len(run.ledger_book.rows)) if there else Growing(writer)
        return carry(run, progress=progress, keep=Keeper(run, into), before=state["loop"])
