"""What a process can know of the notebook whose kernel it is; IPython is not imported where it is not there already."""

from __future__ import annotations

import sys
import threading
from typing import Any


def kernel_shell() -> Any:
    """Return the shell of the Jupyter kernel that this process is; None outside a notebook."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    shell: Any = get_ipython()
    return shell if getattr(shell, "kernel", None) is not None else None


def current_cell() -> tuple[str, str]:
    """Return the id of the notebook cell that is being run, and of this execution; empty outside a notebook."""
    parent = _request()
    try:
        return str(parent["metadata"]["cellId"]), str(parent["header"]["msg_id"])
    except (KeyError, TypeError):
        return "", ""


def watched() -> bool:
    """Return whether somebody is in front of the notebook: whoever could answer ``input()`` can look.

    Programs that run a notebook (nbclient, nbconvert) say that nobody can. What another thread than the main one shows
    belongs to no cell for certain.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    return bool(_request().get("content", {}).get("allow_stdin"))


def _request() -> dict[str, Any]:
    """Return the message that asked for what is being run."""
    shell = kernel_shell()
    try:
        return dict(shell.kernel.get_parent("shell") or {})
    except (AttributeError, TypeError):
        return {}
