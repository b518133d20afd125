"""Clouds of points: codes that ignore order and number, distances, and a view from above."""

from dataclasses import dataclass

import numpy as np
from autograd import numpy as anp
from autograd import value_and_grad
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from nfref.networks.mlp import init_mlp, mlp
from nfref.runtime import params as trees
from nfref.training.adam import Adam

CODE, WAVES = 7, 128


@dataclass(frozen=True)
class Encoder:
    frequencies: np.ndarray
    phases: np.ndarray
    mean: np.ndarray
    components: np.ndarray

    @classmethod
    def learned(cls, many, rng):
        frequencies = 1.5 * rng.standard_normal((3, WAVES))
        raw = cls(frequencies, rng.uniform(0, 2 * np.pi, WAVES), 0.0, np.eye(WAVES))
        averages = raw(many)
        mean = averages.mean(axis=0)
        _, values, axes = np.linalg.svd(averages - mean, full_matrices=False)
        scale = np.sqrt(len(many)) / values[:CODE]
        return cls(frequencies, raw.phases, mean, axes[:CODE].T * scale)

    def __call__(self, many):
        """Codes of clouds (M, N, 3), as (M, 7)."""
        if np.ndim(many) != 3 or np.shape(many)[2] != 3 or not np.shape(many)[1]:
            raise ValueError(f"clouds: expected shape (M, N, 3) with N > 0, got {np.shape(many)}")
        waves = [np.cos(cloud @ self.frequencies + self.phases).mean(axis=0) for cloud in many]
        return ((np.stack(waves) - self.mean) @ self.components).astype(np.float32)


# The encoder of the paper ------------------------------------------------------------------


def init_encoder(rng):
    """Return parameters of a network of every point, and of one of the maximum over points."""
    return trees.cast(
        {
            "points": init_mlp(rng, (3, 64, 128, 1))[:-1],
            "cloud": init_mlp(rng, (128, 64, 2 * CODE)),
        },
        np.float32,
    )


def encoded(params, many):
    """Return mean and log-variance of the codes of clouds (M, N, 3), two (M, 7)."""
    of_points = mlp(params["points"], many.reshape(-1, 3))
    largest = anp.max(of_points.reshape(many.shape[0], many.shape[1], -1), axis=1)
    out = mlp(params["cloud"], largest)
    return out[:, :CODE], out[:, CODE:]


def descend(loss, params, rng, steps, learning_rate):
    """Return the parameters after steps of Adam on loss(params, rng), and the loss of each step."""
    vector, unflatten = trees.flatten(params)
    slope = value_and_grad(lambda vector: loss(unflatten(vector), rng))
    adam = Adam(learning_rate, "cosine", clip_norm=100.0, steps=steps)
    state, losses = adam.start(vector), []
    for _ in range(steps):
        value, gradient = slope(vector)
        losses.append(float(value))
        vector, state = adam.step(vector, gradient, state)
    return unflatten(vector), np.array(losses)


# Distances ---------------------------------------------------------------------------------


def chamfer(a, b):
    """Return the mean squared distance of points to the nearest of the other cloud, both ways."""
    return np.mean(cKDTree(b).query(a)[0] ** 2) + np.mean(cKDTree(a).query(b)[0] ** 2)


def earth_mover(a, b):
    """Return the mean distance of points to those of the other cloud, in the best pairing."""
    between = cdist(a, b)
    return between[linear_sum_assignment(between)].mean()


def distances(clouds, distance):
    """Return the distances between all pairs of clouds, infinite from a cloud to itself."""
    found = np.full((len(clouds),) * 2, np.inf)
    for i, j in zip(*np.triu_indices(len(clouds), 1)):
        found[i, j] = found[j, i] = distance(clouds[i], clouds[j])
    return found


def one_nn_accuracy(distance, count):
    """Return the share of clouds whose nearest neighbour is of their own kind, and its error.

    The first ``count`` clouds were sampled, the others are true.
    """
    sort = np.arange(len(distance)) < count
    right = sort[distance.argmin(axis=1)] == sort
    return right.mean(), right.std() / np.sqrt(len(right))


def matching(distance, count):
    """Return the mean distance from a true cloud to the nearest sampled one (MMD), with error."""
    nearest = distance[count:, :count].min(axis=1)
    return nearest.mean(), nearest.std() / np.sqrt(len(nearest))


def coverage(distance, count):
    """Return the share of true clouds that are the nearest of a sampled one (COV), with error."""
    taken = np.isin(np.arange(len(distance) - count), distance[:count, count:].argmin(axis=1))
    return taken.mean(), taken.std() / np.sqrt(len(taken))


def turned(cloud, yaw=0.6, pitch=0.45):
    """Rotate a cloud to a view from the side and somewhat above."""
    c, s = np.cos(yaw), np.sin(yaw)
    cloud = cloud @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T
    c, s = np.cos(pitch), np.sin(pitch)
    return cloud @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]).T


def show(ax, cloud, colours="viridis"):
    x, y, depth = turned(cloud)[np.argsort(turned(cloud)[:, 2])].T
    ax.scatter(x, y, c=depth, s=1.5, cmap=colours, vmin=-2, vmax=2, linewidths=0)
    ax.set(xlim=(-3, 3), ylim=(-2.6, 2.6), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
