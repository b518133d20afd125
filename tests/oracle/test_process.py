"""Programs in other languages, asked by lines of JSON; what is no such program."""

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nfref.cli import main
from nfref.oracle import check_flow, process
from tests.oracle import but_of_flows

CLIENTS = Path(__file__).parent / "clients"
# What runs it, its file, and the property that its mistake breaks.
PROGRAMS = {
    "C": ("gcc", "flow.c", "log_det_forward"),
    "R": ("Rscript", "density.R", "sample_follows"),
    "JavaScript": ("node", "density.js", "normalised"),
    "Julia": ("julia", "flow.jl", "log_det_forward"),
}


def command_of(language, folder):
    tool, file, _ = PROGRAMS[language]
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed here")
    if language != "C":
        return f"{tool} {shlex.quote(str(CLIENTS / file))}"
    program = folder / "flow"
    subprocess.run(
        [tool, "-O2", "-Wall", "-Werror", "-o", program, CLIENTS / file, "-lm"], check=True
    )
    return shlex.quote(str(program))


def test_a_program_and_its_mistake(tmp_path, capsys):
    command = command_of("C", tmp_path)
    skip = ["--skip", ",".join(but_of_flows("log_det_forward"))]
    assert main(["check", "--process", command, *skip]) == 0
    assert capsys.readouterr().out.startswith(f"ok: {command}, D = ")
    assert main(["check", "--process", f"{command} wrong", *skip]) == 1
    assert "log_det_forward" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.thorough
@pytest.mark.parametrize("language", PROGRAMS)
def test_clients(language, tmp_path, capsys):
    command = command_of(language, tmp_path)
    assert main(["check", "--process", command]) == 0, capsys.readouterr().out
    assert capsys.readouterr().out.startswith(f"ok: {command}, D = ")
    assert main(["check", "--process", f"{command} wrong"]) == 1
    assert PROGRAMS[language][2] in capsys.readouterr().out.splitlines()[0]


def test_no_bit_is_lost(tmp_path):
    with process.started(command_of("C", tmp_path)) as program:
        functions = program.functions()
        z = np.array([[5e-324, -0.0, 1.7976931348623157e308], [np.nan, np.inf, 0.1]])
        x, log_det = functions["forward"](z)
        with np.errstate(all="ignore"):
            expected = np.exp([0.5, -0.25, 1.0]) * z
            expected[:, 1:] += 0.75 * np.sin(z[:, :-1])
        np.testing.assert_allclose(x, expected, rtol=1e-15)
        assert functions["forward"](z[:0])[0].shape == (0, 3)
        assert np.array_equal(log_det, [1.25, 1.25])


# Programs of Python, each with what is said of it in one line.
def says(answer):
    return f"print('{answer}', flush=True)"


def command_that_runs(code, folder):
    program = folder / "program.py"
    program.write_text(code)
    return shlex.join([sys.executable, str(program)])


HELLO = 'print(\'{"nfref":1,"dim":1,"can":["forward"]}\', flush=True)\n'
READ = "import sys\nfor line in sys.stdin:\n    "
WRONG = {
    "": "hello: it ended with status 0",
    "raise SystemExit('no licence')": "hello: it ended with status 1: no licence",
    "print('ready', flush=True)": "hello: expected a line with an object of JSON, got 'ready'",
    says('{"nfref":2,"dim":1,"can":["forward"]}'): "hello: nfref: expected",
    says('{"nfref":1,"dim":1.5,"can":["forward"]}'): "hello: dim: expected",
    says('{"nfref":1,"dim":1,"can":["fly"]}'): "hello: can: expected some of",
    says('{"nfref":1,"dim":1,"can":[{"forward":1}]}'): "hello: can: expected some of",
    says('{"nfref":1,"dim":1,"can":["forward"],"domain":3}'): "hello: domain: expected [lower, u",
    "import time; time.sleep(60)": "hello: no answer within 1 s",
    HELLO: "it ended with status 0",
    HELLO + "raise ValueError('later')": "raise ValueError('later'); ValueError: later",
    HELLO + "import time; time.sleep(60)": "no answer within 1 s",
    HELLO
    + "import subprocess; subprocess.run(['sleep', '300'], timeout=300)": "no answer within 1 s",
    HELLO + READ + "print('[1]', flush=True)": "expected a line with an object of JSON, got '[1]'",
    HELLO + READ + "print('{}', flush=True)": "values: expected 24 numbers, got 'null'",
    HELLO + READ + says('{"values":[1],"log_det":[1]}'): "values: expected 24 numbers, got '1'",
    HELLO
    + READ
    + says(
        json.dumps({"values": ["x"] * 24, "log_det": [1] * 24})
    ): "values: expected numbers, got",
    HELLO + "import os, time; os.close(1); time.sleep(60)": "it closed its standard output",
}


@pytest.mark.parametrize(
    "code",
    [  # one of those that are waited for
        pytest.param(code, marks=pytest.mark.thorough if HELLO in code and "time" in code else ())
        for code in WRONG
    ],
)
def test_what_is_no_such_program_is_one_line(code, tmp_path, capsys):
    command = command_that_runs(code, tmp_path)
    start = time.monotonic()
    assert main(["check", "--process", command, "--seconds", "1" if "time" in code else "10"]) == 2
    printed = capsys.readouterr()
    assert WRONG[code] in printed.err and printed.err.count("\n") == 1 and printed.out == ""
    assert time.monotonic() - start < 60


def test_what_a_program_refuses_is_judged(tmp_path):
    command = command_that_runs(HELLO + READ + says('{"error":"too far"}'), tmp_path)
    with process.started(command) as program:
        report = check_flow(**program.functions(), rng=np.random.default_rng(0))
        program.end()
    assert "too far" in report["answers_forward"].where


def test_wrong_questions(capsys):
    for arguments, words in (
        (["--process", "no/such/program"], "cannot be started"),
        (["--process", ""], "cannot be started: [Errno"),
        ([], "give MODULE:OBJECT or --process COMMAND\n"),
        (["nfref:MAF", "--process", "x"], "give MODULE:OBJECT or --process COMMAND, not both"),
    ):
        assert main(["check", *arguments]) == 2
        printed = capsys.readouterr()
        assert words in printed.err and printed.err.count("\n") == 1
