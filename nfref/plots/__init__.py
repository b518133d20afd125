"""Pictures of densities, flows, fits and tables.

Every function plots on the given axes or figure, or on a new figure, and returns the axes or
figure. Nothing here uses pyplot: a new figure belongs to the caller, and :func:`save` writes it.

Examples
--------
>>> import numpy as np, nfref
>>> density = nfref.Density(nfref.RealNVP(2))
>>> params = density.init(np.random.default_rng(0))
>>> figure = nfref.plots.triptych(density, params, rng=np.random.default_rng(1))
>>> nfref.plots.save(figure, "density.png")                             # doctest: +SKIP
"""

from nfref.plots.canvas import save
from nfref.plots.column import PlottedColumn
from nfref.plots.comparison import calibration, likelihoods, marginals
from nfref.plots.curves import loss_curve, loss_curves
from nfref.plots.layers import layer_strip, warped_grid
from nfref.plots.plane import triptych
from nfref.plots.table import corner

__all__ = [
    "PlottedColumn",
    "calibration",
    "corner",
    "layer_strip",
    "likelihoods",
    "loss_curve",
    "loss_curves",
    "marginals",
    "save",
    "triptych",
    "warped_grid",
]
