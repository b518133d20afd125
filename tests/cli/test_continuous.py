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


@pytest.mark.parametrize("flow", ["cnf", "fm"])
def test_fit_and_score(flow, table, tmp_path, capsys):
    model = tmp_path / "model.npz"
    fit = ("fit", table, "--flow", flow, "--effort", "quick", "--time", 2, "--out", model)
    status, out, err = run(capsys, *fit)
    assert not status, err
    assert "test nats per row" in out
    assert load_model(model).density.pool.members[0].density.flow.trace == "exact"
    status, out, err = run(capsys, "score", model, table)
    assert not status and "mean log-likelihood: " in out
