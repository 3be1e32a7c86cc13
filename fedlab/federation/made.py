"""How a federation is made of one's own data: of a table, or of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from fedlab.federation import frame
from fedlab.federation.site import Examples, Feature, Site, Split
from fedlab.federation.splits import split_rows
from fedlab.federation.task import Task

if TYPE_CHECKING:
    from fedlab.federation.federation import Federation


class Made:
    """A federation's ways to come about."""

    @classmethod
    def from_frame(
        cls,
        df: pd.DataFrame,
        *,
        site: str,
        label: str,
        group: str | None = None,
        features: Sequence[str | Feature] | None = None,
        classes: Sequence[Any] | None = None,
        name: str = "my federation",
        source: str = "a DataFrame",
        licence: str = "",
        about: Mapping[str, Mapping[str, str]] | None = None,
        seed: int = 0,
    ) -> Federation:
        """Make a federation of a table with one row per patient (or per visit: give ``group``).

        Parameters
        ----------
        df : DataFrame
        site, label : str
            The columns that say whose row it is, and what is to be predicted (two classes, or up to twenty).
        group : str, optional
            The column of the patient, if a patient has several rows.
        features : sequence of str or Feature, optional
            The columns to learn from; default: all others. Text of at most twenty values becomes a category.
        classes : sequence, optional
            The label's values in order, the positive one last; default: sorted.
        name, source, licence, about
            What to say of the federation and, in ``about[site]``, of each site.
        seed : int
            Of the split (60 % train, 15 % valid, 25 % test in each site, by patient, stratified).

        Examples
        --------
        >>> import pandas as pd
        >>> from fedlab.federation import Federation
        >>> df = pd.DataFrame({"ward": ["A"] * 6 + ["B"] * 6, "age": range(12), "ill": [0, 1] * 6})
        >>> Federation.from_frame(df, site="ward", label="ill").names
        ('A', 'B')
        """
        frame.need(df, site, "site")
        frame.need(df, label, "label")
        if group is not None:
            frame.need(df, group, "group")
        if df.empty:
            raise ValueError("the table has no rows")
        known = frame.read_features(df, features, {site, label} | ({group} if group else set()))
        y, task = frame.read_label(df, label, site, classes)
        rows = frame.rows_by_site(df, frame.encode(df, known), y, site, group)
        sites = _sites(rows, seed=seed, about=about)
        return cast("type[Federation]", cls)(name, sites, task, known, source=source, licence=licence)

    @classmethod
    def from_tensors(
        cls,
        sites: Mapping[str, tuple[Tensor, Tensor]],
        *,
        groups: Mapping[str, NDArray[Any]] | None = None,
        splits: Mapping[str, Split] | None = None,
        task: Task | None = None,
        name: str = "my federation",
        source: str = "tensors",
        licence: str = "",
        prepared: bool = True,
        seed: int = 0,
    ) -> Federation:
        """Make a federation of tensors: site name to ``(x [n, ...], y [n])``.

        Parameters
        ----------
        sites : mapping of str to (Tensor, Tensor)
            Floating ``x`` and whole-numbered ``y`` 0 … classes − 1.
        groups : mapping of str to array, optional
            Whose rows they are; default: every row its own patient.
        splits : mapping of str to Split, optional
            A published split; it is then kept by every seed.
        task : Task, optional
            Default: as many classes as the largest label says, named by their numbers.
        prepared : bool
            The model eats ``x`` as it is. With ``False`` (two-dimensional ``x`` only) missing values are filled and
            features standardised, federated.

        Examples
        --------
        >>> import torch
        >>> from fedlab.federation import Federation
        >>> x, y = torch.randn(20, 3), torch.arange(20) % 2
        >>> Federation.from_tensors({"A": (x, y), "B": (x, y)}).task.kind
        'binary'
        """
        rows = {}
        for site, (x, y) in sites.items():
            whose = np.arange(len(y)) if groups is None else np.asarray(groups[site])
            rows[site] = Examples(x if x.is_floating_point() else x.float(), y.long(), whose)
        if not rows:
            raise ValueError("there are no sites")
        if task is None:
            top = max([int(r.y.max()) for r in rows.values() if len(r)], default=1)
            task = Task(tuple(str(k) for k in range(max(top + 1, 2))))
        made = _sites(rows, seed=seed, splits=splits)
        plain = next(iter(rows.values())).x.ndim == 2
        known = tuple(Feature(f"x{i}") for i in range(next(iter(rows.values())).x.shape[1])) if plain else ()
        if not prepared and not plain:
            raise ValueError("prepared=False needs x of shape [patients, features]")
        return cast("type[Federation]", cls)(
            name, made, task, known, source=source, licence=licence, prepared=prepared, published=splits is not None
        )


def _sites(
    rows: Mapping[str, Examples],
    *,
    seed: int,
    about: Mapping[str, Mapping[str, str]] | None = None,
    splits: Mapping[str, Split] | None = None,
) -> tuple[Site, ...]:
    made = []
    for name, examples in rows.items():
        if splits is None:
            split = split_rows(examples, site=name, seed=seed)
        elif name in splits:
            split = splits[name]
        else:
            raise ValueError(f"splits= has no entry for site {name!r}")
        made.append(Site(name, examples, split, dict((about or {}).get(name, {}))))
    return tuple(made)
