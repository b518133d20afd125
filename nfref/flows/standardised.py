"""A flow on standardised columns, with densities in the units of the data."""

import numpy as np

from nfref.flow import Flow
from nfref.flows.composition import Chain
from nfref.flows.elementwise import Logit, Standardise
from nfref.runtime.annotations import Array, Sequence


def in_units_of(
    flow: Flow,
    x: Array,
    lower: Sequence[float | None] | None = None,
    upper: Sequence[float | None] | None = None,
) -> Chain:
    """Return the flow between standardised columns and the latent, in the units of the data.

    From data to latent: bounded columns pass a logit, then every column is scaled to mean 0 and
    standard deviation 1 by the statistics of ``x``, then the flow acts. Each log-determinant
    counts.

    Parameters
    ----------
    flow : Flow
    x : (N, D) array
        Training rows.
    lower, upper : sequence of float or None, length D, optional
        Bounds of the bounded columns, None for the others.

    Returns
    -------
    Chain

    Examples
    --------
    >>> import numpy as np, nfref
    >>> rng = np.random.default_rng(0)
    >>> x = 1000 + 50 * rng.standard_normal((200, 2))
    >>> density = nfref.Density(nfref.in_units_of(nfref.MAF(2), x))
    >>> density.log_prob(density.init(rng), x).shape
    (200,)
    """
    if np.ndim(x) == 2 and np.shape(x)[1] != flow.dim:
        raise ValueError(f"in_units_of: flow has dim {flow.dim}, x has {np.shape(x)[1]} columns")
    ends: list[Logit] = []
    if lower is not None and any(low is not None for low in lower):
        ends = [Logit(lower, () if upper is None else upper)]
        x = ends[0].inverse({}, np.asarray(x, dtype=np.float64))[0]
    return Chain((flow, Standardise.of(x), *ends))
