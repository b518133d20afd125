"""Density: the change of variables, and samples with the density that scores them."""

import numpy as np
import pytest

import nfref
from tests.flows.test_composition import data, parts


def test_density_is_the_change_of_variables():
    rng = np.random.default_rng(3)
    flows, params = parts(rng)
    density = nfref.Density(nfref.Chain(flows))
    params = {"base": {}, "flow": params}
    x, context = data(rng)
    z, log_det = density.flow.inverse(params["flow"], x, context)
    expected = -0.5 * np.sum(z**2, axis=1) - 1.5 * np.log(2 * np.pi) + log_det
    np.testing.assert_allclose(density.log_prob(params, x, context), expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_carry_the_density_that_scores_them(dtype):
    """log_prob from sampling (the flow never inverted) equals log_prob of the samples."""
    rng = np.random.default_rng(4)
    flows, params = parts(rng)
    density = nfref.Density(nfref.Chain(flows))
    params = nfref.params.cast({"base": {}, "flow": params}, np.dtype(dtype))
    _, context = data(rng, 50)
    x, log_prob = density.sample_and_log_prob(params, np.random.default_rng(5), 50, context)
    assert x.dtype == log_prob.dtype == dtype and log_prob.shape == (50,)
    tolerance = 1e4 * np.finfo(dtype).eps
    np.testing.assert_allclose(
        density.log_prob(params, x, context), log_prob, rtol=tolerance, atol=tolerance
    )
    np.testing.assert_array_equal(density.sample(params, np.random.default_rng(5), 50, context), x)


def test_sampling_never_inverts():
    class OneWay(nfref.Scale):
        def _inverse(self, params, x, context):
            raise AssertionError("inverse was called")

    density = nfref.Density(OneWay(2))
    params = density.init(np.random.default_rng(0))
    x, log_prob = density.sample_and_log_prob(params, np.random.default_rng(0), 4)
    assert x.shape == (4, 2) and log_prob.shape == (4,)
    assert density.sample(params, np.random.default_rng(0), 0).shape == (0, 2)


def test_a_density_notices_what_a_flow_of_ones_own_makes_of_rows():
    class TooWide(nfref.Scale):
        def _inverse(self, params, x, context):
            return np.concatenate([x, x], axis=1), np.zeros(len(x))

    density = nfref.Density(TooWide(2))
    with pytest.raises(ValueError, match=r"^z: expected shape \(N, 2\), got \(3, 4\)$"):
        density.log_prob(density.init(np.random.default_rng(0)), np.ones((3, 2)))


def test_randomness_needs_a_generator():
    density = nfref.Density(nfref.Scale(2))
    for call in (
        lambda: density.init(0),
        lambda: density.sample({"base": {}, "flow": {}}, 0, 1),
        lambda: nfref.Scale(2).init(None),
    ):
        with pytest.raises(TypeError, match="^rng: expected a numpy.random.Generator"):
            call()


def test_parameters_of_a_density_and_of_its_flow_are_told_apart():
    density = nfref.Density(nfref.MAF(2, 1, (4,)))
    params, x = density.init(np.random.default_rng(0)), np.zeros((3, 2))
    with pytest.raises(TypeError, match="have 'base' and 'flow', these look like a flow's: use de"):
        density.log_prob(params["flow"], x)
    with pytest.raises(TypeError, match=r"look like a Density's parameters: use params\['flow'\]$"):
        density.flow.inverse(params, x)
    with pytest.raises(TypeError, match=r"^x: expected rows, got a dict of parameters; parameters"):
        density.log_prob(x, params)
    with pytest.raises(TypeError, match=r"^params: .*got NoneType; init\(rng\) makes param"):
        density.log_prob(None, x)
