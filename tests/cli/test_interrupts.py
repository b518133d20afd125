"""Ctrl-C, in training and outside of it."""

import signal

from nfref.tables.files.model_file import load_model
from tests.cli.commands import COLUMNS, ended, started, table_of, wait_for_an_epoch


def test_ctrl_c_in_training_keeps_the_best_so_far(folder, tmp_path):
    process = started(
        "fit",
        str(folder / "people.csv"),
        "--flow",
        "nsf",
        "--layers",
        "1",
        "--hidden",
        "8",
        "--epochs",
        "1000000",
        "--lr",
        "1e-12",
        "--dtype",
        "float64",
        "--out",
        "m.npz",
        cwd=tmp_path,
    )
    wait_for_an_epoch(process)
    process.send_signal(signal.SIGINT)
    output, errors = ended(process)
    assert process.returncode == 0 and "Traceback" not in errors
    assert "interrupted in epoch" in output
    assert len(table_of(output)) == 4
    model = load_model(tmp_path / "m.npz")
    assert "interrupted in epoch" in model.info["fit"]["candidates"][0]["message"]
    assert model.columns == COLUMNS
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.npz"]


def test_ctrl_c_outside_of_training(capsys, monkeypatch):
    from nfref import cli
    from nfref.cli import info

    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "loaded_model", interrupted)
    assert cli.main(["info", "model.npz"]) == 130
    assert capsys.readouterr().err == "nfref: interrupted\n"
