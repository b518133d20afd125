"""Other libraries' flows as plain functions on NumPy arrays, in nfref's direction.

Every adapter returns a dictionary of arguments for :func:`check_flow` or
:func:`check_density`:

>>> report = check_flow(**adapters.from_nflows(transform), dim=3, rng=rng)  # doctest: +SKIP

``forward`` maps latent z to data x. Libraries whose objects map data to latent variables
(nflows, FrEIA, zuko's flows) are turned around here. Nothing is imported before it is used;
objects are copied before their dtype is changed.
"""

import copy
from functools import partial

import numpy as np

from nfref.backends import backend, chosen


def of(thing, *, rng, dtype=np.float64):
    """The adapter that fits an object, found by the module its class comes from.

    Parameters
    ----------
    thing : object
        A flow of nfref (parameters are drawn), a transform or a distribution of another
        library, a pair of NumPy callables, a dictionary of arguments, or one callable.
    rng : numpy.random.Generator
    dtype : numpy dtype

    Returns
    -------
    dict

    Raises
    ------
    TypeError
        If nothing fits.
    """
    if isinstance(thing, dict):
        return thing
    if isinstance(thing, (tuple, list)) and all(callable(part) or part is None for part in thing):
        return dict(zip(("forward", "inverse"), thing))
    for kind in type(thing).__mro__:
        name = f"{kind.__module__}.{kind.__name__}"
        for start, adapter in _BY_NAME:
            if name.startswith(start):
                return adapter(thing, rng, dtype)
    if callable(thing) and not isinstance(thing, type):
        return {"forward": thing}
    raise TypeError("expected a flow, a transform, a distribution or a callable, "
                    f"got {type(thing).__name__}")


# nfref ------------------------------------------------------------------------------------


def _by_formula(function):
    """The function by the formulas of nfref, or by the backend that is chosen around this call.

    Left to itself a batch takes formulas or twins by its size, and a check of both at once
    would be one of neither. The checks call from threads of their own, which know nothing of
    a choice made here.
    """
    name = chosen() or "numpy"

    def call(*arguments):
        with backend(name):
            return function(*arguments)

    return call


def from_nfref(flow, params, context=None):
    """A flow of nfref with its parameters; its formulas, unless a backend has been chosen."""
    forward, inverse = (_by_formula(partial(act, params))
                        for act in (flow.forward, flow.inverse))
    functions = {"forward": forward, "inverse": inverse}
    return functions if context is None else {**functions, "context": context}


def from_nfref_density(density, params):
    """A Density or a base of nfref with its parameters; by its formulas, as a flow is."""
    return {"log_prob": _by_formula(partial(density.log_prob, params)),
            "sample": _by_formula(partial(density.sample, params))}


# PyTorch ----------------------------------------------------------------------------------


def torch_function(function):
    """A function of tensors as one of arrays; tensors share the arrays' memory."""
    def call(*arrays):
        import torch
        with torch.no_grad():
            answer = function(*(torch.from_numpy(array) for array in arrays))
        if isinstance(answer, (tuple, list)):
            return tuple(_numpy(part) for part in answer)
        return _numpy(answer)
    return call


def _numpy(part):
    return part.detach().numpy() if hasattr(part, "detach") else part


def _torch_copy(module, dtype):
    """A copy in evaluation mode with floating parameters and buffers in ``dtype``."""
    import torch
    module = copy.deepcopy(module).eval()
    return module.to(torch.float32 if np.dtype(dtype) == np.float32 else torch.float64)


def _torch_sampler(draw):
    """sample(rng, n) for a function of n that uses torch's global generator, left as it was."""
    def sample(rng, n):
        import torch
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(int(rng.integers(2 ** 62)))
            return _numpy(draw(n))
    return sample


def from_torch(forward, inverse=None):
    """Functions of tensors (N, D) -> (values, log_det) or values alone."""
    return {name: torch_function(function) for name, function in
            (("forward", forward), ("inverse", inverse)) if function is not None}


def from_nflows(transform, dtype=np.float64):
    """A transform of nflows. Its ``forward`` maps data to latent: the directions swap."""
    transform = _torch_copy(transform, dtype)
    return from_torch(lambda z: transform.inverse(z), lambda x: transform(x))


def from_nflows_distribution(distribution, dtype=np.float64):
    """A flow or a distribution of nflows, as a density."""
    distribution = _torch_copy(distribution, dtype)
    return {"log_prob": torch_function(distribution.log_prob),
            "sample": _torch_sampler(distribution.sample)}


def from_normflows(flow, dtype=np.float64):
    """A flow of normflows; its directions are nfref's."""
    flow = _torch_copy(flow, dtype)
    return from_torch(lambda z: flow(z), lambda x: flow.inverse(x))


def from_freia(module, dtype=np.float64):
    """A module or graph of FrEIA. ``rev=False`` maps data to latent: the directions swap.

    Modules take and return tuples of tensors, graphs tensors; both are served.
    """
    module = _torch_copy(module, dtype)
    is_graph = hasattr(module, "node_list") or hasattr(module, "module_list")

    def run(rev, rows):
        if is_graph:
            return module(rows, rev=rev)
        values, log_det = module((rows,), rev=rev)
        return values[0], log_det
    return from_torch(partial(run, True), partial(run, False))


def from_torch_transform(transform, dtype=np.float64, data_to_latent=False):
    """A transform of torch.distributions, Pyro or zuko.

    Transforms of single numbers (``event_dim`` 0) return one log-derivative a coordinate:
    the documented convention; they are summed here.

    Parameters
    ----------
    transform : torch.distributions.Transform
    dtype : numpy dtype
    data_to_latent : bool
        True for the ``transform`` of a zuko flow, which maps data to latent.
    """
    import torch
    if isinstance(transform, torch.nn.Module):
        transform = _torch_copy(transform, dtype)

    def there(rows):
        if hasattr(transform, "call_and_ladj"):
            values, log_det = transform.call_and_ladj(rows)
        else:
            values = transform(rows)
            log_det = transform.log_abs_det_jacobian(rows, values)
        return values, _summed(log_det)

    def back(rows):
        inverse = transform.inv
        if hasattr(inverse, "call_and_ladj"):
            values, log_det = inverse.call_and_ladj(rows)
            return values, _summed(log_det)
        values = inverse(rows)
        return values, -_summed(transform.log_abs_det_jacobian(values, rows))

    pair = (back, there) if data_to_latent else (there, back)
    return from_torch(*pair)


def _summed(log_det):
    return log_det.sum(-1) if log_det.ndim == 2 else log_det


def from_zuko(flow, dtype=np.float64, context=None):
    """A flow or a lazy transform of zuko, conditioned on ``context`` rows if it takes some."""
    import torch
    lazy = _torch_copy(flow, dtype)

    def transform_of(given):
        made = lazy(*given)
        return getattr(made, "transform", made)

    def there(rows, *given):
        return transform_of(given).call_and_ladj(rows)

    def back(rows, *given):
        return transform_of(given).inv.call_and_ladj(rows)

    pair = from_torch(back, there)
    if context is not None:
        pair["context"] = np.asarray(torch.as_tensor(context))
    return pair


def from_torch_distribution(distribution):
    """A distribution of torch.distributions, Pyro or zuko whose events are vectors.

    A distribution of single numbers is taken as one of rows of one column.
    """
    vector = len(distribution.event_shape) == 1
    if vector:
        log_prob = distribution.log_prob
    else:
        def log_prob(x):
            return distribution.log_prob(x[:, 0])

    def draw(n):
        x = distribution.sample((n,))
        return x if vector else x[:, None]
    return {"log_prob": torch_function(log_prob), "sample": _torch_sampler(draw)}


# JAX --------------------------------------------------------------------------------------


def jax_function(function):
    """A function of JAX arrays as one of NumPy arrays; float64 stays float64 inside."""
    def call(*arrays):
        import jax
        with jax.enable_x64(True):
            answer = function(*(jax.numpy.asarray(array) for array in arrays))
            if isinstance(answer, (tuple, list)):
                return tuple(np.array(part) for part in answer)
            return np.array(answer)
    return call


def _jax_sampler(draw):
    """sample(rng, n) for a function of (key, n)."""
    def sample(rng, n):
        import jax
        with jax.enable_x64(True):
            return np.array(draw(jax.random.key(int(rng.integers(2 ** 62))), n))
    return sample


def _jax_copy(tree, dtype):
    """Floating arrays of a tree (an equinox module, a bijection) in ``dtype``."""
    import jax

    def cast(leaf):
        floating = isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype,
                                                                        jax.numpy.floating)
        return leaf.astype(dtype) if floating else leaf
    with jax.enable_x64(True):
        return jax.tree_util.tree_map(cast, tree)


def from_jax(forward, inverse=None):
    """Functions of JAX arrays (N, D) -> (values, log_det) or values alone."""
    return {name: jax_function(function) for name, function in
            (("forward", forward), ("inverse", inverse)) if function is not None}


def from_flowjax(bijection, dtype=np.float64):
    """A bijection of flowjax on vectors; its directions are nfref's."""
    import jax
    bijection = _jax_copy(bijection, dtype)
    return from_jax(jax.vmap(lambda z: bijection.transform_and_log_det(z)),
                    jax.vmap(lambda x: bijection.inverse_and_log_det(x)))


def from_flowjax_distribution(distribution, dtype=np.float64):
    """A distribution of flowjax on vectors."""
    distribution = _jax_copy(distribution, dtype)
    return {"log_prob": jax_function(distribution.log_prob),
            "sample": _jax_sampler(lambda key, n: distribution.sample(key, (n,)))}


def from_distrax(bijector):
    """A bijector of distrax; one of single numbers is applied to every coordinate and summed."""
    def there(rows):
        values, log_det = bijector.forward_and_log_det(rows)
        return values, _summed(log_det)

    def back(rows):
        values, log_det = bijector.inverse_and_log_det(rows)
        return values, _summed(log_det)
    return from_jax(there, back)


def from_numpyro(transform):
    """A transform of NumPyro; one of single numbers is applied to every coordinate and summed."""
    def there(rows):
        values = transform(rows)
        return values, _summed(transform.log_abs_det_jacobian(rows, values))

    def back(rows):
        values = transform.inv(rows)
        return values, -_summed(transform.log_abs_det_jacobian(values, rows))
    return from_jax(there, back)


def from_numpyro_distribution(distribution):
    """A distribution of NumPyro on vectors."""
    return {"log_prob": jax_function(distribution.log_prob),
            "sample": _jax_sampler(lambda key, n: distribution.sample(key, (n,)))}


def from_tfp(bijector):
    """A bijector of TensorFlow Probability's JAX substrate, on vectors.

    Bijectors cache what they computed; each direction is given arrays of its own, so that
    the inverse is computed and not remembered.
    """
    return from_jax(
        lambda z: (bijector.forward(z), bijector.forward_log_det_jacobian(z, event_ndims=1)),
        lambda x: (bijector.inverse(x), bijector.inverse_log_det_jacobian(x, event_ndims=1)))


# Which adapter an object gets -------------------------------------------------------------


def _drawn_nfref(flow, rng, dtype):
    params = flow.init(rng)
    if not getattr(flow, "context_dim", 0):
        return from_nfref(flow, params)
    return from_nfref(flow, params, rng.standard_normal((8, flow.context_dim)).astype(dtype))


def _drawn_density(density, rng, dtype):
    return from_nfref_density(density, density.init(rng))


_BY_NAME = (
    ("nfref.flow.Density", _drawn_density),
    ("nfref.flow.Flow", _drawn_nfref),
    ("nfref.base.Base", _drawn_density),
    ("nflows.distributions.base.Distribution", lambda d, rng, t: from_nflows_distribution(d, t)),
    ("nflows.transforms.base.Transform", lambda f, rng, t: from_nflows(f, t)),
    ("normflows.flows.base.Flow", lambda f, rng, t: from_normflows(f, t)),
    ("FrEIA.modules.base.InvertibleModule", lambda m, rng, t: from_freia(m, t)),
    ("FrEIA.framework.", lambda m, rng, t: from_freia(m, t)),
    ("zuko.lazy.", lambda f, rng, t: from_zuko(f, t)),
    ("zuko.flows.", lambda f, rng, t: from_zuko(f, t)),
    ("torch.distributions.transforms.Transform",
     lambda f, rng, t: from_torch_transform(f, t)),
    ("torch.distributions.distribution.Distribution",
     lambda d, rng, t: from_torch_distribution(d)),
    ("flowjax.bijections.bijection.AbstractBijection", lambda b, rng, t: from_flowjax(b, t)),
    ("flowjax.distributions.AbstractDistribution",
     lambda d, rng, t: from_flowjax_distribution(d, t)),
    ("distrax._src.bijectors.bijector.Bijector", lambda b, rng, t: from_distrax(b)),
    ("numpyro.distributions.transforms.Transform", lambda f, rng, t: from_numpyro(f)),
    ("numpyro.distributions.distribution.Distribution",
     lambda d, rng, t: from_numpyro_distribution(d)),
    ("tensorflow_probability.substrates.jax.bijectors.bijector.", lambda b, rng, t: from_tfp(b)),
    ("tensorflow_probability.", lambda b, rng, t: from_tfp(b)),
)
