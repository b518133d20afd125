"""
The figures of the README
=========================

A neural spline flow fitted to a checkerboard. Above, points of the base density on their way
through the layers, each in the colour of the quadrant it came from; below, data, samples and
log-density. The entropy of the checkerboard, log 32 nats, is the floor under the loss, and the
gap to it is the Kullback-Leibler divergence from the data to the flow. What is hard about a
checkerboard is that the density of one coordinate jumps at three values of the other: the
networks are of relu, which bends sharply, and the splines have bins enough for both squares and
the gap between them.

The animation carries points through the spline layers: what a layer does to each of them is drawn
as a straight line that takes a second.
"""

# %%
import argparse
import os
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

import nfref
from nfref.plots.canvas import COLOURS, new_figure, scatter
from nfref.plots.layers import label, steps

parser = argparse.ArgumentParser(description="Fit a spline flow to a checkerboard and draw it.")
parser.add_argument("--epochs", type=int, default=150, help="of 50 steps each")
epochs = parser.parse_args().epochs
figures = Path(os.environ.get("NFREF_FIGURES") or Path(__file__).parents[1] / "figures")
figures.mkdir(parents=True, exist_ok=True)

# %%
# Data and density. What is fitted last in the list stands next to the data: the
# standardisation, which is part of the flow.

toy = nfref.datasets.checkerboard
rng = np.random.default_rng(0)
x, validation, test = (toy(rng, n).astype(np.float32) for n in (50_000, 5_000, 20_000))
flow = nfref.Chain(
    [nfref.NSF(2, layers=3, bins=16, bound=4.0, activation="relu"), nfref.Standardise.of(x)]
)
density = nfref.Density(flow)

# %%
# Fit.

result = nfref.fit(
    density,
    density.init(rng),
    x,
    rng,
    validation=validation,
    epochs=epochs,
    batch_size=1000,
    learning_rate=4e-3,
    schedule="cosine",
    patience=None,
)
log_prob = np.concatenate([density.log_prob(result.params, rows) for rows in np.split(test, 10)])
loss = -np.mean(log_prob, dtype=np.float64)
error = np.std(log_prob, dtype=np.float64) / np.sqrt(len(log_prob))
samples = density.sample(result.params, rng, 100_000)
lost = np.mean(np.isinf(toy.log_prob(samples)))
print(
    f"test loss {loss:.3f} +- {error:.3f} nats, entropy {toy.entropy:.3f} nats, "
    f"divergence {loss - toy.entropy:.3f} nats"
)
print(f"samples outside of the eight squares: {100 * lost:.2f} %")

# %%
# Draw.

figure = new_figure(7.36, 4.5)  # twice 736 pixels, the width of a page
above, below = figure.subfigures(2, 1, height_ratios=(1.7, 2.8))
nfref.plots.layer_strip(density, result.params, rng, n=4000, max_panels=6, figure=above)
nfref.plots.triptych(
    density, result.params, x=test, rng=rng, n=5000, limits=((-4.6, 4.6), (-4.6, 4.6)), figure=below
)
for ax in above.axes:
    ax.set(title=ax.get_title().replace(": ", "\n"), xticks=[], yticks=[])
nfref.plots.save(figure, figures / "readme.png", dpi=200)
canvas = FigureCanvasAgg(figure)
canvas.draw()
titles = [ax.title.get_window_extent(canvas.get_renderer()) for ax in above.axes]
assert all(one.x1 + 5 < after.x0 for one, after in zip(titles, titles[1:])), "titles touch"

# %%
# Animate, in the units of the standardised columns. The points rest before each layer, and on
# the way are slow, fast, slow.

FRAMES, MILLISECONDS, REST = 14, 80, 800

z = density.base.sample(result.params["base"], rng, 4000)
right, upper = (z > 0).T
stages = [("base: StandardNormal", z)]
for k, (layer, params) in enumerate(steps(flow, result.params["flow"])[:-1], start=1):
    stages.append((f"{k}: {label(layer)}", layer.forward(params, stages[-1][1])[0]))
shown = [(*stages[0], REST)]
for (_, before), (title, after) in zip(stages, stages[1:]):
    for share in 0.5 - 0.5 * np.cos(np.pi * np.arange(1, FRAMES + 1) / FRAMES):
        points = (1 - share) * before + share * after
        shown.append((title, points, MILLISECONDS if share < 1 else REST))
shown[-1] = (*shown[-1][:2], 3 * REST)

figure = new_figure(3.6, 3.8)
canvas, axes = FigureCanvasAgg(figure), figure.subplots()
images = []
for title, points, _ in shown:
    axes.clear()
    scatter(axes, points, np.asarray(COLOURS)[2 * upper + right], alpha=0.8)
    axes.set(title=title, xlim=(-2.8, 2.8), ylim=(-2.8, 2.8), box_aspect=1)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    images.append(image.quantize(32, dither=Image.Dither.NONE))
images[0].save(
    figures / "flow.gif",
    save_all=True,
    append_images=images[1:],
    duration=[duration for *_, duration in shown],
    loop=0,
    optimize=True,
)

assert loss > toy.entropy - 4 * error
