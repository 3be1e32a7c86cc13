"""A comparison that keeps its finished arms, so that a stopped one goes on where it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedlab.engine import folder as files
from fedlab.engine.plain import decode
from fedlab.engine.record import differences, tell
from fedlab.federation import Federation
from fedlab.study.openings import place_of
from fedlab.study.plan import Given, apart
from fedlab.study.record import ARM, STUDY, Arm, arm_of, asked_of, pack_arm, pack_study, place, read_study
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
    ValueError
        If the folder has another comparison, with the difference, or something else, or is damaged.
    """

    def __init__(
        self, folder: str | Path | None, plan: Mapping[str, Any], federation: Federation, given: Given
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.plan = dict(plan)
        self.before: Study | None = None
        self.entered: dict[str, bytes] = {}
        name, seeds = plan["model"]["name"], list(plan["seeds"])
        self.so_far = Study(federation, name, {}, seeds, asked=self.plan, **plan["stated"])
        if self.folder is not None:
            files.recover(self.folder)
            files.check_ours(self.folder, STUDY)
            if (self.folder / STUDY).exists():
                self._take_up(self.folder, federation, given)
            else:  # now, so that a folder that cannot be written is said before the training
                files.write_folder(self.folder, {STUDY: pack_study(self.so_far, {})}, main=STUDY)

    def _take_up(self, folder: Path, federation: Federation, given: Given) -> None:
        main = files.read_main(folder, STUDY)
        there = asked_of(decode(main["study"], {}))
        other = apart(there, self.plan, list(main["arms"]), federation)
        if other:
            raise ValueError(
                f"{folder} keeps another comparison: {'; '.join(other)}. Choose another folder, or ask the same"
            )
        self.before, starts = read_study(folder, main, federation, given)
        tell(folder, differences(main) + starts)
        self.entered = {path: (folder / path).read_bytes() for path in main["arms"].values()}
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
        if self.folder is None:
            return
        path = place(len(self.entered))
        packed = pack_arm(arm)
        files.write_folder(self.folder / path, packed, main=ARM)
        self.entered[f"{path}/{ARM}"] = packed[ARM]
        self.so_far.runs[name] = arm.runs
        self.so_far.asked = self.plan
        self.so_far._reports = {}  # of fewer arms
        files.replace_file(self.folder / STUDY, pack_study(self.so_far, self.entered))

    def finish(self, study: Study) -> Study:
        """Give a study what was seen of ``test`` before it was stopped."""
        if self.before is not None:
            study.test_openings, study.opened = self.before.test_openings, self.before.opened
            if study.arms == self.before.arms:
                study._reports = self.before._reports
        if self.folder is not None:
            study.kept_in = place_of(self.folder)
        return study
