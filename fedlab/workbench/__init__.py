"""Panels for JupyterLab: they read their widgets, call the engine in one thread, and draw; nothing is learnt here.

>>> from fedlab.workbench import RunPanel, ShiftStudio
>>> panel = RunPanel()
"""

from fedlab.workbench.panel import RunPanel
from fedlab.workbench.studio import ShiftStudio

__all__ = ["RunPanel", "ShiftStudio"]
