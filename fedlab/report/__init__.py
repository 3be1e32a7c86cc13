"""The gap report, as one page and as numbers: ``fedlab.report(federation, "report.html")``, ``fedlab report``.

``measured`` trains what is needed, ``gap`` reads the study, ``judged`` says what a difference may be called, ``short``
and ``findings`` put it in words, ``across`` pools the hospitals, ``tripod`` fills the list of what to report,
``tables``, ``drawings`` and ``page`` put it on paper, ``numbers`` in JSON and CSV, ``files``
on the disk; ``report`` does all of it.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedlab.report.report import Report


class _Callable(ModuleType):
    """A package that is also a function: a submodule and a function of ``fedlab`` cannot share the name otherwise."""

    def __call__(self, *given: Any, **options: Any) -> Report:
        """Measure the gap of a federation, and write the one-page report; see :func:`fedlab.report.report.report`."""
        from fedlab.report.report import report

        return report(*given, **options)


sys.modules[__name__].__class__ = _Callable
