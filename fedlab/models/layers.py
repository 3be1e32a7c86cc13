"""Dropout and batch normalisation that give the same numbers for one site alone and for all sites at once.

torch's own cannot: ``nn.Dropout`` draws from a global generator, and ``nn.BatchNorm1d`` sees the rows that pad a short
batch. These read what they need (which rows are real, a seed, the step) from :data:`NOW`, which holds it during
a forward pass and not a moment longer.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

NO_KEY = torch.zeros((), dtype=torch.int64)


class _Now(threading.local):
    """The forward pass that is running in this thread: weight of each row, seed of the site, step, who has drawn."""

    mask: Tensor | None = None
    key: Tensor = NO_KEY
    step: int = 0

    def __init__(self) -> None:
        self.drawn: Counter[int] = Counter()


NOW = _Now()


@contextmanager
def forward_pass(*, mask: Tensor | None = None, key: Tensor | None = None, step: int = 0) -> Iterator[None]:
    """Tell the layers of a forward pass what they cannot see: ``mask`` [rows] of real rows, the site's ``key``."""
    NOW.mask, NOW.key, NOW.step = mask, NO_KEY if key is None else key, step
    NOW.drawn.clear()
    try:
        yield
    finally:  # a tensor of a stack must not outlive the stack
        NOW.mask, NOW.key, NOW.step = None, NO_KEY, 0


class BatchNorm(nn.Module):
    """:class:`torch.nn.BatchNorm1d` over real rows only; ``x`` [rows, features].

    A batch of one row is normalised to zero and leaves the running variance as it is.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))
        self.momentum, self.eps = momentum, eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, and move the running statistics when training."""
        if x.ndim != 2:
            raise ValueError(
                f"BatchNorm takes rows of features, [rows, features], and was given {list(x.shape)}: of pictures use "
                "fedlab.models.BatchNorm2d"
            )
        return self._moved(x, NOW.mask)

    def _moved(self, x: Tensor, mask: Tensor | None) -> Tensor:
        own = self.weight, self.bias, self.running_mean, self.running_var
        out, *moved = self.normalised(x, *own, train=self.training, mask=mask)
        if self.training:
            self.running_mean, self.running_var = moved
        return out

    def normalised(
        self, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, *, train: bool, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalise rows [..., rows, features] of one site or of all with these tensors.

        Also returns the running ``mean`` and ``var``, moved when training.
        """
        at, spread = mean, var
        if train:
            row = torch.ones_like(x[..., :1]) if mask is None else mask.to(x.dtype).unsqueeze(-1)
            n = row.sum(-2).clamp(min=1)
            at = (x * row).sum(-2) / n
            spread = (row * (x - at.unsqueeze(-2)) ** 2).sum(-2) / n
            move = (n > 1).to(x.dtype) * self.momentum
            unbiased = spread * n / (n - 1).clamp(min=1)
            mean = (1 - move) * mean + move * at.detach()
            var = (1 - move) * var + move * unbiased.detach()
        at, spread, weight, bias = (v.unsqueeze(-2) for v in (at, spread, weight, bias))
        return (x - at) / (spread + self.eps).sqrt() * weight + bias, mean, var


class BatchNorm2d(BatchNorm):
    """:class:`torch.nn.BatchNorm2d` over real pictures only; ``x`` [rows, channels, height, width].

    Of one pixel in all it is as :class:`BatchNorm` of one row.

    Examples
    --------
    >>> x = torch.randn(8, 3, 4, 4, dtype=torch.float64)
    >>> ours, theirs = BatchNorm2d(3).double(), nn.BatchNorm2d(3).double()
    >>> torch.allclose(ours(x), theirs(x)), torch.allclose(ours.running_var, theirs.running_var)
    (True, True)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, and move the running statistics when training."""
        if x.ndim != 4:
            raise ValueError(
                f"BatchNorm2d takes pictures, [rows, channels, height, width], and was given {list(x.shape)}: of rows "
                "of features use fedlab.models.BatchNorm"
            )
        rows, channels, high, wide = x.shape
        mask = None if NOW.mask is None else NOW.mask.unsqueeze(1).expand(rows, high * wide).reshape(-1)
        out = self._moved(x.movedim(1, -1).reshape(-1, channels), mask)  # each pixel is a row of channels
        return out.reshape(rows, high, wide, channels).movedim(-1, 1)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


SPLITMIX64 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""The stride and the two factors of splitmix64; the order of batches uses it too, on numpy's unsigned numbers."""
_STRIDE, _MIX1, _MIX2 = map(_signed, SPLITMIX64)


def uniform(key: Tensor, shape: torch.Size, salt: int = 0, *, device: torch.device | None = None) -> Tensor:
    """Uniform numbers in [0, 1), a pure function of ``(key, salt, position)``; with several keys ``shape`` of each.

    Steele, Lea & Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014 (splitmix64).
    """

    def shift(z: Tensor, k: int) -> Tensor:  # a logical shift: torch's is arithmetic
        return (z >> k) & ((1 << (64 - k)) - 1)

    place = torch.arange(math.prod(shape), device=device or key.device)
    z = (key.to(place.device) ^ _signed(salt * SPLITMIX64[2] % (1 << 64))).unsqueeze(-1) + (place + 1) * _STRIDE
    z = (z ^ shift(z, 30)) * _MIX1
    z = (z ^ shift(z, 27)) * _MIX2
    z = z ^ shift(z, 31)
    return (shift(z, 40).to(torch.float32) / (1 << 24)).reshape((*key.shape, *shape))


class Dropout(nn.Module):
    """:class:`torch.nn.Dropout` whose mask depends on the site's seed, the step and the layer's place in its model.

    Parameters
    ----------
    p : float
        Share of entries set to zero, in [0, 1).
    salt : int, optional
        Tells the dropout layers of one model apart: two of the same salt drop the same entries. Default: the layer's
        place among them (:func:`give_salts`).
    """

    def __init__(self, p: float = 0.5, *, salt: int | None = None) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p is {p!r}: it must be at least 0 and below 1")
        self.p, self.salt = p, salt

    def forward(self, x: Tensor) -> Tensor:
        """Drop entries when training; others each time that a layer is called in one forward pass, as torch's does."""
        if not self.training:
            return x
        before = NOW.drawn[id(self)]
        NOW.drawn[id(self)] += 1
        return self.dropped(x, NOW.key, NOW.step, before=before)

    def dropped(self, x: Tensor, key: Tensor, step: int, *, before: int = 0) -> Tensor:
        """Drop entries of rows [..., rows, features]: of one site with its key, or of all with theirs.

        ``before``: how often the layer was called earlier in the same forward pass.
        """
        if self.p == 0:
            return x
        salt = (FIRST_SALT if self.salt is None else self.salt) + before * AGAIN
        kept = uniform(key + step * 7919, x.shape[key.ndim :], salt, device=x.device) >= self.p
        return x * kept / (1 - self.p)


FIRST_SALT = 1
AGAIN = 1 << 20
"""Between the salts of one layer's calls: no model has so many layers."""


def give_salts(model: nn.Module) -> None:
    """Give each dropout layer of a model a salt of its own, in the order in which they stand; those that have one stay.

    Examples
    --------
    >>> model = nn.Sequential(Dropout(), Dropout(salt=2), nn.ReLU(), Dropout())
    >>> give_salts(model)
    >>> [layer.salt for layer in model if isinstance(layer, Dropout)]
    [1, 2, 3]
    """
    layers = [layer for layer in model.modules() if isinstance(layer, Dropout)]
    taken = {layer.salt for layer in layers}
    free = (salt for salt in itertools.count(FIRST_SALT) if salt not in taken)
    for layer in layers:
        if layer.salt is None:
            layer.salt = next(free)
