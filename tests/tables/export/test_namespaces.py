"""The exported file on arrays of JAX and torch: values, and gradients in continuous columns."""

from functools import cache

import numpy as np
import pytest

from tests.tables.export.families import families, limited, rows_for
from tests.tables.export.test_export import errors, exported

pytestmark = pytest.mark.peers
NAMES = ("supports", "many columns", "context of a flow", "given", "limit")


@cache
def densities():
    """Return name -> density."""
    return limited(families())


def on_jax(module):
    """Return (the file on JAX, scores and gradients of rows, JAX's arrays)."""
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    own = module.namespace(jax.numpy)

    def scores(rows):
        total, back = jax.vjp(jax.jit(own.log_prob), jax.numpy.asarray(rows))
        return np.asarray(total), np.asarray(back(jax.numpy.ones_like(total))[0])

    return own, scores, jax.numpy.asarray


def on_torch(module):
    """Return the same with torch."""
    torch = pytest.importorskip("torch")
    own = module.namespace(torch)

    def scores(rows):
        rows = torch.tensor(rows, requires_grad=True)
        found = own.log_prob(rows)
        found.sum().backward()
        return found.detach().numpy(), rows.grad.numpy()

    return own, scores, torch.tensor


@pytest.mark.parametrize("library", [on_jax, on_torch])
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_those_of_numpy(tmp_path, library, name):
    density, rng = densities()[name], np.random.default_rng(1)
    module = exported(density, tmp_path / "density.py")
    own, scores, array = library(module)
    rows = rows_for(density, rng, 300)
    # JAX takes numbers below 1e-308 for 0, as they are at the very ends of a circle.
    keep = np.all((rows == 0) | (np.abs(rows) > 1e-300), axis=1)
    if "turn" in module.COLUMNS:
        keep &= rows[:, module.COLUMNS.index("turn")] % 360 != 0
    rows = rows[keep]
    expected = module.log_prob(rows)
    found, gradient = scores(rows)
    assert found.dtype == np.float64
    if name == "limit":  # its rows beyond have no gradient that counts
        rows, expected, found, gradient = (
            part[np.isfinite(expected)] for part in (rows, expected, found, gradient)
        )
    assert np.max(errors(found, expected)) < 1e-12
    slopes = 0
    for k, column in enumerate(module.ABOUT["columns"]):
        if column["kind"] == "real":
            step = np.maximum(1e-6, 1e-6 * np.abs(rows[:, k]))
            with np.errstate(invalid="ignore"):
                slope, coarse = (differences(module, rows, k, size) for size in (step, 2 * step))
                sure = np.abs(slope - coarse) < 1e-4 * (1 + np.abs(slope))
            for atom, *_ in column.get("atoms", []):  # where the score jumps
                sure &= np.abs(rows[:, k] - atom) > 1e-3
            error = np.abs(gradient[:, k] - slope)[sure] / (1 + np.abs(slope[sure]))
            assert np.quantile(error, 0.95) < 1e-4
            slopes += np.sum(sure)
    assert slopes > 100
    noise = rng.random((50, module.NOISE))
    given = [rows[:50, [module.COLUMNS.index(one) for one in module.GIVEN]]] if module.GIVEN else []
    ours = module.sample(noise, *given)
    theirs = np.asarray(own.sample(array(noise), *map(array, given)))
    assert np.allclose(ours, theirs, rtol=1e-9, atol=1e-9, equal_nan=True)


def differences(module, rows, k, step):
    """Return central differences of scores in column k, (N,)."""
    move = np.zeros_like(rows)
    move[:, k] = step
    return (module.log_prob(rows + move) - module.log_prob(rows - move)) / (2 * step)
