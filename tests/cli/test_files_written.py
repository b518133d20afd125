"""A command that writes a file says so in one line."""

import pytest

from tests.cli.commands import in_process, nfref_command


@pytest.mark.parametrize(
    "arguments, out, line",
    [
        (("sample", "people.npz", "-n", 3), "s.csv", "wrote s.csv: 3 rows"),
        (("plot", "people.npz"), "p.png", "wrote p.png"),
        (
            ("predict", "people.npz", "people.csv", "--column", "age"),
            "a.csv",
            "wrote a.csv: 200 rows",
        ),
        (("impute", "people.npz", "people.csv"), "i.csv", "wrote i.csv: 200 rows"),
    ],
)  # fmt: skip
def test_one_line_says_so(folder, arguments, out, line):
    done = in_process(*arguments, "--out", out, cwd=folder)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == line


def test_standard_output_as_a_file_holds_the_rows_alone(folder):
    done = in_process("sample", "people.npz", "-n", 3, "--out", "/dev/stdout", cwd=folder)
    assert "wrote" not in done.stdout


def test_a_pipe_behind_standard_output_is_written(folder):
    done = nfref_command("sample", "people.npz", "-n", 3, "--out", "/dev/stdout", cwd=folder)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 4
