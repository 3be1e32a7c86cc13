"""Formulas of the notebooks are drawn without a network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fedlab.course.formula import FORMULA, with_formulas

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"


def test_every_formula_of_the_course_is_known() -> None:
    seen = 0
    for path in sorted(FOLDER.glob("[0-9]*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                made = with_formulas("".join(cell["source"]))
                assert not FORMULA.search(re.sub(r"`[^`]*`", "", made)), (path.name, made)
                for formula in re.findall(r"<math.*?</math>", made):
                    ElementTree.fromstring(formula)
                    seen += 1
    assert seen > 15


def test_a_sum_has_its_index_below_in_a_line_of_its_own() -> None:
    text = r"$$w_{t+1} = \sum_i \frac{n_i}{n}\, w_t^i$$"
    assert with_formulas(text) == (
        '<math display="block"><msub><mi>w</mi><mrow><mi>t</mi><mo>+</mo><mn>1</mn></mrow></msub><mo>=</mo>'
        "<munder><mo>∑</mo><mi>i</mi></munder><mfrac><mrow><msub><mi>n</mi><mi>i</mi></msub></mrow><mrow><mi>n</mi></mrow>"
        '</mfrac><mspace width="0.17em"></mspace><msubsup><mi>w</mi><mi>t</mi><mi>i</mi></msubsup></math>'
    )


STAYS = ["costs 5 $ and 6 $", "`$x$`", r"$\unknown{x}$", "$a_{b$", "US$5 or US$6", "```\n$x$\n```"]


@pytest.mark.parametrize("text", STAYS)
def test_what_is_no_formula_stays(text: str) -> None:
    assert with_formulas(text) == text
