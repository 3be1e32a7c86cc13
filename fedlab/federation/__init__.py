"""Sites, their patients and their task: everything a run learns from, and nothing that learns."""

from fedlab.federation.bags import Bags
from fedlab.federation.federation import Federation
from fedlab.federation.preparation import Summary, fit, merge, prepare, summarise
from fedlab.federation.schemes import IID, Classes, Clusters, Column, Dirichlet, Infeasible, PowerLaw, Quantity
from fedlab.federation.shift import (
    AcquisitionShift,
    ConceptShift,
    DocumentationShift,
    LabelShift,
    PracticeShift,
    QuantityShift,
    Shift,
    Shifts,
)
from fedlab.federation.site import Examples, Feature, RowShape, Site, Split
from fedlab.metrics.scores import METRICS, Score
from fedlab.tasks import Classification, Regression, Task

__all__ = [
    "IID",
    "METRICS",
    "AcquisitionShift",
    "Bags",
    "Classes",
    "Classification",
    "Clusters",
    "Column",
    "ConceptShift",
    "Dirichlet",
    "DocumentationShift",
    "Examples",
    "Feature",
    "Federation",
    "Infeasible",
    "LabelShift",
    "PowerLaw",
    "PracticeShift",
    "Quantity",
    "QuantityShift",
    "Regression",
    "RowShape",
    "Score",
    "Shift",
    "Shifts",
    "Site",
    "Split",
    "Summary",
    "Task",
    "fit",
    "merge",
    "prepare",
    "summarise",
]
