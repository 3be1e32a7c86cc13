"""What the summaries of several sites say about how one of them writes a column: one file a kind of fault.

Each has a ``find(column)`` that returns proposals and what could not be decided, and reads nothing but summaries.
"""

from fedlab.federation.harmonise.proposals.column import Column, Proposal, Undecided

__all__ = ["Column", "Proposal", "Undecided"]
