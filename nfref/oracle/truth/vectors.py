"""Golden vectors: flows evaluated to thirty digits, in files that need no Python.

``nfref vectors --out DIR`` writes one JSON file for each configuration of
:mod:`nfref.oracle.truth.configurations`; the files ship with the package, and :func:`load` reads
them back. Every number comes from the high-precision maps, never from the float64 formulas:
values from the map, log-determinants and gradients by numerical differentiation at sixty
digits. The schema is described in ``docs/golden_vectors.rst``.
"""

import json
from importlib import resources
from pathlib import Path

import mpmath as mp
import numpy as np

from nfref.flows.composition import Invert
from nfref.oracle.truth.configurations import configurations
from nfref.oracle.truth.high_precision import DIGITS
from nfref.oracle.truth.maps import forward
from nfref.oracle.truth.multiprecision import exact, jacobian, log_abs_det, solve, step
from nfref.runtime import params as trees
from nfref.runtime.description import describe, rebuild
from nfref.runtime.files import replacing

SCHEMA = 1
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
        return {"shape": list(array.shape),
                "decimal": [mp.nstr(value, 30) for value in numbers],
                "hex": [float(value).hex() for value in numbers]}


def settled(value):
    """Zero for what is below 10^-50: the remainder of differentiating a constant."""
    return value if abs(value) > mp.mpf(10) ** -50 else mp.mpf(0)


def is_leaf(node):
    return isinstance(node, dict) and set(node) == {"shape", "decimal", "hex"}


def array_of(node):
    """The float64 array of a leaf."""
    values = np.array([float.fromhex(text) for text in node["hex"]], dtype=np.float64)
    return values.reshape(node["shape"])


def nested(convert, node, is_end):
    """Apply ``convert`` to the ends of nested dicts and lists."""
    if is_end(node):
        return convert(node)
    if isinstance(node, dict):
        return {key: nested(convert, value, is_end) for key, value in node.items()}
    return [nested(convert, value, is_end) for value in node]


# Making -----------------------------------------------------------------------------------


def standard_normal_log_prob(z):
    return -mp.fsum(value ** 2 for value in z) / 2 - len(z) * mp.log(2 * mp.pi) / 2


def log_prob(flow, params, x, z, context):
    """log p(x) in a neighbourhood of parameters where x = forward(z) nearly holds.

    z is corrected by Newton's method; for an inverted flow the inverse is the map itself.
    """
    if isinstance(flow, Invert):
        def density_direction(row):
            return forward(flow.flow, params, row, context)
        return (standard_normal_log_prob(density_direction(x))
                + log_abs_det(jacobian(density_direction, x)))

    def sampling_direction(row):
        return forward(flow, params, row, context)
    z = solve(sampling_direction, x, z)
    return standard_normal_log_prob(z) - log_abs_det(jacobian(sampling_direction, z))


def gradient(flow, params, x, z, context):
    """Gradient of the mean log_prob by every parameter: central differences, like the rest."""
    vector, unflatten = trees.flatten(params)
    vector = np.array([mp.mpf(value) for value in vector.tolist()], dtype=object)
    h = step()

    def mean_log_prob(at):
        total = mp.fsum(log_prob(flow, unflatten(at), x[n], z[n], context[n])
                        for n in range(len(z)))
        return total / len(z)

    slopes = []
    for k in range(len(vector)):
        nudge = np.array([h if k == j else mp.mpf(0) for j in range(len(vector))], dtype=object)
        slopes.append((mean_log_prob(vector + nudge) - mean_log_prob(vector - nudge)) / (2 * h))
    return unflatten(np.array(slopes, dtype=object))


def vector(name, configuration):
    """The golden vector of one configuration, as a JSON-ready dict."""
    flow, params = configuration.flow, configuration.params
    with mp.workdps(2 * DIGITS):
        z = exact(configuration.z)
        context = ([[] for _ in z] if configuration.context is None
                   else exact(configuration.context))
        x = [forward(flow, params, row, given) for row, given in zip(z, context)]
        log_det = [log_abs_det(jacobian(lambda r: forward(flow, params, r, given), row))
                   for row, given in zip(z, context)]
        return {
            "schema": SCHEMA,
            "kind": "nfref golden vector",
            "name": name,
            "convention": CONVENTION,
            "flow": describe(flow)[0],
            "params": nested(leaf, params, lambda node: isinstance(node, np.ndarray)),
            "context": None if configuration.context is None else leaf(configuration.context),
            "z": leaf(configuration.z),
            "x": leaf(x),
            "log_det_forward": leaf(log_det),
            "log_det_inverse": leaf([-value for value in log_det]),
            "log_prob": leaf([standard_normal_log_prob(row) - value
                              for row, value in zip(z, log_det)]),
            "gradient": nested(leaf, gradient(flow, params, x, z, context),
                               lambda node: isinstance(node, np.ndarray)),
        }


def text_of(golden):
    return json.dumps(golden, indent=1, sort_keys=False, allow_nan=False) + "\n"


def write(folder, names=None):
    """Write the golden vectors, one file each; the bytes depend on nothing but the names.

    Parameters
    ----------
    folder : path
        Made if it is not there.
    names : sequence of str, optional
        Which configurations; all of them if omitted.

    Yields
    ------
    pathlib.Path
        Each file when it is complete.
    """
    table = configurations()
    unknown = sorted(set(names or ()) - set(table))
    if unknown:
        raise ValueError(f"names: expected some of {', '.join(table)}; got {', '.join(unknown)}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or table:
        path = folder / f"{name}.json"
        encoded = text_of(vector(name, table[name])).encode()
        with replacing(path) as file:
            file.write(encoded)
        yield path


# Reading ----------------------------------------------------------------------------------


def shipped():
    """Names of the golden vectors that come with the package."""
    return sorted(item.name.removesuffix(".json")
                  for item in (resources.files("nfref.oracle") / "vectors").iterdir()
                  if item.name.endswith(".json"))


def load(source):
    """Read a golden vector.

    Parameters
    ----------
    source : str or path
        The name of a shipped one (see :func:`shipped`), or a JSON file.

    Returns
    -------
    dict
        As in the file, with every {shape, decimal, hex} turned into a float64 array and
        ``flow`` into the Flow.

    Raises
    ------
    ValueError
        If it is not a golden vector of a schema this version knows.
    """
    if str(source) in shipped():
        file = resources.files("nfref.oracle") / "vectors" / f"{source}.json"
    else:
        file = Path(source)
    try:
        golden = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{source}: expected JSON, got an error at line {error.lineno}") from None
    if not isinstance(golden, dict) or golden.get("kind") != "nfref golden vector":
        raise ValueError(f"{source}: expected a golden vector, got another kind of JSON")
    if golden["schema"] != SCHEMA:
        raise ValueError(f"{source}: expected schema {SCHEMA}, got {golden['schema']}")
    flow = rebuild(golden.pop("flow"))
    arrays = {key: nested(array_of, value, is_leaf) if isinstance(value, (dict, list)) and
              key != "convention" else value for key, value in golden.items()}
    return {**arrays, "flow": flow}
