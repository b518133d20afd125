"""Continuous flows from the command line."""

import numpy as np
import pytest

from nfref.cli import main
from nfref.tables.files.model_file import load_model


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((150, 2)) @ [[1.0, 0.5], [0.0, 0.3]] + [3.0, -1.0]
    path = tmp_path / "rows.csv"
    np.savetxt(path, rows, delimiter=",", header="a,b", comments="", fmt="%.17g")
    return path


def run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


@pytest.mark.parametrize(
    "options",
    [
        ("--flow", "cnf"),
        ("--flow", "cnf", "--trace", "hutchinson", "--regularise", "0.01,0.02"),
        ("--flow", "cnf", "--trace", "brute", "--hidden", "6,6,6"),
        ("--flow", "fm"),
    ],
    ids=str,
)
def test_fit_and_score(options, table, tmp_path, capsys):
    model = tmp_path / "model.npz"
    status, out, err = run(
        capsys,
        "fit",
        table,
        *options,
        "--epochs",
        2,
        "--rtol",
        "1e-4",
        "--quiet",
        "--out",
        model,
        *(() if "6,6,6" in options else ("--hidden", "8,8")),
    )
    assert not status, err
    assert "test nats per row" in out
    flow = load_model(model).density.pool.members[0].density.flow
    assert (flow.rtol, flow.atol) == (1e-4, 1e-4)
    assert flow.trace == ("brute" if "6,6,6" in options else "exact")
    status, out, err = run(capsys, "score", model, table)
    assert not status and "mean log-likelihood: " in out


@pytest.mark.parametrize(
    "options, message",
    [
        (("--flow", "maf", "--trace", "exact"), "--trace: expected none with flow maf"),
        (("--flow", "fm", "--regularise", "1,1"), "--regularise: expected none with flow fm"),
        (("--flow", "realnvp", "--rtol", "1e-5"), "--rtol: expected none with flow realnvp"),
        (("--flow", "cnf", "--regularise", "1"), "--regularise: expected KINETIC,JACOBIAN"),
        (("--flow", "cnf", "--regularise", "1,-1"), "--regularise: expected KINETIC,JACOBIAN"),
        (("--flow", "cnf", "--rtol", "0"), "--rtol: expected a finite number above 0"),
        (("--flow", "cnf", "--layers", "3"), "--layers: expected none with flow cnf"),
        (("--flow", "cnf", "--trace", "some"), "--trace: invalid choice"),
        (("--flow", "cnf", "--trace", "exact", "--hidden", "4,4,4"), "--trace: expected 'brute'"),
    ],
    ids=str,
)
def test_what_does_not_fit_together(options, message, table, capsys):
    status, out, err = run(capsys, "fit", table, *options, "--quiet")
    assert status == 2 and message in err and len(err.strip().splitlines()) == 1, err
