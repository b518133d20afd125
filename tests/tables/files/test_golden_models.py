"""Every later version reads the files of version 1, to the same scores."""

import importlib
import json
import pkgutil

import numpy as np
import pandas
import pytest

import nfref
from nfref.runtime.serialization import describe, described_classes
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.files import checkpoints
from nfref.tables.files.model_file import load_model
from nfref.tables.fitting.trainings import SearchState
from tests.tables.files import golden_models
from tests.tables.files.golden_models import ASKED, FOLDER

NAMES = sorted(path.stem for path in FOLDER.glob("*.npz"))
MODELS = [name for name in NAMES if not name.startswith("checkpoint")]
ROUNDING = 1e-12  # other machines add up products of matrices in another order


def numbers(value):
    """The array of nested lists of hexadecimal text."""
    return np.array(
        [numbers(one) if isinstance(one, list) else float.fromhex(one) for one in value]
    )


def header_of(name):
    with np.load(FOLDER / f"{name}.npz") as archive:
        return json.loads(archive["header"].tobytes())


def scores_of(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def holds(found, written):
    """Return whether a description is the one written; newer versions may have more fields."""
    if isinstance(written, dict):
        return isinstance(found, dict) and all(
            key in found and holds(found[key], value) for key, value in written.items()
        )
    if isinstance(written, list):
        return len(found) == len(written) and all(map(holds, found, written))
    return type(found) is type(written) and found == written


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_read_and_scores_as_it_did(name):
    model, scores = load_model(FOLDER / f"{name}.npz"), scores_of(name)
    if isinstance(model.density, TableDensity):
        rows = [
            np.array(values) if column.kind == "category" else numbers(values)
            for column, values in zip(model.density.columns, scores["rows"], strict=True)
        ]
        found = model.density.log_prob(rows)
    else:
        context = scores["context"] and numbers(scores["context"])
        rows = numbers(scores["rows"])
        found = golden_models.log_prob_of(model.density, model.params, rows, context)
    expected = numbers(scores["log_prob"])
    assert len(expected) > 1 and np.all(np.isfinite(expected))
    np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=ROUNDING)
    again = {"density": model.density, "params": model.params}
    header = header_of(name)
    assert holds(describe(again)[0], {key: header[key] for key in again})
    assert {"estimator", "posterior"} & {*model.info} or model.info["purpose"] == "golden"


def test_a_detector_is_read_and_scores_as_it_did():
    scores = scores_of("estimator")
    detector = nfref.FlowOutlierDetector.load(FOLDER / "estimator.npz")
    x, town = scores["rows"]
    rows = pandas.DataFrame({"x": numbers(x), "town": town})
    found, expected = detector.score_samples(rows), numbers(scores["score"])
    np.testing.assert_allclose(found, expected, rtol=ROUNDING)
    assert np.isfinite(detector.offset_) and len(detector.training_scores_) == 40


def test_a_checkpoint_is_read_and_says_what_it_did():
    state = checkpoints.read(FOLDER / "checkpoint.npz", ASKED)
    scores = scores_of("checkpoint")
    assert isinstance(state, SearchState) and len(state.trainings) == 2
    ended, begun = state.trainings
    assert begun.state.epoch == scores["epoch"]
    assert np.sum(ended.vector) == pytest.approx(float.fromhex(scores["sum"]), rel=ROUNDING)
    assert ended.history == {
        name: list(numbers(values)) for name, values in scores["history"].items()
    }
    again = describe({"asked": ASKED, "state": state})[0]
    assert holds(again, {key: header_of("checkpoint")[key] for key in again})


def classes_in(plain):
    if isinstance(plain, dict):
        yield from [plain["class"]] if "class" in plain else []
    for value in plain.values() if isinstance(plain, dict) else plain:
        if isinstance(value, (dict, list)):
            yield from classes_in(value)


def test_every_class_is_in_a_golden_file():
    """A new class needs a file of its own: python -m tests.tables.files.golden_models."""
    for module in pkgutil.walk_packages(nfref.__path__, "nfref."):
        if module.name.startswith(
            ("nfref.flows", "nfref.bases", "nfref.transformers", "nfref.tables", "nfref.training")
        ):
            importlib.import_module(module.name)
    found = {kind for name in NAMES for kind in classes_in(header_of(name))}
    assert not set(described_classes()) - found
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 500_000
    assert {path.stem for path in FOLDER.glob("*.json")} == set(NAMES)


def test_what_is_there_is_never_written_again(monkeypatch, tmp_path, capsys):
    for path in FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes() if path.stem != "made" else b"old")
    (tmp_path / "hinge.npz").unlink()
    monkeypatch.setattr(golden_models, "FOLDER", tmp_path)
    monkeypatch.setattr(golden_models, "tables", dict)
    monkeypatch.setattr(golden_models, "detectors", dict)
    golden_models.main()
    assert capsys.readouterr().out == "wrote hinge\n"
    assert (tmp_path / "made.npz").read_bytes() == b"old"
    with np.load(tmp_path / "hinge.npz") as one, np.load(FOLDER / "hinge.npz") as other:
        for name in set(one) - {"header", "digest"}:
            np.testing.assert_array_equal(one[name], other[name])
