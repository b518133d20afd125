"""Public functions annotate all parameters and their result."""

import functools
import importlib
import inspect
import pkgutil
import typing

import pytest

import nfref
from nfref.runtime.annotations import Array, ArrayLike

# Users do not import from these.
APART = ("nfref.kernels", "nfref.__main__")


def annotated_parts(thing):
    """Return name -> function: a function itself, or the methods and properties of a class."""
    if inspect.isfunction(inspect.unwrap(thing)):
        return {"": thing}
    if not inspect.isclass(thing):
        return {}
    parts = {key: value for key, value in vars(thing).items() if not key.startswith("_")}
    for key, value in parts.items():
        if isinstance(value, property):
            parts[key] = value.fget
        elif isinstance(value, functools.cached_property):
            parts[key] = value.func
        elif isinstance(value, (classmethod, staticmethod)):
            parts[key] = value.__func__
    return {f".{key}": value for key, value in parts.items() if inspect.isfunction(value)}


def public_functions():
    """Return name -> function of the public functions, methods and properties of nfref."""
    found = {}
    for module in [nfref, *pkgutil.walk_packages(nfref.__path__, "nfref.")]:
        name = module.__name__ if module is nfref else module.name
        if name.startswith(APART):
            continue
        try:
            things = vars(importlib.import_module(name))
        except ModuleNotFoundError as error:  # an extra is not installed
            assert not error.name.startswith("nfref"), error
            continue
        for key, thing in things.items():
            thing = getattr(thing, "fun", thing)  # the function of an autograd primitive
            if key.startswith("_") or getattr(thing, "__module__", None) != name:
                continue
            for part, function in annotated_parts(thing).items():
                found[f"{name}.{key}{part}"] = function
    return found


def lacking(function):
    """Return the names of parameters without an annotation, and "return"."""
    signature = inspect.signature(inspect.unwrap(function))
    names = [
        name
        for name, parameter in signature.parameters.items()
        if name not in ("self", "cls") and parameter.annotation is parameter.empty
    ]
    return names + (["return"] if signature.return_annotation is signature.empty else [])


def test_public_functions_are_annotated():
    functions = public_functions()
    assert len(functions) > 1300
    untyped = {name: gaps for name, function in functions.items() if (gaps := lacking(function))}
    assert not untyped, untyped


def test_annotations_name_types():
    """Annotations are evaluated on import, so a wrong name fails there; here are two kinds."""
    hints = inspect.signature(nfref.Density.log_prob).parameters
    assert hints["x"].annotation == Array
    assert inspect.signature(nfref.fit).parameters["density"].annotation is nfref.Density


def test_arguments_of_estimators_have_types():
    kinds = (nfref.FlowDensity, nfref.FlowOutlierDetector, nfref.Posterior)
    untyped = {
        f"{kind.__name__}{name}: {key}"
        for kind in kinds
        for name, function in annotated_parts(kind).items()
        for key, parameter in inspect.signature(function).parameters.items()
        if parameter.annotation is typing.Any
    }
    assert not untyped, untyped
    loaded = inspect.signature(nfref.FlowDensity.load).return_annotation
    assert loaded.__bound__.__forward_arg__ == "FlowDensity"  # a subclass loads itself


def test_estimators_take_lists_and_frames_of_typed_code():
    found = {
        name: parameter.annotation
        for name, function in public_functions().items()
        for parameter in inspect.signature(function).parameters.values()
        if name.startswith("nfref.tables.estimators.") and parameter.name == "X"
    }
    assert len(found) > 10
    assert {name for name, kind in found.items() if kind != ArrayLike} == set()


STRICT = """
import numpy as np
import numpy.typing as npt

import nfref

class Own(nfref.FlowDensity):
    def twice(self) -> float:
        return 2 * self.n_rows_effective_

rows = np.random.default_rng(0).standard_normal((100, 2))
density = Own(columns={"x1": "real"}).fit(rows)
reveal_type(density)
print(density.twice(), density.score(rows), density.sample(3).mean())
scores = density.score_samples(rows, cells=False)
reveal_type(scores)
score, error = density.score_samples(rows, return_error=True)
best: npt.NDArray[np.float64] = rows[scores + error.max() > score.mean()]
reveal_type(density.impute(best, draws=3))
print(density.impute(best).mean(axis=0))
quantiles = density.predict_quantiles(rows, "x1", levels=[0.5])
reveal_type(quantiles)
found, bound = density.predict_quantiles(rows, "x1", return_error=True)
print(quantiles[:, 0] - found[:, 1] > bound.max())
density.save("density.npz")
reveal_type(Own.load("density.npz"))
detector = nfref.FlowOutlierDetector(contamination=0.05).fit(rows)
reveal_type(detector)
print(detector.score_samples(rows).min() < detector.offset_, detector.training_scores_.min())
posterior = nfref.Posterior.from_simulations(rows, rows, bounds={"theta1": (0, 1)})
one = posterior.given([0.1, 0.2])
reveal_type(one)
print(one.rvs(3).mean(), one.logpdf(rows).max(), one.pdf([0.5, 0.5]))
print(len(posterior.given(rows)))
"""


@pytest.mark.thorough
def test_strict_script_of_a_user_needs_no_cast(tmp_path):
    api = pytest.importorskip("mypy.api", reason="needs the extra dev")
    script = tmp_path / "script.py"
    script.write_text(STRICT)
    output, errors, status = api.run(
        ["--strict", "--config-file=", f"--cache-dir={tmp_path}", str(script)]
    )
    assert status == 0, output + errors
    kinds = [line.split('"')[1].split("[")[0] for line in output.splitlines() if "Revealed" in line]
    assert [kind.rpartition(".")[2] for kind in kinds] == [
        *("Own", "ndarray", "list", "ndarray", "Own", "FlowOutlierDetector", "Posterior")
    ]
