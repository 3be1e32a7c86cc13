r"""What differences between sites do to training: how far the sites' updates of one round go apart.

All sites start from the same model, train as FedAvg has it, and site i sends :math:`\Delta_i = w_i - w`. With their
mean :math:`\bar\Delta` over all patients, *drift* is :math:`\lVert\Delta_i - \bar\Delta\rVert / \lVert\bar\Delta\rVert`
and *angle* the one between :math:`\Delta_i` and :math:`\bar\Delta` (client drift: Karimireddy et al., *SCAFFOLD*,
ICML 2020, arXiv 1910.06378). *Gradient diversity* is
:math:`\sum_i\lVert\Delta_i\rVert^2 / \lVert\sum_i\Delta_i\rVert^2` (Yin et al., *Gradient diversity*, AISTATS 2018,
arXiv 1706.05699, of updates in place of gradients).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedlab.algorithms.fedavg import FedAvg
from fedlab.algorithms.tensors import Tensors, trained
from fedlab.engine import Run, train
from fedlab.federation import Examples, Federation, Site, Split
from fedlab.models import ModelLike
from fedlab.study.heterogeneity.distances import Floats

DEALT = 2**24  # numbers in the rows of all deals that train at once, or those of one deal


def drift(updates: Floats, weights: Floats) -> Floats:
    """Relative distance of each update to the mean, [..., sites]; 0 where all are equal.

    Parameters
    ----------
    updates : float array, shape [..., sites, parameters]
    weights : float array, shape [sites]
        The sites' rows, by which FedAvg counts them.

    Examples
    --------
    >>> drift(np.array([[1.0, 0.0], [3.0, 0.0]]), np.ones(2)).tolist()
    [0.5, 0.5]
    """
    mean = np.tensordot(weights / weights.sum(), updates, axes=([0], [updates.ndim - 2]))[..., None, :]
    apart, length = np.linalg.norm(updates - mean, axis=-1), np.linalg.norm(mean, axis=-1)
    out: Floats = np.divide(apart, length, out=np.where(apart > 0, np.inf, 0.0), where=length > 0)
    return out


def angle(updates: Floats, weights: Floats) -> Floats:
    """Angle of each update to the mean in degrees, 0 to 180, [..., sites]; parameters as for :func:`drift`.

    Examples
    --------
    >>> angle(np.array([[1.0, 0.0], [0.0, 1.0]]), np.ones(2)).round().tolist()
    [45.0, 45.0]
    """
    mean = np.tensordot(weights / weights.sum(), updates, axes=([0], [updates.ndim - 2]))[..., None, :]
    lengths = np.linalg.norm(updates, axis=-1) * np.linalg.norm(mean, axis=-1)
    cosine = np.divide((updates * mean).sum(-1), lengths, out=np.full(lengths.shape, np.nan), where=lengths > 0)
    # arccos is blind near 1: rounding alone would read as a hundredth of a degree
    out: Floats = np.degrees(np.arccos(np.where(cosine > 1 - 1e-12, 1.0, np.clip(cosine, -1, 1))))
    return out


def gradient_diversity(updates: Floats) -> Floats:
    """Gradient diversity of updates [..., sites, parameters], all sites alike: 1 / sites if equal, 1 if orthogonal.

    Examples
    --------
    >>> gradient_diversity(np.array([[2.0], [2.0]])).item(), gradient_diversity(np.eye(3)).item()
    (0.5, 1.0)
    """
    together = (updates.sum(-2) ** 2).sum(-1)
    each = (updates**2).sum((-2, -1))
    out: Floats = np.divide(each, together, out=np.full(together.shape, np.inf), where=together > 0)
    return out


@dataclass(frozen=True, kw_only=True)
class Listening(FedAvg):
    """FedAvg that notes what the sites sent in the first round: updates by site number."""

    heard: dict[int, Floats] = field(default_factory=dict, repr=False, compare=False)

    def combine(
        self, params: Tensors, uploads: Tensors, extra: Tensors, weights: Tensor, state: Tensors, who: Tensor
    ) -> tuple[Tensors, Tensors]:
        """Note the updates, then average."""
        if not self.heard:
            moved = [(u - params[k]).reshape(len(u), -1).double() for k, u in trained(uploads).items()]
            self.heard.update(zip(who.tolist(), torch.cat(moved, 1).numpy(), strict=True))
        return super().combine(params, uploads, extra, weights, state, who)


def one_round(federation: Federation, model: ModelLike, *, rounds: int, seed: int) -> tuple[Run, dict[str, Floats]]:
    """Train with FedAvg and return the run, and each site's update in the first round.

    Examples
    --------
    >>> import fedlab
    >>> run, updates = one_round(fedlab.load("heart_disease"), "logistic", rounds=1, seed=0)
    >>> {site: update.shape for site, update in updates.items()}["Hungary"]
    (45,)
    """
    listening = Listening()
    run = train(federation, model, listening, rounds=rounds, seed=seed, evaluate=False, progress=False)
    names = sorted(federation.names)
    return run, {names[number]: update for number, update in listening.heard.items()}


def shuffled(
    federation: Federation,
    model: ModelLike,
    *,
    draws: int,
    seed: int,
    rng: np.random.Generator,
    say: Callable[[str], None] = lambda what: None,
) -> Floats:
    """Updates of sites that do not differ: all patients dealt out anew to sites of the same sizes, ``draws`` times.

    As many of these sites as memory allows train at once, all from the same model; this reads the training rows in this
    process.

    Returns
    -------
    float array, shape [draws, sites, parameters]
        In the federation's order of sites.
    """
    parts = [site.train for site in federation.sites]
    masks = [part.mask for part in parts if part.mask is not None]
    every = Examples(
        torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]),
        np.concatenate([_numbered(part, k) for k, part in enumerate(parts)]), torch.cat(masks) if masks else None,
    )  # fmt: skip
    _, who = np.unique(every.group, return_inverse=True)
    ends = np.cumsum([len(part) for part in parts])[:-1]
    at_once, made = max(1, DEALT // every.x.numel()), []
    for first in range(0, draws, at_once):
        say(f"training, deal {first + 1} of {draws}")
        sites = []
        for draw in range(first, min(first + at_once, draws)):
            order = np.argsort(rng.permutation(who.max() + 1)[who], kind="stable")  # a patient's rows stay together
            sites += [_of(every, rows, f"{draw:05d} {k:05d}") for k, rows in enumerate(np.split(order, ends))]
        _, updates = one_round(replace(federation, sites=tuple(sites)), model, rounds=1, seed=seed)
        made += [updates[site.name] for site in sites]
    return np.stack(made).reshape(draws, len(parts), -1)


def _numbered(rows: Examples, site: int) -> NDArray[np.int64]:
    """Patients of one site as numbers that no other site has."""
    _, who = np.unique(rows.group, return_inverse=True)
    return who.astype(np.int64) + (site << 40)


def _of(every: Examples, rows: NDArray[np.int64], name: str) -> Site:
    """Make a site that trains on these rows; the first stands for valid and test too, which nobody reads here."""
    n = len(rows)
    mine = every.take(np.append(rows, rows[[0, 0]]))
    return Site(name, replace(mine, group=np.arange(n + 2)), Split(np.arange(n), np.array([n]), np.array([n + 1])))
