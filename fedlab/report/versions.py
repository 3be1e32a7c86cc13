"""Versions that a result depends on."""

from __future__ import annotations

import platform
from importlib import metadata

DISTRIBUTION = "fedlab-workbench"


def version(distribution: str) -> str | None:
    """Return the version of what is installed, without importing it."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Versions that a result depends on, for reports and benchmarks.

    Examples
    --------
    >>> sorted(versions())[:3]
    ['fedlab', 'numpy', 'pandas']
    """
    found = {name: version(name) for name in ("torch", "numpy", "pandas", "scipy", "scikit-learn", "plotly")}
    here = {"python": platform.python_version(), "fedlab": version(DISTRIBUTION) or "unknown"}
    return here | {name: number for name, number in found.items() if number}
