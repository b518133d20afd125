"""The affine and additive transformers: values and slopes against the papers' own formulas."""

import autograd.numpy as anp
import mpmath
import numpy as np
import pytest
from autograd import elementwise_grad
from autograd.test_util import check_grads

import nfref
from nfref.transformers.affine import SCALES, bounded
from nfref.transformers.transformer import Transformer

RNG = np.random.default_rng(0)
P, R, X = RNG.standard_normal((3, 40))
FACTOR = {"factor": RNG.standard_normal(40)}


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


# Data to latent, in the letters of RealNVP, section 4.1, Glow's published code, and IAF,
# algorithm 1, all as functions of x, and of nfref's raw numbers (p, r).
PAPERS = {
    "bounded": lambda x: (x - P) * np.exp(-R / np.sqrt(1 + (R / 5) ** 2)),
    "tanh": lambda x: (x - P) * np.exp(-FACTOR["factor"] * np.tanh(R)),
    "sigmoid": lambda x: (x + -P) * sigmoid(R + 2),
    "exp": lambda x: (x - P) * np.exp(-R),
    "gate": lambda x: sigmoid(R + 2) * x + (1 - sigmoid(R + 2)) * P,
}


def parameters(scale):
    affine = nfref.Affine(scale)
    return affine, affine.constrain(np.stack([P, R]), *([FACTOR] if scale == "tanh" else []))


@pytest.mark.parametrize("scale", SCALES)
def test_scales_are_those_of_the_papers(scale):
    affine, h = parameters(scale)
    z, log_slope = affine.inverse(X, h)
    np.testing.assert_allclose(z, PAPERS[scale](X), rtol=1e-13, atol=1e-14)
    slope = PAPERS[scale](X + 0.5) - PAPERS[scale](X - 0.5)
    np.testing.assert_allclose(np.exp(log_slope), slope, rtol=1e-12)
    x, back = affine.forward(z, h)
    np.testing.assert_allclose(x, X, rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(back, -log_slope)


@pytest.mark.parametrize("scale", ["sigmoid", "gate"])
def test_a_closed_gate_keeps_its_digits(scale):
    """log sigma(r + c) at r = -40 and 40, against fifty digits."""
    raw = np.array([[0.0, 0.0], [-40.0, 40.0]])
    with mpmath.workdps(50):
        exact = [float(-mpmath.log1p(mpmath.exp(-(mpmath.mpf(r) + 2)))) for r in raw[1]]
    affine = nfref.Affine(scale)
    _, log_slope = affine.inverse(np.zeros(2), affine.constrain(raw))
    np.testing.assert_allclose(log_slope, exact, rtol=1e-15)


@pytest.mark.parametrize("scale", SCALES)
def test_raw_zeros_are_the_identity_where_the_paper_allows_it(scale):
    affine = nfref.Affine(scale)
    own = affine.init(3)
    x, log_slope = affine.forward(
        np.ones((2, 3)), affine.constrain(np.zeros((2, 2, 3)), *([own] if own else []))
    )
    open_gate = 1 / sigmoid(2) if scale in ("sigmoid", "gate") else 1
    np.testing.assert_allclose(x, open_gate, rtol=1e-15)
    np.testing.assert_allclose(log_slope, np.log(open_gate), rtol=1e-14)


@pytest.mark.parametrize("scale", SCALES)
def test_gradients(scale):
    affine = nfref.Affine(scale)

    def loss(raw, own, x):
        h = affine.constrain(raw, *([own] if scale == "tanh" else []))
        z, log_slope = affine.inverse(x, h)
        back, _ = affine.forward(anp.sin(x), h)
        return anp.sum(z**2) + anp.sum(log_slope * anp.cos(x)) + anp.sum(back)

    check_grads(loss, modes=["rev"], order=1)(np.stack([P, R]), FACTOR, X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("transformer", [nfref.Additive(), *map(nfref.Affine, SCALES)], ids=str)
def test_dtypes_and_shapes(transformer, dtype):
    raw = np.ones((transformer.size, 2, 3), dtype)
    own = {name: value.astype(dtype) for name, value in transformer.init(3).items()}
    for transform in (transformer.forward, transformer.inverse):
        value, log_slope = transform(
            np.ones((2, 3), dtype), transformer.constrain(raw, *([own] if own else []))
        )
        assert value.shape == log_slope.shape == (2, 3)
        assert value.dtype == log_slope.dtype == dtype


def test_additive_is_the_formula():
    additive = nfref.Additive()
    h = additive.constrain(P[None])
    for transform, sign in ((additive.forward, 1), (additive.inverse, -1)):
        value, log_slope = transform(X, h)
        np.testing.assert_array_equal(value, X + sign * P)
        np.testing.assert_array_equal(log_slope, 0)


@pytest.mark.parametrize("bound", [0.5, 5.0])
def test_bounded(bound):
    """Odd, within the bound, slope (1 + (r/B)^2)^(-3/2)."""
    raw = np.array([-1e6, -3.0, -0.1, 0.0, 0.1, 3.0, 1e6])
    value = bounded(raw, bound)
    assert np.all(np.abs(value) <= bound) and np.all(np.diff(value) > 0)
    np.testing.assert_allclose(value, -value[::-1], rtol=1e-15)
    np.testing.assert_allclose(
        elementwise_grad(lambda r: bounded(r, bound))(raw),
        (1 + (raw / bound) ** 2) ** -1.5,
        rtol=1e-12,
        atol=1e-18,
    )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"scale": "linear"}, "^scale: expected one of bounded, tanh, sigmoid, exp, gate; got"),
        ({"bound": 0.0}, "^bound: expected a finite number above 0, got 0.0$"),
        ({"offset": -1.0}, "^offset: expected a finite number above 0, got -1.0$"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        nfref.Affine(**options)


def test_a_transformer_has_to_say_what_it_does():
    for call in (lambda t: t.constrain(X), lambda t: t.forward(X, ()), lambda t: t.inverse(X, ())):
        with pytest.raises(NotImplementedError, match="^Transformer has no "):
            call(Transformer())
