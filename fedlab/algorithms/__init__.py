"""Ways of learning together, one file each, and their registry."""

from __future__ import annotations

from fedlab.algorithms.afl import AFL
from fedlab.algorithms.apfl import APFL
from fedlab.algorithms.base import Algorithm, At
from fedlab.algorithms.bulyan import Bulyan
from fedlab.algorithms.centralized import Centralized
from fedlab.algorithms.cyclic import Cyclic
from fedlab.algorithms.ditto import Ditto
from fedlab.algorithms.ensemble import Ensemble
from fedlab.algorithms.fedadagrad import FedAdagrad
from fedlab.algorithms.fedadam import FedAdam
from fedlab.algorithms.fedavg import FedAvg
from fedlab.algorithms.fedavgm import FedAvgM
from fedlab.algorithms.fedbn import FedBN
from fedlab.algorithms.feddyn import FedDyn
from fedlab.algorithms.fedexp import FedExP
from fedlab.algorithms.fedmedian import FedMedian
from fedlab.algorithms.fednova import FedNova
from fedlab.algorithms.fedper import FedPer
from fedlab.algorithms.fedprox import FedProx
from fedlab.algorithms.fedrep import FedRep
from fedlab.algorithms.fedsgd import FedSGD
from fedlab.algorithms.fedyogi import FedYogi
from fedlab.algorithms.finetuned import FineTuned
from fedlab.algorithms.from_flower import FromFlower
from fedlab.algorithms.ifca import IFCA
from fedlab.algorithms.isolated import Isolated
from fedlab.algorithms.krum import Krum
from fedlab.algorithms.lgfedavg import LGFedAvg
from fedlab.algorithms.moon import Moon
from fedlab.algorithms.multikrum import MultiKrum
from fedlab.algorithms.normclipping import NormClipping
from fedlab.algorithms.perfedavg import PerFedAvg
from fedlab.algorithms.pfedme import PFedMe
from fedlab.algorithms.qfedavg import QFedAvg
from fedlab.algorithms.ranges import counts, in_range
from fedlab.algorithms.registry import ALGORITHMS, algorithm, register
from fedlab.algorithms.rfa import RFA
from fedlab.algorithms.scaffold import Scaffold
from fedlab.algorithms.tensors import Tensors, distance2, mean, statistic, trained, zeros
from fedlab.algorithms.trimmedmean import TrimmedMean

# in the order of the menus: what there is without a federation, shared models, personal ones, fair and robust ones
for _cls in (
    Isolated, Centralized, Ensemble, Cyclic, FedSGD,
    FedAvg, FedAvgM, FedAdagrad, FedAdam, FedYogi, FedExP, FedProx, Scaffold, FedNova, FedDyn, Moon,
    FineTuned, FedBN, FedPer, FedRep, LGFedAvg, Ditto, APFL, PerFedAvg, PFedMe, IFCA,
    QFedAvg, AFL, FedMedian, TrimmedMean, Krum, MultiKrum, Bulyan, RFA, NormClipping,
):  # fmt: skip
    register(_cls)

__all__ = [
    "AFL", "ALGORITHMS", "APFL", "Algorithm", "At", "Bulyan", "Centralized", "Cyclic", "Ditto", "Ensemble",
    "FedAdagrad", "FedAdam", "FedAvg", "FedAvgM", "FedBN", "FedDyn", "FedExP", "FedMedian", "FedNova", "FedPer",
    "FedProx", "FedRep", "FedSGD", "FedYogi", "FineTuned", "FromFlower", "IFCA", "Isolated", "Krum", "LGFedAvg",
    "Moon", "MultiKrum", "NormClipping", "PFedMe", "PerFedAvg", "QFedAvg", "RFA", "Scaffold", "Tensors",
    "TrimmedMean", "algorithm", "counts", "distance2", "in_range", "mean", "register", "statistic", "trained",
    "zeros",
]  # fmt: skip
