"""Names that people read: letters of every script pass, what cannot be seen does not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fedlab.federation import Federation
from fedlab.federation.names import printable


@pytest.mark.parametrize(
    "name",
    ["Cleveland", "Köln", "O'Hare", "北京协和医院", "בית חולים", "مستشفى", "می‌خواهم", "🏥", "👩\u200d⚕️", "<b>", "=1+1",
     "%s", "A & B", "", "x" * 1000, "Nord\u00a0West"],
)  # fmt: skip
def test_what_can_be_read_passes(name: str) -> None:
    printable(name, "site")


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("a\nb", "a line end (U+000A)"),
        ("a\rb", "a line end (U+000D)"),
        ("a\u2028b", "a line end (U+2028)"),
        ("a\tb", "a tab (U+0009)"),
        ("\x1b[31mred", "an escape sign (U+001B)"),
        ("a\x9b31m", "a control character (U+009B)"),
        ("a\x00", "a control character (U+0000)"),
        ("a\x7f", "a control character (U+007F)"),
        ("evil\u202egnp.exe", "turns the direction of writing (U+202E)"),
        ("a\u2066b\u2069", "turns the direction of writing (U+2066)"),
        ("No\u200brd", "a sign without width (U+200B)"),
        ("\ufeffNord", "a sign without width (U+FEFF)"),
        ("\ud800", "half a character (U+D800)"),
    ],
)
def test_what_cannot_be_seen_is_refused_with_the_remedy(name: str, sign: str) -> None:
    with pytest.raises(ValueError) as caught:
        printable(name, "column name")
    said = str(caught.value)
    assert said.startswith("the column name '") and sign in said and "rename it without" in said
    assert said.isprintable()  # the message is safe to show


def test_the_remedy_is_a_name() -> None:
    with pytest.raises(ValueError, match="e.g. 'Nord'$"):
        printable(" Nord\n", "site")
    with pytest.raises(ValueError, match="rename it without$"):
        printable("\n", "site")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ward": "A\x1b[31m"}, "the site name 'A.*holds an escape sign"),
        ({"ward": "A\u202eB"}, "the site name 'A.*turns the direction"),
        ({"ill": "y\nes"}, "the class name 'y.*holds a line end"),
        ({"drug": "as\tpirin"}, "the level 'drug=as.*holds a tab"),
    ],
)
def test_no_table_brings_such_a_name_in(change: dict[str, str], said: str) -> None:
    table = {"ward": ["A", "B"] * 10, "drug": ["x", "z"] * 10, "ill": ["no", "yes", "yes", "no"] * 5, "age": range(20)}
    df = pd.DataFrame(table)
    for column, value in change.items():
        df[column] = df[column].replace(df[column][1], value)
    with pytest.raises(ValueError, match=said):
        Federation.from_frame(df, site="ward", label="ill")


def test_all_names_of_a_table_come_in_one_answer() -> None:
    df = pd.DataFrame({"ward": ["A\x1b", "home"] * 10, "a\tb": range(20), "ill": [0, 1] * 10})
    with pytest.raises(ValueError, match="3 things are wrong") as caught:
        Federation.from_frame(df, site="ward", label="ill")
    assert all(said in str(caught.value) for said in ("an escape sign", "called 'home'", "a tab"))


def test_nor_do_tensors() -> None:
    x, y = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32), np.array([0, 1] * 10)
    with pytest.raises(ValueError, match="the site name 'A.*holds a line end"):
        Federation.from_tensors({"A\n": (x, y)})
