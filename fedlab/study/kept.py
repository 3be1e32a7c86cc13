"""What a study can do with a folder; how stands in ``record.py``, which is read when it is first needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from fedlab.federation import Federation
from fedlab.study.openings import Place

if TYPE_CHECKING:
    from fedlab.study.study import Study


class Kept:
    """A study's way to the disk and back.

    Attributes
    ----------
    kept_in : Place or None
        The folder where the study was last saved or loaded: later openings of ``test`` are counted there too.
    """

    kept_in: Place | None = None

    def save(self, folder: str | Path) -> Path:
        """Write the study to a folder, whole or not at all: JSON and safetensors, without any patient.

        Parameters
        ----------
        folder : str or Path
            A study that is there already is replaced, and stands where this one cannot be written. What is opened of
            ``test`` later on is entered there, with its table.

        Raises
        ------
        ValueError
            If the folder holds something else.
        OSError
            If it cannot be written.
        """
        from fedlab.study.record import save

        self.kept_in = save(cast("Study", self), folder)
        return self.kept_in.folder

    @classmethod
    def load(cls, folder: str | Path, federation: Federation | None = None, **given: Any) -> Self:
        """Read a saved study: the same runs, reports, trials and openings of ``test``, to the bit.

        Parameters
        ----------
        folder : str or Path
            Also one of a comparison that was stopped: its finished arms.
        federation : Federation, optional
            The data that ``compare`` was given; without them the recipe of the record's name is loaded again.
        **given
            What a record cannot hold: ``model=``, ``algorithms=`` (a dict from an arm's name to its algorithm), a
            ``schedule=`` or ``optimizer=`` of one's own; and ``device=``, ``engine=``.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no record, or it is damaged or newer than this fedlab, or something has to be given.

        Warns
        -----
        RecordDiffers
            If data, versions or the model's start are not those of then; with both values.

        Examples
        --------
        >>> import fedlab, tempfile
        >>> hospitals = fedlab.load("heart_disease")
        >>> study = fedlab.compare(hospitals, algorithms=["fedavg"], seeds=2, rounds=2, progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = fedlab.Study.load(study.save(f"{folder}/study"), hospitals)
        >>> again.report().equals(study.report())
        True
        """
        from fedlab.study.record import load

        return cast(Self, load(folder, federation, **given))
