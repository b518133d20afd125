"""flowjax, distrax, NumPyro and TensorFlow Probability on JAX.

An adapter is a description of a library's objects by functions of JAX's arrays. All four libraries
have nfref's direction. :class:`nfref.oracle.adapters.shapes.ArrayLibrary` does the rest: it casts
an object to ``dtype``, compiles the functions, and pads their batches unless ``padded=False``.
Bijectors of single numbers act on every coordinate, and their log-derivatives are summed.
"""

from functools import partial

from nfref.oracle.adapters.jax_arrays import JAX
from nfref.oracle.adapters.shapes import of_rows, row_by_row, transformed
from nfref.runtime.annotations import Any, Callable


def flowjax_accuracy(bijection: Any) -> dict[str, float]:
    """Return the ``accuracy`` that flowjax documents for its root searches; 0 without any."""
    import inspect

    import jax
    from flowjax.bijections import NumericalInverse
    from flowjax.root_finding import bisect_check_expand_search

    def is_numerical(part):
        return isinstance(part, NumericalInverse)

    if not any(map(is_numerical, jax.tree_util.tree_leaves(bijection, is_leaf=is_numerical))):
        return {"accuracy": 0.0}
    return {
        "accuracy": 10 * inspect.signature(bisect_check_expand_search).parameters["atol"].default
    }


@JAX.adapter(
    "flowjax.bijections.bijection.AbstractBijection", conditional=True, documented=flowjax_accuracy
)
def from_flowjax(bijection: Any) -> tuple[Callable, ...]:
    """Adapt a bijection of flowjax on vectors; ``context`` conditions it if it takes one.

    An inverse by a root search is judged to the accuracy that flowjax documents.
    """
    import jax

    return (
        jax.vmap(lambda z, *c: bijection.transform_and_log_det(z, *c)),
        jax.vmap(lambda x, *c: bijection.inverse_and_log_det(x, *c)),
    )


@JAX.adapter("flowjax.distributions.AbstractDistribution", density=True, conditional=True)
def from_flowjax_distribution(distribution: Any) -> tuple[Callable, ...]:
    """Adapt a distribution of flowjax on vectors."""

    def draw(key, n, *context):
        if context:
            return distribution.sample(key, (), *context)
        return distribution.sample(key, (n,))

    return distribution.log_prob, draw


@JAX.adapter("distrax._src.bijectors.bijector.Bijector")
def from_distrax(bijector: Any) -> tuple[Callable, ...]:
    """Adapt a bijector of distrax, on vectors or on single numbers."""
    return row_by_row(bijector.forward_and_log_det), row_by_row(bijector.inverse_and_log_det)


@JAX.adapter("distrax._src.distributions.", density=True)
def from_distrax_distribution(distribution: Any) -> tuple[Callable, ...]:
    """Adapt a distribution of distrax."""
    return of_rows(distribution, lambda key, n: distribution.sample(seed=key, sample_shape=(n,)))


@JAX.adapter("numpyro.distributions.transforms.Transform")
def from_numpyro(transform: Any) -> tuple[Callable, ...]:
    """Adapt a transform of NumPyro, on vectors or on single numbers."""
    return tuple(row_by_row(partial(transformed, one)) for one in (transform, transform.inv))


@JAX.adapter("numpyro.distributions.distribution.Distribution", density=True)
def from_numpyro_distribution(distribution: Any) -> tuple[Callable, ...]:
    """Adapt a distribution of NumPyro."""
    return of_rows(distribution, lambda key, n: distribution.sample(key, (n,)))


@JAX.adapter("tensorflow_probability.substrates.jax.bijectors.")
def from_tfp(bijector: Any) -> tuple[Callable, ...]:
    """Adapt a bijector of TensorFlow Probability's JAX substrate, on vectors.

    TFP returns one log_det for all rows if the Jacobian is constant. Bijectors cache their results.
    Each direction gets arrays of its own, so that the inverse is computed and not read from the
    cache.
    """

    def there(z):
        return bijector.forward(z), bijector.forward_log_det_jacobian(z, event_ndims=1)

    def back(x):
        return bijector.inverse(x), bijector.inverse_log_det_jacobian(x, event_ndims=1)

    return row_by_row(there, sums=False), row_by_row(back, sums=False)


@JAX.adapter("tensorflow_probability.substrates.jax.distributions.", density=True)
def from_tfp_distribution(distribution: Any) -> tuple[Callable, ...]:
    """Adapt a distribution of TensorFlow Probability's JAX substrate."""
    return of_rows(distribution, lambda key, n: distribution.sample(n, seed=key))
