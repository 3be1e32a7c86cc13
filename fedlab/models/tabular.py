"""Models of patient records: logistic regression and a small perceptron."""

from __future__ import annotations

from torch import Tensor, nn

from fedlab.models.layers import BatchNorm, Dropout


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


def linear(inputs: int, outputs: int) -> nn.Module:
    """Linear regression of a quantity, started at zero: everybody is told the center of the task.

    Examples
    --------
    >>> import torch
    >>> linear(3, 1)(torch.ones(2, 3)).tolist()
    [[0.0], [0.0]]
    """
    return logistic(inputs, outputs)


class MLP(nn.Module):
    """Perceptron with one hidden layer of ``hidden`` ReLU units: a ``body`` that finds features, a ``head``.

    ``norm`` puts a :class:`~fedlab.models.BatchNorm` before the ReLU (and takes the bias before it away, which it would
    undo), ``dropout`` a :class:`~fedlab.models.Dropout` after it.
    """

    def __init__(self, inputs: int, outputs: int, *, hidden: int = 32, norm: bool = False, dropout: float = 0) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(inputs, hidden, bias=not norm)]
        layers += [BatchNorm(hidden)] if norm else []
        layers += [nn.ReLU()] + ([Dropout(dropout)] if dropout else [])
        self.body = nn.Sequential(*layers)
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


def mlp_norm(inputs: int, outputs: int) -> nn.Module:
    """Perceptron inputs-32-outputs with batch normalisation."""
    return MLP(inputs, outputs, norm=True)
