"""The table that ``nfref fit`` ends with."""

import numpy as np
import pytest

from nfref.cli import main
from nfref.cli.data import load
from nfref.tables.files.model_file import load_model
from tests.cli.commands import table_of


def test_fit_ends_with_the_table(folder):
    table = table_of((folder / "fit.txt").read_text())
    names = list(table)
    assert names == ["realnvp", "full Gaussian"]
    assert all(error > 0 for _, error in table.values())


def test_the_table_is_right(folder):
    """Recompute the flow's figure from the model file, the Gaussian's by scipy."""
    from scipy import stats

    from nfref.tables.schema.distinct_rows import distinct_rows

    data, model = load(str(folder / "people.csv")), load_model(folder / "people.npz")
    places, _ = distinct_rows(data.values, None, 0)
    test, train = data.values[places[:20]], data.values[places[20:]]

    table = table_of((folder / "fit.txt").read_text())
    flow = model.density.log_prob(list(test.T))
    # In standardised units; scipy treats columns of very different size as singular.
    mean, std = np.mean(train, axis=0), np.std(train, axis=0)
    gaussian = stats.multivariate_normal(np.zeros(3), np.corrcoef(train.T)).logpdf(
        (test - mean) / std
    ) - np.sum(np.log(std))
    for name, log_prob in (("realnvp", flow), ("full Gaussian", gaussian)):
        assert table[name][0] == pytest.approx(np.mean(log_prob), abs=6e-4)
        assert table[name][1] == pytest.approx(stats.sem(log_prob), abs=6e-4)


def test_of_test_rows_without_any_cell_nothing_is_said(tmp_path, capsys):
    """The only test row has an empty cell."""
    rows = ["0", '""', *map(str, range(1, 13)), *map(str, range(13))]  # too rare for both parts
    (tmp_path / "t.csv").write_text("\n".join(["a", *rows]))
    assert (
        main(
            [
                "fit",
                str(tmp_path / "t.csv"),
                "--flow",
                "mixture",
                "--seed",
                "18",
                "--out",
                str(tmp_path / "m.npz"),
            ]
        )
        == 0
    )
    assert "no test row of 1 is without empty cells" in capsys.readouterr().out
