"""What a run can do with a folder; how stands in ``record.py``, which is read when it is first needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from fedlab.federation import Federation

if TYPE_CHECKING:
    from fedlab.engine.run import Run


class Kept:
    """A run's way to the disk and back."""

    def save(self, folder: str | Path) -> Path:
        """Write the run to a folder, whole or not at all: JSON and safetensors, without any patient.

        A record that is there already is replaced; a full disk or a kill leaves it as it was. Saved by hand, a run that
        was stopped can be read, but not gone on with: that takes ``train(…, save=folder)``.

        Parameters
        ----------
        folder : str or Path

        Raises
        ------
        ValueError
            If the folder holds something else, or no round has finished.
        OSError
            If it cannot be written.
        """
        from fedlab.engine.record import save

        return save(cast("Run", self), folder)

    @classmethod
    def load(cls, folder: str | Path, federation: Federation | None = None, **given: Any) -> Self:
        """Read a saved run: the same history, ledger, reports and model, to the bit.

        Parameters
        ----------
        folder : str or Path
        federation : Federation, optional
            The data; without them the recipe of the record's name is loaded again.
        **given
            What a record cannot hold: ``model=`` (a factory or module of one's own), ``algorithm=`` (of a class that
            no name leads to), a ``schedule=`` or ``optimizer=`` of one's own; and ``device=``, ``engine=``.

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
        >>> run = fedlab.train(hospitals, "logistic", "fedavg", rounds=2, progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = fedlab.Run.load(run.save(f"{folder}/run"), hospitals)
        >>> again.history.equals(run.history)
        True
        """
        from fedlab.engine.record import load

        return cast(Self, load(folder, federation, **given))

    @classmethod
    def resume(cls, folder: str | Path, federation: Federation | None = None, **given: Any) -> Self:
        """Go on with a run of ``train(…, save=folder)`` that was stopped, to the bits of one that was not.

        One that is finished is only read.

        Parameters
        ----------
        folder : str or Path
            It keeps the rounds to come too.
        federation : Federation, optional
            The same data; without them the recipe of the record's name is loaded again.
        **given
            As for :meth:`load`, but for ``engine=``; and ``progress=``.

        Raises
        ------
        FileNotFoundError, ValueError
            As for :meth:`load`; also if the data or the model's start are not those of then, or the record has nothing
            to go on from (Ray, a Flower strategy, ``run.save``).

        Warns
        -----
        RecordDiffers
            If versions differ: the bits may too.

        Examples
        --------
        >>> import fedlab, tempfile
        >>> hospitals = fedlab.load("heart_disease")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = fedlab.train(hospitals, rounds=2, progress=False, save=f"{folder}/run")
        ...     fedlab.Run.resume(f"{folder}/run", hospitals).history.equals(run.history)
        True
        """
        from fedlab.engine.resume import resume

        return cast(Self, resume(folder, federation, **given))
