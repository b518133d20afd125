"""Write the golden vectors: flows evaluated to thirty digits, in files that need no Python.

    python -m tests.high_precision.write_vectors [NAME ...]

writes one JSON file for each configuration of :mod:`tests.high_precision.configurations` to
``nfref/oracle/vectors/``, all of them in some minutes, the same bytes every time, and then the
manifest. Every number comes from the high-precision maps, never from the float64 formulas: values
from the map, log-determinants and gradients by numerical differentiation at sixty digits. The
schema is described in ``docs/golden_vectors.rst``.
"""

import json
import sys

import mpmath as mp
import numpy as np

from nfref.flows.composition import Invert
from nfref.flows.injective import InjectiveFlow
from nfref.oracle.golden_vectors import FOLDER, SCHEMA
from nfref.runtime import params as trees
from nfref.runtime.files import replacing
from nfref.runtime.serialization import describe
from tests.high_precision import manifest
from tests.high_precision.calculus import exact, jacobian, log_abs_det, solve, step
from tests.high_precision.configurations import configurations
from tests.high_precision.high_precision import DIGITS
from tests.high_precision.maps import forward

CONVENTION = {
    "x": "forward(z), the data row that the latent row z maps to",
    "log_det_forward": "log |det dx/dz| at z",
    "log_det_inverse": "log |det dz/dx| at x, the negative of log_det_forward",
    "log_prob": "log-density of x in nats when z is standard normal",
    "gradient": "of the mean of log_prob over the rows, for fixed x, by the parameters",
    "numbers": "arrays are {shape, decimal, hex}, in row-major order; decimal has 30 "
    "significant digits, hex is the nearest float64; inputs are exact in both",
}


# Numbers ----------------------------------------------------------------------------------


def leaf(array):
    """An array (of floats or mpmath numbers) as {shape, decimal, hex}."""
    array = np.asarray(array)
    with mp.workdps(2 * DIGITS):
        numbers = [settled(mp.mpf(value)) for value in array.ravel().tolist()]
        return {
            "shape": list(array.shape),
            "decimal": [mp.nstr(value, 30) for value in numbers],
            "hex": [float(value).hex() for value in numbers],
        }


def settled(value):
    """Return zero for a number below 10^-50, the remainder of differentiating a constant."""
    return value if abs(value) > mp.mpf(10) ** -50 else mp.mpf(0)


# Making -----------------------------------------------------------------------------------


def standard_normal_log_prob(z):
    return -mp.fsum(value**2 for value in z) / 2 - len(z) * mp.log(2 * mp.pi) / 2


def latent(flow, params, x, start, context):
    """Return the z of x; the flow inside an injective one gives the z of a row off its surface."""
    if isinstance(flow, InjectiveFlow):
        padded = [*start, *[mp.mpf(0)] * (flow.dim - flow.kept)]
        return latent(flow.flow, params, x, padded, context)[: flow.kept]
    return solve(lambda z: forward(flow, params, z, context), x, start)


def log_prob(flow, params, x, z, context):
    """Return log p(x) in a neighbourhood of parameters where x = forward(z) nearly holds.

    Newton's method corrects z; for an inverted flow the inverse is the map itself.
    """
    if isinstance(flow, Invert):

        def density_direction(row):
            return forward(flow.flow, params, row, context)

        return standard_normal_log_prob(density_direction(x)) + log_abs_det(
            jacobian(density_direction, x)
        )

    def sampling_direction(row):
        return forward(flow, params, row, context)

    z = latent(flow, params, x, z, context)
    return standard_normal_log_prob(z) - log_abs_det(jacobian(sampling_direction, z))


def gradient(flow, params, x, z, context):
    """Return the gradient of the mean log_prob by every parameter, by central differences."""
    vector, unflatten = trees.flatten(params)
    vector = np.array([mp.mpf(value) for value in vector.tolist()], dtype=object)
    h = step()

    def mean_log_prob(at):
        total = mp.fsum(
            log_prob(flow, unflatten(at), x[n], z[n], context[n]) for n in range(len(z))
        )
        return total / len(z)

    slopes = []
    for k in range(len(vector)):
        nudge = np.array([h if k == j else mp.mpf(0) for j in range(len(vector))], dtype=object)
        slopes.append((mean_log_prob(vector + nudge) - mean_log_prob(vector - nudge)) / (2 * h))
    return unflatten(np.array(slopes, dtype=object))


def vector(name, configuration):
    """Return the golden vector of one configuration, as a JSON-ready dict."""
    flow, params = configuration.flow, configuration.params
    with mp.workdps(2 * DIGITS):
        z = exact(configuration.z)
        context = [[] for _ in z] if configuration.context is None else exact(configuration.context)
        x = [forward(flow, params, row, given) for row, given in zip(z, context)]
        log_det = [
            log_abs_det(jacobian(lambda r: forward(flow, params, r, given), row))
            for row, given in zip(z, context)
        ]
        return {
            "schema": SCHEMA,
            "kind": "nfref golden vector",
            "name": name,
            "convention": CONVENTION,
            "flow": describe(flow)[0],
            "params": trees.tree_map(leaf, params),
            "context": None if configuration.context is None else leaf(configuration.context),
            "z": leaf(configuration.z),
            "x": leaf(x),
            "log_det_forward": leaf(log_det),
            "log_det_inverse": leaf([-value for value in log_det]),
            "log_prob": leaf(
                [standard_normal_log_prob(row) - value for row, value in zip(z, log_det)]
            ),
            "gradient": trees.tree_map(leaf, gradient(flow, params, x, z, context)),
        }


def text_of(golden):
    return json.dumps(golden, indent=1, sort_keys=False, allow_nan=False) + "\n"


def main():
    table = configurations()
    for name in sys.argv[1:] or table:
        path = FOLDER / f"{name}.json"
        with replacing(path) as file:
            file.write(text_of(vector(name, table[name])).encode())
        print(path, flush=True)
    manifest.write()


if __name__ == "__main__":
    main()
