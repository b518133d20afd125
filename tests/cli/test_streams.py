"""Standard output: control characters, UTF-8, closed pipes."""

import os
import subprocess

import pytest

from tests.cli.commands import COMMAND, bare_flow, in_process, started, succeeds


def test_control_characters_are_escaped_when_printed(folder):
    bare_flow(
        folder / "odd.npz", columns=("a\x1b[31m", "b\nc", "d"), info={"note\r": "\x07", "fit": [1]}
    )
    output = succeeds("info", "odd.npz", cwd=folder)
    assert "a\\x1b[31m, b\\nc, d" in output and "\\x07" in output
    assert not set(output) & set("\x1b\r\x07")
    succeeds("sample", "odd.npz", "-n", 3, "--out", "odd.csv", cwd=folder)
    assert in_process("score", "odd.npz", "odd.csv", cwd=folder).stderr == ""


def test_samples_are_utf8_whatever_the_terminal_is(folder):
    bare_flow(folder / "utf8.npz", columns=("größe", "重", "a"))
    done = subprocess.run(
        [COMMAND, "sample", "utf8.npz", "-n", "2"],
        cwd=folder,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.stdout.decode().startswith("größe,重,a\n")
    done = subprocess.run(
        [COMMAND, "info", "utf8.npz"],
        cwd=folder,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0 and b"gr\\xf6\\xdfe" in done.stdout


def test_a_closed_pipe_is_no_error(folder):
    process = started("sample", "people.npz", "-n", "50000", cwd=folder)
    assert process.stdout.readline() == "height,body weight,age\n"
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141 and errors == ""


@pytest.mark.parametrize("arguments", [("--help",), ("fit", "--help"), ("--version",)])
def test_help_that_cannot_be_written_is_an_error(tmp_path, arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [COMMAND, *arguments], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE
        )
    message = b"nfref: error: standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, message)
