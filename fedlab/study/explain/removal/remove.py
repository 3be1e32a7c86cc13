"""Remove some kinds of difference from a federation, and leave the others as they are."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from fedlab.federation import Examples, Federation, Site, Split
from fedlab.study.explain.removal import writing
from fedlab.study.explain.removal.columns import Floats, Ints
from fedlab.study.explain.removal.found import AtSite, Found


def removed(federation: Federation, found: Found, kinds: Collection[str], *, seed: int) -> Federation:
    """Return the federation as it would be without these kinds of difference.

    Patients stay in their part of the split, train, valid and test alike: a hospital without the difference has other
    test patients too.

    - documentation, acquisition: columns rewritten; practice: what was not measured filled in from patients who are
      alike elsewhere; concept: labels read anew, as few as can be.
    - label, case mix: each part of the split drawn anew from itself by the weights, as many rows.
    - quantity: a smaller site filled up, in train and valid, to the size of the largest with patients of the others, in
      its own share of the classes and written and measured as it does.

    Parameters
    ----------
    federation : Federation
        In any split of its rows.
    found : Found
        By :func:`look`, of the same rows.
    kinds : collection of str
    seed : int
        Of the draws.
    """
    if not set(kinds) & set(found.kinds):
        return federation
    work = _Work(federation, found, frozenset(kinds), seed)
    return replace(federation, sites=tuple(work.site(k) for k in range(len(federation.sites))))


@dataclass(frozen=True)
class _Work:
    federation: Federation
    found: Found
    kinds: frozenset[str]
    seed: int

    def site(self, k: int) -> Site:
        """Return the ``k``-th site, smaller kinds first."""
        site, here = self.federation.sites[k], self.found.sites[k]
        x = site.rows.x
        if self.found.tables:
            x = torch.from_numpy(self.written(k, here.alike, here.filled, x.double().numpy())).to(x.dtype)
        site = replace(site, rows=replace(site.rows, x=x, y=torch.from_numpy(self.labels(k))))
        if self.kinds & {"label", "case mix"}:
            site = self.redrawn(k, site)
        return self.filled_up(k, site) if "quantity" in self.kinds else site

    def labels(self, k: int) -> Ints:
        """Labels of a site's rows, as it reads or as all do."""
        return self.found.sites[k].y if "concept" in self.kinds else self.federation.sites[k].rows.y.numpy()

    def written(self, k: int, alike: Floats, filled: NDArray[np.bool_], raw: Floats | None = None) -> Floats:
        """Turn rows that are written and measured alike into what site ``k`` has of them."""
        here, x = self.found.sites[k], alike.copy()
        if "practice" not in self.kinds:
            x[filled] = np.nan
        if "acquisition" not in self.kinds:
            x = here.devices.back(x)
        if "documentation" not in self.kinds:
            for f, order in here.writing.codes.items():
                x = writing.recoded(x, self.federation.features, f, np.argsort(order))
            x = here.writing.units.back(x)
            for j, value in here.writing.sentinels.items():
                empty = np.isnan(x[:, j])
                x[empty if raw is None else empty & (raw[:, j] == value), j] = value
        return x

    def redrawn(self, k: int, site: Site) -> Site:
        """Draw each part of the split anew; who is drawn twice has two rows, as a split names each row once."""
        parts = site.split.parts()
        drawn = {part: self.drawn(k, rows) for part, rows in parts.items()}
        if all(drawn[part] is rows for part, rows in parts.items()):
            return site
        ends = np.cumsum([len(rows) for rows in drawn.values()])
        split = Split(*np.split(np.arange(ends[-1]), ends[:-1]))
        return replace(site, rows=site.rows.take(np.concatenate(list(drawn.values()))), split=split)

    def drawn(self, k: int, rows: Ints) -> Ints:
        """Draw a part of the split anew from itself by the weights: systematic; equal weights change nothing."""
        here: AtSite = self.found.sites[k]
        weights = np.ones(len(rows))
        if "label" in self.kinds:
            weights = weights * here.classes[self.labels(k)[rows]]
        if "case mix" in self.kinds:
            weights = weights * here.rows[rows]
        if np.ptp(weights) < 1e-12:
            return rows
        at = (self.rng(k, 1).random() + np.arange(len(rows))) / len(rows)
        drawn: Ints = rows[np.searchsorted(np.cumsum(weights / weights.sum()), at).clip(max=len(rows) - 1)]
        return drawn

    def rng(self, k: int, what: int) -> np.random.Generator:
        """Make a generator of (seed, site, what is drawn)."""
        name = self.federation.sites[k].name
        return np.random.default_rng([self.seed, zlib.crc32(name.encode()), 12, what])

    def filled_up(self, k: int, site: Site) -> Site:
        """Add patients of the other sites to train and valid."""
        rng, rows, parts = self.rng(k, 2), site.rows, {}
        x, y, at = [rows.x], [rows.y], len(rows)
        for part, mine in site.split.parts().items():
            most = max(len(s.split.parts()[part]) for s in self.federation.sites)
            if part == "test" or most <= len(mine):
                parts[part] = mine
                continue
            more_x, more_y = self.borrowed(k, part, rows.y.numpy()[mine], mine, most - len(mine), rng)
            parts[part] = np.concatenate([mine, np.arange(at, at + len(more_y))])
            x, y, at = [*x, more_x], [*y, torch.from_numpy(more_y)], at + len(more_y)
        own = np.unique(rows.group, return_inverse=True)[1]
        group = np.concatenate([own, own.max() + 1 + np.arange(at - len(own))])
        return replace(site, rows=Examples(torch.cat(x), torch.cat(y), group), split=Split(**parts))

    def borrowed(
        self, k: int, part: str, labels: Ints, mine: Ints, number: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, Ints]:
        """Draw so many patients of the other sites' same part, each class in the site's own share."""
        donors = [(i, row) for i, s in enumerate(self.federation.sites) if i != k for row in s.split.parts()[part]]
        read = np.array([self.labels(i)[row] for i, row in donors])
        chosen: list[int] = []
        for label, share in zip(*np.unique(labels, return_counts=True), strict=True):
            able, wanted = np.flatnonzero(read == label), round(number * share / len(labels))
            if len(able):
                chosen += rng.choice(able, wanted, replace=wanted > len(able)).tolist()
        whose = [donors[c] for c in chosen]
        if not self.found.tables:
            taken = [self.federation.sites[i].rows.x[row] for i, row in whose]
            return torch.stack(taken) if taken else self.federation.sites[k].rows.x[:0], read[chosen]
        width = self.found.sites[k].alike.shape[1]
        alike = np.array([self.found.sites[i].alike[row] for i, row in whose]).reshape(-1, width)
        gaps = self.found.sites[k].filled[rng.choice(mine, len(whose))]
        x = self.written(k, alike, gaps)
        return torch.from_numpy(x).to(self.federation.sites[k].rows.x.dtype), read[chosen]
