"""Labels that hold line breaks, commas and equals signs."""

import numpy as np
import pandas as pd
import pytest

from nfref.cli import score
from tests.cli.commands import in_process, succeeds

LABELS = ["x,y", "a=b", "=1+1", "new\nline", "\x1b[31m"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.standard_normal(80), "k": rng.choice(LABELS, 80)})
    table.to_csv(folder / "t.csv", index=False)
    succeeds(
        "fit", "t.csv", "--flow", "mixture", "--effort", "quick", "--column", "k=category", "--out",
        "m.npz", cwd=folder,
    )  # fmt: skip
    return folder


def test_each_of_the_least_likely_rows_is_one_printable_line(place, monkeypatch):
    monkeypatch.setattr(score, "LEAST", 80)
    output = succeeds("score", "m.npz", "t.csv", "--out", "s.csv", cwd=place)
    lines = output.splitlines()
    assert len(lines) == 82 and output.replace("\n", "").isprintable()
    assert any(line.endswith("k=new\\nline") for line in lines)
    assert any(line.endswith("k=\\x1b[31m") for line in lines)


@pytest.mark.parametrize("label", LABELS[:3])
def test_each_of_them_can_be_given(place, label):
    succeeds("sample", "m.npz", "-n", 3, "--given", f"k={label}", "--out", "n.csv", cwd=place)
    assert list(pd.read_csv(place / "n.csv").k) == [label] * 3
    succeeds("quantile", "m.npz", "--column", "a", "--given", f"k={label}", cwd=place)


def test_a_column_that_is_not_there_is_named_as_before(place):
    done = in_process("sample", "m.npz", "-n", 1, "--given", "z=1", cwd=place)
    assert done.returncode == 2 and "expected columns among 'a', 'k'; got 'z'" in done.stderr
