"""A run that is kept after every round, and one that goes on where it was stopped, to the same bits.

Between rounds the server holds a few numbers and tensors (:meth:`~fedlab.engine.held.Held.snapshot`), the sites what
their algorithm remembers; batches, dropout and noise are drawn anew from (seed, round, site). That is all there is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedlab.engine import folder as files
from fedlab.engine import record
from fedlab.engine.choice import EARLY
from fedlab.engine.plain import decode
from fedlab.engine.rounds import Keep, Loop
from fedlab.engine.run import Run
from fedlab.engine.train import carry
from fedlab.federation import Federation


def keeping(run: Run, folder: str | Path, *, fresh: bool) -> Keep:
    """Return what keeps a run after every round; a folder that cannot be used is said before the first.

    Raises
    ------
    ValueError
        If the folder holds something else, or a run already where this one is ``fresh``.
    """
    path = Path(folder)
    files.recover(path)
    files.check_ours(path, record.RUN)
    if fresh and (path / record.RUN).exists():
        raise ValueError(f"{path} keeps a run already: go on with Run.resume, or choose another folder")

    def keep(loop: Loop) -> None:
        record.save(run, path, loop=loop)

    return keep


def resume(folder: str | Path, federation: Federation | None = None, *, progress: bool = True, **given: Any) -> Run:
    """Go on with a run that was stopped; :meth:`fedlab.Run.resume`."""
    folder = Path(folder)
    packed = record.read(folder)
    about, history, tensors = packed
    if "engine" in given:
        raise ValueError("engine is in the record: a run goes on with the one that it had")
    found = federation or record.find_data(about["data"], about["settings"]["seed"])
    own = {name: given.pop(name, None) for name in ("model", "algorithm")}
    run, apart = record.unpack(packed, found, **own, settings=given)
    if apart or not record.same_data(found, about["data"]):
        apart = record.differences({**about, "versions": {}}, found) + apart
        raise ValueError(f"the run in {folder} cannot go on with other: {'; '.join(apart)}. Give those of then")
    if "loop" not in history:
        if len(run.records) < run.settings.rounds and not any(note.startswith(EARLY) for note in run.notes):
            why = history.get("stuck", "it was saved by run.save, and not by train(…, save=FOLDER)")
            raise ValueError(f"the run in {folder} cannot go on: {why}. Run.load reads it, train it anew")
        return run
    record.tell(folder, record.differences(about))
    return carry(run, progress=progress, save=folder, before=decode(history["loop"], tensors))
