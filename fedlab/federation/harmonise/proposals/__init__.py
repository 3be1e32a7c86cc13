"""What the summaries of several sites say about how one of them writes a column: one file a kind of fault.

Each has a ``find(column)`` that returns proposals, questions and what could not be decided, and reads nothing but
summaries. What only lies elsewhere than at the other sites is a question, never a proposal: other patients do too.
"""

from fedlab.federation.harmonise.proposals.column import Column, Found, Proposal, Question, Undecided

__all__ = ["Column", "Found", "Proposal", "Question", "Undecided"]
