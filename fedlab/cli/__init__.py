"""The command line: ``fedlab doctor | fetch | report``."""

from fedlab.cli.main import app

__all__ = ["app"]
