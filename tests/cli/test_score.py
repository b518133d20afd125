"""``nfref score``: log-likelihoods of rows."""

import os
import subprocess
import sys

import numpy as np
import pytest

import nfref
from nfref.cli import main
from nfref.runtime import params as trees
from nfref.runtime.backends import chosen
from nfref.tables.densities.pool import FittedFlow, Pool
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.files.model_file import load_model, save_model
from nfref.tables.queries.scoring import LOADING, in_new_process
from nfref.tables.reading import read_table
from nfref.tables.schema.columns import Continuous
from tests.cli.commands import in_process, people, succeeds, write_people


def test_score(folder):
    with nfref.backend("numpy"):  # so few rows alone would choose formulas, others may load kernels
        output = succeeds("score", "people.npz", "people.csv", cwd=folder)
        model = load_model(folder / "people.npz")
        expected = model.density.log_prob(list(people().T))
    *lines, last = output.splitlines()
    np.testing.assert_array_equal(np.array(lines, dtype=float), expected)
    assert last == f"mean log-likelihood: {np.mean(expected):.6f} nats"

    output = succeeds("score", "people.npz", "people.csv", "--out", "scores.csv", cwd=folder)
    first, title, *least = output.splitlines()
    assert first == last and title == "least likely of 200 rows:"
    order = np.argsort(expected)[:5]
    assert [int(line.split()[1]) for line in least] == (order + 1).tolist()
    assert [float(line.split()[2]) for line in least] == pytest.approx(expected[order], abs=6e-4)
    assert f"age={people()[order[0], 2]:.6g}" in least[0]
    scores = read_table(folder / "scores.csv")
    assert scores.columns == ("log_likelihood",)
    np.testing.assert_array_equal(scores.values[:, 0], expected)


def test_columns_are_found_by_name(folder, tmp_path):
    turned = people()[:, [2, 0, 1]]
    write_people(tmp_path / "turned.csv", rows=turned, header=("age", "height", "body weight"))
    np.save(tmp_path / "bare.npy", people())
    scores = [
        succeeds("score", folder / "people.npz", data, cwd=tmp_path)
        for data in (folder / "people.csv", "turned.csv", "bare.npy")
    ]
    assert scores[0] == scores[1] == scores[2]


def test_nan_is_told_from_minus_infinity(tmp_path):
    density = nfref.Density(
        nfref.Chain(
            [nfref.Linear(3), nfref.Linear(3), nfref.Logit((None, None, 0), (None, None, 1))]
        )
    )
    params = density.init(np.random.default_rng(0))
    params["flow"][0]["weight"] = np.array([[1.0, 1, 0], [0, 1, 0], [0, 0, 1]])
    params["flow"][1]["weight"] = np.diag([1e-300, 1e-300, 1])
    save_model(tmp_path / "m.npz", density, params)
    # The second row gives a difference of infinities, the third lies outside.
    (tmp_path / "t.csv").write_text("x1,x2,x3\n0,0,.5\n1e300,1e300,.5\n0,0,2\n")
    done = in_process("score", "m.npz", "t.csv", cwd=tmp_path)
    assert done.stdout.splitlines()[1:3] == ["nan", "-inf"]
    assert np.isfinite(float(done.stdout.splitlines()[0]))
    assert "note: 1 row where" in done.stderr and "note: 1 row with" in done.stderr


def test_cells_of_rounded_values(tmp_path):
    """A column of one decimal scores its cell's probability, by scipy's normal law."""
    rows = np.round(np.random.default_rng(0).normal(5, 0.3, (400, 1)), 1)
    model = nfref.FlowDensity("gaussian", random_state=0).fit(rows)
    model.save(tmp_path / "m.npz")
    values = np.unique(rows)[:, None]
    np.savetxt(tmp_path / "t.csv", values, header="x1", comments="", fmt="%.1f")
    output = succeeds("score", "m.npz", "t.csv", cwd=tmp_path).splitlines()
    found = np.array(output[:-1], float)
    np.testing.assert_array_equal(found, model.score_samples(values, cells=True))
    within = np.linspace(-0.05, 0.05, 2001)
    mean = np.mean(
        np.exp(model.density_.log_prob([(values + within).ravel()])).reshape(len(values), -1),
        axis=1,
    )
    np.testing.assert_allclose(np.exp(found), mean, rtol=2e-3)
    assert np.max(np.abs(found - model.score_samples(values, cells=False))) > 1e-3


def test_rows_of_an_unknown_category_are_scored_if_asked(tmp_path, monkeypatch, capsys):
    """One unseen label no longer ends the command for the whole file."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = [
        f"{x:.4f},{town},{k % 2}" for k, x in enumerate(rng.standard_normal(200)) for town in "ab"
    ]
    (tmp_path / "d.csv").write_text("\n".join(["x,town,w", *rows]) + "\n")
    for name, *given in (("m.npz",), ("g.npz", "--given", "town")):
        fit = ["fit", "d.csv", "--flow", "mixture", "--without", "w"]
        assert main([*fit, "--out", name, *given]) == 0
    new = ["x,town", "0.1,a", "0.2,c", ",b", "0.4,", "0.5,b"]
    (tmp_path / "new.csv").write_text("\n".join(new) + "\n")
    (tmp_path / "known.csv").write_text("\n".join(new[:2] + new[3:]) + "\n")
    capsys.readouterr()
    assert main(["score", "m.npz", "new.csv"]) == 2
    output, error = capsys.readouterr()
    assert output == "" and error == (
        "nfref: error: new.csv: column 'town': expected one of the 2 categories 'a', 'b', got 'c' "
        "in row 2; --unknown=-inf gives such rows -inf\n"
    )
    assert main(["score", "m.npz", "new.csv", "--unknown=-inf"]) == 0
    *scores, mean = capsys.readouterr().out.splitlines()
    assert main(["score", "m.npz", "known.csv"]) == 0
    *known, _ = capsys.readouterr().out.splitlines()
    assert scores[:1] + scores[2:] == known and scores[1] == "-inf" and "-inf nats" in mean
    # Given columns have no density: others given an unknown label cannot be scored.
    (tmp_path / "new.csv").write_text("x,town\n0.1,a\n0.2,c\n")
    assert main(["score", "g.npz", "new.csv", "--unknown=-inf"]) == 0
    output, error = capsys.readouterr()
    assert output.splitlines()[1] == "nan" and "1 row with a density that can't be" in error
    assert main(["score", "m.npz", "new.csv", "--unknown", "0"]) == 2


@pytest.mark.parametrize("rows, loads", [(200, False), (20_000, True)])
def test_a_few_rows_are_scored_before_numba_could_be_loaded(rows, loads, tmp_path):
    pytest.importorskip("numba")
    density = nfref.Density(nfref.NSF(3))  # its kernel is one that other tests compile
    save_model(tmp_path / "m.npz", density, density.init(np.random.default_rng(0)))
    np.save(tmp_path / "x.npy", np.random.default_rng(1).standard_normal((rows, 3)))
    code = (
        "import sys\nfrom nfref.cli import main\n"
        "main(['score', 'm.npz', 'x.npy', '--out', 's.npy'])\nprint('numba' in sys.modules)"
    )
    # The command lets Numba judge its own variables, if there are any.
    environment = {name: value for name, value in os.environ.items() if name[:6] != "NUMBA_"}
    environment["NFREF_BACKEND"] = ""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert done.stdout.splitlines()[-1] == str(loads), done.stderr


def test_a_batch_of_few_rows_chooses_formulas():
    density = nfref.Density(nfref.NSF(2))
    flow = FittedFlow(density, density.init(np.random.default_rng(0)))
    columns = [Continuous("a", step=1.0), Continuous("b")]
    table = TableDensity(tuple(columns), None, Pool((flow,), np.ones(1), ("nsf",)))
    most = int(LOADING // trees.count(flow.params))

    def backend_for(x, model=table, cells=None):
        with in_new_process(model, None if model is table else flow.params, x, cells, True):
            return chosen()

    x = np.ones((most, 2))
    assert (
        backend_for(x, density) == "numpy" and backend_for(np.ones((2 * most, 2)), density) is None
    )
    # A table with wide cells takes 17 evaluations a row, one with gaps a thousand.
    assert backend_for(x, cells=False) == backend_for(x[: most // 20]) == "numpy"
    assert backend_for(x) is None
    gaps = np.where(np.arange(most)[:, None] % 100 == 0, [np.nan, 1.0], 1.0)
    assert backend_for(gaps, cells=False) is None
    with nfref.backend("numba"):
        assert backend_for(x, density) == "numba"
