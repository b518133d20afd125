"""Pages on learning curves agree with the benchmark's csv."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.densities import keep, read
from tests.benchmarks.learning_curves import (
    TABLES,
    Found,
    beside_others,
    members,
    sentences,
    whole_tables,
)

DOCS = Path(__file__).parents[2] / "docs"


def text_of(page):
    return (DOCS / f"{page}.rst").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "table, page",
    [
        (beside_others, "density_of_my_table"),
        (members, "density_of_my_table"),
        (whole_tables, "benchmarks"),
    ],
)
def test_a_table_of_a_page_is_made_of_the_csv(table, page):
    assert table(Found()) in text_of(page)


def test_sentences_have_the_numbers_of_the_csv():
    page = re.sub(r"\s+", " ", text_of("density_of_my_table"))
    found = sentences(Found())
    assert found and not [sentence for sentence in found if sentence not in page]


def test_differences_are_paired_by_draws(tmp_path):
    path, error = tmp_path / "fits.csv", np.nan
    remark = "best member nsf -1.0, pool +0.250 +- 0.1; 60 % nsf, 30 % mixture of 2, 10 % wide"
    keep(
        path,
        {
            (table, 50, draw, "FlowDensity"): (nats, error, 2.0, remark)
            for table in TABLES
            for draw, nats in enumerate((-10.0, -11.0, -12.0))
        },
    )
    keep(
        path,
        {
            ("wine", 50, draw, name): (nats, error, 1.0, "")
            for name, gaps in {"gaussian": (-12.0, -15.0), "kernels": (-13.0, -12.0)}.items()
            for draw, nats in enumerate(gaps)
        },
    )
    keep(path, {("wine", 50, 0, "gaussian"): (-11.0, error, 1.0, "")})  # in place of -12
    found = Found(path)
    assert len(read(path)) == 16 and found.best_simple("wine", 50) == "kernels"
    assert found.more("wine", 50, "gaussian") == pytest.approx((2.5, 1.5, 2))  # 1 and 4
    assert found.nats("wine", 50, "FlowDensity") == -11.0
    assert "60 %" in members(found) and "+0.25\u00a0±\u00a00.00" in members(found)


def test_samples_are_told_apart_as_the_benchmark_printed():
    lines = re.findall(r"^    (\S.*?)  +(\d\.\d+) \+- ", text_of("benchmarks"), re.MULTILINE)
    forest = dict(lines)
    page = re.sub(r"\s+", " ", text_of("density_of_my_table"))
    assert f"with an AUC of {forest['FlowDensity']}," in page
    assert f"Without rounding, the AUC is {forest['without lattices']}." in page
