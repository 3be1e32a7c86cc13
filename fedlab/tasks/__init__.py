"""What is to be learnt: a task owns its target, its loss, its metrics and the shape of a model's output."""

from fedlab.tasks.base import Task
from fedlab.tasks.classification import Classification
from fedlab.tasks.regression import Regression

__all__ = ["Classification", "Regression", "Task"]
