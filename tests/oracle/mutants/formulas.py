"""nfref's formulas as plain callables, built from a module that may be mutated."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import nfref

ROOT = Path(nfref.__file__).parent


@dataclass(frozen=True)
class Family:
    """Formulas of one module, and how to make a flow of them.

    Attributes
    ----------
    module : str
        Path inside of the package.
    functions : tuple of str
        Those that are mutated.
    build : callable
        (namespace of the module, rng) -> arguments of check_flow.
    """

    module: str
    functions: tuple
    build: object

    @property
    def source(self):
        return (ROOT / self.module).read_text()

    def namespace(self, source=None):
        """The module, executed from its own or from a mutated source, apart from the real one."""
        name = "nfref." + self.module.removesuffix(".py").replace("/", ".")
        namespace = {"__name__": name}
        exec(compile(source or self.source, self.module, "exec"), namespace)
        return namespace


def transformer(name, size):
    """An elementwise map with ``size`` random parameters a coordinate; log-slopes added up."""

    def build(ns, rng):
        h = rng.standard_normal((size, 3))

        def along(transform):
            def act(rows):
                mapped, log_slope = transform(rows, *h.astype(rows.dtype))
                return mapped, np.sum(np.broadcast_to(log_slope, rows.shape), axis=1)

            return act

        return dict(
            dim=3, forward=along(ns[f"{name}_forward"]), inverse=along(ns[f"{name}_inverse"])
        )

    return build


def sigmoid(ns, rng):
    lower = rng.standard_normal(2) + 0.1
    upper = lower + np.exp(rng.standard_normal(2))
    return dict(
        dim=2,
        codomain=(lower, upper),
        forward=lambda z: ns["sigmoid_forward"](z, lower, upper),
        inverse=lambda x: ns["sigmoid_inverse"](x, lower, upper),
    )


def planar(ns, rng):
    """Two layers: one that compresses (slack < 1) and one that stretches (slack > 1)."""
    layers = []
    for sign in (-1, 1):
        w = rng.standard_normal(2)
        w *= rng.uniform(0.7, 1.5) / np.linalg.norm(w)
        u = 0.5 * rng.standard_normal(2)
        u += w * (sign * rng.uniform(1.2, 2) - w @ u) / (w @ w)
        layers.append((u, w, rng.standard_normal(1)))

    def forward(z):
        total = 0
        for u, w, b in layers:
            z, log_det = ns["planar_forward"](z, *ns["constrain_u"](u, w), w, b)
            total = total + log_det
        return z, total

    def inverse(x):
        total = 0
        for u, w, b in layers[::-1]:
            x, log_det = ns["planar_inverse"](x, *ns["constrain_u"](u, w), w, b)
            total = total + log_det
        return x, total

    # Its inverse is slow, and the round trips already say all that an integral could.
    return dict(dim=2, forward=forward, inverse=inverse, skip=("normalised",))


def _net(rng, columns):
    """A fixed smooth network; its weights make every output depend on every input."""
    first, second = rng.standard_normal((2, 2)), 0.5 * rng.standard_normal((2, columns))
    return lambda seen: np.tanh(seen @ first) @ second


def coupling(ns, rng):
    """Coordinates 0 and 2 stay, 1 and 3 change."""
    net = _net(rng, 4)

    def along(transform):
        def act(rows):
            changed, log_det = ns["couple"](
                rows[:, [0, 2]],
                rows[:, [1, 3]],
                transform,
                lambda kept: np.split(net(kept), 2, axis=1),
            )
            kept_and_changed = np.concatenate([rows[:, [0, 2]], changed], axis=1)
            return kept_and_changed[:, [0, 2, 1, 3]], log_det

        return act

    return dict(dim=4, forward=along(nfref.Affine().forward), inverse=along(nfref.Affine().inverse))


def autoregressive(ns, rng):
    slopes = np.triu(rng.standard_normal((3, 3)), 1)
    other = np.triu(rng.standard_normal((3, 3)), 1)

    def conditioner(x):
        return np.tanh(x) @ slopes + 0.3, 0.5 * np.sin(x @ other) + 0.2

    forward, inverse = nfref.Affine().forward, nfref.Affine().inverse
    return dict(
        dim=3,
        forward=lambda z: ns["autoregressive_forward"](z, forward, conditioner),
        inverse=lambda x: ns["autoregressive_inverse"](x, inverse, conditioner),
    )


def _invertible(rng, dim):
    return np.eye(dim) + 0.4 * rng.standard_normal((dim, dim))


def linear(ns, rng):
    weight = _invertible(rng, 3)
    weight[0] *= -2 * np.sign(np.linalg.det(weight))  # negative, whatever was drawn
    return dict(
        dim=3,
        forward=lambda z: ns["linear_forward"](z, weight),
        inverse=lambda x: ns["linear_inverse"](x, weight),
    )


def lu_linear(ns, rng):
    order = np.array([2, 0, 1])
    lower = np.tril(rng.standard_normal((3, 3)), -1) + np.eye(3)
    upper = np.triu(rng.standard_normal((3, 3)), 1) + np.diag([-0.5, 1.7, 0.6])
    log_diagonal = np.log(np.abs(np.diag(upper)))
    return dict(
        dim=3,
        forward=lambda z: ns["lu_linear_forward"](z, order, lower, upper, log_diagonal),
        inverse=lambda x: ns["lu_linear_inverse"](x, order, lower, upper, log_diagonal),
    )


def pixels(ns, rng):
    """A 1x1 convolution over an image of 2 channels, 3 x 2 pixels."""
    weight = _invertible(rng, 2)
    back = np.linalg.inv(weight)
    log_det = np.linalg.slogdet(weight)[1]

    def along(matrix, sign):
        return lambda rows: (rows @ matrix.T, np.full(len(rows), sign * log_det, rows.dtype))

    shape = (2, 3, 2)
    return dict(
        dim=12,
        forward=lambda z: ns["at_every_pixel"](along(weight, 1), z, shape),
        inverse=lambda x: ns["at_every_pixel"](along(back, -1), x, shape),
    )


def composition(ns, rng):
    """Two members that do not commute, in nfref's Composition."""

    class Pair(ns["Composition"]):
        dim = 2
        flows = (nfref.ElementwiseAffine(2), nfref.PlanarLayer(2))

    params = [
        {"shift": rng.standard_normal(2), "log_scale": rng.standard_normal(2)},
        {"u": rng.standard_normal(2), "w": rng.standard_normal(2), "b": np.ones(1)},
    ]
    pair = Pair()
    return dict(
        dim=2,
        forward=lambda z: pair._forward(params, z, None),
        inverse=lambda x: pair._inverse(params, x, None),
    )


def layer(name, **options):
    """A layer of nfref with random weights, from the namespace of its module."""

    def build(ns, rng):
        flow = ns[name](**options)
        params = nfref.params.tree_map(
            lambda leaf: leaf + 0.4 * rng.standard_normal(leaf.shape), flow._init(rng)
        )
        return dict(
            dim=flow.dim,
            forward=lambda z: flow._forward(params, z, None),
            inverse=lambda x: flow._inverse(params, x, None),
        )

    return build


FAMILIES = {
    "affine": Family(
        "transformers/affine.py", ("affine_forward", "affine_inverse"), transformer("affine", 2)
    ),
    "sigmoid": Family("flows/elementwise.py", ("sigmoid_forward", "sigmoid_inverse"), sigmoid),
    "planar": Family(
        "flows/planar.py",
        ("constrain_u", "planar_slope", "planar_forward", "planar_inverse", "minus_tanh"),
        planar,
    ),
    "additive": Family(
        "transformers/additive.py",
        ("additive_forward", "additive_inverse"),
        transformer("additive", 1),
    ),
    "coupling": Family("flows/coupling.py", ("couple",), coupling),
    "autoregressive": Family(
        "flows/autoregressive.py",
        ("autoregressive_inverse", "autoregressive_forward"),
        autoregressive,
    ),
    "linear": Family("flows/linear.py", ("linear_forward", "linear_inverse"), linear),
    "LU linear": Family(
        "flows/linear.py", ("lu_linear_forward", "lu_linear_inverse", "solve_triangular"), lu_linear
    ),
    "pixels": Family("flows/images/layers.py", ("at_every_pixel",), pixels),
    "composition": Family(
        "flows/composition.py", ("Composition._forward", "Composition._inverse"), composition
    ),
    "coupling layer": Family("flows/coupling.py", (), layer("Coupling", mask=(True, False, True))),
    "MADE layer": Family("flows/autoregressive.py", (), layer("MADE", dim=3, order=(1, 2, 0))),
    "squeeze": Family("flows/images/layers.py", (), layer("Squeeze", shape=(1, 4, 2))),
    "actnorm": Family("flows/images/layers.py", (), layer("ActNorm", shape=(2, 1, 2))),
    "permutation": Family("flows/linear.py", (), layer("Permutation", order=(2, 0, 1))),
}

# Changes of masks, indices and orders, which have no arithmetic to swap: (family, old, new).
# Those of planar_root are by hand too: it is a safeguarded solver, and a change of one node
# mostly changes the path to the same root.
MASKS = "made_masks(order, degrees, self.transformer.size, self.context_dim, self.periodic)"
BY_HAND = (
    (
        "planar",
        "minus_tanh(a) + slack * np.tanh(a) - target",
        "minus_tanh(a) + np.tanh(a) - target",
    ),
    (
        "planar",
        "minus_tanh(a) + slack * np.tanh(a) - target",
        "minus_tanh(a) - slack * np.tanh(a) - target",
    ),
    ("planar", "minus_tanh(a) + slack * np.tanh(a) - target", "a + slack * np.tanh(a) - target"),
    (
        "planar",
        "minus_tanh(a) + slack * np.tanh(a) - target",
        "minus_tanh(a) + slack * np.sin(a) - target",
    ),
    ("planar", "np.copysign(a, r), r)", "a, r)"),
    ("planar", "for _ in range(200)", "for _ in range(2)"),
    ("planar", "ulp = np.finfo(a.dtype).eps", "ulp = 1e-5"),
    ("coupling layer", "permute(rows, self._order)", "rows"),
    ("coupling layer", "permute(rows, self._order)", "permute(rows, self._order[::-1])"),
    ("coupling layer", "np.argsort(self._order))", "self._order[::-1])"),
    ("coupling layer", "axis=1), np.argsort(self._order))", "axis=1)[:, ::-1], self._order)"),
    (
        "coupling layer",
        "lambda kept: self.conditioner(params, kept, context)",
        "lambda kept: self.conditioner(params, rows[:, :2], context)",
    ),
    (
        "coupling layer",
        "params, x, context, self.transformer.inverse",
        "params, x, context, self.transformer.forward",
    ),
    (
        "coupling layer",
        "params, z, context, self.transformer.forward",
        "params, 2 * z, context, self.transformer.forward",
    ),
    (
        "coupling layer",
        "params, x, context, self.transformer.inverse",
        "params, x + 1, context, self.transformer.inverse",
    ),
    ("MADE layer", f"return {MASKS}", f"return [mask.T[:, ::-1].T for mask in {MASKS}]"),
    ("MADE layer", f"return {MASKS}", f"return [np.ones_like(mask) for mask in {MASKS}]"),
    ("MADE layer", f"return {MASKS}", f"return [*{MASKS}[:-1], np.ones_like({MASKS}[-1])]"),
    ("MADE layer", f"return {MASKS}", f"return [*{MASKS}[:-1], np.roll({MASKS}[-1], 1, axis=1)]"),
    ("MADE layer", f"return {MASKS}", f"return [np.ones_like({MASKS}[0]), *{MASKS}[1:]]"),
    (
        "MADE layer",
        "constrained(self.transformer, params, outputs)",
        "constrained(self.transformer, params, outputs[:, ::-1])",
    ),
    (
        "MADE layer",
        "constrained(self.transformer, params, outputs)",
        "constrained(self.transformer, params, np.concatenate([outputs[:, 1:], outputs[:, :1]], 1))",
    ),
    ("autoregressive", "z.shape[1] if passes is None else passes", "z.shape[1] - 1"),
    ("autoregressive", "z.shape[1] if passes is None else passes", "1"),
    ("squeeze", "transpose((0, 1, 4, 2, 5, 3))", "transpose((0, 1, 4, 3, 5, 2))"),
    ("squeeze", "transpose((0, 1, 3, 5, 2, 4))", "transpose((0, 1, 5, 3, 2, 4))"),
    ("actnorm", 'np.repeat(params["shift"], pixels)', 'np.tile(params["shift"], pixels) * z0'),
    ("permutation", "permute(x, np.argsort(self.order))", "permute(x, np.array(self.order))"),
    (
        "permutation",
        "permute(z, np.array(self.order)), np.zeros",
        "permute(z, np.array(self.order)), np.ones",
    ),
    ("permutation", "permute(z, np.array(self.order))", "permute(z, np.array((2, 0, 2)))"),
    (
        "planar",
        "np.log(planar_slope(a, slack))[:, 0]\n\n\ndef planar_inverse",
        "np.log(planar_slope(np.sum(w * (z + u_hat * np.tanh(a)), axis=1, keepdims=True) + b, "
        "slack))[:, 0]\n\n\ndef planar_inverse",
    ),
    ("LU linear", "rows = permute(x, np.argsort(permutation))", "rows = permute(x, permutation)"),
    (
        "LU linear",
        "solve_triangular(lower, rows, True), False)",
        "solve_triangular(lower, rows, True), True)",
    ),
    (
        "linear",
        "np.linalg.slogdet(weight)[1] + np.zeros(len(z)",
        "np.log(np.linalg.det(weight)) + np.zeros(len(z)",
    ),
    (
        "linear",
        "np.linalg.slogdet(weight)[1] + np.zeros(len(z)",
        "np.linalg.slogdet(weight)[0] + np.zeros(len(z)",
    ),
    ("composition", "reversed(list(enumerate(self.flows)))", "enumerate(self.flows)"),
    (
        "composition",
        "for k, flow in enumerate(self.flows):\n            z, log_det",
        "for k, flow in list(enumerate(self.flows))[::-1]:\n            z, log_det",
    ),
)
