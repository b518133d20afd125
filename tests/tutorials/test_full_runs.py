"""Compare what pages say of their full runs with the printed output, kept beside the figure."""

import re

import pytest

from docs import draw, notebooks
from tests.tutorials.test_notebooks import NUMBER, value_and_unit
from tests.tutorials.test_tutorials import TORCH

PAGES = {script.stem: script for _, script in notebooks.pages() if draw.full_run(script.stem)}
DECIMAL = re.compile(r"(?<![\w.,])[-+−]?\d+\.\d+(?:e[-+]?\d+)?(?![\w.])")
# Numbers that no run prints: sizes that the page sets, and results of others.
GIVEN = {
    "flow_matching_in_torch": ("2.43",),  # a histogram a pixel
    "audio": ("0.2", "0.8"),  # percent of the loudest; the temperature
    "differnet": ("0.869",),
    "discrete_data": ("2.43",),  # a histogram a pixel
    "graph_af": ("0.651", "0.894", "0.68", "0.9", "0.614"),  # other pages and runs, the paper
    "molecules": ("0.68", "0.18"),  # the paper's validity; a cube under a normal density
    "particles": ("8.26", "8.31", "30.3", "30.5"),  # of a published program
    "sampling_from_energies": ("11784.50927",),  # the constant of a published program
    "sphere": ("0.05", "0.10"),  # the paper's table
}


def decimals(script):
    """The numbers with a point in the texts of a page, outside of formulas and exercises."""
    text = "\n".join(content for kind, content in notebooks.cells(script) if kind == "text")
    text = re.sub(r"^Exercise \d.*?(?=^What this page claims|\Z)", "", text, flags=re.M | re.S)
    text = re.sub(
        r"^\.\. math::.*\n(?:  .*\n|\n)*|:math:`[^`]*`|``[^`]*``|arXiv:\S+|section \S+",
        "",
        text,
        flags=re.MULTILINE,
    )
    return DECIMAL.findall(text)


@pytest.mark.parametrize("name", [name for name in sorted(PAGES) if draw.full_run(name)[1]])
def test_numbers_of_a_page_are_those_of_its_full_run(name):
    _, lines = draw.full_run(name)
    printed = [value_and_unit(text)[0] for text in NUMBER.findall("\n".join(lines))]
    wrong = []
    for text in decimals(PAGES[name]):
        value, unit = value_and_unit(text)
        if text not in GIVEN.get(name, ()) and not any(
            abs(value - other) <= 0.501 * unit for other in printed
        ):
            wrong.append(text)
    assert not wrong


def test_every_page_with_two_runs_has_a_full_one():
    """Check also that the quoted output stands on its page."""
    assert set(PAGES) == {
        script.stem
        for _, script in notebooks.pages()
        if "FULL" in script.read_text(encoding="utf-8") or script == TORCH
    }
    for name, numbers in GIVEN.items():
        assert set(numbers) <= set(decimals(PAGES[name])), name
