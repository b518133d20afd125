"""The entropy of a table, and how much its columns say of each other, by dual ascent.

Source: Laparra, Camps-Valls, Malo 2011 (RBIG).
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Array, Generator
from nfref.runtime.checks import check_positive, check_rng
from nfref.training.dual_ascent import DualAscent, rows_of


@dataclass(frozen=True)
class Information:
    """The entropy of a table, and how much its columns say of each other, in nats.

    Attributes
    ----------
    entropy, total_correlation : float
        -E log p(x), and E log (p(x) / (p_1(x_1) ... p_D(x_D))).
    entropy_error, total_correlation_error : float
        Their standard errors from the number of held-out rows. The fit has an error of its own:
        both numbers tend to say too little dependence.
    """

    entropy: float
    entropy_error: float
    total_correlation: float
    total_correlation_error: float


def information(
    x: Array, rng: Generator, steps: int = 100, bins: int = 8, validation: float = 0.5
) -> Information:
    """Return entropy and total correlation of the columns, by Gaussianization.

    The first map of the ascent takes every column alone to a normal. So the density after it is the
    product of the columns' own densities, and what later maps add is the total correlation.

    Paper:   RBIG: total correlation is what all further layers take from it.
    Differs: held-out rows measure the gains; the sum of marginal entropies, layer by layer, would
             have the bias of each.

    Parameters
    ----------
    x : (N, D) array
    rng : numpy.random.Generator
    steps : int, default 100
        Splines along orthogonal directions.
    bins : int, default 8
        Bins of a spline.
    validation : float, default 0.5
        The part of the rows that measures.

    Returns
    -------
    Information
    """
    check_rng(rng)
    x = rows_of("x", x)
    order = rng.permutation(len(x))
    held = max(1, round(check_positive("validation", validation, below=1) * len(x)))
    held_out, learned = x[order[:held]], x[order[held:]]
    ascent = DualAscent(steps=steps, kinds="spline", start="spline", bins=bins)
    found = ascent.fit(learned, rng, held_out)
    alone, together = (
        density.log_prob(params, held_out)
        for density, params in (found.after(0), found.after(found.maps))
    )

    def mean_and_error(values):
        return float(np.mean(values)), float(np.std(values) / np.sqrt(len(values)))

    return Information(*mean_and_error(-together), *mean_and_error(together - alone))
