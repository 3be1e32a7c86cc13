"""How a federation is made of one's own data: of a table, or of tensors."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fedlab.federation import roles, tensors
from fedlab.federation.bags import Bags
from fedlab.federation.duplicates import counted, equal_rows, one_patient, say_equal, straddling
from fedlab.federation.frame import blocks, encoded, named, read_features
from fedlab.federation.names import check_names
from fedlab.federation.problems import Problems
from fedlab.federation.site import Examples, Feature, Site, Split
from fedlab.federation.splits import split_rows
from fedlab.federation.suspects import at_several, suspects
from fedlab.federation.values import DAYS_SINCE, factorized, key, word
from fedlab.metrics.cells import LEAST, Said
from fedlab.tasks import Regression, Task

if TYPE_CHECKING:
    from fedlab.federation.federation import Federation

Duplicates = str | Mapping[str, int]
FINE = 0.1  # a standard deviation, below which errors with three decimals say little


class TableWarning(UserWarning):
    """Something in a table would make results look better than they are; the federation's ``notes`` keep it."""


@dataclass
class Remarks:
    """What is to be said of the data that a federation is made of: some of it aloud."""

    notes: list[str] = field(default_factory=list)

    def note(self, what: str) -> None:
        """Keep a sentence."""
        if what:
            self.notes.append(what)

    def warn(self, what: str) -> None:
        """Keep a sentence, and say it now."""
        if what:
            self.note(what)
            warnings.warn(what, TableWarning, stacklevel=5)


class Made:
    """A federation's ways to come about."""

    @classmethod
    def from_frame(
        cls,
        df: pd.DataFrame,
        *,
        site: Hashable,
        label: Hashable,
        group: Hashable | None = None,
        features: Sequence[str | Feature] | str | None = None,
        classes: Sequence[Any] | None = None,
        task: str | Regression | None = None,
        duplicates: Duplicates = "keep",
        name: str = "my federation",
        source: str = "a DataFrame",
        licence: str = "",
        about: Mapping[str, Mapping[str, str]] | None = None,
        seed: int = 0,
    ) -> Federation:
        """Make a federation of a table with one row per patient (or per visit: give ``group``).

        Columns are read by their values: numbers however they are written, dates and durations as days, texts of at
        most twenty values as categories. ``federation.notes`` says what was found and not given: the levels of a
        category, marks of *not measured*, spellings that were made one.

        Parameters
        ----------
        df : DataFrame
        site, label : column
            The columns that say whose row it is, and what is to be predicted (two classes, or up to twenty; with
            ``task`` a quantity).
        group : column, optional
            The column of the patient, if a patient has several rows.
        features : sequence of str or Feature, optional
            The columns to learn from; default: all others.
        classes : sequence, optional
            The label's values in order, the positive one last; default: the order of an ordered category, else sorted.
        task : {"regression"} or Regression, optional
            The label is a quantity. ``"regression"`` reads where its values lie, and how far apart, off all rows, to
            one digit, as constants of the task (``federation.notes`` says which); hospitals that may not do so agree
            on them: ``Regression(name, center=…, scale=…)``. Default: classes; no number becomes a quantity unasked.
        duplicates : {"keep", "drop"} or mapping of str to int
            Rows that repeat another of their site in every column, label included. Kept ones share a patient, so that
            none stands in train and in test. A mapping says how many each site is known to have; they are kept.
        name, source, licence, about
            What to say of the federation and, in ``about[site]``, of each site.
        seed : int
            Of the split (60 % train, 15 % valid, 25 % test in each site, by patient, stratified).

        Raises
        ------
        ValueError
            With everything that is wrong with the table.

        Warns
        -----
        TableWarning
            A column counts the rows or follows the label; a patient stands at several hospitals; rows repeat others.

        Examples
        --------
        >>> import pandas as pd
        >>> from fedlab.federation import Federation
        >>> df = pd.DataFrame({"ward": ["A"] * 6 + ["B"] * 6, "age": range(12), "ill": [0, 1] * 6})
        >>> Federation.from_frame(df, site="ward", label="ill").names
        ('A', 'B')
        """
        df, problems, remarks = named(df), Problems(), Remarks()
        used = roles.read_roles(df, problems, site=site, label=label, group=group)
        column = {role: name_ for name_, role in used.items()}
        known = read_features(df, features, used, problems)
        x = encoded(df, known, problems)
        check_names(problems, features=known)
        with problems:
            names = roles.read_sites(df, column["site"])
            check_names(problems, sites=dict.fromkeys(names))
        with problems:
            whose = roles.read_groups(df, column["group"]) if group is not None else np.arange(len(df))
        with problems:
            y, asked = _read_label(df, column["label"], column["site"], classes, task)
            check_names(problems, classes=asked.classes)
        problems.raise_all()
        given = [features] if isinstance(features, (str, Feature)) else [] if features is None else list(features)
        described = {f.name for f in given if isinstance(f, Feature)}
        _remark_columns(df, known, {f.name for f in known} - described, remarks)
        for role in ("site", "label"):
            _remark_spellings(df, column[role], remarks)
        remarks.warn(_few_of_a_class(y, asked))
        remarks.note(_about_the_label(y, asked, given=task))
        remarks.warn(_too_fine(asked))
        for feature in known:
            if feature.kind == "category" and feature.name not in described:
                _remark_spellings(df, feature.name, remarks)
        for suspect in suspects(known, x, y.numpy()):
            remarks.warn(suspect)
        rows = roles.rows_by_site(Examples(torch.from_numpy(x), y, whose), names)
        if group is not None:
            remarks.warn(at_several(rows))
        rows = _without_copies(rows, duplicates, remarks, known)
        sites = _sites(rows, asked, seed=seed, about=about)
        return cast("type[Federation]", cls)(
            name, sites, asked, known, source=source, licence=licence, notes=tuple(remarks.notes)
        )

    @classmethod
    def from_tensors(
        cls,
        sites: Mapping[str, tuple[ArrayLike | Tensor, ArrayLike | Tensor]] | None = None,
        *,
        bags: Mapping[str, tuple[Bags | Sequence[ArrayLike | Tensor], ArrayLike | Tensor]] | None = None,
        groups: Mapping[str, ArrayLike] | None = None,
        splits: Mapping[str, Split] | None = None,
        task: Task | str | None = None,
        duplicates: Duplicates = "keep",
        name: str = "my federation",
        source: str = "tensors",
        licence: str = "",
        prepared: bool = True,
        seed: int = 0,
    ) -> Federation:
        """Make a federation of tensors: site name to ``(x [n, ...], y [n])``.

        Parameters
        ----------
        sites : mapping of str to (tensor or array, tensor or array)
            ``x``, and the number of each row's class in ``y``, 0 … classes − 1; also as one column [n, 1], or one-hot
            [n, classes]. The federation keeps copies. A whole number as a name is turned into a text, and blanks
            around a name are left out. Pictures of bytes (uint8 [n, channels, height, width]) are kept as bytes: a
            model gets them divided by 255.
        bags : mapping of str to (sequence of tensor or array, tensor or array), optional
            Instead of ``sites``, where a row is a bag of instances (the tiles of a slide): bags [instances, width],
            each of as many instances as it has; or :class:`~fedlab.federation.Bags`, which are not copied and may be
            mapped from a file. The model's ``forward(x, mask)`` gets a batch padded with zeros [n, instances, width],
            and a mask [n, instances] that is true where an instance is.
        groups : mapping of str to array, optional
            Whose rows they are; default: every row its own patient.
        splits : mapping of str to Split, optional
            A published split; it is then kept by every seed.
        task : Task or {"regression"}, optional
            ``"regression"``: ``y`` is a quantity, as for :meth:`from_frame`. Default: as many classes as the largest
            label says, or one-hot labels have columns (at most twenty), named by their numbers.
        duplicates : {"keep", "drop"} or mapping of str to int
            As for :meth:`from_frame`; under a published split they stay where they are, which is said.
        prepared : bool
            The model eats ``x`` as it is. With ``False`` (two-dimensional ``x`` only) missing values are filled and
            features standardised, federated.

        Raises
        ------
        ValueError
            For labels that are no class numbers (soft or fractional ones, a class that no row has), rows that are no
            numbers or of nobody, names of sites that read as one, and a split that does not fit.
        TypeError
            If ``sites``, ``groups`` or ``splits`` is no mapping, or ``task`` no task.

        Warns
        -----
        TableWarning
            As for :meth:`from_frame`.

        Examples
        --------
        >>> import torch
        >>> from fedlab.federation import Federation
        >>> x, y = torch.randn(20, 3), torch.arange(20) % 2
        >>> Federation.from_tensors({"A": (x, y), "B": (x, y)}).task.kind
        'binary'
        >>> slides = [torch.randn(1 + i % 4, 8) for i in range(20)]
        >>> Federation.from_tensors(bags={"A": (slides, y)})["A"].rows.offsets[:5].tolist()
        [0, 1, 3, 6, 10]
        """
        remarks = Remarks()
        _check_duplicates(duplicates)
        if not isinstance(duplicates, str):
            duplicates = tensors.by_site(duplicates, "duplicates=", "the number of rows that repeat another")
        read = tensors.read_sites(sites, bags, groups, task=task)
        rows, asked = read.rows, tensors.read_task(read, task)
        remarks.note(_about_the_label(torch.cat([held.y for held in rows.values()]), asked, given=task))
        remarks.warn(_too_fine(asked))
        if splits is not None:
            splits = tensors.of_sites(splits, rows, "splits=", "a Split")
        if groups is not None:
            remarks.warn(at_several(rows))
        if splits is None:
            rows = _without_copies(rows, duplicates, remarks)
        made = _sites(rows, asked, seed=seed, splits=splits)
        if splits is not None:
            remarks.warn(_say_straddling(made))
        x = next(iter(rows.values())).x
        known = tuple(Feature(f"x{i}") for i in range(x.shape[1])) if x.ndim == 2 else ()
        if not prepared and x.ndim != 2:
            raise ValueError("prepared=False needs x of shape [patients, features]")
        return cast("type[Federation]", cls)(
            name, made, asked, known, source=source, licence=licence, prepared=prepared,
            published=splits is not None, notes=tuple(remarks.notes),
        )  # fmt: skip


def _remark_columns(df: pd.DataFrame, known: Sequence[Feature], guessed: set[str], remarks: Remarks) -> None:
    """Note what was read into the columns that nobody described: levels, marks of missing, days."""
    empty = df.isna().all()
    for feature in known:
        if feature.name not in guessed:
            continue
        if feature.kind == "category":
            levels = ", ".join((feature.codes or {}).values())
            remarks.note(f"the levels of {feature.name!r} were found in the table: {levels}")
        if feature.missing:
            remarks.note(f"{', '.join(map(repr, feature.missing))} in {feature.name!r} was read as not measured")
        if feature.unit in (DAYS_SINCE, "days"):
            remarks.note(f"{feature.name!r} is read in {feature.unit}")
        if feature.kind == "number" and empty[feature.name]:
            remarks.note(f"{feature.name!r} holds no value")


def _read_label(
    df: pd.DataFrame, label: str, site: str, classes: Sequence[Any] | None, task: Any
) -> tuple[Tensor, Task]:
    """Read the label as classes, or as the quantity that it is said to be."""
    if task is None:
        return roles.read_label(df, label, site, classes)
    if task != "regression" and not isinstance(task, Regression):
        raise ValueError(
            f'task is {task!r}: say "regression" or Regression(…) if the label is a quantity; of classes leave it '
            "out, and name them in classes="
        )
    if classes is not None:
        raise ValueError("classes= names classes, and task= says that the label is a quantity: leave one of them out")
    return roles.read_quantity(df, label, site, task if isinstance(task, Regression) else None)


def _about_the_label(y: torch.Tensor, task: Task, *, given: Any) -> str:
    """Say what was taken for the scale of a quantity, and that it looks like classes where it does."""
    if not isinstance(task, Regression):
        return ""
    unit = f" {task.unit}" if task.unit else ""
    read = f"{task.name!r} is predicted as a quantity, around {task.center:g} ± {task.scale:g}{unit}"
    read += "" if isinstance(given, Regression) else ", read off all rows to one digit: constants of the task"
    return read + ("; it has two values only: are they classes?" if len(y.unique()) == 2 else "")


def _too_fine(task: Task) -> str:
    """Say that a quantity is written in a unit in which errors round to zero."""
    if not isinstance(task, Regression) or task.scale >= FINE:
        return ""
    return (
        f"{task.name!r} differs by {task.scale:g} from patient to patient, and tables and sentences have three "
        "decimals: give it in a smaller unit, mmol for mol, or its errors look like zero"
    )


def _few_of_a_class(y: torch.Tensor, task: Task) -> str:
    """Name the classes beyond two that hardly anybody is of: a slip of the pen rather than an outcome."""
    if len(task.classes) < 3:
        return ""
    counts = torch.bincount(y, minlength=len(task.classes)).tolist()
    few = {name: n for name, n in zip(task.classes, counts, strict=True) if n < LEAST}
    if not few or len(y) < 10 * LEAST:
        return ""
    return Said(
        lambda write: (
            f"the label has classes of very few rows ({counted(few, write)}): if they are slips, correct those "
            "rows, as each class is learnt and counted alike"
        )
    )


def _remark_spellings(df: pd.DataFrame, column: str, remarks: Remarks) -> None:
    """Note which values were written in several ways and taken for one."""
    ways: dict[Hashable, list[Any]] = {}
    for value in factorized(df[column].astype(object))[1]:
        ways.setdefault(key(value), []).append(value)
    for written in ways.values():
        if len(written) > 1:
            told = ", ".join(map(repr, written))
            remarks.note(f"in {column!r} {told} were taken for one, {word(written[0])!r}")


def _check_duplicates(duplicates: Any) -> None:
    if duplicates not in ("keep", "drop") if isinstance(duplicates, str) else not isinstance(duplicates, Mapping):
        raise ValueError(f'duplicates is {duplicates!r}: choose "keep" or "drop", or say how many each site has')


def _without_copies(
    rows: Mapping[str, Examples], duplicates: Duplicates, remarks: Remarks, features: Sequence[Feature] = ()
) -> dict[str, Examples]:
    """Let rows that repeat another share its patient, or leave them out; said, unless they are known."""
    _check_duplicates(duplicates)
    together = [columns for _, columns in blocks(features)]
    out, counts, chance = {}, {}, {}
    for site, held in rows.items():
        equal = equal_rows(held, together)
        out[site] = held
        if not len(equal.copies):
            continue
        if equal.by_chance and isinstance(duplicates, str):
            chance[site] = len(equal.copies)
            continue
        counts[site] = len(equal.copies)
        kept = np.setdiff1d(np.arange(len(held)), equal.copies)
        out[site] = held.take(kept) if duplicates == "drop" else one_patient(held, equal)
    if not isinstance(duplicates, str):
        known = {site: n for site, n in duplicates.items() if n}
        if counts != known:
            raise ValueError(f"this data set is known to repeat rows so: {known}; here it is {counts}: get it again")
        remarks.note(say_equal(counts, kept=True) if counts else "")
    elif counts:
        remarks.warn(say_equal(counts, kept=duplicates == "keep"))
    if chance:
        remarks.note(
            Said(
                lambda write: (
                    f"rows repeat another of their hospital ({counted(chance, write)}), as often as so few columns of "
                    "so few values do by chance: they count as different patients"
                )
            )
        )
    return out


def _say_straddling(sites: Sequence[Site]) -> str:
    counts = {site.name: straddling(site.rows, site.split) for site in sites if not equal_rows(site.rows).by_chance}
    if not any(counts.values()):
        return ""
    return Said(lambda write: "in the published split test rows equal a training row of their hospital "
                              f"({counted(counts, write)})")  # fmt: skip


def _sites(
    rows: Mapping[str, Examples],
    task: Task,
    *,
    seed: int,
    about: Mapping[str, Mapping[str, str]] | None = None,
    splits: Mapping[str, Split] | None = None,
) -> tuple[Site, ...]:
    made, problems = [], Problems()
    for name, examples in rows.items():
        with problems:
            if splits is not None and not isinstance(splits[name], Split):
                raise ValueError(
                    f"splits= of site {name!r} is a {type(splits[name]).__name__}: give the numbers of its rows as "
                    "Split(train, valid, test)"
                )
            drawn = None if splits is not None else split_rows(examples, site=name, seed=seed, stratum=task.stratum)
            split = drawn or (splits or {})[name]
            made.append(Site(name, examples, split, dict((about or {}).get(name, {}))))
    problems.raise_all()
    return tuple(made)
