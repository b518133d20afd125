"""Splines and deep sigmoids computed from ``docs/golden_vectors.rst`` without any code of nfref."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.high_precision.read_vectors import numbers

VECTORS = Path(__file__).parents[2] / "nfref/oracle/vectors"


def softplus(r):
    return math.log1p(math.exp(r))


def slope(r, m=0.001):
    return m + softplus(r + math.log(math.exp(1 - m) - 1))


def sigmoid(u):
    return 1 / (1 + math.exp(-u))


def spline(x, raw, bins, bound, m=0.001):
    """(z, log dz/dx)."""
    if not -bound <= x < bound:
        return x, 0.0
    ends = []
    for part in (raw[:bins], raw[bins : 2 * bins]):
        total = sum(map(math.exp, part))
        u = [m + (1 - bins * m) * math.exp(r) / total for r in part]
        ends.append([-bound + 2 * bound * sum(u[:k]) for k in range(bins)] + [bound])
    (xs, ys), d = ends, [1.0, *map(slope, raw[2 * bins :]), 1.0]
    k = max(k for k in range(bins) if xs[k] <= x)
    w, h = xs[k + 1] - xs[k], ys[k + 1] - ys[k]
    s, a = h / w, (x - xs[k]) / w
    b = 1 - a
    below = s + (d[k] + d[k + 1] - 2 * s) * a * b
    return (
        ys[k] + h * a * (s * a + d[k] * b) / below,
        math.log(s**2 * (d[k + 1] * a * a + 2 * s * a * b + d[k] * b * b) / below**2),
    )


def deep_sigmoid(x, raw, units):
    """(z, log dz/dx)."""
    a = [slope(r) for r in raw[:units]]
    b = [r - 1 + 2 * j / (units - 1) for j, r in enumerate(raw[units : 2 * units])]
    weights = [math.exp(r) for r in raw[2 * units :]]
    w = [weight / sum(weights) for weight in weights]
    up = [sigmoid(p * x + q) for p, q in zip(a, b)]
    down = [sigmoid(-p * x - q) for p, q in zip(a, b)]
    S, C = (sum(p * q for p, q in zip(w, parts)) for parts in (up, down))
    return (
        math.log(S) - math.log(C),
        math.log(sum(w[j] * a[j] * up[j] * down[j] for j in range(units)) / (S * C)),
    )


def layer_inverse(x, net, order, activate, transform):
    """Map x to z by a MADE layer of one hidden layer: masks by the degrees of the page of MADE."""
    (shape, first), (_, bias) = net[0]["weight"], net[0]["bias"]
    (_, last), (_, last_bias) = net[1]["weight"], net[1]["bias"]
    dim, hidden, outputs = len(x), shape[1], len(last_bias)
    degree = [1 + t * max(dim - 1, 1) // hidden for t in range(hidden)]
    units = [
        activate(
            bias[t]
            + sum(x[i] * first[i * hidden + t] for i in range(dim) if order[i] + 1 <= degree[t])
        )
        for t in range(hidden)
    ]
    raw = [
        last_bias[k]
        + sum(
            units[t] * last[t * outputs + k] for t in range(hidden) if degree[t] <= order[k % dim]
        )
        for k in range(outputs)
    ]
    found = [transform(x[i], raw[i::dim]) for i in range(dim)]
    return [z for z, _ in found], sum(log for _, log in found)


@pytest.mark.parametrize("name", ["naf", "nsf_autoregressive"])
def test_from_x_to_z(name):
    golden = numbers(json.loads((VECTORS / f"{name}.json").read_text()))
    flow = golden["flow"]
    if name == "naf":

        def transform(x, raw):
            return deep_sigmoid(x, raw, flow["units"])
    else:

        def transform(x, raw):
            return spline(x, raw, flow["bins"], flow["bound"])

    activate = {"tanh": math.tanh, "relu": lambda value: max(value, 0.0)}[flow["activation"]]
    rows, expected = (np.reshape(golden[key][1], golden[key][0]) for key in ("x", "z"))
    for row, z, log_det in zip(rows, expected, golden["log_det_inverse"][1]):
        x, total = list(row), 0.0
        for k in reversed(range(flow["layers"])):  # the last has the natural order
            order = range(flow["dim"])[:: 1 if (flow["layers"] - 1 - k) % 2 == 0 else -1]
            x, log = layer_inverse(x, golden["params"][k]["net"], order, activate, transform)
            total += log
        np.testing.assert_allclose(x, z, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(total, log_det, rtol=1e-9, atol=1e-9)
