"""Help, examples, and one line for every invalid call."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import nfref
from nfref.cli import COMMANDS, main
from nfref.tables.files.model_file import VERSION
from tests.cli.commands import MAF, in_process, nfref_command, people, write_people


def test_version_and_help(tmp_path):
    said = nfref_command("--version", cwd=tmp_path)
    assert said.returncode == 0 and said.stdout == f"nfref {nfref.__version__}\n"
    assert "commands:" in nfref_command("--help", cwd=tmp_path).stdout


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_an_example(capsys, command):
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0 and f"example:\n  nfref {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, unwanted",
    [(["--help"], "numpy"), (["fit", "--help"], "numba', 'matplotlib', 'scipy")],
)
def test_help_imports_no_more_than_it_needs(arguments, unwanted, tmp_path):
    """Every command waits for its imports; SciPy and matplotlib take most of a second."""
    code = (
        "import sys, nfref_command\n"
        "try:\n    nfref_command.main()\n"
        f"finally:\n    print({{'{unwanted}'}} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith("usage: ") and done.stdout.endswith("\nset()\n")


def test_python_m_nfref(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "nfref", "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == f"nfref {nfref.__version__}\n"


@pytest.fixture
def bad_files(folder, tmp_path):
    """Make a folder of bad files, beside a good table and a good model."""
    shutil.copy(folder / "people.npz", tmp_path / "model.npz")
    write_people(tmp_path / "good.csv")
    rows = people(30)
    write_people(tmp_path / "still.csv", rows=np.where([True, True, False], rows, 7.5))
    write_people(tmp_path / "few.csv", rows=rows[:3])
    write_people(tmp_path / "narrow.csv", rows=rows[:, :1], header=("height",))
    write_people(tmp_path / "other.csv", header=("height", "body weight", "ages"))
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("a,b\n")
    (tmp_path / "text.csv").write_text("a,b\n1,2\n3,tall\n5,6\n7,8\n9,0\n")
    (tmp_path / "ragged.csv").write_text("a,b\n1,2\n3\n")
    (tmp_path / "nan.csv").write_text("a,b\n1,2\n3,nan\n")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "model.npz").read_bytes()[:-30])
    np.savez(tmp_path / "kind.npz", x=rows)
    np.savez(tmp_path / "pickle.npz", header=np.array([{"a": 1}], object))
    (tmp_path / "-a.csv").write_text("")
    (tmp_path / "kept.npz").write_text("kept")
    (tmp_path / "folder").mkdir()
    return tmp_path


def content_of(folder):
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}


OUT = ("--out", "kept.npz")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("fit", "missing.csv", *OUT), "missing.csv: expected a file, found none there"),
        (("fit", "nothing", *OUT), "nothing: expected a file or the name of built-in data"),
        (("fit", "folder", *OUT), "folder: expected a file named .csv"),
        (("fit", "empty.csv", *OUT), "empty.csv: expected a table, got an empty file"),
        (("fit", "header.csv", *OUT), "header.csv: expected rows below the header, got none"),
        (
            ("fit", "text.csv", *OUT),
            "text.csv: row 2 (line 3), column 'b': expected a number, got 'tall'",
        ),
        (("fit", "ragged.csv", *OUT), "ragged.csv: row 2 (line 3): expected 2 columns, got 1"),
        (("fit", "nan.csv", "--flow", "maf", *OUT), "nan.csv: expected at least 5 distinct rows"),
        (
            ("fit", "still.csv", *OUT),
            "still.csv: column 'age': expected values that differ, got 7.5",
        ),
        (("fit", "few.csv", *OUT), "few.csv: expected at least 5 distinct rows, got 3"),
        (("fit", "few.csv", "--flow", "maf", *OUT), "few.csv: expected at least 5 distinct rows"),
        (
            ("fit", "narrow.csv", "--flow", "realnvp", *OUT),
            "flow realnvp: RealNVP: expected dim of at least 2",
        ),
        (("fit", "narrow.csv", "--flow", "nice", *OUT), "flow nice: NICE: expected dim of"),
        (
            ("fit", "good.csv", "--time", "0"),
            "--time: expected a number above 0 and below inf, got '0'",
        ),
        (
            ("fit", "good.csv", "--time", "nan"),
            "--time: expected a number above 0 and below inf, got 'nan'",
        ),
        (
            ("fit", "good.csv", "--time", "soon"),
            "--time: expected a number above 0 and below inf, got 'soon'",
        ),
        (
            ("fit", "good.csv", "--seed", "-1", *OUT),
            "--seed: expected a whole number from 0 to 3.4e+38, got '-1'",
        ),
        (
            ("fit", "good.csv", "--seed", "2.5"),
            "--seed: expected a whole number from 0 to 3.4e+38, got '2.5'",
        ),
        (("fit", "good.csv", "--out", ""), "--out: expected a file to write, got ''"),
        (("fit", "good.csv", "--flow", "magic", *OUT), "--flow: invalid choice: 'magic'"),
        (("fit", "good.csv", "--column", "height", *OUT), "--column: expected NAME=SUPPORT"),
        (("fit", "good.csv", "--column", "width=0:1", *OUT), "--column: expected a column of"),
        (
            ("fit", "good.csv", "--column", "height=0:1", *OUT),
            "good.csv: column 'height': expected values strictly between 0 and 1, got 1.7125",
        ),
        (
            ("fit", "good.csv", "--column", "height=0:1", "--flow", "maf", *OUT),
            "good.csv: column 'height': expected values strictly between 0 and 1, got 1.7125",
        ),
        (("fit", "good.csv", "--magic", *OUT), "unrecognized arguments: --magic"),
        (("fit", "good.csv", "--out", "no/such/model.npz"), "no/such does not exist"),
        (("fit", "good.csv", "--out", "folder"), "folder: expected a file to write, got a folder"),
        (("fit", "good.csv", "--out", "good.csv"), "--out: expected a file of its own"),
        (
            ("fit", "good.csv", "--plot", "a.npz", "--out", "a.npz"),
            "--plot: expected a file of its",
        ),
        (
            ("fit", "good.csv", "--plot", "a.xyz", *OUT),
            "--plot: a.xyz: expected a file named .png, .pdf, .svg, ",
        ),
        (("fit", *OUT), "the following arguments are required: DATA"),
        ((), "expected a command such as fit, got none"),
        (("magic",), "COMMAND: invalid choice: 'magic'"),
        (
            ("score", "model.npz", "narrow.csv"),
            "narrow.csv: expected the model's 3 columns 'height', "
            "'body weight', 'age', got 1: 'height' (missing: ",
        ),
        (("score", "model.npz", "other.csv"), "(missing: 'age'; extra: 'ages')"),
        (
            ("score", "missing.npz", "good.csv"),
            "missing.npz: expected a model file, found none there",
        ),
        (
            ("score", "good.csv", "good.csv"),
            "good.csv: expected an nfref model file, got something",
        ),
        (
            ("score", "cut.npz", "good.csv"),
            "cut.npz: expected a complete model file, got a truncated",
        ),
        (("score", "kind.npz", "good.csv"), "kind.npz: expected a model file that nfref wrote"),
        (("score", "pickle.npz", "good.csv"), "pickle.npz: expected plain arrays, got pickled"),
        (
            ("score", "model.npz", "good.csv", "--out", "good.csv"),
            "--out: expected a file of its own",
        ),
        (
            ("sample", "model.npz", "-n", "-1"),
            "-n: expected a whole number from 0 to 1e+15, got '-1'",
        ),
        (("sample", "model.npz"), "the following arguments are required: -n"),
        (("sample", "model.npz", "-n", "1", "--out", "model.npz"), "--out: expected a file of its"),
        (
            ("plot", "model.npz", "--data", "narrow.csv", "--out", "a.png"),
            "narrow.csv: expected the",
        ),
        (
            ("plot", "model.npz", "--out", "picture"),
            "--out: picture: expected a file named .png, .pdf, .svg, ",
        ),
        (("info", "kind.npz"), "kind.npz: expected a model file that nfref wrote"),
        (("info",), "MODEL: expected a model file or --system, got neither"),
        (("info", "model.npz", "--system"), "MODEL: expected a model file or --system, got both"),
        (("fit", "-a.csv", *OUT), "the following arguments are required: DATA; ./-a.csv names"),
    ],
)
def test_bad_input(bad_files, arguments, message, monkeypatch, capsys):
    """Run in this process, which saves sixty starts; the tests below run the command."""
    monkeypatch.chdir(bad_files)
    before = content_of(bad_files)
    assert main(list(map(str, arguments))) == 2
    printed = capsys.readouterr()
    # A flow is made after the table was described.
    assert printed.out == "" or "--flow" in arguments
    assert printed.err.startswith("nfref: error: ") and message in printed.err
    assert printed.err.count("\n") == 1
    assert content_of(bad_files) == before


def test_a_newer_model_file(bad_files):
    import json

    with np.load(bad_files / "model.npz") as archive:
        arrays = dict(archive)
    header = {**json.loads(arrays["header"].tobytes()), "version": 99}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(bad_files / "newer.npz", **arrays)
    done = in_process("info", "newer.npz", cwd=bad_files)
    assert done.returncode == 2
    assert f"expected format version {VERSION}, got 99" in done.stderr


@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write anywhere")
def test_a_write_protected_file(bad_files):
    (bad_files / "kept.npz").chmod(0o444)
    done = nfref_command("fit", "good.csv", *MAF, *OUT, cwd=bad_files)
    assert done.returncode == 2 and "kept.npz: expected a file that can be written" in done.stderr


def test_a_backend_that_is_not_there(capsys, monkeypatch):
    from nfref.cli import main

    monkeypatch.setenv("NFREF_BACKEND", "abacus")
    assert main(["info", "--system"]) == 2
    output, errors = capsys.readouterr()
    assert output == "" and errors.startswith("nfref: error: NFREF_BACKEND: expected one of")
    assert errors.count("\n") == 1


def test_messages_are_no_longer_than_people_read(tmp_path, capsys, monkeypatch):
    """Files and arguments may have any names."""
    monkeypatch.chdir(tmp_path)
    names = ",".join(f"{'n' * 1000}{k}" for k in range(50))
    (tmp_path / "t.csv").write_text(names + "\n" + ",".join(["1.5"] * 50) + "\n")
    for arguments in (
        ("fit", "t.csv", "--given", "b" * 10**5),
        ("fit", "t.csv", "--without", "c"),
        ("fit", "t.csv", "--column", "d" * 10**5 + "=real"),
        ("fit", "t.csv", "--column", "e" * 10**5),
        ("fit", "f" * 10**5),
    ):
        assert main([*arguments]) == 2
        said = capsys.readouterr().err
        assert 20 < len(said) < 750 and said.count("\n") == 1
