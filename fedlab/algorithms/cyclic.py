r"""Cyclic weight transfer: the model travels from hospital to hospital.

Chang, Balachandar, Lam, Yi, Brown, Beers, Rosen, Rubin & Kalpathy-Cramer, *Distributed deep learning networks among
institutions for medical imaging*, Journal of the American Medical Informatics Association 25(8), 2018,
doi:10.1093/jamia/ocy017.

One site a round: it trains what the one before it left, :math:`w_{t+1} = w_{t+1}^k` with :math:`k = t \bmod N`, in the
order of the sites' names. Deviates: the model passes through the server, so that it can be evaluated and counted; a
site that does not answer is passed over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedlab.algorithms.base import Algorithm, Sums


@dataclass(frozen=True, kw_only=True)
class Cyclic(Algorithm):
    """Cyclic weight transfer.

    Examples
    --------
    >>> import numpy as np
    >>> [Cyclic().asks(round, 3, np.random.default_rng(0)) for round in (1, 2, 3, 4)]
    [[0], [1], [2], [0]]
    """

    @property
    def sums(self) -> Sums:
        """A round has one site, whose sum is its own model."""
        return None

    def asks(self, round: int, sites: int, rng: np.random.Generator) -> list[int]:
        """One site, the next."""
        return [(round - 1) % sites]
