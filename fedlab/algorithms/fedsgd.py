r"""One gradient of all rows a round: the baseline that FedAvg was made to beat.

McMahan et al., *Communication-efficient learning of deep networks from decentralized data*, AISTATS 2017,
arXiv:1602.05629, section 2 ("FederatedSGD"). With :math:`g_k` the gradient of site :math:`k` on all its rows,

.. math:: w_{t+1} = w_t - \eta \sum_k \frac{n_k}{n} g_k ,

which is gradient descent on the pooled rows. Deviates: a site sends :math:`w_t - \eta g_k` in place of :math:`g_k`,
which gives the same sum, so that momentum or Adam at the site, clipping and schedules work as everywhere. A round is
one step on all rows, whatever ``batch_size`` and ``local_epochs`` say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedlab.algorithms.fedavg import FedAvg


@dataclass(frozen=True, kw_only=True)
class FedSGD(FedAvg):
    """FedSGD.

    Parameters
    ----------
    weights : {"examples", "equal"}
        Whether a site counts by its training rows (then it is pooled gradient descent), or all sites alike.

    Examples
    --------
    >>> FedSGD().full_batch
    True
    """

    full_batch: ClassVar[bool] = True
