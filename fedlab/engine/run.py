"""A run: what happened, round by round, and the model that came of it."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import InitVar, dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from fedlab.algorithms.base import Algorithm, whole
from fedlab.algorithms.tensors import Tensors
from fedlab.engine import closer, opened, openings
from fedlab.engine.absences import NO_MODEL, absences, never_trained
from fedlab.engine.exchange import Exchange
from fedlab.engine.hooks import Hooks
from fedlab.engine.kept import Kept
from fedlab.engine.ledger import Ledger, Message
from fedlab.engine.net import Net, as_module
from fedlab.engine.newcomer import join
from fedlab.engine.plan import Plan
from fedlab.engine.presence import Spell, check_present
from fedlab.engine.purposes import accept
from fedlab.engine.reported import Told, told
from fedlab.engine.settings import Settings
from fedlab.engine.wanted import options_of
from fedlab.federation import Federation, Score, Site, Task
from fedlab.federation.frame import encode, sources
from fedlab.federation.reserved import EVERY_SITE
from fedlab.privacy.policy import SIMULATED, Policy


class NoRows(ValueError):
    """Patients were asked for where there are none: at a server, or in a plan."""


@dataclass(frozen=True)
class Record:
    """One round's entry: the ``valid`` scores of each site, seconds and bytes so far, who failed and how."""

    round: int
    valid: dict[str, dict[str, float]]
    seconds: float
    bytes: int
    errors: dict[str, str]


@dataclass
class Run(Kept):
    """What a training run left behind; made by ``fedlab.train`` and ``fedlab.stream``.

    Attributes
    ----------
    plan : Plan
        What was asked, apart from what happened; with the fingerprint of the data and the absences of :meth:`away`.
    federation : Federation
        The data; refused with a sentence where the run is that of a server, which has none.
    weights : dict of str to Tensor
        The server's tensors of the reported round, preparation included (``prepare.*``).
    extra : dict
        What travelled besides, after the reported round (IFCA: the models of all clusters).
    chosen : dict of str to int
        The reported round: the one with the best log loss on ``valid`` (isolated: each site its own).
    notes : list of str
        What the engine has to say: why it went one site at a time, which sites failed, how often and how.
    took_part, asked : Counter
        In how many rounds each site's training was used, and in how many it was asked to train.
    withheld : dict of str to list of str
        By site, the features of which it told nothing before the first round, as fewer than five of its training
        patients have them (or none): they count as not measured there.
    examples_seen : int
        Training examples that went through a gradient, all places of training together, of answers that were used.
    test_openings : int
        How often ``test`` was looked at in this run; :func:`fedlab.engine.openings.count` knows of the others.
    """

    asked_plan: InitVar[Plan]
    rows: InitVar[Federation | None]
    model_name: str
    algorithm: Algorithm
    settings: Settings
    net: Net
    ledger_book: Ledger = field(default_factory=Ledger)
    records: list[Record] = field(default_factory=list)
    weights: Tensors = field(default_factory=dict)
    extra: Tensors = field(default_factory=dict)
    models: dict[str, list[Tensors]] = field(default_factory=dict)
    chosen: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    took_part: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    withheld: dict[str, list[str]] = field(default_factory=dict)
    steps_per_round: int = 0
    examples_seen: int = 0
    test_openings: int = 0
    doing: str = ""
    asked_for: dict[str, Any] = field(default_factory=dict, repr=False)  # in words, as it was before the first round
    absent: dict[str, list[Spell]] = field(default_factory=dict)
    hooks: Hooks = field(default=Hooks(), init=False, repr=False)  # no part of what is kept
    under_way: int = field(default=0, init=False, repr=False)  # the round that the sites were asked for last
    gate: Exchange | None = field(default=None, init=False, repr=False)  # that of :meth:`through`
    _reports: dict[Any, pd.DataFrame] = field(default_factory=dict)

    def __post_init__(self, asked_plan: Plan, rows: Federation | None) -> None:
        self._plan, self._rows = asked_plan, rows
        self.absent = {site: list(spells) for site, spells in asked_plan.away.items()}

    # ------------------------------------------------------------------ what was asked

    @property
    def plan(self) -> Plan:
        """What was asked: of which data, which algorithm, model and settings; ``run.plan.save(FILE)`` writes it."""
        self._plan = self._plan.fingerprinted()
        return self._plan.with_away(self.absent)

    @property
    def policy(self) -> Policy:
        """What may leave the sites: the plan's, else all that the run asks."""
        return self.plan.policy or SIMULATED

    @property
    def federation(self) -> Federation:
        """The data that this run was trained on.

        Raises
        ------
        NoRows
            If it is the run of a server, whose sites hold their rows themselves.
        """
        if self._rows is None:
            raise NoRows(
                "this run has no patients here, each hospital holds its own: ask where the rows are while the "
                "federation is open, by the plan (Plan.of(…, report={'report': {}})) or run.through(gate); or look at "
                "run.history, run.ledger, run.weights and run.model()"
            )
        return self._rows

    @property
    def plan_report(self) -> dict[str, dict[str, Any]]:
        """The reports that the plan wants of sites that hold their rows themselves."""
        return {} if self.has_rows else self._plan.report

    @property
    def has_rows(self) -> bool:
        """Whether the patients are here, and not at their hospitals alone."""
        return self._rows is not None

    @contextmanager
    def through(self, gate: Exchange) -> Iterator[Run]:
        """Let reports inside be computed where the patients are, asked through the gate of a federation that is open.

        What comes back is kept in the run, and saved with it: the same report is then returned to whoever asks later.

        Parameters
        ----------
        gate : Exchange
            In front of the sites, e.g. of Flower's nodes.

        Examples
        --------
        >>> import fedlab
        >>> from fedlab.engine.exchange import Exchange
        >>> from fedlab.engine.local import LocalTransport
        >>> run = fedlab.train(fedlab.load("heart_disease"), rounds=2, progress=False)
        >>> with run.through(Exchange(LocalTransport(run, stop=lambda: False))) as asked:
        ...     asked.report().query("metric == 'auc'")["test"].tolist()
        ['Cleveland', 'Hungary', 'Switzerland', 'Long Beach']
        """
        before, self.gate = self.gate, gate
        try:
            yield self
        finally:
            self.gate = before

    @property
    def stay_at_home(self) -> bool:
        """Whether the sites have models of their own, which have not left them."""
        return bool(self.records) and not (self.has_rows or self.models or whole(self.algorithm))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sites, as shown."""
        return self._plan.sites

    @property
    def task(self) -> Task:
        """What is learnt."""
        return self.net.task

    @property
    def prepared(self) -> bool:
        """Whether the rows go into the model as they are."""
        return self._plan.prepared

    @property
    def sources(self) -> tuple[str, ...]:
        """Which feature each column of ``x`` comes from, as :attr:`fedlab.Federation.sources` has it."""
        return sources(self._plan.known, self._plan.shape)

    def away(self, *names: str) -> None:
        """Let exactly these sites be away from the next round on; whoever else was is back. It is written in the plan.

        It takes effect at a round's border: call it between two events of ``fedlab.stream``. Between hospitals the
        round after an event's may be under way already (:func:`fedlab.engine.rounds.rounds`): then it takes effect in
        the one after that, as the plan says.

        Parameters
        ----------
        *names : str
            None: all are there.

        Raises
        ------
        ValueError
            For a site that is not there, or where too few would be left.

        Examples
        --------
        >>> import fedlab
        >>> for event in fedlab.stream(fedlab.load("heart_disease"), rounds=4):
        ...     if event.round < 3:
        ...         event.run.away(*["Hungary"] * (event.round == 1))
        >>> event.run.plan.away, event.run.asked["Hungary"]
        ({'Hungary': ((2, 2),)}, 3)
        """
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"{name!r} is no site's name: give each by itself, run.away('Hungary', 'Cleveland')")
            self._check_site(name)
        following, last = max(len(self.records), self.under_way) + 1, self.settings.rounds
        if following > last:
            had = "has had" if len(self.records) == last else "is in the last of"
            raise ValueError(f"the run {had} its {last} rounds: nobody can be away any more")
        spells: dict[str, list[Spell]] = {}
        for site in self.names:
            past = [(first, min(end, following - 1)) for first, end in self.absent.get(site, ()) if first < following]
            if site in names and past and past[-1][1] == following - 1:
                past[-1] = (past[-1][0], last)
            elif site in names:
                past.append((following, last))
            spells |= {site: past} if past else {}
        check_present(self.algorithm, self.settings, self.names, spells)
        self.absent = spells

    def tell(self, doing: str) -> None:
        """Note what is going on, for whoever shows it."""
        self.doing = doing

    # ------------------------------------------------------------------ what happened

    @property
    def scored(self) -> tuple[str, str]:
        """What is computed on ``valid`` after each round: the score that chooses, and the headline."""
        return self.task.choosing, self.task.headline

    @property
    def history(self) -> pd.DataFrame:
        """One row per round and site: scores on ``valid``, and steps, bytes and seconds up to then."""
        rows = [
            {
                "round": record.round,
                "site": site,
                **{name: got[name] for name in self.scored},
                "patients": int(got["n"]),
                "steps": record.round * self.steps_per_round,
                "bytes": record.bytes,
                "seconds": record.seconds,
                "chosen": self.chosen.get(site) == record.round,
            }
            for record in self.records
            for site, got in record.valid.items()
        ]
        columns = ["round", "site", *self.scored, "patients", "steps", "bytes", "seconds", "chosen"]
        return pd.DataFrame(rows, columns=columns)

    @property
    def ledger(self) -> pd.DataFrame:
        """One row per message: round, purpose, site, direction, bytes, content, status."""
        return self.ledger_book.frame()

    @property
    def messages(self) -> list[Message]:
        """What the messages held, each with its round; kept by ``train(…, keep_messages=True)`` alone."""
        return self.ledger_book.messages

    @property
    def errors(self) -> pd.DataFrame:
        """One row per failed answer: round (0: before the first), site, class of the error; the ledger has the rest."""
        before = [(0, site, row.status) for row in self.ledger_book.rows if row.failed and not row.round
                  for site in row.sites]  # fmt: skip
        rows = [(r.round, site, error) for r in self.records for site, error in r.errors.items()]
        return pd.DataFrame(before + rows, columns=["round", "site", "error"])

    # ------------------------------------------------------------------ the model

    def _models(self, site: str | None) -> list[Tensors]:
        if not self.records:
            raise ValueError("no round has finished yet: there is no model")
        if site is not None:
            self._check_site(site)
        if whole(self.algorithm):
            return [self.weights]
        if self.stay_at_home and site not in never_trained(self):
            raise ValueError(
                f"with {self.algorithm.name} a site predicts with a model of its own, which has not left it: ask for "
                "its report there, by the plan (Plan.of(…, report={'report': {}})) or run.through(gate); or let it be "
                "sent, if all agree, by Plan.of(…, export=True) and 'export' in each site's Policy(purposes=…)"
            )
        if site is None and self.algorithm.one_model and self.models:
            return next(iter(self.models.values()))
        if site is None:
            raise ValueError(
                f"with {self.algorithm.name} every site has a model of its own: say whose, site= one of "
                f"{', '.join(self.models)}"
            )
        if site not in self.models:
            raise ValueError(f"site {site!r} has {NO_MODEL}: it {self._without_model().get(site, 'did not answer')}")
        return self.models[site]

    def _check_site(self, site: str) -> None:
        if site not in self.names:
            raise ValueError(f"there is no site {site!r}; the sites are {', '.join(self.names)}")

    def model(self, site: str | None = None) -> nn.Module:
        """Return the trained model, its preprocessing inside: raw rows (``nan`` = missing) to logits.

        Parameters
        ----------
        site : str, optional
            Whose, where every site has its own.
        """
        return as_module(self.net, self._models(site))

    def predict_proba(self, frame: pd.DataFrame, *, site: str | None = None) -> pd.DataFrame:
        """Probability of each class for new patients, one row each, in a table with the federation's columns."""
        if not self.task.classes:
            raise ValueError(f"this task is {self.task.about}, not of classes: run.predict(…) predicts it")
        return self._predicted(frame, site)

    def predict(self, frame: pd.DataFrame, *, site: str | None = None) -> pd.DataFrame:
        """Predict the quantity for new patients, one row each, in its own unit; of classes, :meth:`predict_proba`."""
        if self.task.classes:
            raise ValueError("this task is of classes: run.predict_proba(…) gives the probability of each")
        return self._predicted(frame, site)

    def _predicted(self, frame: pd.DataFrame, site: str | None) -> pd.DataFrame:
        if not self._plan.features:
            raise ValueError("this federation has no named columns: call run.model()(x) with a tensor")
        x = encode(frame, self._plan.known)
        with torch.no_grad():
            p = self.net.probabilities(list(map(self.net.placed, self._models(site))), x).cpu()
        return pd.DataFrame(p.numpy(), index=frame.index, columns=list(self.task.columns))

    # ------------------------------------------------------------------ opening the test

    def report(self, *, resamples: int = 0, unseen: Sequence[Site] = ()) -> pd.DataFrame:
        """Score the reported round on the held-out ``test`` patients; this opens ``test``, and is counted.

        Parameters
        ----------
        resamples : int
            Above 0 adds 95 % intervals over patients: of the AUC the wider of two that have a formula
            (:mod:`fedlab.metrics.auc_interval`), of accuracy Wilson's, of the others from so many bootstrap
            resamples. None with fewer than twenty patients, for a metric that needs every class of each.
        unseen : sequence of Site
            Hospitals that took no part, scored on their ``test`` rows too; their columns and classes are matched by
            name.

        Returns
        -------
        DataFrame
            One row per ``train`` (where the model comes from: a site, or ``all sites``), ``test`` site and ``metric``:
            ``value, low, high, patients, fewest`` (patients of the rarest class) and the ``reason`` of a ``nan``, of
            bounds too where they were asked for.
            ``balanced_accuracy_chosen`` is at the threshold that the test site chooses on its own ``valid`` rows, for
            each model; ``sensitivity_at_specificity_90`` is read off the ROC curve of the test patients.
        """
        if not isinstance(unseen, Sequence) or not all(isinstance(site, Site) for site in unseen):
            raise TypeError("unseen= is a list of sites, e.g. [late] of others, late = federation.holdout('Hungary')")
        names = [site.name for site in unseen]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"unseen= has two sites called {twice[0]!r}: give each a name of its own")
        unseen = list(map(self._stranger, unseen))
        resamples = self._options("report", resamples=resamples)["resamples"]
        asked = (resamples, tuple(self.federation.digest(site) for site in unseen))
        if asked not in self._reports:
            sites = (*self.federation.sites, *unseen) if unseen else None
            self._reports[asked] = self._every_score("report", resamples, sites)
        return self._reports[asked].copy()

    def at(self, site: Site, *, resamples: int = 0) -> pd.DataFrame:
        """Score the reported round at one hospital that took no part; this opens its ``test``, and is counted.

        Columns as :meth:`report` has them, which scores the federation's own hospitals too.
        """
        return self._every_score("at", resamples, [self._stranger(site)])

    calibration = closer.calibration
    calibration_summary = closer.calibration_summary
    decisions = closer.decisions
    subgroups = closer.subgroups
    test_scores = closer.test_scores

    def newcomer(self, site: Site, *, rounds: int = 0, resamples: int = 0) -> pd.DataFrame:
        """Score what a hospital that joins after the run would predict with, on its ``test`` patients.

        It gets what the sites get, trains ``rounds`` rounds on its own training rows as the algorithm has it, and sends
        nothing back. With 0 rounds a personal head is untrained, and a model of one's own is that of the start.

        Parameters
        ----------
        site : Site
            With the same columns, in any order, e.g. the second of ``federation.holdout("Long Beach")``.
        rounds : int
            At least 0.
        resamples : int
            As for :meth:`report`.

        Returns
        -------
        DataFrame
            One row per metric, as :meth:`report` has them.

        Examples
        --------
        >>> import fedlab
        >>> others, late = fedlab.load("heart_disease").holdout("Long Beach")
        >>> run = fedlab.train(others, "mlp", "ditto", rounds=2, progress=False)
        >>> run.newcomer(late, rounds=1)["test"].unique().tolist()
        ['Long Beach']
        """
        site = self._stranger(site)
        asked = ("newcomer", self.federation.digest(site), rounds, resamples)
        if asked not in self._reports:
            models = join(self, site, rounds=rounds)
            self._opens("newcomer", [site])
            options: dict[str, Any] = {"what": "newcomer", "sources": [self.algorithm.name], "models": [models]}
            self._reports[asked] = self._scored(told(self, "scores", {"resamples": resamples}, **options, sites=[site]))
        return self._reports[asked].copy()

    @property
    def words(self) -> str:
        """What the run is, in a few words: for whoever reads who has opened ``test``."""
        return f"{self.algorithm} of {self.model_name}, seed {self.settings.seed}"

    def _reach(self) -> None:
        """Refuse a question to patients who are not here, where no gate leads to them."""
        if self.gate is None:
            _ = self.federation

    def _opens(self, what: str, sites: Sequence[Site] | None = None) -> None:
        """Count an opening of ``test``, here and over all runs and studies; hospitals enter it by themselves.

        What the policy does not allow is refused before it is counted.
        """
        accept(self.policy, "report")
        if self.gate is None or sites is not None:
            by = [self.model_name, self.asked_for]
            openings.enter(self.federation, what, by=by, words=self.words, sites=sites)
        self.test_openings += 1

    def _stranger(self, site: Site) -> Site:
        """Return a hospital that took no part in this federation's terms, or refuse it."""
        admitted = self.federation.admit(site)
        if admitted.name in self.federation.names:
            raise ValueError(
                f"{admitted.name!r} is a site of this run: a hospital that took no part needs another name"
            )
        return admitted

    def _sources(self) -> tuple[list[str], list[list[Tensors]]]:
        """Where the models come from, and the models; none where each site has its own, which stayed there."""
        if self.stay_at_home:
            return [], []
        sources = [EVERY_SITE] if self.algorithm.one_model else [n for n in self.names if n in self.models]
        return sources, [self._models(None if source == EVERY_SITE else source) for source in sources]

    def _options(self, name: str, **options: Any) -> dict[str, Any]:
        """Return the options of a report, checked."""
        return options_of(name, options, task=self.task, features=self._plan.known)

    def _looks(
        self, wanted: str, options: Mapping[str, Any], *, what: str, sites: Sequence[Site] | None = None
    ) -> list[Told]:
        """Open ``test``: ask the sites of the models of the reported round."""
        self._reach()
        sources, models = self._sources()
        self._opens(what, sites)
        what = what.replace(" ", "_")
        return told(self, wanted, options, what=what, sources=sources, models=models, sites=sites)

    def _every_score(self, what: str, resamples: int, sites: Sequence[Site] | None) -> pd.DataFrame:
        """Score all models at these sites; one that there should be and is not has ``nan``, and why."""
        missing = {source: f"{NO_MODEL}: it {why}" for source, why in self._without_model().items()}
        if self.stay_at_home and not self.algorithm.one_model:
            missing = {source: f"its model stays at {source}" for source in self.names} | missing
        looks = self._looks("scores", {"resamples": resamples}, what=what, sites=sites)
        if not looks:  # no site has handed its model out: there are patients, and nothing to judge
            there = self.federation.sites if sites is None else sites
            looks = [Told("", site.name, opened.counted(site, self.task), None, "") for site in there]
        return self._scored(looks, missing)

    def _scored(self, looks: Sequence[Told], missing: Mapping[str, str] | None = None) -> pd.DataFrame:
        rows: list[tuple[Any, ...]] = []
        metrics = self.task.metrics

        def nothing(why: str) -> dict[str, Score]:
            return dict.fromkeys(metrics, Score(np.nan, reason=why))

        for site, of_site in groupby(looks, key=attrgetter("site")):
            here = list(of_site)
            found = {
                each.source: {name: Score(**each.found[name]) for name in metrics}
                if each.found
                else nothing(each.reason)
                for each in here
                if each.source
            }
            found |= {source: nothing(why) for source, why in (missing or {}).items() if source not in found}
            rows += [
                (source, site, metric, *scores[metric], *here[0].about)
                for source, scores in found.items()
                for metric in metrics
            ]
        return pd.DataFrame(rows, columns=["train", "test", "metric", *Score._fields, "patients", "fewest"])

    def _without_model(self) -> dict[str, str]:
        """Return the sites that should have a model of their own and have none, and why."""
        if self.algorithm.one_model or not self.records:
            return {}
        never = never_trained(self)
        if self.stay_at_home:
            return never
        return {n: never.get(n, "did not hand it out") for n in self.names if n not in self.models}

    # ------------------------------------------------------------------ looking at it

    def __repr__(self) -> str:
        done = len(self.records)
        missing = "".join(f"; {site} {what}" for site, what in absences(self).items())
        return (
            f"<Run {self.algorithm} of {self.model_name} on {self._plan.about}: {done} of {self.settings.rounds} "
            f"rounds, reports round {self._chosen_words()}{missing}>"
        )

    def _chosen_words(self) -> str:
        rounds = sorted(set(self.chosen.values()))
        if len(rounds) <= 1:
            return str(rounds[0]) if rounds else "none"
        return ", ".join(f"{site} {r}" for site, r in self.chosen.items())

    def _repr_html_(self) -> str:
        last = self.history.query("chosen")[["site", "round", *self.scored, "patients"]]
        notes = "".join(f"<br><small>{html.escape(note)}</small>" for note in self.notes)
        table = last.to_html(index=False, border=0, float_format="{:.3f}".format)
        return f"<div><b>{html.escape(repr(self)[1:-1])}</b>{table}<small>scores on valid</small>{notes}</div>"
