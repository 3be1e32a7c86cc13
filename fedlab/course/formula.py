"""Formulas of a notebook as MathML, which browsers draw by themselves: a handout has no network to fetch MathJax from.

Only what the course writes is known (letters, indices, fractions, sums, norms); what is not stays as it was written.
"""

from __future__ import annotations

import html
import re

FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$\w])\$(?!\s)([^$\n]+?)(?<!\s)\$(?![\w$])", re.S)
CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.S)
TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|[A-Za-z]|\s+|.")
LETTERS = {r"\alpha": "α", r"\beta": "β", r"\gamma": "γ", r"\epsilon": "ε", r"\eta": "η", r"\lambda": "λ", r"\mu": "μ",
           r"\sigma": "σ", r"\tau": "τ", r"\theta": "θ", r"\nabla": "∇", r"\infty": "∞"}  # fmt: skip
SIGNS = {r"\sum": "∑", r"\cdot": "·", r"\le": "≤", r"\ge": "≥", r"\times": "×", r"\in": "∈", r"\lVert": "‖",
         r"\rVert": "‖", r"\{": "{", r"\}": "}", "-": "−"}  # fmt: skip
WORDS = (r"\min", r"\max", r"\log", r"\exp")
SPACES = {r"\,": "0.17em", r"\;": "0.28em", r"\quad": "1em"}
BELOW = ("∑", "min", "max")  # their index stands below them in a formula of its own line


def with_formulas(markdown: str) -> str:
    """Return a markdown text with its formulas as MathML; what stands in backticks is left alone.

    Examples
    --------
    >>> with_formulas("the rows $n_i$ of `$x$`")
    'the rows <math><msub><mi>n</mi><mi>i</mi></msub></math> of `$x$`'
    """
    parts = CODE.split(markdown)
    return "".join(part if number % 2 else FORMULA.sub(_replace, part) for number, part in enumerate(parts))


def _replace(found: re.Match[str]) -> str:
    block = found[1] is not None
    try:
        inner = Reader(found[1] if block else found[2], block).all()
    except (ValueError, IndexError):
        return found[0]
    return f'<math display="block">{inner}</math>' if block else f"<math>{inner}</math>"


class Reader:
    """Reads TeX from left to right; raises ``ValueError`` or ``IndexError`` at what it does not know."""

    def __init__(self, text: str, block: bool) -> None:
        self.tokens = [token for token in TOKEN.findall(text) if not token.isspace()]
        self.block = block

    def all(self, until: str = "") -> str:
        """Return the MathML up to a sign, or to the end."""
        made = []
        while self.tokens and self.tokens[0] != until:
            made.append(self._with_indices())
        if until:
            self._take(until)
        return "".join(made)

    def _take(self, wanted: str) -> None:
        if self.tokens.pop(0) != wanted:
            raise ValueError(wanted)

    def _group(self) -> str:
        """Return what stands in braces, or the next sign alone, as one element."""
        if self.tokens[0] == "{":
            self.tokens.pop(0)
            return f"<mrow>{self.all('}')}</mrow>"
        return self._atom()

    def _with_indices(self) -> str:
        base = self._group()
        indices: dict[str, str] = {}
        while self.tokens and self.tokens[0] in "_^":
            sign = self.tokens.pop(0)
            indices[sign] = self._group()
        if not indices:
            return base
        signs = [sign for sign in "_^" if sign in indices]
        below = self.block and any(f">{word}<" in base for word in BELOW)
        kind = "m" + "".join(({"_": "under", "^": "over"} if below else {"_": "sub", "^": "sup"})[s] for s in signs)
        return f"<{kind}>{base}{''.join(indices[sign] for sign in signs)}</{kind}>"

    def _atom(self) -> str:
        token = self.tokens.pop(0)
        if token == r"\frac":
            return f"<mfrac>{self._group()}{self._group()}</mfrac>"
        if token in SPACES:
            return f'<mspace width="{SPACES[token]}"></mspace>'
        if token in LETTERS or token.isalpha():
            return f"<mi>{LETTERS.get(token, token)}</mi>"
        if token in WORDS:
            return f"<mo>{token[1:]}</mo>"
        if token in SIGNS or token in "()[]+=<>|,.;:/!*'":
            return f"<mo>{html.escape(SIGNS.get(token, token))}</mo>"
        if token[0].isdigit():
            return f"<mn>{token}</mn>"
        raise ValueError(token)
