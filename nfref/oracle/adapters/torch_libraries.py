"""nflows, normflows, FrEIA, torch.distributions, Pyro and zuko.

An adapter is a description of a library's objects by functions of tensors, in nfref's direction:
forward maps latent z to data x. In nflows, FrEIA and the flows of zuko, forward maps data to
latent. :class:`nfref.oracle.adapters.shapes.ArrayLibrary` does the rest: it copies an object, casts
it to ``dtype``, and leaves it in training mode if ``train``.
"""

import numpy as np

from nfref.oracle.adapters.shapes import for_all_rows, of_rows, row_by_row, transformed
from nfref.oracle.adapters.torch_arrays import TORCH, to_numpy
from nfref.runtime.annotations import Any, Callable


def domains_of(thing: Any) -> dict[str, Any]:
    """Return the domains of a check: the bounds that torch's constraints name, if any."""
    found = {}
    for attribute, name in (("domain", "domain"), ("codomain", "codomain"), ("support", "domain")):
        try:
            constraint = getattr(thing, attribute, None)
        except NotImplementedError:
            continue
        constraint = getattr(constraint, "base_constraint", constraint)
        bounds = (("lower_bound", -np.inf), ("upper_bound", np.inf))
        ends = [to_numpy(getattr(constraint, end, missing)) for end, missing in bounds]
        ends = [np.asarray(end, np.float64).reshape(-1) for end in ends]
        if np.any(np.isfinite(np.concatenate(ends))):
            found[name] = tuple(end if len(end) > 1 else float(end[0]) for end in ends)
    return found


@TORCH.adapter("nflows.transforms.base.Transform", conditional=True)
def from_nflows(transform: Any) -> tuple[Callable, ...]:
    """Adapt a transform of nflows; ``context`` conditions it if it takes one."""
    return (lambda z, *c: transform.inverse(z, *c), lambda x, *c: transform(x, *c))


@TORCH.adapter("nflows.distributions.base.Distribution", density=True, conditional=True)
def from_nflows_distribution(distribution: Any) -> tuple[Callable, ...]:
    """Adapt a flow or a distribution of nflows, as a density."""

    def draw(n, *context):
        if not context:
            return distribution.sample(n)
        return distribution.sample(1, *context)[:, 0]  # one for each row of context

    return distribution.log_prob, draw


@TORCH.adapter("normflows.flows.base.Flow", conditional=True)
def from_normflows(flow: Any) -> tuple[Callable, ...]:
    """Adapt a flow of normflows; its directions are nfref's.

    Some layers of normflows, such as LU and affine ones, return one log_det for all rows.
    """
    return row_by_row(flow, sums=False), row_by_row(flow.inverse, sums=False)


@TORCH.adapter(
    "normflows.core.NormalizingFlow",
    "normflows.core.ConditionalNormalizingFlow",
    "normflows.distributions.base.BaseDistribution",
    density=True,
    conditional=True,
)
def from_normflows_distribution(distribution: Any) -> tuple[Callable, ...]:
    """Adapt a ``NormalizingFlow`` or a base of normflows, whose samples come with log_prob."""

    def draw(n, *context):
        draws = getattr(distribution, "sample", distribution)(n, *context)
        return draws[0] if isinstance(draws, tuple) else draws

    return distribution.log_prob, draw


@TORCH.adapter("FrEIA.modules.base.InvertibleModule", "FrEIA.framework.", conditional=True)
def from_freia(module: Any) -> tuple[Callable, ...]:
    """Adapt a module or graph of FrEIA.

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


@TORCH.adapter(
    "torch.distributions.transforms.Transform",
    "pyro.distributions.conditional.ConditionalTransform",
    conditional=True,
    documented=domains_of,
)
def from_torch_transform(transform: Any) -> tuple[Callable, ...]:
    """Adapt a transform of torch.distributions, Pyro or zuko.

    With a context it needs a method ``condition`` (Pyro's). Transforms of single numbers
    (``event_dim`` 0) give a log-derivative for each coordinate. The ``transform`` of a zuko flow
    maps data to latent: adapt its ``inv``.
    """

    def given(context):
        return transform.condition(*context) if context else transform

    return (
        row_by_row(lambda rows, *context: transformed(given(context), rows)),
        row_by_row(lambda rows, *context: transformed(given(context).inv, rows)),
    )


@TORCH.adapter("torch.distributions.distribution.Distribution", density=True, documented=domains_of)
def from_torch_distribution(distribution: Any) -> tuple[Callable, ...]:
    """Adapt a distribution of torch.distributions, Pyro or zuko whose events are vectors."""
    return of_rows(distribution, lambda n: distribution.sample((n,)))


def zuko_accuracy(lazy: Any) -> dict[str, float]:
    """Return the ``accuracy`` that zuko documents for bisections, of all layers; 0 without any.

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
    return {"accuracy": 10 * total}


@TORCH.adapter("zuko.lazy.", "zuko.flows.", documented=zuko_accuracy, conditional=True)
def from_zuko(lazy: Any) -> tuple[Callable, ...]:
    """Adapt a flow or a lazy transform of zuko, which is made for each context.

    An inverse by bisection is judged to the accuracy that zuko documents.
    """

    def transform_of(context):
        made = lazy(*context)
        return getattr(made, "transform", made)

    return (
        lambda z, *c: transform_of(c).inv.call_and_ladj(z),
        lambda x, *c: transform_of(c).call_and_ladj(x),
    )


@TORCH.adapter(density=True, conditional=True)
def from_zuko_distribution(lazy: Any) -> tuple[Callable, ...]:
    """Adapt a flow of zuko as a density; its distribution is made for each context."""

    def draw(n, *context):
        made = lazy(*context)
        return made.sample() if context else made.sample((n,))

    return lambda x, *c: lazy(*c).log_prob(x), draw
