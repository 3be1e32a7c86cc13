"""What differs between hospitals where nobody planted it, and each kind of difference removed by itself.

Everything here is estimated from the rows of all hospitals in one process: a laboratory's tool, not a federation's.
"""

from fedlab.study.explain.removal.found import ESTIMATED, Found, look
from fedlab.study.explain.removal.remove import removed

__all__ = ["ESTIMATED", "Found", "look", "removed"]
