"""A flow of the plane: the warped grid, and points after every layer."""

import math

import numpy as np

from nfref.density import Density
from nfref.flow import Flow
from nfref.flows.composition import Invert
from nfref.plots import canvas
from nfref.runtime.annotations import Any, Array, Generator, Params
from nfref.runtime.checks import check_count, check_rng
from nfref.runtime.params import at_path


def warped_grid(
    flow: Flow,
    params: Params,
    limits: Any = ((-3.0, 3.0), (-3.0, 3.0)),
    lines: int = 21,
    points: int = 400,
    context: Array | None = None,
    axes: Any = None,
) -> Any:
    """Plot a square grid of latent lines as ``forward`` bends it.

    A flow is a smooth one-to-one map: the lines bend and crowd, but two of one colour never
    meet. ``Invert(flow)`` plots a grid of data space as ``inverse`` bends it.

    Parameters
    ----------
    flow : Flow
        A flow of dim 2.
    params : nested dicts and lists of arrays
        Parameters of the flow.
    limits : ((low, high), (low, high))
        The latent rectangle.
    lines : int
        Number of lines in each direction.
    points : int
        Number of points in a line.
    context : (C,) array, optional
        The context of a conditional flow.
    axes : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    canvas.check_plane("warped_grid", flow.dim)
    check_count("lines", lines, minimum=2)
    check_count("points", points, minimum=2)
    axes = canvas.new_axes(5, 5) if axes is None else axes
    for moving, colour in ((1, canvas.COLOURS[0]), (0, canvas.COLOURS[1])):
        fixed = 1 - moving
        grid = np.empty((lines, points, 2))
        grid[..., fixed] = np.linspace(limits[fixed][0], limits[fixed][1], lines)[:, None]
        grid[..., moving] = np.linspace(limits[moving][0], limits[moving][1], points)
        rows = grid.reshape(-1, 2)
        x, _ = flow.forward(params, rows, canvas.repeat_context(context, len(rows)))
        axes.plot(*x.reshape(lines, points, 2).transpose(2, 1, 0), color=colour, linewidth=0.8)
        axes.plot([], [], color=colour, label=f"$z_{fixed + 1}$ constant")
    axes.set(xlabel="$x_1$", ylabel="$x_2$")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(loc="upper right", fontsize="small")
    return axes


def layer_strip(
    density: Density,
    params: Params,
    rng: Generator,
    n: int = 2000,
    context: Array | None = None,
    max_panels: int = 12,
    figure: Any = None,
) -> Any:
    """Plot base samples after each layer, each in the colour of its base quadrant.

    Parameters
    ----------
    density : Density
        A density of dim 2. Compositions inside compositions, and inverted ones, are taken apart.
    params : dict
    rng : numpy.random.Generator
    n : int
        Number of points.
    context : (C,) array, optional
        The context of a conditional density.
    max_panels : int
        At least 2. The base and the result always have a panel; for longer flows, some layers in
        between are omitted, evenly spaced.
    figure : matplotlib.figure.Figure, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    canvas.check_plane("layer_strip", density.dim)
    check_count("n", n)
    check_count("max_panels", max_panels, minimum=2)
    own = density._structure.checked(params)
    z = density.base.sample(own["base"], check_rng(rng), n)
    # Quadrants around the median are those around zero for every centred base.
    right, upper = (z > np.median(z, axis=0)).T
    quadrant = 2 * upper + right

    stages = [(f"base: {type(density.base).__name__}", z)]
    for k, (flow, flow_params) in enumerate(steps(density.flow, own["flow"]), start=1):
        z, _ = flow.forward(
            flow_params, z, canvas.repeat_context(context if flow.context_dim else None, n)
        )
        stages.append((f"{k}: {label(flow)}", z))
    shown = np.linspace(0, len(stages) - 1, min(max_panels, len(stages))).round().astype(int)

    down = math.ceil(len(shown) / 6)
    across = math.ceil(len(shown) / down)
    figure = canvas.new_figure(2.6 * across, 2.7 * down) if figure is None else figure
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, index in zip(panels, shown):
        title, points = stages[index]
        canvas.scatter(axes, points, np.asarray(canvas.COLOURS)[quadrant])
        canvas.frame(axes, title, canvas.plane_limits(canvas.finite_rows(title, points)))
        axes.title.set_fontsize("medium")
        axes.tick_params(labelsize="small")
    for axes in panels[len(shown) :]:
        axes.remove()
    return figure


def steps(flow: Flow, params: Any) -> list[tuple[Flow, Any]]:
    """Return the layers of a flow in the order of ``forward``, as a list of (flow, params)."""
    return [
        (layer if direction == 1 else Invert(layer), at_path(params, path))
        for layer, direction, path in flow.members()
    ]


def label(flow: Flow) -> str:
    """Return the name of a layer."""
    if isinstance(flow, Invert):
        return f"{label(flow.flow)}$^{{-1}}$"
    return type(flow).__name__
