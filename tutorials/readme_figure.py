"""
The figure of the README
========================

A masked autoregressive flow fitted to a checkerboard. Above, points of the base density on
their way through the layers, each in the colour of the quadrant it came from; below, data,
samples and log-density. The entropy of the checkerboard, log 32 nats, is the floor under the
loss, and the gap to it is the Kullback-Leibler divergence from the data to the flow.
"""

# %%
import argparse

import numpy as np
from _figures import figure_path

import nfref
from nfref.plots.canvas import new_figure

parser = argparse.ArgumentParser(description="Fit a MAF to a checkerboard and draw it.")
parser.add_argument("--epochs", type=int, default=150, help="of 40 steps each")
epochs = parser.parse_args().epochs

# %%
# Data and density. What is fitted last in the list stands next to the data: the
# standardisation, which is part of the flow.

toy = nfref.datasets.checkerboard
rng = np.random.default_rng(0)
x, validation, test = (toy(rng, n).astype(np.float32) for n in (20_000, 5_000, 20_000))
flow = nfref.Chain([nfref.MAF(2, layers=10), nfref.Standardise.of(x)])
density = nfref.Density(flow)

# %%
# Fit.

result = nfref.fit(density, density.init(rng), x, rng, validation=validation, epochs=epochs,
                   batch_size=500, learning_rate=2e-3, schedule="cosine")
log_prob = np.concatenate([density.log_prob(result.params, rows) for rows in np.split(test, 10)])
loss = -np.mean(log_prob, dtype=np.float64)
error = np.std(log_prob, dtype=np.float64) / np.sqrt(len(log_prob))
print(f"test loss {loss:.3f} +- {error:.3f} nats, entropy {toy.entropy:.3f} nats, "
      f"divergence {loss - toy.entropy:.3f} nats")      # 3.583 +- 0.002, 3.466, 0.117

# %%
# Draw.

figure = new_figure(12, 6.2)
above, below = figure.subfigures(2, 1, height_ratios=(2.1, 4.1))
nfref.plots.layer_strip(density, result.params, rng, n=4000, max_panels=6, figure=above)
nfref.plots.triptych(density, result.params, x=test, rng=rng, n=5000,
                     limits=((-4.6, 4.6), (-4.6, 4.6)), figure=below)
nfref.plots.save(figure, figure_path("readme.png"), dpi=110)

assert loss > toy.entropy - 4 * error
