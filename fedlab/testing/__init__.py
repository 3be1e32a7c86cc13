"""Checks that any algorithm must pass, as scikit-learn's ``check_estimator`` has them for estimators."""

from fedlab.testing.check import check_algorithm

__all__ = ["check_algorithm"]
