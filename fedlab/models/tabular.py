"""Models of patient records: logistic regression and a small perceptron."""

from __future__ import annotations

from torch import Tensor, nn


def logistic(inputs: int, outputs: int) -> nn.Module:
    """Logistic regression, started at zero (the problem is convex: the start is no choice).

    Examples
    --------
    >>> import torch
    >>> logistic(3, 1)(torch.ones(2, 3)).tolist()
    [[0.0], [0.0]]
    """
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class MLP(nn.Module):
    """Perceptron with one hidden layer of ``hidden`` ReLU units: a ``body`` that finds features, a ``head``."""

    def __init__(self, inputs: int, outputs: int, *, hidden: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU())
        self.head = nn.Linear(hidden, outputs)

    def features(self, x: Tensor) -> Tensor:
        """What the head sees, [rows, hidden]."""
        out: Tensor = self.body(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Logits, [rows, outputs]."""
        out: Tensor = self.head(self.features(x))
        return out


def mlp(inputs: int, outputs: int) -> nn.Module:
    """Perceptron inputs-32-outputs."""
    return MLP(inputs, outputs)
