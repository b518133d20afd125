"""DATA on the command line: files with names or without, pipes, built-in data."""

import os
import subprocess

import numpy as np
import pytest

import nfref
from nfref.cli.data import load
from tests.cli.commands import MAF, in_process, people, succeeds, table_of


@pytest.mark.parametrize(
    "data", ["numbers.csv", pytest.param("years.csv", marks=pytest.mark.thorough)]
)
def test_numbers_for_names_survive_fit_sample_and_score(tmp_path, data):
    rows = people(100)
    header = {"numbers.csv": "0,1,2", "years.csv": "2019,2020,2021"}[data]
    np.savetxt(tmp_path / data, rows, delimiter=",", header=header, comments="")
    done = in_process("fit", data, *MAF, "--out", "m.npz", cwd=tmp_path)
    assert "100 rows, 3 columns" in done.stdout
    assert f"nfref: warning: {data}: line 1 is taken as names" in done.stderr
    succeeds("sample", "m.npz", "-n", 9, "--out", "new.csv", cwd=tmp_path)
    scored = in_process("score", "m.npz", "new.csv", cwd=tmp_path)
    assert scored.stdout.count("\n") == 10 and scored.stderr == ""
    named = in_process("fit", data, *MAF, "--header", "no", cwd=tmp_path)
    assert "101 rows, 3 columns" in named.stdout and "warning" not in named.stderr


def test_a_pipe_is_read_and_stdin_is_refused(folder):
    os.mkfifo(folder / "pipe.csv")
    writer = subprocess.Popen(["cp", "people.csv", "pipe.csv"], cwd=folder)
    through = succeeds("score", "people.npz", "pipe.csv", cwd=folder)
    assert writer.wait() == 0 and through == succeeds(
        "score", "people.npz", "people.csv", cwd=folder
    )
    os.remove(folder / "pipe.csv")
    done = in_process("score", "people.npz", "/dev/stdin", cwd=folder)
    assert done.returncode == 2 and done.stderr.startswith("nfref: error: /dev/stdin: expected a")


@pytest.mark.thorough
def test_the_true_density_is_the_floor(tmp_path):
    output = succeeds("fit", "eight-gaussians", *MAF, cwd=tmp_path)
    mean, error = table_of(output)["true density"]
    assert abs(mean + nfref.datasets.eight_gaussians.entropy) < 4 * error


def test_a_file_comes_before_a_built_in_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load("two-moons").values.shape == (5000, 2)
    np.testing.assert_array_equal(load("two_moons").values, load("two-moons").values)
    (tmp_path / "wine").mkdir()
    done = in_process("fit", "wine", cwd=tmp_path)
    assert done.returncode == 2 and "got no extension" in done.stderr
