"""Comparisons that one can believe: paired seeds, one clock, a locked test, honest intervals."""

from fedlab.study.atlas import atlas, unseen_sites
from fedlab.study.compare import compare
from fedlab.study.curve import LearningCurve
from fedlab.study.learning import learning_curve
from fedlab.study.statistics import Interval, over_seeds
from fedlab.study.study import Study

__all__ = [
    "Interval",
    "LearningCurve",
    "Study",
    "atlas",
    "compare",
    "learning_curve",
    "over_seeds",
    "unseen_sites",
]
