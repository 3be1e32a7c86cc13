"""The command line: ``fedlab doctor | fetch | report | simulate | runs | compare``."""

from fedlab.cli.main import app

__all__ = ["app"]
