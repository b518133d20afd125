"""A saved estimator answers in another process whatever the fitted one answers."""

import importlib.util
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import nfref
from nfref.tables.files.model_file import ModelError

# Methods that do not ask a fitted object anything: they fit it, write it, or belong to
# scikit-learn's protocol.
NOT_ASKED = {"fit", "fit_predict", "save", "load", "set_params"}
NOT_ASKED |= {"set_fit_request", "set_score_request", "set_score_samples_request"}
NOT_ASKED |= {"set_predict_request", "set_predict_proba_request"}


def table(n=60, seed=0):
    """Numbers, counts, labels, and a category that pandas orders."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    return pd.DataFrame(
        {
            "x": x,
            "y": x + 0.3 * rng.standard_normal(n),
            "visits": rng.poisson(2, n),
            "size": pd.Categorical(
                rng.choice(["s", "m", "l"], n), categories=["s", "m", "l"], ordered=True
            ),
            "town": np.where(x > 0, "Aix", "Bonn"),
        }
    )


def gaps(rows):
    rows = rows.copy()
    rows.loc[:4, "y"] = np.nan
    rows.loc[2:6, "town"] = None
    return rows


def answers(model, rows):
    """Call every public method and read every fitted attribute; return name -> answer."""
    some, holes = rows[:6], gaps(rows)[:6]
    asked = {
        "decision_function": lambda: model.decision_function(some),
        "distribution": lambda: model.distribution(some, "y", 50),
        "get_metadata_routing": lambda: str(model.get_metadata_routing()),
        "get_params": lambda: model.get_params(),
        "impute": lambda: model.impute(holes, random_state=0),
        "predict": lambda: model.predict(some),
        "predict_proba": lambda: model.predict_proba(holes, "town"),
        "predict_quantiles": lambda: model.predict_quantiles(some, "y"),
        "sample": lambda: model.sample(9, random_state=1, given={"x": 0.5}),
        "score": lambda: model.score(some),
        "score_samples": lambda: (model.score_samples(some), model.score_samples(holes)),
        "standard_errors": lambda: model.standard_errors(holes),
        "surprise": lambda: model.surprise(some),
    }
    found = {}
    for name in dir(model):
        if name.startswith("_") or name in NOT_ASKED:
            continue
        if name.endswith("_"):
            found[name] = getattr(model, name)
        elif callable(getattr(model, name)):
            found[name] = asked[name]()
        elif name not in model.get_params():
            found[name] = getattr(model, name)
    return found


def text_of(value):
    """Return an answer as text that two processes write alike, to the last bit."""
    if isinstance(value, (pd.DataFrame, pd.Series)):
        return text_of(
            [list(value.columns), [str(kind) for kind in value.dtypes], value.to_numpy()]
        )
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return f"{value.dtype} {value.shape} {value.tobytes().hex()}"
    if isinstance(value, np.ndarray):
        return f"{value.shape} {text_of(value.tolist())}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}[{', '.join(map(text_of, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {text_of(one)}' for key, one in value.items())}}}"
    return repr(value)


CHILD = """
import pickle, sys
import nfref
from tests.tables.estimators.test_saved_estimators import answers, table, text_of
found = getattr(nfref, sys.argv[1]).load(sys.argv[2])
found = {name: text_of(one) for name, one in answers(found, table()).items()}
pickle.dump(found, sys.stdout.buffer)
"""


@pytest.mark.parametrize(
    "kind, flow, options",
    [
        ("FlowDensity", nfref.MAF(2, 1, (4,), context_dim=6), {}),
        pytest.param(
            "FlowOutlierDetector", "gaussian", {"trimming": 0}, marks=pytest.mark.thorough
        ),
        (
            "FlowOutlierDetector",
            "gaussian",
            {"criterion": "conditional", "trimming": 0, "given": ["x"]},
        ),
    ],
)
def test_all_that_a_fitted_object_answers_it_answers_in_another_process(
    tmp_path, monkeypatch, kind, flow, options
):
    monkeypatch.setattr("nfref.tables.fitting.gaps.MOST_ROUNDS", 1)
    rows, holes = table(), gaps(table())
    model = getattr(nfref, kind)(
        flow,
        members=1,
        epochs=2,
        columns={"visits": "count"},
        effort="quick",
        random_state=3,
        **options,
    ).fit(holes)
    expected = answers(model, rows)
    assert {"candidates_", "density_", "n_rows_effective_", "sample", "score"} <= set(expected)
    model.save(tmp_path / "m.npz")
    run = subprocess.run(
        [sys.executable, "-c", CHILD, kind, tmp_path / "m.npz"], capture_output=True, check=False
    )
    assert run.returncode == 0, run.stderr.decode()
    found = pickle.loads(run.stdout)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == text_of(value), name
    again = getattr(nfref, kind).load(tmp_path / "m.npz")
    again.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "m.npz").read_bytes()


def test_a_density_is_made_from_a_detector_but_not_the_reverse(tmp_path):
    rows = np.random.default_rng(0).standard_normal((60, 2))
    detector = nfref.FlowOutlierDetector("gaussian", random_state=0).fit(rows)
    detector.save(tmp_path / "detector.npz")
    density = nfref.FlowDensity.load(tmp_path / "detector.npz")
    np.testing.assert_array_equal(
        density.score_samples(rows), nfref.FlowDensity.score_samples(detector, rows)
    )
    density.save(tmp_path / "density.npz")
    with pytest.raises(ModelError, match="expected the file of a FlowOutlierDetector"):
        nfref.FlowOutlierDetector.load(tmp_path / "density.npz")


def frames():
    """DataFrames of three libraries, without that of a library which is not installed."""
    yield pd.DataFrame({7: [1, 2, 2] * 20, 8: pd.array(["u", "v", "v"] * 20, "string")})
    yield pd.DataFrame({"a": pd.array([1, 2, 2] * 20, "Int64"), "b": [True, False, False] * 20})
    yield pd.DataFrame({"a": pd.Categorical([3, 1, 1] * 20), "b": np.array([1, 2, 4] * 20, "i2")})
    yield pa.table({"a": [1, 2, 2] * 20, "b": ["u", "v", "v"] * 20})
    if importlib.util.find_spec("polars"):
        import polars

        labels = ["u", "v", "v"] * 20
        yield polars.DataFrame({"a": [1, 2, 2] * 20, "b": labels})
        yield polars.DataFrame(
            {"a": labels, "b": labels},
            schema={"a": polars.Enum(["v", "u"]), "b": polars.Categorical},
        )


@pytest.mark.parametrize("frame", [*frames()])
def test_samples_of_a_loaded_estimator_are_frames_of_the_same_types(tmp_path, frame):
    model = nfref.FlowDensity("gaussian", random_state=0).fit(frame)
    model.save(tmp_path / "m.npz")
    expected = model.sample(20, random_state=0)
    found = nfref.FlowDensity.load(tmp_path / "m.npz").sample(20, random_state=0)
    assert type(found) is type(expected)
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected)
    else:
        assert found.equals(expected) and found.schema == expected.schema
