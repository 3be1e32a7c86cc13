"""A plan: what is asked of a run, apart from what happened in it. JSON, without any patient.

Server and sites make model and algorithm of the same file (:meth:`Plan.setup`); no server needs a row. What cannot be
said in words (a lambda, a ready module) is held by a plan of this process alone, and refused where one is written.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias

import torch
from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator
from torch import Tensor, nn

from fedlab.algorithms import Algorithm, algorithm
from fedlab.engine.net import Net, all_digits
from fedlab.engine.optimisers import SGD
from fedlab.engine.origin import Agreement, Given, Recipe, data_of, made_again
from fedlab.engine.parts import find, own_fields, say, say_algorithm
from fedlab.engine.presence import Spell, check_present, check_spells, is_away, sampled, spells_of
from fedlab.engine.settings import Settings, check_names
from fedlab.engine.spec import (
    AlgorithmSpec,
    Column,
    ModelSpec,
    Strict,
    as_said,
    codes_spec,
    found_algorithm,
    found_model,
    found_settings,
    is_lacking,
    lacks_algorithm,
    model_spec,
    settings_spec,
    sum_of,
    version,
)
from fedlab.engine.wanted import options_of
from fedlab.federation import Feature, Federation, RowShape, Site
from fedlab.federation.align import aligned
from fedlab.federation.frame import categories, columns
from fedlab.models import ModelLike, build, model_name
from fedlab.models.trial import Trial, check_model, try_model, two_rows
from fedlab.privacy.policy import Policy
from fedlab.storage import replace_file
from fedlab.tasks import Classification, Task

if TYPE_CHECKING:  # it brings the units of measurement, which take longer to load than all else
    from fedlab.federation.dictionary import DataDictionary

FORMAT: Literal[1] = 1
LATER = ("augmentation", "privacy")
BESIDE = ("unsaid", "content", "described", "code")
"""What stands among a plan's settings and is none: what has no words, what it was, and where its code lies."""
Wanted: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Reports by name, each with its options."""


class PlanDiffers(UserWarning):
    """A plan is read by another fedlab than the one that wrote it."""


class Setup(NamedTuple):
    """What a plan is made into, at the server and at every site alike."""

    algorithm: Algorithm
    settings: Settings
    net: Net


class Objects(NamedTuple):
    """What a plan of this process was made of."""

    data: Federation | None
    model: ModelLike
    algorithm: Algorithm
    settings: Settings


class Plan(Strict):
    """What is asked: of which data, which algorithm, model and settings; made by :meth:`of` or :meth:`agreed`.

    Attributes
    ----------
    data : Recipe, Agreement or Given
    sites : tuple of str
        In the order in which they are shown.
    features : tuple of Column
    shape : tuple of int
        Of one patient's row, as the site holds it; its first ``None`` of bags.
    in_bytes : bool
        Whether rows are pictures of bytes.
    task : dict
        Its class and fields; :meth:`the_task` makes it.
    prepared : bool
        Whether the rows go into the model as they are.
    algorithm, model, settings
        With the sum of the source of what is somebody's own.
    primary : str or None
        The metric that is judged.
    policy : Policy or None
        What may leave the sites, asked at each and again at the gate; a hospital's own may allow less. ``None``: all
        that the run asks.
    augmentation, privacy : None
        Not in this version.
    away : dict of str to tuple of (int, int)
        Rounds in which a site is not asked, first and last.
    report : dict of str to dict
        What is computed on ``test`` at the sites after the last round, which opens it: methods of :class:`fedlab.Run`
        (``report, calibration, calibration_summary, decisions, subgroups``) with their options.
    export : bool
        Whether a server that holds no rows may get the sites' own models. It takes the policy of each site too.

    Examples
    --------
    >>> import fedlab, tempfile
    >>> hospitals = fedlab.load("heart_disease").select("Cleveland", "Hungary")
    >>> plan = Plan.of(hospitals, "logistic", "fedprox", rounds=3, away={"Hungary": [(2, 2)]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = Plan.load(plan.save(f"{folder}/plan.json"))
    >>> again == plan, again.data.name, again.federation().names
    (True, 'heart_disease', ('Cleveland', 'Hungary'))
    """

    format: Literal[1] = FORMAT
    fedlab: str
    data: Annotated[Recipe | Agreement | Given, Field(discriminator="kind")]
    sites: tuple[str, ...]
    features: tuple[Column, ...]
    shape: tuple[int | None, ...]
    in_bytes: bool = False
    task: dict[str, Any]
    prepared: bool
    algorithm: AlgorithmSpec
    model: ModelSpec
    settings: dict[str, Any]
    primary: str | None = None
    augmentation: None = None
    policy: Policy | None = None
    privacy: None = None
    away: dict[str, tuple[Spell, ...]] = {}
    report: dict[str, dict[str, Any]] = {}
    export: bool = False

    _objects: Objects | None = PrivateAttr(default=None)

    # ------------------------------------------------------------------ making one

    @classmethod
    def of(
        cls,
        federation: Federation,
        model: ModelLike | None = None,
        which: str | Algorithm = "fedavg",
        *,
        primary: str | None = None,
        policy: Policy | None = None,
        away: Mapping[str, Sequence[Spell]] | None = None,
        report: Wanted | None = None,
        export: bool = False,
        **settings: Any,
    ) -> Plan:
        """Make the plan of a run on this federation.

        Parameters
        ----------
        federation : Federation
        model : str, callable or Module
        which : str or Algorithm
        primary : str, optional
        policy : Policy, optional
            What may leave the sites: ``Policy(purposes=("statistics", "prepare", "train", "evaluate"))``.
        away : dict of str to list of (int, int), optional
            Rounds in which a site is not asked: ``{"Hungary": [(7, 9)]}``.
        report : dict of str to dict, optional
            What the sites are to report on ``test`` at the end: ``{"report": {}, "subgroups": {"by": "sex"}}``.
        export : bool
            Whether the sites' own models may go to a server that holds no rows.
        **settings
            Of :class:`~fedlab.engine.settings.Settings`.
        """
        made = planned(federation, model, which, settings, primary=primary, policy=policy, away=away or {})
        return made.fingerprinted().reporting(report or {}, export=export)

    @classmethod
    def agreed(
        cls,
        dictionary: DataDictionary,
        sites: Sequence[str],
        classes: Sequence[str],
        model: ModelLike = "logistic",
        which: str | Algorithm = "fedavg",
        *,
        primary: str | None = None,
        policy: Policy | None = None,
        away: Mapping[str, Sequence[Spell]] | None = None,
        report: Wanted | None = None,
        export: bool = False,
        **settings: Any,
    ) -> Plan:
        """Make the plan of a run between hospitals that hold their rows themselves, written as the dictionary says.

        Examples
        --------
        >>> from fedlab.federation.dictionary import DataDictionary, Entry
        >>> agreed = DataDictionary(entries=[Entry(name="age", unit="years"), Entry(name="weight", unit="kg")])
        >>> plan = Plan.agreed(agreed, ["A", "B", "C"], ["healthy", "ill"], "logistic", "trimmedmean")
        >>> plan.setup().net.start()["weight"].shape
        torch.Size([1, 4])
        """
        for what, names in (("sites", sites), ("classes", classes)):
            if isinstance(names, str):
                raise TypeError(f"{what} is {names!r}, a text: give a list of names, e.g. [{names!r}, …]")
        said = json.loads(dictionary.to_json())
        data = Agreement(dictionary=said, sum=sum_of(said))
        known = dictionary.features()
        about = _about(
            data, sites, known, RowShape((len(columns(known)),)), Classification(tuple(classes)), prepared=False
        )
        made = _asked(about, None, model, which, settings, primary=primary, policy=policy, away=away or {})
        return made.reporting(report or {}, export=export)

    @field_validator(*LATER, mode="before")
    @classmethod
    def _not_yet(cls, value: Any, info: Any) -> Any:
        if value is not None:
            raise ValueError(f"{info.field_name} is not in this version of fedlab: leave it out")
        return value

    @field_validator("policy", mode="before")
    @classmethod
    def _the_policy(cls, value: Any) -> Policy | None:
        if value is None or isinstance(value, Policy):
            return value
        known = {f.name for f in fields(Policy)}
        if not isinstance(value, Mapping) or not known >= set(value):
            raise ValueError(f"policy is {value!r}: give a Policy, of {', '.join(sorted(known))}")
        return Policy(**value)

    @model_validator(mode="after")
    def _fits(self) -> Plan:
        if not self.sites or len(set(self.sites)) < len(self.sites):
            raise ValueError(f"sites are {', '.join(self.sites) or 'none'}: name each hospital once")
        known = {f.name for f in fields(Settings)}
        if odd := [name for name in self.settings if name not in known and name not in BESIDE]:
            raise ValueError(f"there is no setting {odd[0]!r}; known are {', '.join(sorted(known))}")
        for name in ("unsaid", "code"):
            if not isinstance(beside := self.settings.get(name, {}), Mapping):
                raise ValueError(f"the settings' {name} is {beside!r}, where names and what they stand for must be")
        there = {*self.settings, *self.settings.get("unsaid", {})}
        if lacking := sorted(known - there):
            raise ValueError(f"the settings lack {', '.join(lacking)}: another fedlab wrote them")
        for site, spells in self.away.items():
            check_spells(site, spells, sites=self.sites, rounds=self.rounds)
        for name, options in self.report.items():
            options_of(name, options, task=self.the_task, features=self.known)
        return self

    # ------------------------------------------------------------------ what it says

    @property
    def the_task(self) -> Task:
        """What is to be learnt."""
        with as_said("task"):
            found = find(self.task)
        if not isinstance(found, Task):
            raise ValueError(f"the plan's task is a {type(found).__name__}, and no task")
        return found

    @property
    def row(self) -> RowShape:
        """What one patient's row is, as the site holds it."""
        return RowShape(self.shape, self.in_bytes)

    @property
    def known(self) -> tuple[Feature, ...]:
        """The features, with their codes."""
        with as_said("features"):
            return tuple(
                Feature(c.name, c.kind, c.unit, c.range, None if c.codes is None else find(c.codes), c.missing)
                for c in self.features
            )

    @property
    def rounds(self) -> int:
        """Rounds of training."""
        return int(self.settings["rounds"])

    @property
    def seed(self) -> int:
        """Of the start and the batch order."""
        return int(self.settings["seed"])

    def _step(self, name: str) -> dict[str, Any] | None:
        steps = self.data.steps if isinstance(self.data, Recipe) else ()
        return next((find(each) for each in reversed(steps) if each["step"] == name), None)

    @property
    def shifts(self) -> Any:
        """The differences that were planted, or ``None``."""
        return (self._step("shift") or {}).get("shifts")

    @property
    def partition(self) -> dict[str, Any] | None:
        """How all patients were dealt out anew: ``scheme``, ``sites``, ``seed``; or ``None``."""
        step = self._step("partition")
        return None if step is None else {k: v for k, v in step.items() if k != "step"}

    @property
    def unseen(self) -> str | None:
        """The hospital that takes no part and is tested, or ``None``."""
        return (self._step("holdout") or {}).get("name")

    @property
    def lock(self) -> tuple[float, int] | None:
        """The share of the patients that is put away and the seed of its draw, or ``None``."""
        step = self._step("lock")
        return None if step is None else (step["share"], step["seed"])

    @property
    def about(self) -> str:
        """What the data are called."""
        return self.data_here.name if self.data_here else getattr(self.data, "name", "agreed data")

    @property
    def data_here(self) -> Federation | None:
        """The federation that the plan was made of in this process."""
        return self._objects.data if self._objects else None

    @property
    def said_settings(self) -> dict[str, Any]:
        """The settings as :func:`~fedlab.engine.parts.say_settings` has them."""
        return {name: value for name, value in self.settings.items() if name != "code"}

    def is_away(self, site: str, round: int) -> bool:
        """Return whether a site is not asked in this round."""
        return is_away(self.away, site, round)

    # ------------------------------------------------------------------ another plan of it

    def changed(
        self,
        *,
        primary: str | None = None,
        policy: Policy | None = None,
        away: Mapping[str, Sequence[Spell]] | None = None,
        **settings: Any,
    ) -> Plan:
        """Return the plan with other settings, all else as it is.

        Examples
        --------
        >>> import fedlab
        >>> plan = Plan.of(fedlab.load("heart_disease"), rounds=3)
        >>> plan.changed(rounds=5).rounds, plan.rounds
        (5, 3)
        """
        check_names(settings)
        held = self._objects
        chosen = Settings(**{**own_fields(held.settings if held else self._settings()), **settings})
        more: dict[str, Any] = {"settings": settings_spec(chosen)}
        more |= {} if primary is None else {"primary": primary}
        more |= {} if policy is None else {"policy": policy}
        more |= {} if away is None else {"away": spells_of(away)}
        made = _validated({**_whole(self), **more})
        made.check_primary()
        object.__setattr__(made, "_objects", held and held._replace(settings=chosen))
        return made

    def reporting(self, report: Wanted, *, export: bool = False) -> Plan:
        """Return the plan with what the sites are to report, and whether their own models may leave them.

        Raises
        ------
        ValueError
            For a report or an option that there is not, or one that does not fit the task or the columns.

        Examples
        --------
        >>> import fedlab
        >>> plan = Plan.of(fedlab.load("heart_disease"))
        >>> plan.reporting({"subgroups": {"by": "sex"}}).report
        {'subgroups': {'by': 'sex'}}
        >>> plan.reporting({"risks": {}})
        Traceback (most recent call last):
        ...
        ValueError: the plan: there is no report 'risks'; known are report, calibration, calibration_summary, ...
        """
        asked = {name: dict(options) for name, options in report.items()}
        if (asked, export) == (self.report, self.export):
            return self
        made = _validated({**_whole(self), "report": asked, "export": export})
        object.__setattr__(made, "_objects", self._objects)
        return made

    def judged_by(self, primary: str | None) -> Plan:
        """Return the plan with the metric that is judged."""
        return self.model_copy(update={"primary": primary})

    def with_away(self, away: Mapping[str, Sequence[Spell]]) -> Plan:
        """Return the plan with these absences, which a run that is under way has checked."""
        said = {site: tuple(spells) for site, spells in away.items() if spells}
        return self if said == self.away else self.model_copy(update={"away": said})

    def fingerprinted(self) -> Plan:
        """Return the plan with the fingerprint of the data that it was made of."""
        if self.data_here is None or isinstance(self.data, Agreement) or self.data.fingerprint:
            return self
        data = self.data.model_copy(update={"fingerprint": self.data_here.fingerprint})
        return self.model_copy(update={"data": data})

    # ------------------------------------------------------------------ to a file and back

    @property
    def lacks(self) -> list[str]:
        """What no file can hold of it, each with the remedy."""
        found = [f"the model: {self.model.lacks}"] if self.model.lacks else []
        if why := lacks_algorithm(self.algorithm):
            found.append(f"the algorithm {self.algorithm.said}: {why}")
        for name in self.settings.get("unsaid", {}):
            code = self.settings.get("code", {}).get(name, {})
            found += [f"{name}: {code['lacks']}"] if "lacks" in code else []
        return found + [f"column {c.name!r}: {c.codes['lacks']}" for c in self.features if is_lacking(c.codes)]

    @property
    def sum(self) -> str:
        """SHA-256 of all that is asked: who has the same plan has the same sum."""
        return sum_of(_whole(self))

    def to_json(self) -> str:
        """Return the plan as JSON, with its sum.

        Raises
        ------
        ValueError
            If a part has no words, with the remedy for each.

        Examples
        --------
        >>> import fedlab
        >>> Plan.of(fedlab.load("heart_disease"), lambda inputs, outputs: None).to_json()
        Traceback (most recent call last):
        ...
        ValueError: this plan cannot be written: the model: a lambda has no name that leads to it: write it as a ...
        """
        if self.lacks:
            raise ValueError(f"this plan cannot be written: {'; '.join(self.lacks)}")
        return json.dumps({**_whole(self), "sum": self.sum}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def save(self, path: str | Path) -> Path:
        """Write the plan to a file, whole or not at all."""
        path = Path(path)
        raw = self.to_json().encode()
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, raw)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan from a file.

        Raises
        ------
        ValueError
            If it is none, of another format, changed since it was written, or has names that this fedlab does not know.

        Warns
        -----
        PlanDiffers
            If another fedlab wrote it.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no plan {path}: plan.save({str(path)!r}) writes one")
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{path} is no plan: it is no text. plan.save(FILE) writes one") from None
        return cls.from_json(text, called=str(path))

    @classmethod
    def from_json(cls, text: str, *, called: str = "the plan") -> Plan:
        """Read a plan from JSON, as :meth:`load` does."""
        try:
            body = json.loads(text, parse_constant=_no_number)
        except ValueError as error:
            raise ValueError(f"{called} is no plan: it is no JSON ({error})") from None
        if not isinstance(body, dict) or "format" not in body:
            raise ValueError(f"{called} is no plan: plan.save(FILE) writes one")
        if body["format"] != FORMAT:
            raise ValueError(
                f"{called} has format {body['format']!r}, and this fedlab ({version()}) reads {FORMAT}: fedlab "
                f"{body.get('fedlab', 'unknown')} wrote it, install that, or make the plan again"
            )
        if body.pop("sum", None) != sum_of(body):
            raise ValueError(
                f"{called} was changed after it was written: its sum differs. Take the file as it was agreed, or make "
                "another in Python: Plan.of(…) or plan.changed(rounds=…), and save that"
            )
        made = _validated(body, called)
        if made.fedlab != version():
            warnings.warn(f"{called} was written by fedlab {made.fedlab}, and here is {version()}: the numbers may "
                          "differ from those that it would have given there", PlanDiffers, stacklevel=3)  # fmt: skip
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and _whole(self) == _whole(other)

    def __hash__(self) -> int:
        return hash(self.sum)

    def __repr__(self) -> str:
        return (
            f"<Plan {self.algorithm.said} of {self.model.name} on {self.about}: {len(self.sites)} sites, {self.rounds} "
            f"rounds, seed {self.seed}>"
        )

    __str__ = __repr__

    # ------------------------------------------------------------------ carrying it out

    def federation(self) -> Federation:
        """Return the data: those that it was made of in this process, else the recipe's, made again.

        Raises
        ------
        ValueError
            If they were given, or lie at the hospitals; or if the recipe gives others than it did.
        """
        if self.data_here is not None:
            return self.data_here
        if isinstance(self.data, Agreement):
            raise ValueError(
                "the plan's patients are at the hospitals, each its own: here is nobody's row. Run it over their nodes "
                "(fedlab.engine.flower), or give a federation in Python: "
                "fedlab.engine.carry_out(plan, federation)"
            )
        if isinstance(self.data, Given):
            raise ValueError(
                f"the plan is of {self.data.name!r}, data that were given: it has their fingerprint alone, and they "
                "cannot be made again. Give the federation in Python: fedlab.engine.carry_out(plan, federation)"
            )
        with as_said("data"):
            found = made_again(self.data)
        self.check(found)
        return found

    def check(self, federation: Federation) -> None:
        """Refuse a federation that is not the plan's.

        Raises
        ------
        ValueError
            With what differs, both values.
        """
        if list(federation.names) != list(self.sites):
            raise ValueError(
                f"the plan is for {', '.join(self.sites)}, and the federation has {', '.join(federation.names)}"
            )
        for site in federation.sites:
            self._check_terms(site.name, federation.features, federation.task, federation.prepared, site)
        said = "" if isinstance(self.data, Agreement) else self.data.fingerprint
        if said and federation.fingerprint != said:
            raise ValueError(
                f"the plan was made of {federation.name!r} with fingerprint {said[:12]}, and here it has "
                f"{federation.fingerprint[:12]}: other rows, or another split. Give the same data, or "
                "make the plan again"
            )

    def admit(self, site: Site) -> Site:
        """Return a hospital's own site in the plan's terms, its columns and classes matched by name.

        Raises
        ------
        ValueError
            If it is none of the plan's, or with everything that differs.

        Examples
        --------
        >>> import fedlab
        >>> hospitals = fedlab.load("heart_disease")
        >>> Plan.of(hospitals).admit(hospitals["Hungary"]).name
        'Hungary'
        """
        if not isinstance(site, Site):
            raise TypeError(f"{site!r} is a {type(site).__name__}, and no site: give federation['Hungary'] or such")
        if site.name not in self.sites:
            raise ValueError(f"{site.name!r} is none of the plan's sites, {', '.join(self.sites)}: name it as agreed")
        task = self.the_task
        if site.classes and not task.classes:
            raise ValueError(f"{site.name} has classes for labels, and the plan's task is {task.about}: agree on one")
        found = aligned(site, self.known, task.classes)
        self._check_terms(site.name, found.features, task, self.prepared, found)
        return found

    def _check_terms(self, name: str, features: Sequence[Feature], task: Task, prepared: bool, site: Site) -> None:
        here, there = columns(features), columns(self.known)
        if here != there:
            apart = [f"lacks {c}" for c in there if c not in here] + [f"adds {c}" for c in here if c not in there]
            raise ValueError(
                f"{name} has other columns than the plan: it {', '.join(apart[:6]) or 'orders them otherwise'}"
            )
        if task != self.the_task:
            raise ValueError(f"{name} has {task}, and the plan {self.the_task}: agree on what is to be learnt")
        for rows in filter(None, (site.rows, site.locked)):
            try:
                task.check(rows.y)
            except ValueError as error:
                raise ValueError(f"{name} does not fit the plan: {error}") from None
        if prepared != self.prepared:
            raise ValueError(f"{name} has prepared={prepared}, and the plan prepared={self.prepared}: they must agree")
        row = site.rows.row
        if row != self.row:
            raise ValueError(f"{name} has {row.about}, and the plan {self.row.about}")

    def setup(self, *, like: Net | None = None) -> Setup:
        """Make model, bound algorithm and settings; ``like`` is the model of another seed, which has been tried.

        Raises
        ------
        ValueError
            If they do not go together, or code is not here or another than it was.
        """
        self.check_primary()
        settings = self._objects.settings if self._objects else self._settings()
        n = len(self.sites)
        if settings.min_sites > n:
            raise ValueError(f"min_sites is {settings.min_sites}, but the federation has {n} sites")
        model = self._objects.model if self._objects else found_model(self.model)
        net = self._net(model, settings, like)
        alg = self._objects.algorithm if self._objects else found_algorithm(self.algorithm)
        bound = alg.bind(net.model, n)
        if bound.needs_sgd and type(settings.optimizer) is not SGD:
            raise ValueError(
                f"{bound.name} counts how often each gradient acts, which is known for SGD alone: use optimizer=SGD(), "
                f"with or without momentum, not {settings.optimizer}"
            )
        asked = sampled(n, settings.fraction)
        if settings.fraction < 1 and asked < bound.quorum(n):
            raise ValueError(
                f"fraction={settings.fraction:g} asks {asked} of {n} sites in a round, but {bound} needs at least "
                f"{bound.quorum(n)}"
            )
        check_present(bound, settings, self.sites, self.away)
        return Setup(bound, settings, net)

    def _settings(self) -> Settings:
        if self.settings.get("unsaid") and self.lacks:
            raise ValueError(f"this plan cannot be carried out: {'; '.join(self.lacks)}")
        return found_settings(self.settings)

    def check_primary(self) -> None:
        """Refuse a metric to be judged that the plan's task does not have.

        Raises
        ------
        ValueError
            With the metrics that it has.
        """
        if self.primary is not None and self.primary not in (known := self.the_task.metrics):
            raise ValueError(f"primary is {self.primary!r}, and {self.the_task.about} has {', '.join(known)}")

    def _net(self, model: ModelLike, settings: Settings, like: Net | None) -> Net:
        if not self.prepared and len(self.row.shape) > 1:
            raise ValueError("rows that are not [patients, features] must be prepared: say prepared=True")
        seen, task = self.row if self.prepared else RowShape((2 * self.row.inputs,)), self.the_task
        task.check_model(model_name(model))
        module = build(model, seen.inputs, task.outputs, seed=settings.seed, shape=seen.shape)
        check_model(module, model_name(model))
        dtype, device = getattr(torch, settings.dtype), torch.device(settings.place)
        module = module.to(device, dtype)
        if like is None:
            rows, mask = two_rows(seen, dtype=dtype, device=device)
            trial = _tried(module, rows, mask, model_name(model), prepared=self.prepared)
            task.check_output(torch.Size(trial.outputs), 2)
        else:
            trial = like.trial
        known = () if self.prepared else categories(self.known)
        return Net(module, task, dtype=dtype, trial=trial, device=settings.place, categories=known, row=self.row)


# --------------------------------------------------------------------------- how it is made


def planned(
    federation: Federation,
    model: ModelLike | None,
    which: str | Algorithm,
    settings: Mapping[str, Any],
    *,
    primary: str | None = None,
    policy: Policy | None = None,
    away: Mapping[str, Sequence[Spell]] | None = None,
) -> Plan:
    """Make a plan without the fingerprint of its data, which takes as long as some runs: it is found when asked for."""
    check_names(settings)
    if not isinstance(federation, Federation):
        raise TypeError(
            f"federation is a {type(federation).__name__}: load one with fedlab.load(…) or Federation.from_frame(…)"
        )
    model = federation.task.model if model is None else model
    row, prepared = federation.sites[0].rows.row, federation.prepared
    about = _about(data_of(federation), federation.names, federation.features, row, federation.task, prepared=prepared)
    return _asked(about, federation, model, which, settings, primary=primary, policy=policy, away=away or {})


def _about(
    data: Recipe | Agreement | Given, sites: Sequence[str], known: Sequence[Feature], row: RowShape,
    task: Task, *, prepared: bool,
) -> dict[str, Any]:  # fmt: skip
    each = tuple(
        Column(name=f.name, kind=f.kind, unit=f.unit, range=f.range, codes=codes_spec(f.codes), missing=f.missing)
        for f in known
    )
    return {
        "data": data,
        "sites": tuple(sites),
        "features": each,
        "shape": row.shape,
        "in_bytes": row.in_bytes,
        "task": say(task),
        "prepared": prepared,
    }


def _asked(
    about: dict[str, Any], federation: Federation | None, model: ModelLike, which: str | Algorithm,
    settings: Mapping[str, Any], *, primary: str | None, policy: Policy | None, away: Mapping[str, Sequence[Spell]],
) -> Plan:  # fmt: skip
    check_names(settings)
    chosen, alg = Settings(**settings), algorithm(which)
    made = _validated(
        {
            **about, "fedlab": version(), "primary": primary, "policy": policy, "away": spells_of(away),
            "algorithm": AlgorithmSpec(**say_algorithm(alg)), "model": model_spec(model),
            "settings": settings_spec(chosen),
        }
    )  # fmt: skip
    made.check_primary()
    object.__setattr__(made, "_objects", Objects(federation, model, alg, chosen))
    return made


def _validated(body: Mapping[str, Any], called: str = "the plan") -> Plan:
    try:
        return Plan.model_validate(body)
    except ValidationError as error:
        raise ValueError(f"{called}: {_told(error)}") from None


def _no_number(what: str) -> None:
    raise ValueError(f"{what} is no number")


def _told(error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        place = ".".join(map(str, fault["loc"]))
        if fault["type"] == "extra_forbidden":
            lines.append(f"there is no {place!r} in a plan of fedlab {version()}")
        else:
            said = fault["msg"].removeprefix("Value error, ")
            lines.append(said if fault["type"] == "value_error" else f"{place}: {said}")
    return "; ".join(lines)


def _whole(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = plan.model_dump(mode="json", by_alias=True)
    return found


# --------------------------------------------------------------------------- the model


def _tried(module: nn.Module, rows: Tensor, mask: Tensor | None, name: str, *, prepared: bool) -> Trial:
    try:
        with all_digits():
            return try_model(module, rows, mask)
    except Exception as error:
        hint = (
            ". With federated preprocessing it sees two columns a feature, the value and whether it is missing: build "
            "its first layer from the factory's `inputs`"
        )
        raise ValueError(
            f"the model {name} cannot take rows of shape {list(rows.shape[1:])} in {str(rows.dtype).split('.')[1]} "
            f"({error})" + (hint if not prepared and "shape" in str(error) else "")
        ) from error
