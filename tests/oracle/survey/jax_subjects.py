"""flowjax, NumPyro, distrax and TensorFlow Probability, on JAX."""

import numpy as np

from nfref.oracle import adapters
from nfref.oracle.adapters.jax_arrays import computed_in
from tests.oracle.survey.subjects import INF, add

# JAX --------------------------------------------------------------------------------------


def _as_made(thing, rng):
    return thing


def _flowjax(name, make, dim=3, size=0.2, features=0, **arguments):
    def construct(rng, dtype):
        import flowjax
        import flowjax.bijections
        import flowjax.flows
        import jax

        made = computed_in(dtype, make)(flowjax, jax.random.key(int(rng.integers(1000))))
        return getattr(made, "bijection", made)

    def moved(bijection, rng):
        import equinox
        import jax

        with jax.enable_x64(True):
            arrays, rest = equinox.partition(bijection, equinox.is_inexact_array)
            arrays = jax.tree_util.tree_map(
                lambda leaf: leaf + (size * rng.standard_normal(leaf.shape)).astype(leaf.dtype),
                arrays,
            )
            return equinox.combine(arrays, rest)

    add("flowjax", name, dim, construct, moved, adapters.from_flowjax, features, False, arguments)


def _vector(*numbers):
    import jax.numpy

    return jax.numpy.array(numbers)


_flowjax("Affine", lambda f, k: f.bijections.Affine(_vector(1.0, 2, 3), _vector(1.0, 2, 3)))
_flowjax(
    "TriangularAffine",
    lambda f, k: f.bijections.TriangularAffine(
        _vector(1.0, 2, 3), _vector(1.0, 0, 0, 0.5, 2, 0, 0.1, 0.3, 0.7).reshape(3, 3)
    ),
    size=0,
)
_flowjax("Exp", lambda f, k: f.bijections.Exp((3,)), codomain=(0, INF))
_flowjax("SoftPlus", lambda f, k: f.bijections.SoftPlus((3,)), codomain=(0, INF))
_flowjax("Tanh", lambda f, k: f.bijections.Tanh((3,)), codomain=(-1, 1))
_flowjax("LeakyTanh", lambda f, k: f.bijections.LeakyTanh(3.0, (3,)), size=0)
_flowjax("Planar", lambda f, k: f.bijections.Planar(k, dim=3))
_flowjax("Planar leaky", lambda f, k: f.bijections.Planar(k, dim=3, negative_slope=0.1))
_flowjax("Permute", lambda f, k: f.bijections.Permute(_vector(2, 0, 1).astype(int)))
_flowjax("Householder", lambda f, k: f.bijections.Householder(_vector(1.0, 2, -1)), size=0)
_flowjax(
    "RQS coupling flow",
    lambda f, k: f.flows.coupling_flow(
        k,
        base_dist=_flowjax_normal(f),
        transformer=f.bijections.RationalQuadraticSpline(knots=5, interval=4),
        flow_layers=2,
        nn_width=16,
    ),
)
_flowjax(
    "affine coupling flow",
    lambda f, k: f.flows.coupling_flow(k, base_dist=_flowjax_normal(f), flow_layers=2, nn_width=16),
)
_flowjax(
    "masked autoregressive flow",
    lambda f, k: f.flows.masked_autoregressive_flow(
        k, base_dist=_flowjax_normal(f), flow_layers=2, nn_width=16
    ),
)
_flowjax(
    "block neural autoregressive flow",
    lambda f, k: f.flows.block_neural_autoregressive_flow(
        k, base_dist=_flowjax_normal(f), nn_block_dim=4
    ),
    accuracy=1e-5,
    size=0.05,
)
_flowjax(
    "masked autoregressive flow, context",
    lambda f, k: f.flows.masked_autoregressive_flow(
        k, base_dist=_flowjax_normal(f), flow_layers=2, nn_width=16, cond_dim=2
    ),
    features=2,
)
_flowjax(
    "planar flow",
    lambda f, k: f.flows.planar_flow(
        k, base_dist=_flowjax_normal(f), flow_layers=2, negative_slope=0.1
    ),
)
_flowjax(
    "triangular spline flow",
    lambda f, k: f.flows.triangular_spline_flow(k, base_dist=_flowjax_normal(f), flow_layers=2),
)


def _flowjax_normal(flowjax):
    import flowjax.distributions
    import jax.numpy

    return flowjax.distributions.Normal(jax.numpy.zeros(3))


def _numpyro(name, make, dim=3, **arguments):
    def construct(rng, dtype):
        import numpyro.distributions.transforms as transforms

        return computed_in(dtype, make)(transforms)

    add("numpyro", name, dim, construct, _as_made, adapters.from_numpyro, arguments=arguments)


_numpyro("AffineTransform", lambda t: t.AffineTransform(0.5, 2.0))
_numpyro("ExpTransform", lambda t: t.ExpTransform(), codomain=(0, INF))
_numpyro("SigmoidTransform", lambda t: t.SigmoidTransform(), codomain=(0, 1))
_numpyro("SoftplusTransform", lambda t: t.SoftplusTransform(), codomain=(0, INF))
_numpyro("PowerTransform", lambda t: t.PowerTransform(2.5), domain=(0, INF), codomain=(0, INF))
_numpyro("PermuteTransform", lambda t: t.PermuteTransform(_vector(2, 0, 1).astype(int)))
_numpyro(
    "OrderedTransform",
    lambda t: t.OrderedTransform(),
    codomain=(lambda rng, n: np.cumsum(np.exp(0.5 * rng.standard_normal((n, 3))), axis=1)),
)
_numpyro(
    "LowerCholeskyAffine",
    lambda t: t.LowerCholeskyAffine(
        _vector(1.0, 2, 3), _vector(1.0, 0, 0, 0.5, 2, 0, 0.1, 0.3, 0.7).reshape(3, 3)
    ),
)


def _distrax(name, make, dim=3, **arguments):
    def construct(rng, dtype):
        import distrax
        import jax

        def drawn(*shape):
            return jax.numpy.asarray(rng.standard_normal(shape).astype(dtype))

        return computed_in(dtype, make)(distrax, drawn)

    add("distrax", name, dim, construct, _as_made, adapters.from_distrax, arguments=arguments)


_distrax("Tanh", lambda d, n: d.Tanh(), codomain=(-1, 1))
_distrax("Sigmoid", lambda d, n: d.Sigmoid(), codomain=(0, 1))
_distrax("ScalarAffine", lambda d, n: d.ScalarAffine(0.5, 2.0))
_distrax("Gumbel CDF", lambda d, n: d.GumbelCDF(), codomain=(0, 1))
_distrax(
    "RationalQuadraticSpline",
    lambda d, n: d.RationalQuadraticSpline(n(3, 16), range_min=-3.0, range_max=3.0),
)
_distrax(
    "RationalQuadraticSpline identity",
    lambda d, n: d.RationalQuadraticSpline(
        n(3, 16), range_min=-3.0, range_max=3.0, boundary_slopes="identity"
    ),
)
_distrax("TriangularLinear", lambda d, n: d.TriangularLinear(n(3, 3)))
_distrax("UnconstrainedAffine", lambda d, n: d.UnconstrainedAffine(n(3, 3), n(3)))
_distrax("LowerUpperTriangularAffine", lambda d, n: d.LowerUpperTriangularAffine(n(3, 3), n(3)))
_distrax("DiagLinear", lambda d, n: d.DiagLinear(n(3)))


def _tfp(name, make, dim=3, **arguments):
    def construct(rng, dtype):
        import tensorflow_probability.substrates.jax as tfp

        return computed_in(dtype, make)(tfp.bijectors, np.dtype(dtype).type)

    add(
        "tensorflow-probability",
        name,
        dim,
        construct,
        _as_made,
        adapters.from_tfp,
        arguments=arguments,
    )


for _name, _arguments in {
    "Exp": dict(codomain=(0, INF)),
    "Sigmoid": dict(codomain=(0, 1)),
    "Softplus": dict(codomain=(0, INF)),
    "Softsign": dict(codomain=(-1, 1)),
    "Tanh": dict(codomain=(-1, 1)),
    "NormalCDF": dict(codomain=(0, 1)),
    "GompertzCDF": None,
    "Expm1": dict(codomain=(-1, INF)),
    "Log1p": dict(domain=(-1, INF)),
    "Square": dict(domain=(0, INF), codomain=(0, INF)),
    "Log": dict(domain=(0, INF)),
    "Reciprocal": dict(domain=(0, INF), codomain=(0, INF)),
}.items():
    if _arguments is not None:
        _tfp(_name, lambda b, t, name=_name: getattr(b, name)(), **_arguments)
_tfp("SinhArcsinh", lambda b, t: b.SinhArcsinh(t(0.3), t(1.2)))
_tfp("LambertWTail", lambda b, t: b.LambertWTail(t(0.0), t(1.0), t(0.1)))
_tfp("MoyalCDF", lambda b, t: b.MoyalCDF(t(0.0), t(1.0)), codomain=(0, 1))
_tfp("GumbelCDF", lambda b, t: b.GumbelCDF(t(0.0), t(1.0)), codomain=(0, 1))
_tfp("WeibullCDF", lambda b, t: b.WeibullCDF(t(1.0), t(1.5)), domain=(0, INF), codomain=(0, 1))
_tfp(
    "KumaraswamyCDF", lambda b, t: b.KumaraswamyCDF(t(1.5), t(2.0)), domain=(0, 1), codomain=(0, 1)
)
_tfp(
    "FrechetCDF",
    lambda b, t: b.FrechetCDF(t(0.0), t(1.0), t(2.0)),
    domain=(0, INF),
    codomain=(0, 1),
)
_tfp(
    "GeneralizedPareto", lambda b, t: b.GeneralizedPareto(t(0.0), t(1.0), t(0.3)), codomain=(0, INF)
)
_tfp(
    "ScaleMatvecTriL",
    lambda b, t: b.ScaleMatvecTriL(np.array([[1, 0, 0], [0.5, 2, 0], [0.1, 0.3, 0.7]], t)),
)
_tfp(
    "RationalQuadraticSpline",
    lambda b, t: b.RationalQuadraticSpline(
        bin_widths=np.array([1, 2, 3], t),
        bin_heights=np.array([2, 1, 3], t),
        knot_slopes=np.array([0.5, 2], t),
        range_min=t(-3),
    ),
)
_tfp(
    "Ascending",
    lambda b, t: b.Ascending(),
    codomain=(lambda rng, n: np.cumsum(np.exp(0.5 * rng.standard_normal((n, 3))), axis=1)),
)
