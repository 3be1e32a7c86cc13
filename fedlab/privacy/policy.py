"""The policy of a site: which questions it takes, and what may leave it in an answer."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from fedlab.metrics.cells import LEAST

EVERYTHING = ("*",)
DTYPES = ("bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a site allows. It is asked at the site before anything is sent, and again at the gate.

    Parameters
    ----------
    purposes : tuple of str, optional
        Of the questions that are answered; ``"*"`` stands for any text. By default all but those that hand out what is
        a site's own (``export``: its personal models; ``hold``: all that it keeps between rounds).
    names : tuple of str
        Of what may leave, by path: ``"model.*"``, ``"extra.control.weight"``, ``"rows"``.
    dtypes : tuple of str
        Of the tensors that may leave, as torch calls them.
    least : int
        A question that tells of fewer patients is not answered.
    largest : int, optional
        Bytes of the largest question that is read.

    Examples
    --------
    >>> policy = Policy(purposes=("statistics", "prepare", "train"), names=("model.*", "rows"))
    >>> policy.allows("train"), policy.allows("evaluate"), policy.lets_out("extra.control.weight")
    (True, False, False)
    >>> Policy().allows("export", reserved=True)
    False
    """

    purposes: tuple[str, ...] | None = None
    names: tuple[str, ...] = EVERYTHING
    dtypes: tuple[str, ...] = DTYPES
    least: int = LEAST
    largest: int | None = None

    def __post_init__(self) -> None:
        for name in ("purposes", "names", "dtypes"):
            told = getattr(self, name)
            if isinstance(told, str) or not (told is None or all(isinstance(each, str) for each in told)):
                raise ValueError(f"{name} is {told!r}: give a tuple of texts, e.g. ('train', 'evaluate')")
            if told is not None:
                object.__setattr__(self, name, tuple(told))
        for name, low in (("least", 0), ("largest", 1)):
            number = getattr(self, name)
            if name == "largest" and number is None:
                continue
            if isinstance(number, bool) or not isinstance(number, int) or number < low:
                raise ValueError(f"{name} is {number!r}: it must be a whole number of at least {low}")

    def allows(self, purpose: str, *, reserved: bool = False) -> bool:
        """Return whether questions of this purpose are answered; a reserved one has to be named."""
        if self.purposes is None:
            return not reserved
        return self.purposes == EVERYTHING or _fits(purpose, self.purposes)

    def lets_out(self, name: str, dtype: str | None = None) -> bool:
        """Return whether this may leave: its path and, if it is a tensor, its dtype."""
        fits = self.names == EVERYTHING or _fits(name, self.names)
        return fits and (dtype is None or self.dtypes == EVERYTHING or dtype in self.dtypes)


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


SIMULATED = Policy(purposes=EVERYTHING, dtypes=EVERYTHING, least=0)
"""Of sites in a simulation, whose rows are the caller's: everything is allowed."""
