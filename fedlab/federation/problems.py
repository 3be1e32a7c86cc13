"""All that is wrong with an input, in one answer."""

from __future__ import annotations

from types import TracebackType


class Problems:
    """Collects what is wrong: a ``with`` block that raises ``ValueError`` is one entry, and the next one still runs.

    Examples
    --------
    >>> problems = Problems()
    >>> with problems:
    ...     raise ValueError("there is no age")
    >>> problems.add("there is no label")
    >>> problems.raise_all()
    Traceback (most recent call last):
    ...
    ValueError: 2 things are wrong:
    - there is no age
    - there is no label
    """

    def __init__(self) -> None:
        self.said: list[str] = []

    def add(self, what: str) -> None:
        """Enter a sentence."""
        self.said.append(what)

    def __enter__(self) -> Problems:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        if isinstance(error, ValueError):
            self.add(str(error))
            return True
        return False

    def raise_all(self) -> None:
        """Raise ``ValueError`` with every sentence, if there is one."""
        said = list(dict.fromkeys(self.said))
        if len(said) == 1:
            raise ValueError(said[0])
        if said:
            raise ValueError(f"{len(said)} things are wrong:\n" + "\n".join(f"- {what}" for what in said))
