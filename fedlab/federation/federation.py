"""A federation: a handful of hospitals with one question in common."""

from __future__ import annotations

import hashlib
import html
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from torch import Tensor

from fedlab.federation import frame
from fedlab.federation.align import aligned
from fedlab.federation.bags import bags_in
from fedlab.federation.lock import lock
from fedlab.federation.made import Made
from fedlab.federation.names import check_names
from fedlab.federation.numbers import whole
from fedlab.federation.problems import Problems
from fedlab.federation.site import Examples, Feature, Site, Split, check_alike
from fedlab.federation.splits import draw_rows, split_rows
from fedlab.federation.values import LARGEST
from fedlab.tasks import Task

if TYPE_CHECKING:
    from fedlab.federation.schemes import Scheme
    from fedlab.federation.shift import Shifts


@dataclass(frozen=True, eq=False)
class Federation(Made):
    """Sites, their task and what their columns mean.

    Build one with :meth:`from_frame` or :meth:`from_tensors`, or load a recipe with ``fedlab.load``.

    Parameters
    ----------
    name : str
    sites : tuple of Site
        In the order in which they are shown; the order never changes a result.
    task : Task
    features : tuple of Feature
        The data dictionary.
    source, licence : str
        Where the records come from, and on which terms.
    prepared : bool
        The rows are ready for a model: no federated preprocessing (no filling, scaling or indicators).
    published : bool
        The split is part of the data's published protocol: a seed does not redraw it.
    notes : tuple of str
        What was found in the data when it was made: levels, marks of *not measured*, rows that repeat others.
    thinning : (int, int), optional
        How many training rows a site learns from, and the seed of their draw; see :meth:`thinned`.
    locking : (float, int), optional
        Which share of each site's patients is put away, and the seed of their draw; see :meth:`lock`.
    roster : tuple of str
        Names of the whole federation that this is a part of; empty if it is the whole.
    steps : tuple of (str, dict)
        How it came of a recipe: what ``load`` was asked, and what was done since, so that it can be made again from
        words (:class:`fedlab.Plan`); empty where only its owner knows.
    """

    name: str
    sites: tuple[Site, ...]
    task: Task
    features: tuple[Feature, ...] = ()
    source: str = ""
    licence: str = ""
    prepared: bool = False
    published: bool = False
    notes: tuple[str, ...] = ()
    thinning: tuple[int, int] | None = None
    locking: tuple[float, int] | None = None
    roster: tuple[str, ...] = ()
    steps: tuple[tuple[str, dict[str, Any]], ...] = ()

    def __post_init__(self) -> None:
        if not self.sites:
            raise ValueError("a federation needs at least one site")
        names = self.names
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"two sites are called {twice[0]!r}: give each site a name of its own")
        problems = Problems()
        check_names(problems, sites=names, classes=self.task.classes, features=self.features)
        problems.raise_all()
        if self.features and len(set(self.columns)) < len(self.columns):
            twice = [c for c, n in Counter(self.columns).items() if n > 1]
            raise ValueError(f"two columns are called {twice[0]!r}: give each feature a name of its own")
        object.__setattr__(self, "sites", tuple(map(self._admit, self.sites)))
        check_alike({site.name: site.rows for site in self.sites})

    def admit(self, site: Site) -> Site:
        """Return a site in this federation's terms: its columns and classes, matched by name.

        Whatever comes from elsewhere passes here: a hospital that joins late, sites that are put in by hand. A site
        that was never part of a federation does not know its columns, and is taken as it is.

        Raises
        ------
        ValueError
            With everything that differs; or for missing or infinite values, and labels, that it may not have.

        Examples
        --------
        >>> import fedlab
        >>> hospitals, late = fedlab.load("heart_disease").holdout("Hungary")
        >>> hospitals.admit(late).features == hospitals.features
        True
        """
        _check_site(site)
        ours, theirs = self.sites[0].rows.row, site.rows.row
        if theirs != ours and not (ours.is_table and theirs.is_table):  # a table's columns have names to go by
            raise ValueError(
                f"site {site.name!r} has {theirs.about}, and the federation {ours.about}: the model would read other "
                "numbers than it was trained on. Give its rows in the same form"
            )
        return self._admit(site)

    def _admit(self, site: Site) -> Site:
        _check_site(site)
        problems = Problems()
        check_names(problems, sites=[site.name])
        problems.raise_all()
        if site.features != self.features or site.classes != self.task.classes:
            if site.classes and not self.task.classes:
                raise ValueError(f"site {site.name!r} has classes for labels, and the task here is {self.task.about}")
            site = aligned(site, self.features, self.task.classes)
        self._check_rows(site.name, site.rows)
        if site.locked is not None:
            self._check_rows(site.name, site.locked)
        return site

    def _check_rows(self, name: str, rows: Examples) -> None:
        """Refuse rows that this federation cannot have."""
        x, y = rows.x, rows.y
        if self.features and x.ndim == 2 and x.shape[1] != len(self.columns):
            raise ValueError(
                f"site {name!r} has {x.shape[1]} columns, and the federation {len(self.columns)}: "
                f"{', '.join(self.columns[:12])}{' …' * (len(self.columns) > 12)}"
            )
        if self.prepared and not rows.finite:
            raise ValueError(
                f"site {name!r} has missing or infinite values, but the federation is said to be prepared: "
                "use prepared=False"
            )
        if rows.largest >= LARGEST:
            raise ValueError(f"site {name!r}{self._where_too_large(x)}: make them missing (nan) or correct them")
        try:
            self.task.check(y)
        except ValueError as error:
            raise ValueError(f"site {name!r} has {error}") from None

    def _where_too_large(self, x: Tensor) -> str:
        """Say what a site holds that is no measurement, and in which column."""
        bags = bags_in(x)
        x = x if bags is None else bags.flat
        row = (x.abs() >= LARGEST).reshape(len(x), -1).nonzero()[0].tolist()
        value = float(x.reshape(len(x), -1)[row[0], row[1]])
        where = f" in column {self.columns[row[1]]!r}" if self.features and x.ndim == 2 else ""
        return f" has infinite values{where}" if np.isinf(value) else f" holds {frame.too_large(value)}{where}"

    # ------------------------------------------------------------------ looking at it

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sites, as shown."""
        return tuple(site.name for site in self.sites)

    @property
    def places(self) -> dict[str, int]:
        """Number of each site in the whole federation: by it a figure draws a hospital alike, whoever else is there."""
        whole = list(dict.fromkeys([*self.roster, *self.names]))
        return {name: whole.index(name) for name in self.names}

    def __getitem__(self, name: str) -> Site:
        for site in self.sites:
            if site.name == name:
                return site
        raise ValueError(f"there is no site {name!r}; the sites are {', '.join(self.names)}")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of ``x`` (a category has several)."""
        return frame.columns(self.features)

    @property
    def sources(self) -> tuple[str, ...]:
        """Which feature each column of ``x`` comes from, of images each pixel; ``column 3`` where it has no name."""
        return frame.sources(self.features, self.sites[0].rows.row.shape)

    def encode(self, df: pd.DataFrame) -> Tensor:
        """Turn another table with the same columns into ``x`` [n, columns]: for patients not yet seen."""
        return frame.encode(df, self.features)

    def describe(self) -> pd.DataFrame:
        """One row a site: patients, parts of the split, what the label is like there, share of missing cells.

        For whoever holds the tables: small counts stand as they are. What is sent on is screened
        (:mod:`fedlab.metrics.cells`), as ``fedlab report`` does.
        """
        table = []
        for site in self.sites:
            y = site.rows.y.numpy()
            row: dict[str, Any] = {"site": site.name, "patients": len(np.unique(site.rows.group)), "rows": len(site)}
            row |= {part: len(numbers) for part, numbers in site.split.parts().items()}
            missing = 0.0 if site.rows.finite else float(site.rows.x.isnan().double().mean())
            table.append(row | self.task.describe(y) | {"share missing": missing})
        return pd.DataFrame(table).set_index("site")

    def __repr__(self) -> str:
        sizes = ", ".join(f"{site.name} {len(site)}" for site in self.sites[:8]) + (" …" if len(self.sites) > 8 else "")
        about = f"{len(self.sites)} sites ({sizes}), {self.task.kind} {self.task.columns}{self._away()}"
        return f"<Federation {self.name}: {about}>"

    @property
    def _what(self) -> str:
        return f"{self.task.kind} ({', '.join(self.task.columns)})"

    def _away(self) -> str:
        rows = sum(len(site.locked) for site in self.sites if site.locked is not None)
        return f", and {rows} rows locked" if rows else ""

    def _repr_html_(self) -> str:
        title = f"<b>{html.escape(self.name)}</b>: {len(self.sites)} sites, {sum(map(len, self.sites))} rows, "
        title += f"{html.escape(self._what)}{self._away()}"
        notes = "".join(f"<br>{html.escape(note)}." for note in self.notes)
        small = f"<small>{html.escape(self.source)}. {html.escape(self.licence)}{notes}</small>"
        formats = {c: "{:.0%}".format for c in self.describe().columns if c.startswith("share")}
        return f"<div>{title}{self.describe().to_html(formatters=formats, border=0)}{small}</div>"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all tensors, names and the split, whatever the order of the sites.

        Two federations with the same one train the same.
        """
        return self.fingerprint_of(sorted(self.names))

    def fingerprint_of(self, names: Sequence[str]) -> str:
        """Return the SHA-256 of these sites in this order: what records had before the order was left out of it."""
        digest = hashlib.sha256()
        for site in map(self.__getitem__, names):
            self._digest(site, digest)
        return digest.hexdigest()

    def digest(self, site: Site) -> str:
        """Return the SHA-256 of a site's rows, labels, patients and split, in this federation's terms."""
        digest = hashlib.sha256()
        self._digest(site, digest)
        return digest.hexdigest()

    def _digest(self, site: Site, digest: hashlib._Hash) -> None:
        digest.update(repr((site.name, self.task.classes or self.task, self.columns, self.prepared)).encode())
        _digest_rows(site.rows, digest)
        if site.locked is not None:
            digest.update(b"locked")
            _digest_rows(site.locked, digest)
        for numbers in site.split.parts().values():
            digest.update(np.ascontiguousarray(numbers, dtype=np.int64).tobytes() + b"|")

    # ------------------------------------------------------------------ making others of it

    def select(self, *names: str) -> Federation:
        """Keep these sites only, with the split they have."""
        sites = tuple(self[name] for name in dict.fromkeys(names))
        return self._part(sites).after("select", names=[site.name for site in sites], of=self)

    def holdout(self, name: str) -> tuple[Federation, Site]:
        """Take one site away: the federation of the others, and the hospital that none of them has seen."""
        unseen = self[name]
        if len(self.sites) == 1:
            raise ValueError(f"{name!r} is the only site: nothing would be left to learn from")
        others = self._part(tuple(site for site in self.sites if site.name != name))
        return others.after("holdout", name=name, of=self), unseen

    def _part(self, sites: tuple[Site, ...]) -> Federation:
        return replace(self, sites=sites, roster=self.roster or self.names)

    def thinned(self, rows: int, *, seed: int) -> Federation:
        """Let every site learn from so many of its training rows alone; ``valid`` and ``test`` stay.

        Whole patients, drawn at each site with each class in its share: where they have several rows, so many on
        average. Of one seed, fewer rows are among more. A site with no more than that keeps all it has. It stays so:
        whatever redraws the split draws so many again.

        Parameters
        ----------
        rows : int
            At least 1; one patient stays, whole.
        seed : int
            Of the draw.

        Examples
        --------
        >>> import fedlab
        >>> [len(site.split.train) for site in fedlab.load("heart_disease").thinned(100, seed=0).sites]
        [100, 100, 74, 100]
        """
        rows = whole("rows", rows, 1)
        if self.thinning and self.thinning[0] <= rows:
            return self  # fewer have been drawn, and of what is left none is left out

        def fewer(site: Site) -> Site:
            y, group = self.task.stratum(site.rows.y.numpy()), site.rows.group
            kept = draw_rows(y, group, site.split.train, rows, site=site.name, seed=seed)
            return replace(site, split=replace(site.split, train=kept))

        made = replace(self, sites=tuple(fewer(site) for site in self.sites), thinning=(rows, int(seed)))
        return made.after("thinned", rows=rows, seed=int(seed), of=self)

    def lock(self, share: float = 0.15, *, seed: int = 0) -> Federation:
        """Put patients away who are seen once, when all is decided: by ``study.final()``.

        Whole patients, drawn at each site with each class in its share: ``share`` of them, rounded, at least one. They
        are in no part of a split and in nothing that reads the site's rows (``site.locked`` holds them); the split is
        drawn anew of the others, by the same seed. They stay locked whatever is made of the federation: ``resplit``,
        ``select``, ``holdout`` and ``thinned`` leave them where they are, ``shift`` changes them with their hospital,
        and ``partition`` deals them with all others, so that a site's locked patients are a random part of its own.

        Lock before anything is trained, and say the seed: patients who were looked at before are not put away by it.
        Whoever harmonised or cleaned the tables beforehand has seen theirs too.

        Parameters
        ----------
        share : float
            Between 0 and 1.
        seed : int
            Of the draw, which depends on it and the site's name alone.

        Raises
        ------
        ValueError
            If a site would be left with fewer than three patients, all such named; if the split is published (its test
            has been looked at by others); or if patients are locked already.

        Examples
        --------
        >>> import fedlab
        >>> site = fedlab.load("heart_disease").lock(share=0.15, seed=0)["Switzerland"]
        >>> len(site), len(site.locked)
        (105, 18)
        """
        return lock(self, share=share, seed=seed)._thinned_again().after("lock", share=share, seed=seed, of=self)

    def partition(self, scheme: Scheme, *, sites: int = 8, seed: int = 0) -> Federation:
        """Throw all sites' patients together and deal them out anew, to sites that differ in one stated way.

        Every row once, a patient's rows together, each site with a split of its own (by the same seed).

        Parameters
        ----------
        scheme : Scheme
            ``IID()``, ``Quantity(sigma)``, ``PowerLaw(exponent)``, ``Dirichlet(alpha)``, ``Classes(per_site)``,
            ``Column(by, bands)`` or ``Clusters()`` of :mod:`fedlab.federation`, or anything with their ``deal``.
        sites : int
            How many; ``Column`` makes one for each value.
        seed : int
            The same seed deals the same, to the bit.

        Raises
        ------
        Infeasible
            If it cannot be had (too few patients, a site left without any); the message names the nearest that can.

        Examples
        --------
        >>> import fedlab
        >>> from fedlab.federation import Dirichlet, PowerLaw
        >>> hospitals = fedlab.load("heart_disease")
        >>> [len(site) for site in hospitals.partition(PowerLaw(), sites=3).sites]
        [502, 250, 168]
        >>> hospitals.partition(Dirichlet(alpha=0.3), sites=5).describe()["share ill"].round(1).nunique() > 1
        True
        """
        from fedlab.federation.partition import partition

        made = partition(self, scheme, sites=sites, seed=seed)._thinned_again()
        return made.after("partition", scheme=scheme, sites=sites, seed=seed, of=self)

    def shift(self, shifts: Shifts) -> Federation:
        """Make chosen sites differ in stated ways; whoever is left of a site stays in the same part of the split.

        Raises
        ------
        ValueError
            For a site that is not there, or a kind of shift that its rows cannot have.
        TypeError
            For anything else than :class:`~fedlab.federation.Shifts`.

        Examples
        --------
        >>> import fedlab
        >>> from fedlab.federation import LabelShift, Shifts
        >>> fedlab.load("heart_disease").shift(Shifts({"Hungary": [LabelShift(0.5)]}))["Hungary"]
        <Site Hungary: 132 rows (79 train, 20 valid, 33 test)>
        """
        from fedlab.federation.shift import Shifts  # which knows federations

        if not isinstance(shifts, Shifts):
            raise TypeError(
                f"shifts is a {type(shifts).__name__}: say which site differs in what, "
                'Shifts({"Hungary": [LabelShift(0.5)]})'
            )
        return shifts.apply(self).after("shift", shifts=shifts, of=self)

    def resplit(self, seed: int) -> Federation:
        """Draw the split of every site anew: the same rows, other row numbers (a published split stays)."""
        if self.published:
            return self
        sites = tuple(replace(site, split=self._split(site, seed)) for site in self.sites)
        return replace(self, sites=sites)._thinned_again().after("resplit", seed=seed, of=self)

    def after(self, step: str, *, of: Federation, **arguments: Any) -> Federation:
        """Note that this federation came ``of`` another by a step; of one that nobody can make again nothing."""
        before = of.steps[:-1] if step == "resplit" and of.steps and of.steps[-1][0] == step else of.steps
        object.__setattr__(self, "steps", (*before, (step, arguments)) if before else ())  # still nobody else's
        return self

    def _split(self, site: Site, seed: int) -> Split:
        return split_rows(site.rows, site=site.name, seed=seed, stratum=self.task.stratum)

    def _thinned_again(self) -> Federation:
        """Return what a redraw of the split leaves to learn from, where that was limited."""
        if self.thinning is None:
            return self
        rows, seed = self.thinning
        return replace(self, thinning=None).thinned(rows, seed=seed)


def _check_site(site: object) -> None:
    if not isinstance(site, Site):
        raise TypeError(f"{site!r} is a {type(site).__name__}, and no site: give federation['Hungary'] or such")


def _digest_rows(rows: Examples, digest: hashlib._Hash) -> None:
    bags = bags_in(rows.x)
    if bags is not None:
        digest.update(repr(("bags", bags.width, bags.dtype, bags.lengths.tolist())).encode())
    for tensor in (*([rows.x] if bags is None else bags), rows.y):
        digest.update(repr((tensor.shape, tensor.dtype)).encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    digest.update(repr(rows.group.tolist()).encode())
