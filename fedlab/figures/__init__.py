"""Figures, one function a question, one theme; plotly is imported here and nowhere to the left.

>>> from fedlab.figures import atlas_map, before_after, decision_curve, differences, explained, heterogeneity
>>> from fedlab.figures import learning_curves, more_data, reliability_curves, seed_bands, subgroup_scores, who_gains
"""

from fedlab.figures.atlas import atlas_map
from fedlab.figures.bands import seed_bands
from fedlab.figures.curves import learning_curves
from fedlab.figures.decisions import decision_curve
from fedlab.figures.differences import differences
from fedlab.figures.explained import explained
from fedlab.figures.export import draw_for_export
from fedlab.figures.gains import who_gains
from fedlab.figures.heterogeneity import heterogeneity
from fedlab.figures.more_data import more_data
from fedlab.figures.reliability import reliability_curves
from fedlab.figures.shifted import before_after
from fedlab.figures.subgroups import subgroup_scores
from fedlab.figures.theme import TEMPLATE

draw_for_export()

__all__ = [
    "TEMPLATE",
    "atlas_map",
    "before_after",
    "decision_curve",
    "differences",
    "heterogeneity",
    "explained",
    "learning_curves",
    "more_data",
    "reliability_curves",
    "seed_bands",
    "subgroup_scores",
    "who_gains",
]
