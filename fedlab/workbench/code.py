"""What was chosen, and the Python that does the same."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fedlab.algorithms import ALGORITHMS, Algorithm
from fedlab.engine import Event, Plan, Spread, stream
from fedlab.federation import Federation
from fedlab.federation.shift import Shifts


@dataclass(frozen=True)
class Choice:
    """A snapshot of the widgets, taken before the thread starts.

    Parameters
    ----------
    origin : str
        The Python expression of the whole federation.
    whole : Federation
        What that expression gives.
    sites : tuple of str
        Those that take part.
    model : str
    algorithm : Algorithm
    settings : dict
        Keyword arguments of ``fedlab.stream``.
    seeds : int
        How many seeds train side by side, from ``settings["seed"]`` on.
    shifts : Shifts, optional
        What the sites' data are changed by, after the split: a dial leaves every patient in its part.
    """

    origin: str
    whole: Federation
    sites: tuple[str, ...]
    model: str
    algorithm: Algorithm
    settings: dict[str, int | float]
    seeds: int = 1
    shifts: Shifts | None = None

    @cached_property
    def clean(self) -> Federation:
        """The sites that take part, with the split of the seed: a seed is a split, a start and a batch order."""
        return self.whole.select(*self.sites).resplit(int(self.settings["seed"]))

    @cached_property
    def federation(self) -> Federation:
        """What is trained on: the sites, with their shifts if there are any."""
        return self.clean if self.shifts is None else self.clean.shift(self.shifts)

    @property
    def numbers(self) -> list[int]:
        """The seeds."""
        first = int(self.settings["seed"])
        return list(range(first, first + self.seeds))

    def plans(self) -> list[Plan]:
        """Return what is asked, a plan a seed: saved, it gives the same numbers elsewhere (``fedlab run plan.json``).

        Examples
        --------
        >>> import fedlab
        >>> hospitals = fedlab.load("heart_disease")
        >>> asked = Choice("", hospitals, ("Hungary",), "mlp", fedlab.algorithms.FedAvg(), {"rounds": 3, "seed": 1})
        >>> asked.plans()
        [<Plan FedAvg() of mlp on heart_disease: 1 sites, 3 rounds, seed 1>]
        """
        there = self.whole.select(*self.sites)

        def of_seed(seed: int) -> Federation:
            split = there.resplit(seed)
            return split if self.shifts is None else split.shift(self.shifts)

        settings: list[dict[str, Any]] = [{**self.settings, "seed": seed} for seed in self.numbers]
        return [Plan.of(of_seed(each["seed"]), self.model, self.algorithm, **each) for each in settings]

    def stream(self, stop: threading.Event) -> Iterator[Event] | Iterator[Spread]:
        """Train what was chosen, live."""
        settings: dict[str, Any] = dict(self.settings)
        if self.seeds == 1:
            return stream(self.federation, self.model, self.algorithm, stop=stop, **settings)
        settings.pop("seed")
        return stream(self.federation, self.model, self.algorithm, seeds=self.numbers, stop=stop, **settings)

    @property
    def words(self) -> str:
        """Name the run in a few words."""
        sites = f"{len(self.sites)} site{'s' * (len(self.sites) != 1)}"
        seeds = f", {self.seeds} seeds" if self.seeds > 1 else ""
        trained = f"{self.algorithm}, {self.model}, {self.whole.name}, {sites}{seeds}".replace("()", "")
        return trained if self.shifts is None else f"{trained}, {shifted(self.shifts)}"


NAMES = {"rounds": "rounds", "local_epochs": "local epochs", "lr": "learning rate", "batch_size": "batch size",
         "seed": "seed"}  # fmt: skip
"""What the settings are called in the panel."""


def differences(drawn: Choice, chosen: Choice) -> list[str]:
    """Say in what a run that is drawn is another one than what is chosen; empty if they are the same.

    Examples
    --------
    >>> from dataclasses import replace
    >>> import fedlab
    >>> hospitals = fedlab.load("heart_disease")
    >>> old = Choice("", hospitals, hospitals.names, "mlp", fedlab.algorithms.FedAvg(), {"rounds": 3, "lr": 0.1})
    >>> differences(old, replace(old, sites=hospitals.names[:2], settings={"rounds": 3, "lr": 0.5}))
    ['4 sites (Cleveland, Hungary, Switzerland, Long Beach)', 'learning rate 0.1']
    """
    said = [f"data {drawn.whole.name}"] if drawn.whole is not chosen.whole else []
    if drawn.sites != chosen.sites and drawn.whole is chosen.whole:
        named = f" ({', '.join(drawn.sites)})" if len(drawn.sites) <= 6 else ""
        said.append(f"{len(drawn.sites)} site{'s' * (len(drawn.sites) != 1)}{named}")
    said += [f"model {drawn.model}"] if drawn.model != chosen.model else []
    said += [str(drawn.algorithm).removesuffix("()")] if drawn.algorithm != chosen.algorithm else []
    said += [
        f"{NAMES.get(name, name)} {value:g}" for name, value in drawn.settings.items() if chosen.settings[name] != value
    ]
    if drawn.seeds != chosen.seeds:
        said.append(f"{drawn.seeds} seed{'s' * (drawn.seeds != 1)} side by side")
    if drawn.shifts != chosen.shifts:
        said.append("the hospitals as they are" if drawn.shifts is None else shifted(drawn.shifts))
    return said


def show_code(choice: Choice, rounds: int | None = None) -> str:
    """Return Python whose ``run`` has the same numbers, to the bit.

    Parameters
    ----------
    choice : Choice
    rounds : int, optional
        How many rounds there were, if the run was stopped before its end.

    Examples
    --------
    >>> import fedlab
    >>> hospitals = fedlab.load("heart_disease")
    >>> settings = {"rounds": 3, "seed": 0}
    >>> which = Choice("hospitals", hospitals, ("Hungary",), "mlp", fedlab.algorithms.FedProx(mu=1.0), settings)
    >>> print(show_code(which))
    import fedlab
    from fedlab.algorithms import FedProx
    <BLANKLINE>
    federation = hospitals.select("Hungary")
    run = fedlab.train(
        federation,
        "mlp",
        FedProx(mu=1.0),
        rounds=3,
        seed=0,
    )
    """
    imports, algorithm = _algorithm(choice.algorithm)
    settings = dict(choice.settings)
    note = ""
    if rounds is not None and rounds < settings["rounds"]:
        note = f"  # it was stopped after {rounds} of {settings['rounds']}"
        settings["rounds"] = rounds
    lines = ["federation,", f'"{choice.model}",', f"{algorithm},"]
    lines += [f"{name}={value!r},{note if name == 'rounds' else ''}" for name, value in settings.items()]
    if choice.seeds > 1:
        lines[-1] = f"seeds={choice.numbers},"  # in the place of the one seed
    body = "".join(f"    {line}\n" for line in lines)
    shifts, imported = _shifts(choice)
    setup = f"import fedlab\n{imports}{imported}\n{shifts}federation = {_federation(choice)}\n"
    if choice.seeds == 1:
        return f"{setup}run = fedlab.train(\n{body})"
    return f"{setup}*_, last = fedlab.stream(\n{body})\nrun, runs = last.run, last.runs"


def _federation(choice: Choice) -> str:
    text = choice.origin
    if choice.sites != choice.whole.names:
        names = [json.dumps(name, ensure_ascii=False) for name in choice.sites]  # double quotes, and O'Hare survives
        text += f".select({', '.join(names)})"
    if choice.seeds > 1:  # each seed splits anew
        return text
    if choice.clean.fingerprint != choice.whole.select(*choice.sites).fingerprint:
        text += f".resplit({choice.settings['seed']})"
    return text if choice.shifts is None else f"{text}.shift(shifts)"


def shifted(shifts: Shifts) -> str:
    """Say the shifts in words: which site, which kind, how severe."""
    return "; ".join(
        f"{site}: {', '.join(f'{kind.name} {kind.severity:.2f}' for kind in kinds)}"
        for site, kinds in shifts.sites.items()
    )


def _shifts(choice: Choice) -> tuple[str, str]:
    """Return the lines that say the shifts, and the import that they need."""
    if choice.shifts is None:
        return "", ""
    names, lines = {"Shifts"}, []
    for site, kinds in choice.shifts.sites.items():
        names |= {type(kind).__name__ for kind in kinds}
        made = "".join(f"        {type(kind).__name__}({kind.severity!r}),\n" for kind in kinds)
        lines.append(f"    {json.dumps(site, ensure_ascii=False)}: [\n{made}    ],\n")
    text = f"shifts = Shifts({{\n{''.join(lines)}}}, seed={choice.shifts.seed})\n"
    return text, f"from fedlab.federation.shift import {', '.join(sorted(names))}\n"


def _algorithm(which: Algorithm) -> tuple[str, str]:
    """Return the import that it needs, and the expression."""
    cls = type(which)
    if str(which) == f"{cls.__name__}()" and ALGORITHMS.get(which.name) is cls:
        return "", f'"{which.name}"'
    if cls.__module__ == "__main__":  # defined in the notebook
        return "", str(which)
    module = "fedlab.algorithms" if cls.__module__.startswith("fedlab.algorithms.") else cls.__module__
    return f"from {module} import {cls.__name__}\n", str(which)
