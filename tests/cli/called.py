"""The command line as a user calls it."""

from __future__ import annotations

from click.testing import Result
from typer.testing import CliRunner

from fedlab.cli import app


def call(*line: str) -> Result:
    """Run ``fedlab`` with these words."""
    return CliRunner().invoke(app, list(line))
