"""nflows, normflows, FrEIA, torch.distributions, Pyro and zuko.

A library is described by functions of tensors, made from its objects, in nfref's direction: forward
maps latent z to data x. In nflows, FrEIA and the flows of zuko, forward maps data to latent.
"""

import numpy as np

from nfref.oracle.adapters.shapes import for_all_rows, of_rows, row_by_row
from nfref.oracle.adapters.torch_arrays import density_functions, flow_functions, in_dtype
from nfref.runtime.annotations import Any, Array, Callable, DTypeLike


def from_torch(
    forward: Callable | None, inverse: Callable | None = None, context: Array | None = None
) -> Any:
    """Adapt functions of tensors (N, D) -> (values, log_det) or values.

    With a context they also take its rows (N, C).
    """
    return flow_functions(forward, inverse, context)


# Functions of tensors -------------------------------------------------------------------------


def nflows_transform(transform: Any) -> Any:
    """Return (forward, inverse) of a transform."""
    return (lambda z, *c: transform.inverse(z, *c), lambda x, *c: transform(x, *c))


def nflows_distribution(distribution: Any) -> Any:
    """Return (log_prob, draw) of a distribution."""

    def draw(n, *context):
        if not context:
            return distribution.sample(n)
        return distribution.sample(1, *context)[:, 0]  # one for each row of context

    return distribution.log_prob, draw


def normflows_flow(flow: Any) -> Any:
    """Return (forward, inverse) of a flow.

    Some layers of normflows, such as LU and affine ones, return one log_det for all rows.
    """
    return row_by_row(flow, sums=False), row_by_row(flow.inverse, sums=False)


def normflows_distribution(distribution: Any) -> Any:
    """Return (log_prob, draw) of a flow or a base.

    ``sample`` and ``forward`` of normflows return (x, log_prob).
    """

    def draw(n, *context):
        draws = getattr(distribution, "sample", distribution)(n, *context)
        return draws[0] if isinstance(draws, tuple) else draws

    return distribution.log_prob, draw


def freia_module(module: Any) -> Any:
    """Return (forward, inverse) of a module or graph.

    Modules take and return tuples of tensors, graphs tensors. Modules of constant Jacobian return
    one log_det for all rows, which graphs add to the others.
    """
    is_graph = hasattr(module, "node_list") or hasattr(module, "module_list")

    def run(rev, rows, *context):
        given = {"c": list(context)} if context else {}
        if is_graph:
            return module(rows, rev=rev, **given)
        values, log_det = module((rows,), rev=rev, **given)
        return values[0], for_all_rows(log_det, rows)

    return lambda z, *c: run(True, z, *c), lambda x, *c: run(False, x, *c)


def torch_transform(transform: Any) -> Any:
    """Return (forward, inverse) of a transform.

    Transforms of single numbers (``event_dim`` 0) give a log-derivative for each coordinate.
    """

    def given(context):
        return transform.condition(*context) if context else transform

    def act(made, rows):
        if hasattr(made, "call_and_ladj"):
            return made.call_and_ladj(rows)
        values = made(rows)
        return values, made.log_abs_det_jacobian(rows, values)

    return (
        row_by_row(lambda rows, *context: act(given(context), rows)),
        row_by_row(lambda rows, *context: act(given(context).inv, rows)),
    )


def torch_distribution(distribution: Any) -> Any:
    """Return (log_prob, draw) of a distribution."""
    return of_rows(distribution, lambda n: distribution.sample((n,)))


def zuko_flow(lazy: Any) -> Any:
    """Return (forward, inverse) of a lazy transform or flow, which is made for each context."""

    def transform_of(context):
        made = lazy(*context)
        return getattr(made, "transform", made)

    return (
        lambda z, *c: transform_of(c).inv.call_and_ladj(z),
        lambda x, *c: transform_of(c).call_and_ladj(x),
    )


def zuko_accuracy(lazy: Any) -> float:
    """Return the accuracy that zuko documents for its bisections, of all layers; 0 without any.

    A layer of univariate maps keeps their constructor, and zuko itself makes an example of it to
    print the layer.
    """
    import torch

    total = 0.0
    with torch.random.fork_rng(devices=[]):
        for layer in lazy.modules():
            if hasattr(layer, "univariate") and hasattr(layer, "shapes"):
                example = layer.univariate(*map(torch.randn, layer.shapes))
                parts = getattr(example, "transforms", [example])
                total += sum(getattr(part, "eps", 0.0) for part in parts if hasattr(part, "phi"))
    return 10 * total


def zuko_distribution(lazy: Any) -> Any:
    """Return (log_prob, draw) of a flow, whose distribution is made for each context."""

    def draw(n, *context):
        made = lazy(*context)
        return made.sample() if context else made.sample((n,))

    return lambda x, *c: lazy(*c).log_prob(x), draw


# Functions of NumPy's arrays ------------------------------------------------------------------


def from_nflows(
    transform: Any, dtype: DTypeLike = np.float64, context: Array | None = None, train: bool = False
) -> Any:
    """Adapt a transform of nflows; ``context`` conditions it if it takes one."""
    return flow_functions(*nflows_transform(in_dtype(transform, dtype, train)), context)


def from_nflows_distribution(
    distribution: Any, dtype: DTypeLike = np.float64, context: Array | None = None
) -> Any:
    """Adapt a flow or a distribution of nflows, as a density."""
    return density_functions(*nflows_distribution(in_dtype(distribution, dtype)), dtype, context)


def from_normflows(
    flow: Any, dtype: DTypeLike = np.float64, context: Array | None = None, train: bool = False
) -> Any:
    """Adapt a flow of normflows; its directions are nfref's."""
    return flow_functions(*normflows_flow(in_dtype(flow, dtype, train)), context)


def from_normflows_distribution(
    distribution: Any, dtype: DTypeLike = np.float64, context: Array | None = None
) -> Any:
    """Adapt a ``NormalizingFlow`` or a base distribution of normflows, as a density."""
    return density_functions(*normflows_distribution(in_dtype(distribution, dtype)), dtype, context)


def from_freia(
    module: Any, dtype: DTypeLike = np.float64, context: Array | None = None, train: bool = False
) -> Any:
    """Adapt a module or graph of FrEIA."""
    return flow_functions(*freia_module(in_dtype(module, dtype, train)), context)


def from_torch_transform(
    transform: Any,
    dtype: DTypeLike = np.float64,
    data_to_latent: bool = False,
    context: Array | None = None,
    train: bool = False,
) -> Any:
    """Adapt a transform of torch.distributions, Pyro or zuko.

    Parameters
    ----------
    transform : torch.distributions.Transform
        With a context, one with a method ``condition`` (Pyro's).
    dtype : numpy dtype
    data_to_latent : bool
        True for the ``transform`` of a zuko flow, which maps data to latent.
    context : (M, C) array, optional
    train : bool
        Training mode instead of evaluation.
    """
    there, back = torch_transform(in_dtype(transform, dtype, train))
    return flow_functions(*((back, there) if data_to_latent else (there, back)), context)


def from_torch_distribution(distribution: Any, dtype: DTypeLike = np.float64) -> Any:
    """Adapt a distribution of torch.distributions, Pyro or zuko whose events are vectors."""
    return density_functions(*torch_distribution(in_dtype(distribution, dtype)), dtype)


def from_zuko(
    flow: Any, dtype: DTypeLike = np.float64, context: Array | None = None, train: bool = False
) -> Any:
    """Adapt a flow or a lazy transform of zuko; ``context`` conditions it if it takes one.

    An inverse by bisection is judged to the accuracy that zuko documents.
    """
    found = flow_functions(*zuko_flow(in_dtype(flow, dtype, train)), context)
    return {**found, "accuracy": zuko_accuracy(flow)}


def from_zuko_distribution(
    flow: Any, dtype: DTypeLike = np.float64, context: Array | None = None
) -> Any:
    """Adapt a flow of zuko as a density."""
    return density_functions(*zuko_distribution(in_dtype(flow, dtype)), dtype, context)
