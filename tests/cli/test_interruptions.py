"""Nothing is lost: signals, kills, closed pipes, full disks, checkpoints."""

import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from threading import main_thread

import numpy as np
import pytest

import nfref
from nfref.cli import main
from nfref.runtime import interrupts
from nfref.tables.files import checkpoints
from nfref.tables.files.model_file import load_model
from nfref.tables.fitting import flow_kinds, trainings
from nfref.tables.fitting.results import Progress
from tests.cli.commands import (
    COLUMNS,
    COMMAND,
    ENDLESS,
    MAF,
    REAL,
    ended,
    in_process,
    nfref_command,
    people,
    plan_with,
    started,
    succeeds,
    table_of,
    wait_for_an_epoch,
    write_people,
)

NSF = ("--flow", "nsf")
FIT = ("fit", "people.csv", "--flow", "realnvp")


@pytest.fixture
def folder(tmp_path):
    write_people(tmp_path / "people.csv")
    return tmp_path


def training(*arguments, cwd):
    """A fit that has finished its first epoch."""
    process = started("fit", "people.csv", *NSF, *arguments, cwd=cwd, endless=True)
    wait_for_an_epoch(process)
    return process


def message_of(path):
    """Return how the training of the one flow in a model file ended."""
    return load_model(path).info["fit"]["candidates"][0]["message"]


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


# Signals ----------------------------------------------------------------------------------


def test_ctrl_c_in_training_prints_the_table_and_keeps_the_best(folder):
    process = training("--out", "m.npz", cwd=folder)
    process.send_signal(signal.SIGINT)
    output, errors = ended(process)
    assert process.returncode == 0 and "Traceback" not in errors
    assert "interrupted in epoch" in output
    assert list(table_of(output)) == ["nsf"]  # baselines would take a while
    assert "interrupted in epoch" in message_of(folder / "m.npz")
    assert load_model(folder / "m.npz").columns == COLUMNS
    assert names(folder) == ["m.npz", "people.csv"]


def test_ctrl_c_leaves_the_picture_to_the_command_that_it_names(folder, capsys, monkeypatch):
    process = training("--out", "m.npz", "--plot", "m.png", cwd=folder)
    process.send_signal(signal.SIGINT)
    output, _ = ended(process)
    command = re.search("after an interrupt: nfref (.*)", output)[1]
    assert process.returncode == 0 and names(folder) == ["m.npz", "people.csv"]
    monkeypatch.chdir(folder)
    assert main(shlex.split(command)) == 0 and (folder / "m.png").stat().st_size > 1000
    (folder / "m.png").unlink()
    process = training("--plot", "m.png", cwd=folder)  # nothing else would be left
    process.send_signal(signal.SIGINT)
    assert "wrote m.png" in ended(process)[0] and names(folder) == ["m.npz", "m.png", "people.csv"]


def test_ctrl_c_outside_of_training(capsys, monkeypatch):
    from nfref.cli import info

    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "loaded_model", interrupted)
    assert main(["info", "model.npz"]) == 130
    assert capsys.readouterr().err == "nfref: interrupted\n"


@pytest.mark.parametrize(
    "signals",
    [
        ("SIGTERM",),
        ("SIGINT", "SIGINT"),
        *(
            pytest.param(signals, marks=pytest.mark.thorough)
            for signals in (("SIGHUP",), ("SIGINT", "SIGTERM", "SIGINT"))
        ),
    ],
)
def test_signals_end_a_fit_and_keep_the_best(folder, signals):
    process = training("--out", "m.npz", cwd=folder)
    for name in signals:
        process.send_signal(getattr(signal, name))
        time.sleep(0.02)
    _, errors = ended(process)
    insisted = () if len(signals) == 1 else (130, -signal.SIGINT, -signal.SIGTERM)
    assert process.returncode in (0, *insisted)
    assert "Traceback" not in errors
    assert "interrupted" in message_of(folder / "m.npz")
    assert names(folder) == ["m.npz", "people.csv"]


def test_an_interrupt_that_python_drops_ends_the_fit(folder):
    """Python prints and drops an exception that is raised while it finalises an object."""
    code = """if True:
        import signal, sys
        import nfref_command
        from nfref.tables.fitting.flow_search import FlowSearch
        class Last:
            def __del__(self):
                signal.raise_signal(signal.SIGINT)
        run = FlowSearch.run
        def dropped(*arguments):
            Last()
            return run(*arguments)
        FlowSearch.run = dropped
        sys.exit(nfref_command.main())
    """
    done = subprocess.run(
        [sys.executable, "-c", ENDLESS + code, "fit", "people.csv", *NSF, "--out", "m.npz"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert done.stderr.startswith("Exception ignored in")
    kept = ["m.npz"] if done.returncode == 0 else []  # if an epoch was done already
    assert done.returncode in (0, 130) and names(folder) == [*kept, "people.csv"]


QUICK = ("--effort", "quick")


class Interrupted:
    """A fit with Ctrl-C at a call of Python, counted from its start; 0 for none."""

    def __init__(self, at=0):
        self.at, self.calls, self.candidates, self.first = at, 0, 0, None
        sys.setprofile(self)
        try:
            self.status = main(["fit", "few.csv", *QUICK, *REAL, "--out", "m.npz"])
        except KeyboardInterrupt:  # while the command hands the signals back
            self.status = 130
        finally:
            sys.setprofile(None)

    def __call__(self, frame, event, argument):
        if event == "call":
            self.calls += 1
            if self.calls == self.at:
                signal.raise_signal(signal.SIGINT)
            self.candidates += frame.f_code.co_name == "_fit_candidate"
            if self.candidates == 2:  # the first one is there
                self.first = self.first or self.calls


@pytest.mark.parametrize("moments", [8, pytest.param(200, marks=pytest.mark.thorough)])
def test_ctrl_c_keeps_a_model_at_every_moment_after_the_first_candidate(
    ctrl_c, folder, monkeypatch, moments
):
    """Once the model is being written, the command ends with 130 after it."""
    monkeypatch.chdir(folder)
    plan_with(monkeypatch, epochs=2)  # every call of Python is counted
    write_people(folder / "few.csv", rows=people(60))
    Interrupted()
    whole = Interrupted()
    for at in np.linspace(whole.first + 1, whole.calls - 1, moments).astype(int):
        (folder / "m.npz").unlink(missing_ok=True)
        found = Interrupted(at)
        if found.first is None:  # up to it, runs of one process differ by dozens of calls
            assert at < whole.first + 100, at
        if found.status == 0 or found.first is not None:
            assert found.status in (0, 130) and load_model(folder / "m.npz").columns == COLUMNS, at
        else:  # Ctrl-C came in the first candidate
            assert found.status == 130, at


def test_ctrl_c_before_the_first_candidate_leaves_nothing(ctrl_c, folder, monkeypatch):
    monkeypatch.chdir(folder)
    plan_with(monkeypatch, epochs=2)  # every call of Python is counted
    write_people(folder / "few.csv", rows=people(60))
    assert Interrupted(5000).status == 130 and names(folder) == ["few.csv", "people.csv"]


def test_in_python_ctrl_c_keeps_the_best_and_a_second_one_raises(ctrl_c, monkeypatch):
    """The second one may come in another fit, as in a loop."""

    def interrupt(estimator):
        once = [signal.SIGINT]

        def epoch(*state):
            if once:
                while not signals.keeps:  # the first of the simple densities
                    time.sleep(0.001)
                signal.pthread_kill(main_thread().ident, once.pop())

        keeping = interrupts.keeping([signal.SIGINT], twice=True)
        with monkeypatch.context() as patch, keeping as signals:
            patch.setattr(Progress, "epoch", epoch)
            estimator.fit(np.random.default_rng(0).standard_normal((200, 2)))

    model = nfref.FlowDensity("nsf", members=1, epochs=3, random_state=0)
    with nfref.backend("numba", 1), pytest.warns(UserWarning, match="FlowDensity: interrupted"):
        interrupt(model)
    assert np.all(np.isfinite(model.score_samples(np.zeros((2, 2)))))
    with nfref.backend("numba", 1), pytest.raises(KeyboardInterrupt):
        interrupt(model)


def test_nohup_is_respected(folder):
    process = subprocess.Popen(
        [COMMAND, "fit", "people.csv", *MAF, "--out", "m.npz"],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    assert ended(process) and process.returncode == 0
    assert "nothing better in" in message_of(folder / "m.npz")


# Output that nobody takes -------------------------------------------------------------------


def test_a_closed_pipe_loses_no_model(folder):
    process = started("fit", "people.csv", *MAF, "--out", "m.npz", cwd=folder)
    process.stdout.close()
    process.stderr.close()
    assert process.wait(timeout=60) == 141
    assert "nothing better in" in message_of(folder / "m.npz")
    assert names(folder) == ["m.npz", "people.csv"]


@pytest.mark.parametrize(
    "closed",
    [
        ">&- 2>&-",
        ">/dev/full",
        *(
            pytest.param(closed, marks=pytest.mark.thorough)
            for closed in (">&-", "2>&-", "2>/dev/full")
        ),
    ],
)
def test_missing_and_full_streams_lose_no_model(folder, closed):
    command = f'"$0" fit people.csv {" ".join(MAF)} --out m.npz {closed}'
    done = subprocess.run(
        ["sh", "-c", command, COMMAND], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == (2 if closed == ">/dev/full" else 0)
    assert "Traceback" not in done.stderr
    if closed == ">/dev/full":
        assert done.stderr.endswith("nfref: error: standard output: No space left on device\n")
    assert "nothing better in" in message_of(folder / "m.npz")


@pytest.mark.thorough
@pytest.mark.parametrize(
    "arguments",
    [("sample", "m.npz", "-n", "3"), ("info", "m.npz"), ("score", "m.npz", "people.csv")],
)
def test_commands_that_print_say_that_they_cannot(folder, arguments):
    succeeds("fit", "people.csv", *MAF, "--out", "m.npz", cwd=folder)
    for closed in (">&-", ">/dev/full"):
        done = subprocess.run(
            ["sh", "-c", f'"$0" "$@" {closed}', COMMAND, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 2 and done.stderr.startswith("nfref: error: standard output: ")
        assert done.stderr.count("\n") == 1


# Disks --------------------------------------------------------------------------------------


def limited(size):
    """Limit the size of files in bytes, like a disk that fills."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def test_a_disk_too_small_for_the_model_is_found_before_training(folder):
    done = nfref_command(
        "fit", "people.csv", *NSF, "--out", "m.npz", cwd=folder, preexec_fn=limited(20_000)
    )
    assert done.returncode == 2
    assert done.stderr == "nfref: error: m.npz: File too large\n" and done.stdout == ""
    assert names(folder) == ["people.csv"]


def test_a_disk_that_fills_while_samples_are_written(folder):
    succeeds("fit", "people.csv", *MAF, "--out", "m.npz", cwd=folder)
    (folder / "new.csv").write_text("old")
    done = nfref_command(
        "sample", "m.npz", "-n", 10_000, "--out", "new.csv", cwd=folder, preexec_fn=limited(20_000)
    )
    assert done.returncode == 2 and done.stderr == "nfref: error: new.csv: File too large\n"
    assert (folder / "new.csv").read_text() == "old"
    assert names(folder) == ["m.npz", "new.csv", "people.csv"]


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_fit(folder, monkeypatch, capsys):
    def full(path, state, asked):
        raise OSError(f"{path}: File too large")

    monkeypatch.chdir(folder)
    monkeypatch.setattr(trainings, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "write", full)
    assert main([*FIT, "--resume", "c.npz"]) == 0
    assert capsys.readouterr().err.count("c.npz: File too large; the fit goes on") == 1
    assert names(folder) == ["people.csv"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--out", "n" * 300), "n: File name too long"),
        (("--out", "people.csv/m.npz"), "people.csv is not a folder"),
        (("--resume", "no/c.npz"), "no does not exist"),
        (("--out", "m.npz", "--resume", "m.npz"), "--resume: expected a file of its own"),
        (("--plot", "x.pgf"), "--plot: x.pgf: expected a file named .png"),
        (("--seed=--",), "--seed: expected a value, got '--'"),
        (("--column", "height=-1e300:1e300"), "expected bounds near the values"),
        (("--header", "no"), "row 1 (line 1), column 'x1': expected a number, got 'height'"),
        (("--resume", "people.csv"), "--resume: expected a file of its own"),
    ],
)
def test_what_cannot_end_well_ends_at_once(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder)
    assert main(["fit", "people.csv", *arguments]) == 2
    output, errors = capsys.readouterr()
    assert output == "" and message in errors
    assert errors.count("\n") == 1 and names(folder) == ["people.csv"]


def test_a_flow_that_needs_too_much_memory_is_one_line(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(flow_kinds, "memory", lambda: 1e5)
    assert main(["fit", "people.csv", "--flow", "nsf"]) == 2
    errors = capsys.readouterr().err
    assert "KiB; fewer layers" in errors and errors.count("\n") == 1
    assert names(folder) == ["people.csv"]


# Checkpoints --------------------------------------------------------------------------------


def test_a_killed_fit_goes_on_to_the_same_bits(folder):
    succeeds(*FIT, "--out", "whole.npz", cwd=folder)
    for _ in range(2):
        resume = ("--resume", "c.npz")
        process = started(*FIT, *resume, "--out", "m.npz", cwd=folder, every=0.0)
        before = epoch_of(folder / "c.npz")
        deadline = time.monotonic() + 60
        while epoch_of(folder / "c.npz") < before + 3 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
        process.communicate()
    assert epoch_of(folder / "c.npz") >= 6
    succeeds(*FIT, "--resume", "c.npz", "--out", "m.npz", cwd=folder)
    assert (folder / "m.npz").read_bytes() == (folder / "whole.npz").read_bytes()
    left = [name for name in names(folder) if not name.endswith(".part")]  # of a killed write
    assert left == ["c.npz", "m.npz", "people.csv", "whole.npz"]


def epoch_of(path):
    import json

    if not path.exists():
        return 0
    with np.load(path) as archive:
        (training,) = json.loads(archive["header"].tobytes())["state"]["trainings"]
        return len((training["state"] or training)["history"]["train"])


@pytest.mark.thorough
def test_only_the_same_fit_goes_on(folder, monkeypatch):
    monkeypatch.setattr(trainings, "CHECKPOINT_SECONDS", 0.0)
    succeeds(*FIT, "--resume", "c.npz", cwd=folder)
    content = (folder / "c.npz").read_bytes()
    write_people(folder / "other.csv", rows=np.random.default_rng(0).random((50, 3)))
    for arguments, message in (
        (("--seed", 1), "expected --seed 0 as when it was written, got 1"),
        (("--column", "height=0:9"), "expected --column [] as when it was written, got [['h"),
        (("--effort", "quick"), "expected --effort default as when it was written"),
    ):
        done = in_process(*FIT, *arguments, "--resume", "c.npz", cwd=folder)
        assert done.returncode == 2 and f"--resume: c.npz: {message}" in done.stderr
    done = nfref_command("fit", "other.csv", *FIT[2:], "--resume", "c.npz", cwd=folder)
    assert done.returncode == 2 and "expected the DATA it was written with" in done.stderr
    for length in (0, 3, len(content) // 2, len(content) - 1):
        (folder / "c.npz").write_bytes(content[:length])
        done = nfref_command(*FIT, "--resume", "c.npz", cwd=folder)
        assert done.returncode == 2 and done.stderr.startswith("nfref: error: --resume: c.npz: ")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("patch", ["nfref.cli.load = lambda words:", "atexit.register(lambda:"])
def test_signals_before_and_after_the_command_handles_them(folder, patch, name):
    """While the command is imported, and while Python ends."""
    end = ")" if "(" in patch else ""
    code = f"""if True:
        import atexit, signal, sys
        import nfref.cli
        import nfref_command
        {patch} signal.raise_signal(signal.{name}){end}
        sys.exit(nfref_command.main())
    """
    done = subprocess.run(
        [sys.executable, "-c", code, "info", "--system"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: signal.signal(getattr(signal, name), signal.SIG_DFL),
    )
    assert (done.returncode, done.stderr) == (130, "nfref: interrupted\n")


def test_ctrl_c_while_python_imports(folder):
    home = os.path.dirname(os.path.dirname(nfref.__file__))
    for delay in (0.1, 0.2, 0.3, 0.5):
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys, nfref_command as command; print(1, flush=True); "
                "sys.exit(command.main())",
                "info",
                "--system",
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": home},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert process.stdout.readline() == "1\n"
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, errors = ended(process)
        assert process.returncode in (0, 130, -signal.SIGINT)
        assert errors in ("", "nfref: interrupted\n")
