"""Comparisons that one can believe: paired seeds, one clock, a held-out test, honest intervals."""

from fedlab.metrics.delong import DeLong, delong
from fedlab.study.atlas import at_holdout, atlas, unseen_sites
from fedlab.study.compare import compare
from fedlab.study.curve import LearningCurve
from fedlab.study.explain import explain
from fedlab.study.explain.explanation import Explanation
from fedlab.study.failed import SeedsFailed
from fedlab.study.harmony import Harmony, harmonise
from fedlab.study.heterogeneity import heterogeneity
from fedlab.study.heterogeneity.found import Heterogeneity
from fedlab.study.hospitals import OverSites, cliffs_delta, over_sites
from fedlab.study.learning import learning_curve
from fedlab.study.paired import Paired, corrected_t, holm
from fedlab.study.statistics import Interval, over_seeds
from fedlab.study.study import Study

__all__ = [
    "DeLong",
    "Harmony",
    "Heterogeneity",
    "Explanation",
    "Interval",
    "LearningCurve",
    "OverSites",
    "Paired",
    "SeedsFailed",
    "Study",
    "at_holdout",
    "atlas",
    "cliffs_delta",
    "compare",
    "corrected_t",
    "delong",
    "harmonise",
    "heterogeneity",
    "explain",
    "holm",
    "learning_curve",
    "over_seeds",
    "over_sites",
    "unseen_sites",
]
