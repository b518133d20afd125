"""A density to draw, and what a figure shows."""

import numpy as np

import nfref


def bent():
    """A density in the plane and parameters far from the identity."""
    rng = np.random.default_rng(0)
    flow = nfref.Chain(
        [
            nfref.RealNVP(2, layers=3, hidden=8),
            nfref.Invert(nfref.MAF(2, layers=2)),
            nfref.ElementwiseAffine(2),
        ]
    )
    density = nfref.Density(flow)
    params = density.init(rng)
    params["flow"] = nfref.params.tree_map(
        lambda leaf: leaf + 0.3 * rng.standard_normal(leaf.shape), params["flow"]
    )
    return density, params


def drawn_points(axes):
    """All points of a scatter, (N, 2)."""
    return np.asarray(axes.collections[0].get_offsets())


def panels(figure):
    """The axes that show data: those that are no colour bars."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
