"""Rows that come through standard input or a pipe without a name."""

import os
import subprocess

import pytest

import nfref
from tests.cli.commands import COMMAND, in_process, succeeds

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(nfref.__file__))}


def given(text, *arguments, cwd):
    return subprocess.run(
        [COMMAND, *arguments], cwd=cwd, input=text, capture_output=True, text=True, env=ENVIRONMENT
    )


def test_rows_through_standard_input_are_csv(folder):
    text = (folder / "people.csv").read_text()
    done = given(text, "score", "people.npz", "/dev/stdin", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == succeeds("score", "people.npz", "people.csv", cwd=folder)
    with open(folder / "people.csv") as file:  # a redirected file is no pipe
        again = subprocess.run(
            [COMMAND, "score", "people.npz", "/dev/stdin"],
            cwd=folder, stdin=file, capture_output=True, text=True, env=ENVIRONMENT,
        )  # fmt: skip
    assert again.stdout == done.stdout
    assert given(text, "score", "people.npz", "-", cwd=folder).stdout == done.stdout


@pytest.mark.thorough
def test_a_fit_to_rows_through_standard_input(folder):
    text = (folder / "people.csv").read_text()
    options = ("--flow", "mixture", "--effort", "quick")
    done = given(text, "fit", "/dev/stdin", *options, cwd=folder)
    assert done.returncode == 0 and "pool" in done.stdout, done.stderr


def test_other_devices_and_folders_are_refused(folder):
    for path, got in (("/dev/zero", "a device or a pipe"), (".", "no extension")):
        done = in_process("score", "people.npz", path, cwd=folder)
        assert done.returncode == 2 and done.stderr.endswith(f", got {got}\n")


def test_samples_that_cannot_be_drawn_leave_standard_output_empty(folder):
    done = in_process("sample", "people.npz", "-n", 3, "--within", 1e-9, cwd=folder)
    assert done.returncode == 2 and done.stdout == "" and "--within: " in done.stderr
