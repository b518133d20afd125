"""A search among candidates that was killed goes on to the same bits."""

import json

import numpy as np
import pytest

from nfref.cli import main
from nfref.runtime import backends
from nfref.tables.files import checkpoints
from nfref.tables.fitting import flow_search, trainings
from tests.cli.commands import plan_with
from tests.cli.mixed import people

FIT = ("fit", "t.csv", "--effort", "quick")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trainings, "CHECKPOINT_SECONDS", 0.0)
    plan_with(monkeypatch, epochs=3)
    people()[["age", "share"]].to_csv("t.csv", index=False)
    return tmp_path


def killed_after(monkeypatch, writes):
    """Kill the process at the checkpoint number ``writes``."""
    write = checkpoints.write

    def counted(*arguments):
        nonlocal writes
        write(*arguments)
        writes -= 1
        if not writes:
            raise RuntimeError("killed")

    monkeypatch.setattr(checkpoints, "write", counted)


def in_turn(monkeypatch):
    """Train flows in turn; in parallel, a checkpoint depends on which flow finishes first."""
    monkeypatch.setattr(backends, "processors", lambda: 1)


@pytest.mark.parametrize(
    "order, writes",
    [
        (in_turn, 5),
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in ((in_turn, 1), (in_turn, 3), (None, 1), (None, 3))
        ),
    ],
)
def test_a_search_goes_on_to_the_same_bits(folder, monkeypatch, order, writes):
    """Kill it in the first flow of three epochs; if flows run in turn, in the second too."""
    assert main([*FIT, "--out", "whole.npz"]) == 0
    with monkeypatch.context() as patch:
        if order:
            order(patch)
        killed_after(patch, writes)
        with pytest.raises(RuntimeError):
            main([*FIT, "--out", "m.npz", "--resume", "c.npz"])
    assert not (folder / "m.npz").exists()
    assert main([*FIT, "--out", "m.npz", "--resume", "c.npz"]) == 0
    assert (folder / "m.npz").read_bytes() == (folder / "whole.npz").read_bytes()


def test_a_search_goes_on_with_more_time(folder, monkeypatch):
    """What is trained is not trained again, and the folds stay as they were."""
    wide = np.random.default_rng(0).normal(size=(2000, 14))
    np.savetxt("wide.csv", wide, delimiter=",", header=",".join("abcdefghijklmn"), comments="")
    fit = ["fit", "wide.csv"]
    with monkeypatch.context() as patch:
        killed_after(patch, 1)
        with pytest.raises(RuntimeError):
            main([*fit, "--time", "5", "--resume", "c.npz"])
    with np.load("c.npz") as archive:
        records = json.loads(archive["header"].tobytes())["state"]["trainings"]
    ended = {(one["name"], one["fold"]) for one in records if one["state"] is None}
    trained, train = [], flow_search.train_flow
    monkeypatch.setattr(
        flow_search, "train_flow", lambda key, *rest: trained.append(key) or train(key, *rest)
    )
    assert main([*fit, "--time", "600", "--resume", "c.npz", "--out", "m.npz"]) == 0
    assert ended and trained and not ended & {*trained}


@pytest.mark.thorough
def test_checkpoints_without_a_word_stand_beside_the_model(folder, monkeypatch):
    with monkeypatch.context() as patch:
        in_turn(patch)
        killed_after(patch, 4)
        with pytest.raises(RuntimeError):
            main([*FIT, "--out", "m.npz"])
    assert (folder / "m.npz.checkpoint").exists()
    assert main([*FIT, "--out", "m.npz", "--resume", "m.npz.checkpoint"]) == 0
    assert main([*FIT, "--out", "n.npz"]) == 0
    assert (folder / "m.npz").read_bytes() == (folder / "n.npz").read_bytes()
    assert not (folder / "n.npz.checkpoint").exists()


def test_so_do_those_of_one_flow(folder, monkeypatch):
    """Kill a fit of one flow with its own checkpoint; compare with an undisturbed fit."""
    fit = ("fit", "t.csv", "--flow", "maf")
    with monkeypatch.context() as patch:
        killed_after(patch, 3)
        with pytest.raises(RuntimeError):
            main([*fit, "--out", "m.npz"])
    assert (folder / "m.npz.checkpoint").exists() and not (folder / "m.npz").exists()
    assert main([*fit, "--out", "m.npz", "--resume", "m.npz.checkpoint"]) == 0
    assert main([*fit, "--out", "n.npz"]) == 0
    assert (folder / "m.npz").read_bytes() == (folder / "n.npz").read_bytes()
    assert not (folder / "n.npz.checkpoint").exists()


def test_a_checkpoint_of_another_search_is_refused(folder, capsys):
    assert main([*FIT, "--resume", "c.npz"]) == 0
    capsys.readouterr()
    for arguments, message in (
        (("--seed", "1"), "c.npz: expected --seed 0 as when it was"),
        (("--effort", "default"), "c.npz: expected --effort quick as when"),
    ):
        assert main([*FIT, *arguments, "--resume", "c.npz", "--out", "m.npz"]) == 2
        assert message in capsys.readouterr().err
    people(seed=1)[["age", "share"]].to_csv("t.csv", index=False)
    assert main([*FIT, "--resume", "c.npz", "--out", "m.npz"]) == 2
    assert "expected the DATA it was written with" in capsys.readouterr().err
    content = (folder / "c.npz").read_bytes()
    for length in np.linspace(0, len(content) - 1, 5).astype(int):
        (folder / "c.npz").write_bytes(content[:length])
        assert main([*FIT, "--resume", "c.npz", "--out", "m.npz"]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not (folder / "m.npz").exists()


@pytest.mark.thorough
def test_a_checkpoint_of_an_older_search_says_so(folder, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "SEARCH", 1)
        assert main([*FIT, "--resume", "c.npz", "--out", "m.npz"]) == 0
    assert main([*FIT, "--resume", "c.npz", "--out", "m.npz"]) == 2
    assert "c.npz: expected a checkpoint of this version's search, got one of an older" in (
        capsys.readouterr().err
    )
