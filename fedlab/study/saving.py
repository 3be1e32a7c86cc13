"""A comparison that keeps its finished arms, so that a stopped one goes on where it was."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from fedlab.engine.record import differences, tell
from fedlab.federation import Federation
from fedlab.storage import Writer, codec, hold, read
from fedlab.study.openings import Place, place_in
from fedlab.study.plan import Given, apart
from fedlab.study.record import ARM, MAIN, STUDY, Arm, arm_of, asked_of, pack_arm, pack_study, place, read_study
from fedlab.study.study import Study


class Saving:
    """The folder of a comparison; ``None``: nothing is kept, and nothing is found.

    Parameters
    ----------
    folder : str or Path, optional
    plan : dict
        Of :func:`~fedlab.study.plan.say_plan`.
    federation : Federation
    given : Given

    Raises
    ------
    FolderInUse
        On entering, if another process writes there.
    ValueError
        On entering, if the folder has another comparison, with the difference, or something else, or is damaged.
    """

    def __init__(
        self, folder: str | Path | None, plan: Mapping[str, Any], federation: Federation, given: Given
    ) -> None:
        self.folder, self.federation, self.given = folder, federation, given
        self.plan = dict(plan)
        self.before: Study | None = None
        self.kept_in: Place | None = None
        self.places: list[str] = []
        name, seeds = plan["model"]["name"], list(plan["seeds"])
        self.so_far = Study(federation, name, {}, seeds, asked=self.plan, **plan["stated"])
        self._held = ExitStack()
        self._writer: Writer | None = None

    def __enter__(self) -> Self:
        """Hold the folder until the comparison has ended, and take up what is finished there."""
        if self.folder is not None:
            with ExitStack() as stack:
                self._writer = stack.enter_context(hold(self.folder, STUDY, "keeps a comparison"))
                if self._writer.body is not None:
                    self._take_up(self._writer)
                else:  # now, so that a folder that cannot be written is said before the training
                    self._writer.commit(pack_study(self.so_far, []))
                self.kept_in = place_in(self._writer)
                self._held = stack.pop_all()
        return self

    def __exit__(self, *what: object) -> None:
        """Let others write in the folder."""
        self._held.close()

    def _take_up(self, writer: Writer) -> None:
        found = read(writer.folder, STUDY, MAIN)
        main = found.body
        there = asked_of(codec.decode(main["study"], {}))
        other = apart(there, self.plan, list(main["arms"]), self.federation)
        if other:
            raise ValueError(
                f"{writer.folder} keeps another comparison: {'; '.join(other)}. Choose another folder, or ask the same"
            )
        self.before, starts = read_study(found, self.federation, self.given)
        tell(writer.folder, differences(main) + starts)
        self.places = [path.removesuffix(f"/{ARM}") for path in main["arms"].values()]
        self.so_far = self.before

    def find(self, name: str) -> Arm | None:
        """Return an arm that is finished already."""
        return arm_of(self.before, name) if self.before is not None and name in self.before.runs else None

    def enter(self, name: str, arm: Arm) -> None:
        """Keep an arm that has just been finished.

        Raises
        ------
        OSError
            If it cannot be written; the arms before it stand.
        """
        if self._writer is None:
            return
        where = place(len(self.places))
        self.so_far.runs[name] = arm.runs
        self.so_far.asked = self.plan
        self.so_far._reports = {}  # of fewer arms
        body = pack_study(self.so_far, [*self.places, where])
        self._writer.commit(body, pack_arm(arm, where), kept=self._writer.entries)
        self.places.append(where)
        self.kept_in = place_in(self._writer)

    def finish(self, study: Study) -> Study:
        """Give a study what was seen of ``test`` before it was stopped."""
        if self.before is not None:
            study.test_openings, study.opened = self.before.test_openings, self.before.opened
            if study.arms == self.before.arms:
                study._reports = self.before._reports
        study.kept_in = self.kept_in
        return study
