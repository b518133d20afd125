"""Samples of the base on their way through the layers of a flow."""

from dataclasses import dataclass

import numpy as np

from nfref.flows.composition import Invert
from nfref.runtime.annotations import Generator, Sequence
from nfref.runtime.params import at_path
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.files.model_file import Model

POINTS = 400  # samples that are followed through the layers
STAGES = 24  # most stages that are shown


@dataclass(frozen=True)
class Layers:
    """Samples of the base on their way through a flow.

    Attributes
    ----------
    name : str
        Name of the flow.
    columns : tuple of str
    stages : tuple of str
        The base, and each layer.
    points : (S, N, D) array
        After each stage.
    quadrant : (N,) array of int
        Quadrant of the base's first two columns, 0 to 3.
    left_out : int
        The number of layers that are not shown.
    """

    name: str
    columns: tuple
    stages: tuple
    points: np.ndarray
    quadrant: np.ndarray
    left_out: int


def layers_of(model: Model, names: Sequence[str], rng: Generator) -> Layers | None:
    """Return the layers of the flow, or of the pool's flow with the largest weight, or None.

    Parameters
    ----------
    model : nfref.tables.files.model_file.Model
    names : sequence of str
        Names of its columns.
    rng : numpy.random.Generator
    """
    table = model.density
    if not isinstance(table, TableDensity):
        return _followed(table, model.params, "", names, None, rng)
    pool = table.pool
    if pool is None or not pool.flows:
        return None
    best = max(pool.flows, key=lambda k: pool.weights[k])
    flow = pool.members[best]
    name = f"{pool.names[best]}, {pool.weights[best]:.3f} of the pool's weight"
    names = [table.columns[k].name for k in table.places[1]]
    context = table.context(table.pilot(rng, POINTS))
    return _followed(flow.density, flow.params, name, names, context, rng)


def _followed(density, params, name, names, context, rng):
    """Return samples of a density's base after each layer of its flow."""
    z = density.base.sample(params["base"], rng, POINTS)
    second = z[:, min(1, density.dim - 1)]
    quadrant = 2 * (second > np.median(second)) + (z[:, 0] > np.median(z[:, 0]))
    stages, points = [f"base: {type(density.base).__name__}"], [z]
    steps = density.flow.members()
    for k, (flow, direction, path) in enumerate(steps, start=1):
        forward, inverted = (flow, "") if direction == 1 else (Invert(flow), ", inverted")
        given = context if flow.context_dim else None
        with np.errstate(all="ignore"):
            z, _ = forward.forward(at_path(params["flow"], path), z, given)
        stages.append(f"layer {k} of {len(steps)}: {type(flow).__name__}{inverted}")
        points.append(z)
    shown = np.linspace(0, len(stages) - 1, min(STAGES, len(stages))).round().astype(int)
    kept = tuple(stages[k] for k in shown)
    places = np.stack([points[k] for k in shown])
    return Layers(name, tuple(names), kept, places, quadrant, len(stages) - len(shown))
