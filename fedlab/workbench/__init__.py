"""Panels for JupyterLab: they read their widgets, call the engine in one thread, and draw; nothing is learnt here.

>>> from fedlab.workbench import RunPanel
>>> panel = RunPanel()
"""

from fedlab.workbench.panel import RunPanel

__all__ = ["RunPanel"]
