r"""Federated averaging.

McMahan, Moore, Ramage, Hampson & Agüera y Arcas, *Communication-efficient learning of deep networks from
decentralized data*, AISTATS 2017, arXiv:1602.05629, Algorithm 1.

Each site starts from :math:`w_t`, takes its local epochs of SGD and sends :math:`w_{t+1}^k`; the server sets

.. math:: w_{t+1} = \sum_k \frac{n_k}{n} w_{t+1}^k .

Deviates: every site is asked in every round unless ``asks`` is overridden.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedlab.algorithms.base import Algorithm


@dataclass(frozen=True, kw_only=True)
class FedAvg(Algorithm):
    """FedAvg: the contract with nothing overridden.

    Examples
    --------
    >>> FedAvg().name
    'fedavg'
    """
