"""What may leave a site. It knows no run."""

from fedlab.privacy.policy import SIMULATED, Policy

__all__ = ["SIMULATED", "Policy"]
