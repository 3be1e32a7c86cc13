"""What a run is asked to do, with one table of defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch

from fedlab.algorithms.ranges import in_range
from fedlab.engine.optimisers import SGD, Optimizer
from fedlab.engine.schedules import SCHEDULES, Schedule
from fedlab.federation.numbers import is_number, whole

ENGINES = ("auto", "batched", "threads", "sequential", "ray")
DTYPES = ("float32", "float64")
CHOOSE = ("patients", "hospitals")
OPTIONAL = ("local_steps", "patience")
ASKED = ("primary", "policy", "away", "report", "export")
"""What a plan asks beside its settings."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a run; the field defaults *are* fedlab's defaults.

    Parameters
    ----------
    rounds : int
        Rounds of training, at least 1.
    local_epochs : int
        Passes over its own rows that a site makes in a round.
    local_steps : int, optional
        Gradient steps that every site takes in a round, in place of ``local_epochs``, however many rows it has.
    batch_size : int
        Rows in a mini-batch; a site's last one may be smaller.
    lr : float
        Step size of the site's optimiser, more than 0.
    schedule : {"constant", "cosine", "linear"} or callable
        How ``lr`` goes over the rounds; a callable takes ``(round, rounds)`` and gives the factor.
    clip : float, optional
        Largest norm of a site's gradient in a step; a longer one is scaled down.
    seed : int
        Of the start and the batch order (the split has its own: ``federation.resplit(seed)``).
    fraction : float
        Share of the sites that are asked in a round, drawn anew each time, in (0, 1]; at least one is asked.
    stragglers : float
        Share of the sites, drawn in each round, that manage only some of their steps, in [0, 1): simulated slowness.
    min_sites : int
        A round stands if at least so many sites answered (of a sample: as many of it as there are).
    engine : {"auto", "batched", "threads", "sequential", "ray"}
        How to work through the sites: all at once, one site a thread, one at a time, or on Flower's simulation.
        ``auto`` chooses among the first three; the results are the same (float32: to rounding).
    optimizer : Optimizer
        What the sites step with: ``SGD(momentum=…)`` or ``Adam()``.
    device : str
        Where the sites compute: ``"auto"`` (a GPU of torch's CUDA if there is one, else the CPU), ``"cpu"``,
        ``"cuda"``, ``"cuda:1"``, …. What is sent, and the server, are in main memory. On Ray ``"auto"`` is the CPU.
        A GPU pays for images and for hundreds of sites; ten small tables are done sooner on the CPU.
    dtype : {"float32", "float64"}
    shuffle : bool
        Draw the batch order from (seed, round, site); ``False`` keeps the rows' order.
    evaluate : bool
        Compute the task's two scores (of classes log loss and AUC) on ``valid`` after each round and report the best
        round; ``False`` reports the last.
    deadline : float, optional
        Seconds in which a site must answer a question, more than 0. One that does not is left out of that round, as if
        it had failed; an answer that comes later is entered in the ledger as late, and dropped. Where sites have
        processes of their own (Ray, Flower) all have so long together; in this process each has, while it trains.
        Which sites are late is up to the machine: such a run need not repeat.
    patience : int, optional
        Stop early, when so many rounds in a row were no better on ``valid``.
    choose : {"patients", "hospitals"}
        Whose mean choosing score (of classes log loss) on ``valid`` chooses the reported round, and among the trials of
        a tuned comparison: that of all patients, in which a large hospital says most, or that of the hospitals, each
        counting alike. The means of a report and of a study are over hospitals: with ``"patients"`` what is chosen by
        is not quite what is reported.
    """

    rounds: int = 30
    local_epochs: int = 1
    local_steps: int | None = None
    batch_size: int = 32
    lr: float = 0.1
    schedule: str | Schedule = "constant"
    clip: float | None = None
    seed: int = 0
    fraction: float = 1.0
    stragglers: float = 0.0
    min_sites: int = 1
    engine: str = "auto"
    optimizer: Optimizer = field(default_factory=SGD)
    device: str = "auto"
    dtype: str = "float32"
    shuffle: bool = True
    evaluate: bool = True
    deadline: float | None = None
    patience: int | None = None
    choose: str = "patients"

    def __post_init__(self) -> None:
        for name in ("rounds", "local_epochs", "local_steps", "batch_size", "min_sites", "patience"):
            value = getattr(self, name)
            if value is not None or name not in OPTIONAL:
                object.__setattr__(self, name, whole(name, value, 1))
        object.__setattr__(self, "seed", whole("seed", self.seed, 0))
        if not (is_number(self.lr) and self.lr > 0):
            raise ValueError(f"lr is {self.lr!r}: the learning rate must be a finite number above 0, e.g. 0.1")
        for name in ("lr", "fraction", "stragglers", "clip", "deadline"):  # a record holds Python's numbers
            if isinstance(value := getattr(self, name), np.generic):
                object.__setattr__(self, name, value.item())
        in_range("fraction", self.fraction, 0, 1, open_low=True)
        if not (is_number(self.stragglers) and 0 <= self.stragglers < 1):
            raise ValueError(f"stragglers is {self.stragglers!r}: it must be at least 0 and below 1")
        if self.clip is not None:
            in_range("clip", self.clip, 0, open_low=True)
        if self.deadline is not None:
            in_range("deadline", self.deadline, 0, open_low=True)
        if isinstance(self.schedule, str) and self.schedule not in SCHEDULES:
            raise ValueError(
                f"schedule is {self.schedule!r}: choose one of {', '.join(SCHEDULES)}, or give a function of "
                "(round, rounds)"
            )
        if not (callable(getattr(self.optimizer, "init", None)) and callable(getattr(self.optimizer, "step", None))):
            raise ValueError(
                f"optimizer is {self.optimizer!r}: give fedlab.engine.SGD(momentum=…) or fedlab.engine.Adam(); torch's "
                "own cannot step all sites at once"
            )
        if self.patience is not None and not self.evaluate:
            raise ValueError("patience looks at valid, which evaluate=False does not: leave one of them out")
        if self.choose not in CHOOSE:
            raise ValueError(
                f"choose is {self.choose!r}: give 'patients' (their mean log loss on valid) or 'hospitals' (the mean "
                "over hospitals)"
            )
        if self.choose != CHOOSE[0] and not self.evaluate:
            raise ValueError("choose looks at valid, which evaluate=False does not: leave one of them out")
        if self.engine not in ENGINES:
            raise ValueError(f"engine is {self.engine!r}: choose one of {', '.join(ENGINES)}")
        if self.device not in ("auto", "cpu"):
            _check_device(self.device)
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype is {self.dtype!r}: choose one of {', '.join(DTYPES)}")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """Make the settings of what was given by name.

        Raises
        ------
        TypeError
            For a name that is no setting, with where it is one of a plan.

        Examples
        --------
        >>> Settings.of({"lr": 0.3}).lr
        0.3
        """
        check_names(given)
        return cls(**given)

    @property
    def place(self) -> str:
        """The device that ``device`` stands for on this machine."""
        if self.device != "auto":
            return self.device
        return "cuda" if self.engine != "ray" and torch.cuda.is_available() else "cpu"


def check_names(given: Mapping[str, Any]) -> None:
    """Refuse a name that is no setting."""
    known = [f.name for f in fields(Settings)]
    for name in given:
        if name in ASKED:
            raise TypeError(
                f"{name} is no setting, but asked in a plan: fedlab.engine.carry_out(Plan.of(federation, model, "
                f"algorithm, {name}=…))"
            )
        if name not in known:
            raise TypeError(f"there is no setting {name!r}; known are {', '.join(known)}")


def _check_device(name: str) -> None:
    number = name.removeprefix("cuda").removeprefix(":") or "0"
    if not name.startswith("cuda") or not number.isdecimal():
        raise ValueError(f"device is {name!r}: choose auto, cpu, cuda, or cuda:1 and so on")
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number) >= there:
        raise ValueError(f"device is {name!r}, but torch finds {there} CUDA devices here: use device='auto'")
