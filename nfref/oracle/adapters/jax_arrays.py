"""JAX's functions as functions of NumPy arrays, compiled, with JAX's own gradients.

JAX compiles a function again for every number of rows, and the oracle uses some hundred. So batches
are padded with copies of their last row to the next power of two, and the result is cut. Batches of
no row and of one row are not padded. The price: a fault at certain batch sizes alone is found at
powers of two alone. ``padded=False`` calls with every size unchanged, without compiling.
"""

import copy
from functools import partial

import numpy as np

from nfref.oracle.adapters.shapes import ArrayLibrary, cast_attributes
from nfref.runtime.annotations import Any, Callable, DTypeLike

SMALLEST = 16  # rows of a padded batch


def padded_size(n: int) -> int:
    """Return the number of rows to which a batch of n is padded."""
    return n if n < 2 else max(SMALLEST, 1 << (n - 1).bit_length())


def computed_in(dtype: DTypeLike, function: Callable) -> Callable:
    """Return the function with JAX set up for computing in ``dtype``; JAX's default for float32."""

    def call(*arguments):
        import jax

        with jax.enable_x64(np.dtype(dtype) == np.float64):
            return function(*arguments)

    return call


def jax_function(
    function: Callable[..., Any], padded: bool = False, dtype: DTypeLike = np.float64
) -> Callable[..., Any]:
    """Return a function of JAX arrays of N rows as one of NumPy arrays; compiled if ``padded``.

    For float32 JAX keeps its default, which forbids float64, as for its users. Otherwise a library
    would turn Python's numbers into float64.
    """
    compiled: list = []

    def call(*arrays):
        import jax

        n = len(arrays[0])
        if padded:
            if not compiled:
                # jit needs a hashable function, and methods of modules are not hashable.
                compiled.append(jax.jit(lambda *given: function(*given)))
            chosen = np.minimum(np.arange(padded_size(n)), n - 1)
            arrays = [array[chosen] for array in arrays]
        answer = (compiled[0] if padded else function)(*map(jax.numpy.asarray, arrays))
        return _to_numpy(answer, n, padded)

    return computed_in(dtype, call)


def _to_numpy(answer, n, padded):
    if isinstance(answer, (tuple, list)):
        return tuple(_to_numpy(part, n, padded) for part in answer)
    answer = np.array(answer)
    return answer[:n] if padded and answer.ndim else answer


def row_gradient(
    number: Callable[..., Any], padded: bool = False, dtype: DTypeLike = np.float64
) -> Callable[..., Any]:
    """Return JAX's derivative of one number a row by that row and by its context, if any."""

    def gradient(*arrays):
        import jax

        each = tuple(range(len(arrays)))
        found = jax.grad(lambda *given: number(*given).sum(), argnums=each)(*arrays)
        return found if len(arrays) > 1 else found[0]

    return jax_function(gradient, padded, dtype)


def sampler(draw: Callable, dtype: DTypeLike = np.float64) -> Callable:
    """Return sample(rng, n) for a function of (key, n)."""

    def sample(rng, n, *context):
        import jax

        key = jax.random.key(int(rng.integers(2**62)))
        return np.array(draw(key, n, *map(jax.numpy.asarray, context)))

    return computed_in(dtype, sample)


def in_dtype(thing: Any, dtype: DTypeLike, train: bool = False) -> Any:
    """Return a copy whose floating arrays have ``dtype``, in a tree or an object's attributes."""
    import jax

    with jax.enable_x64(True):
        leaves, structure = jax.tree_util.tree_flatten(thing)
        if len(leaves) == 1 and leaves[0] is thing:  # no tree to JAX
            thing = copy.deepcopy(thing)
            libraries = ("distrax", "numpyro", "tensorflow_probability")
            cast_attributes(thing, partial(_cast, dtype=dtype), libraries, set())
            return thing
        return jax.tree_util.tree_unflatten(structure, [_cast(leaf, dtype) for leaf in leaves])


def _cast(leaf, dtype):
    import jax

    floats = isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating)
    return leaf.astype(dtype) if floats else leaf


JAX = ArrayLibrary(in_dtype, jax_function, row_gradient, sampler)
