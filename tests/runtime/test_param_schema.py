"""Parameters of other shapes than ``init`` makes: one line that names the place, in any backend.

``python -m tests.runtime.test_param_schema`` measures what the check adds to calls of one row.
"""

import subprocess
import sys
import time

import numpy as np
import pytest
from autograd import grad

import nfref
from nfref import objectives
from nfref.objectives.flow_matching import FlowMatching
from nfref.objectives.path_penalties import PathLikelihood
from nfref.runtime import params as trees
from nfref.runtime.param_schema import Structure
from nfref.training.gradient import loss_and_gradient
from tests import flow_table

# Images of 16 numbers have many arrays: the plain run has images of 4.
SMALL = [
    pytest.param(
        name,
        dim,
        flow_table.CONTEXT_DIM if entry.context else 0,
        marks=pytest.mark.thorough if dim == 16 else (),
    )
    for name, entry in flow_table.flows().items()
    for dim in {entry.dims[min(1, len(entry.dims) - 1)], *entry.dims[: entry.dims[-1] == 16]}
]


def places(node, path=()):
    """(path, array) of every array."""
    entries = node.items() if isinstance(node, dict) else enumerate(node)
    for key, part in entries:
        if isinstance(part, (dict, list)):
            yield from places(part, (*path, key))
        else:
            yield (*path, key), part


def containers(node, path=()):
    """(path, dict or list) of every container."""
    yield path, node
    for key, part in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(part, (dict, list)):
            yield from containers(part, (*path, key))


def changed(params, path, change):
    """A copy in which ``change`` has been applied to the container at a path."""
    copy = trees.tree_map(lambda leaf: leaf, params)
    change(trees.at_path(copy, path))
    return copy


def written(*steps):
    return "/".join(map(str, ("params", *steps)))


def put(params, path, leaf):
    """A copy with another leaf at a path."""
    return changed(params, path[:-1], lambda node: node.__setitem__(path[-1], leaf))


def damages(params):
    """(damaged parameters, kind of error, its text): every array and container in turn."""
    for path, array in places(params):
        for other in (
            array[None],
            np.zeros((*array.shape, 2)),
            array[..., :0] if array.ndim else np.zeros(0),
        ):
            yield (
                put(params, path, other),
                ValueError,
                f"{written(*path)}: expected shape {array.shape}, got {other.shape}",
            )
        if array.ndim:
            shape = (*array.shape[:-1], array.shape[-1] + 3)
            yield (
                put(params, path, np.zeros(shape)),
                ValueError,
                f"{written(*path)}: expected shape {array.shape}, got {shape}",
            )
        for other in (None, array.tolist(), "x", {}):
            yield (
                put(params, path, other),
                TypeError,
                f"{written(*path)}: expected an array of "
                f"shape {array.shape}, got {type(other).__name__}",
            )
        yield (
            put(params, path, np.full(array.shape, "x")),
            TypeError,
            f"{written(*path)}: expected numbers, got dtype <U1",
        )
    for path, node in containers(params):
        if isinstance(node, dict):
            extra, missing = "more", [*node][:1]
        else:
            extra, missing = len(node), [len(node) - 1][: len(node)]
        add = (
            (lambda node: node.update(more=np.zeros(2)))
            if isinstance(node, dict)
            else (lambda node: node.append(np.zeros(2)))
        )
        yield (
            changed(params, path, add),
            ValueError,
            f"{written(*path, extra)}: expected nothing, got ndarray",
        )
        for key in missing:
            part = node[key]
            what = (
                f"a {type(part).__name__}"
                if isinstance(part, (dict, list))
                else f"shape {part.shape}"
            )
            yield (
                changed(params, path, lambda node: node.pop(key)),
                ValueError,
                f"{written(*path, key)}: expected {what}, got nothing",
            )
        if path:
            yield (
                put(params, path, np.zeros(3)),
                TypeError,
                f"{written(*path)}: expected a {type(node).__name__}, got ndarray",
            )


def error_of(call):
    """The type and text of the error that a call ends with."""
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    return caught.type, str(caught.value)


def rows_for(name, flow):
    entry = flow_table.flows()[name]
    rng = np.random.default_rng(0)
    x = (entry.data_rows or (lambda rng, n, dim: rng.standard_normal((n, dim))))(rng, 3, flow.dim)
    return x, rng.standard_normal((3, flow.context_dim)) if flow.context_dim else None


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("name, dim, context_dim", SMALL)
def test_every_array_and_container_is_compared(name, dim, context_dim, backend):
    """Check values of both directions, of the density, and of samples."""
    flow = flow_table.flows()[name].make(dim, context_dim)
    params = flow.init(np.random.default_rng(0))
    x, context = rows_for(name, flow)
    density = nfref.Density(flow)
    with nfref.backend(backend):
        for bad, kind, text in damages(params):
            whole = {"base": {}, "flow": bad}
            inside = text.replace("params", "params/flow", 1)
            assert error_of(lambda: flow.inverse(bad, x, context)) == (kind, text)
            assert error_of(lambda: flow.forward(bad, x, context)) == (kind, text)
            assert error_of(lambda: density.log_prob(whole, x, context)) == (kind, inside)
            assert error_of(
                lambda: density.sample(whole, np.random.default_rng(0), 3, context)
            ) == (kind, inside)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("name, dim, context_dim", SMALL)
def test_gradients_and_losses_are_guarded_as_well(name, dim, context_dim, backend):
    """autograd by the nested parameters and by one long vector, and the loss without a tape."""
    flow = flow_table.flows()[name].make(dim, context_dim)
    density = nfref.Density(flow)
    params = flow.init(np.random.default_rng(0))
    x, context = rows_for(name, flow)
    with nfref.backend(backend):
        for path, array in places(params):
            other = np.zeros((*array.shape, 2))
            bad = {"base": {}, "flow": put(params, path, other)}
            expected = (
                ValueError,
                f"{written('flow', *path)}: expected shape {array.shape}, got {other.shape}",
            )
            vector, unflatten = trees.flatten(bad)

            def loss(params):
                return objectives.negative_log_likelihood(density, params, x, context)

            assert error_of(lambda: grad(loss)(bad)) == expected
            assert error_of(lambda: grad(lambda v: loss(unflatten(v)))(vector)) == expected
            assert (
                error_of(lambda: loss_and_gradient(density, unflatten, vector, x, context))
                == expected
            )


@pytest.mark.parametrize(
    "fit",
    [
        lambda density, params, rng: nfref.fit(
            density, params, np.zeros((9, 4)), rng, epochs=1, progress=False
        ),
        lambda density, params, rng: nfref.fit_reverse_kl(
            density, params, lambda x: -x.sum(axis=1), rng, steps=1, progress=False
        ),
        lambda density, params, rng: nfref.adapt(density, params, np.zeros((9, 4)), stage="start"),
    ],
    ids=["fit", "fit_reverse_kl", "adapt"],
)
def test_fits_check_before_they_start(fit):
    density = nfref.Density(nfref.RealNVP(4, hidden=(3000,)))
    params = nfref.Density(nfref.RealNVP(4, hidden=(8,))).init(np.random.default_rng(0))
    kind, text = error_of(lambda: fit(density, params, np.random.default_rng(0)))
    assert kind is ValueError
    assert text.startswith("params/flow/0/net/0/weight: expected shape (2, 3000), got (2, 8)")


def test_a_vector_is_checked_again_for_another_density():
    """The loss checks once per density, not once for all."""
    small, large = (nfref.Density(nfref.RealNVP(2, hidden=(width,))) for width in (8, 3000))
    vector, unflatten = trees.flatten(small.init(np.random.default_rng(0)))
    x = np.zeros((4, 2))
    with nfref.backend("numba"):
        loss_and_gradient(small, unflatten, vector, x)
        with pytest.raises(ValueError, match=r"params/flow/0/net/0/weight: expected shape"):
            loss_and_gradient(large, unflatten, vector, x)
        with pytest.raises(ValueError, match="reshape"):
            loss_and_gradient(small, unflatten, vector[:-1], x)
        with pytest.raises(ValueError, match=r"x: expected shape \(N, 2\)"):
            loss_and_gradient(small, unflatten, vector, x[:, :1])


@pytest.mark.parametrize(
    "call",
    [
        lambda flow, params, x: flow.velocity(params, 0.5, x),
        lambda flow, params, x: flow.trajectory(params, x),
        lambda flow, params, x: FlowMatching()(
            nfref.Density(flow), {"base": {}, "flow": params}, x, None, np.random.default_rng(0)
        ),
        lambda flow, params, x: PathLikelihood()(
            nfref.Density(flow), {"base": {}, "flow": params}, x, None, np.random.default_rng(0)
        ),
    ],
    ids=["velocity", "trajectory", "flow matching", "path likelihood"],
)
def test_continuous_calls_check(call):
    params = nfref.CNF(2, hidden=(4,)).init(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"net/0/weight: expected shape \(3, 5\), got \(3, 4\)"):
        call(nfref.CNF(2, hidden=(5,)), params, np.zeros((3, 2)))


@pytest.mark.parametrize(
    "make",
    [nfref.DiagonalNormal, nfref.FullNormal, lambda dim: nfref.NormalMixture(dim, 3)],
    ids=["DiagonalNormal", "FullNormal", "NormalMixture"],
)
def test_parameters_of_bases_are_compared(make):
    base = make(2)
    params = base.init(np.random.default_rng(0))
    density = nfref.Density(nfref.Scale(2), base)
    own = nfref.Scale(2).init(np.random.default_rng(0))
    for bad, kind, text in damages(params):
        whole = {"base": bad, "flow": own}
        inside = text.replace("params", "params/base", 1)
        assert error_of(lambda: base.log_prob(bad, np.zeros((3, 2)))) == (kind, text)
        assert error_of(lambda: base.sample(bad, np.random.default_rng(0), 3)) == (kind, text)
        assert error_of(lambda: density.log_prob(whole, np.zeros((3, 2)))) == (kind, inside)
        assert error_of(lambda: density.sample(whole, np.random.default_rng(0), 3)) == (
            kind,
            inside,
        )


def test_a_flow_without_init_is_left_alone():
    """Its parameters cannot be known, so none are refused."""

    class Shift(nfref.Flow):
        dim = 2

        def _init(self, rng):
            raise NotImplementedError("shifts are given, not drawn")

        def _forward(self, params, z, context):
            return z + params["shift"], np.zeros(len(z), z.dtype)

    chain = nfref.Chain((nfref.Scale(2), Shift()))
    params = {"shift": np.ones(2)}
    np.testing.assert_array_equal(Shift().forward(params, np.zeros((3, 2)))[0], np.ones((3, 2)))
    assert chain._structure.shapes is None
    own = nfref.Scale(2).init(np.random.default_rng(0))
    assert np.all(chain.forward([own, params], np.zeros((3, 2), np.float32))[0] == 1)


def test_a_base_has_to_be_one():
    """An object that only looks like a base has no known parameters."""

    class Lookalike:
        dim = 2

        def log_prob(self, params, z):
            return np.zeros(len(z))

    with pytest.raises(TypeError, match="expected base to be a Base, got Lookalike"):
        nfref.Density(nfref.Scale(2), Lookalike())


def test_what_was_found_out_is_not_pickled():
    flow = nfref.RealNVP(2)
    density = nfref.Density(flow)
    before = flow.__getstate__(), density.__getstate__()
    flow.forward(flow.init(np.random.default_rng(0)), np.zeros((1, 2)))
    density.log_prob(density.init(np.random.default_rng(0)), np.zeros((1, 2)))
    assert (flow.__getstate__(), density.__getstate__()) == before
    assert "_structure" in flow.__dict__ and "_structure" in density.__dict__


def test_parameters_of_a_small_flow_in_a_large_one_do_not_end_the_process():
    """Without the check the kernel reads 9 million numbers where there are a hundred."""
    pytest.importorskip("numba")
    script = """
import numpy as np, nfref
small = nfref.RealNVP(4, hidden=(8, 8)).init(np.random.default_rng(0))
with nfref.backend("numba"):
    try:
        nfref.RealNVP(4, layers=1, hidden=(3000, 3000)).inverse(small[:1], np.zeros((64, 4)))
    except ValueError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == "params/0/net/0/weight: expected shape (2, 3000), got (2, 8)"


def medians(calls, repeats=1000):
    """Median seconds of each call, in alternation."""
    times = [[] for _ in calls]
    for _ in range(repeats):
        for call, kept in zip(calls, times):
            start = time.perf_counter()
            call()
            kept.append(time.perf_counter() - start)
    return [float(np.median(kept)) for kept in times]


def with_check(check, call):
    """Return the call with another function in place of :meth:`Structure.checked`."""

    def made():
        kept, Structure.checked = Structure.checked, check
        try:
            return call()
        finally:
            Structure.checked = kept

    return made


def main():
    """Time calls of one row with the check, with the cast alone, and with neither."""
    checks = (
        Structure.checked,
        lambda structure, params, dtype: trees.cast(params, dtype),
        lambda structure, params, dtype: params,
    )
    print("us a call: with the check, with the cast alone, with neither; check over neither")
    x = np.zeros((1, 2))
    for flow in (nfref.RealNVP(2), nfref.MAF(2), nfref.NSF(2), nfref.PlanarLayer(2)):
        params = flow.init(np.random.default_rng(0))
        for backend in ("numpy", "numba"):
            with nfref.backend(backend):
                flow.inverse(params, x)
                times = medians(
                    [with_check(check, lambda: flow.inverse(params, x)) for check in checks]
                )
            print(
                f"{type(flow).__name__:12} {backend:6}",
                *(f"{1e6 * t:8.1f}" for t in times),
                f"{100 * (times[0] / times[2] - 1):+6.1f} %",
            )


if __name__ == "__main__":
    main()
