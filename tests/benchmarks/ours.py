"""The timed work, and nfref's calls for it with each backend."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np

import nfref
from nfref.continuous.adjoint import adjoint
from nfref.flows.continuous import NeuralSystem
from nfref.runtime import dispatch
from nfref.runtime import params as trees
from nfref.runtime.backends import BACKENDS, require_cuda
from nfref.training import gradient
from nfref.training.adam import Adam, decay_of
from nfref.training.fitting import Progress
from nfref.training.rows import Rows
from tests.benchmarks.peers import BINS, BOUND, IMAGES
from tests.continuous.cases import filled

IN_ONE_CALL = 16  # steps of training, as in a fit with many steps per call; an epoch has more
# Flows with sizes of their own: timed beside their formula, some also beside other libraries.
OWN = {
    "RealNVP with batch norm": lambda: nfref.RealNVP(
        2, 8, (64, 64), activation="relu", batch_norm=True
    ),
    "UMNN": lambda: nfref.UMNN(6),
    "NAF": lambda: nfref.NAF(11, 3),
    "Flow++": lambda: nfref.RealNVP(11, 4, transformer=nfref.LogisticMixture()),
    "Radial": lambda: nfref.Radial(2),
    "Sylvester": lambda: nfref.Sylvester(16),
    "Residual": lambda: nfref.ResidualFlow(2),
    "Residual D=16": lambda: nfref.ResidualFlow(16),
    "Glow": lambda: nfref.Glow((1, 8, 8)),
    "TarFlow": lambda: nfref.TarFlow(64, width=4),
    "RealNVPImage": lambda: nfref.RealNVPImage((1, 8, 8)),
}


@dataclass
class Case:
    """A row of the table.

    Attributes
    ----------
    name : str
    kind : {"log_prob", "step", "sample", "log_abs_det"}
    family : {"RealNVP", "MAF", "NSF", "NSF coupling", "CNF", "matrices"} or one of ``OWN``
    sizes : dict
        dim, layers, hidden, rows.
    flops : float
        Of a dense network, for the share of sgemm; 0 leaves it out.
    slow : bool
        Few repeats.
    alone : bool
        Not beside other libraries, which would take minutes.
    evaluations : dict
        Of the right-hand side in one call, by library; filled where something is solved.
    """

    name: str
    kind: str
    family: str
    sizes: dict
    flops: float = 0
    slow: bool = False
    alone: bool = False
    backends: tuple = BACKENDS
    evaluations: dict = field(default_factory=dict)

    def ours(self):
        """Return calls by available backend."""
        if self.family == "matrices":
            return self._matrices()
        density, params = self.density()
        if self.family == "CNF":
            self.evaluations["nfref"] = self._count(density.flow, params["flow"])
        return {name: self._call(name, density, params) for name in self._available()}

    def _available(self):
        """Return the backends of the case; ``cuda`` needs a twin for the device, and a device."""
        on_device = self.family in ("RealNVP", "matrices") and has_device()
        return [name for name in self.backends if name != "cuda" or on_device]

    def _count(self, flow, params):
        """Evaluations of the solve and, for a step, of its adjoint."""
        x = self.rows()
        path = flow.trajectory(params, x, (1.0, 0.0))
        if self.kind != "step":
            return path.evaluations
        system, ones = NeuralSystem(flow, False), np.ones((len(x), 1), np.float32)
        last = np.concatenate([path.values[-1], path.log_det[-1][:, None]], axis=1)
        cotangent = np.concatenate([path.values[-1], -ones], axis=1) / len(x)
        return (
            path.evaluations
            + adjoint(system, 1.0, 0.0, last, cotangent, *system.arguments(params, None))[2]
        )

    def density(self):
        dim, layers, hidden = (self.sizes[key] for key in ("dim", "layers", "hidden"))
        relu = {"activation": "relu"}  # as in the other libraries
        spline = {"bins": BINS, "bound": BOUND, **relu}
        flow = {
            "RealNVP": lambda: nfref.RealNVP(dim, layers, hidden, **relu),
            "MAF": lambda: nfref.MAF(dim, layers, hidden, **relu),
            "NSF": lambda: nfref.NSF(dim, layers, hidden, **spline),
            "NSF coupling": lambda: nfref.NSF(dim, layers, hidden, coupling=True, **spline),
            "CNF": lambda: nfref.CNF(dim, hidden),
            **OWN,
        }[self.family]()
        density = nfref.Density(flow)
        rng = np.random.default_rng(0)
        if self.family == "CNF":  # a velocity of unit size, as after training
            return density, trees.cast(
                {"base": {}, "flow": filled(flow, rng)}, np.dtype(np.float32)
            )
        params = trees.tree_map(
            lambda leaf: (
                leaf + 0.1 / np.sqrt(max(leaf.shape, default=1)) * rng.standard_normal(leaf.shape)
            ).astype(np.float32),
            density.init(rng),
        )
        return density, params

    def rows(self):
        shape = self.sizes["rows"], self.sizes["dim"]
        return np.random.default_rng(1).standard_normal(shape).astype(np.float32)

    def _call(self, backend, density, params):
        x, steps = self.rows(), 1
        if self.kind == "step":
            with nfref.backend(backend):
                work, steps = training_step(density, params, x)
        elif self.kind == "sample":

            def work():
                density.flow.forward(params["flow"], x)
        else:

            def work():
                density.log_prob(params, x)

        def call():
            with nfref.backend(backend):
                work()

        call.steps = steps
        return call

    def stack(self):
        dim = self.sizes["dim"]
        return np.random.default_rng(0).standard_normal((self.sizes["rows"], dim, dim))

    def _matrices(self):
        from nfref.runtime import small_matrices

        matrices = self.stack()

        def call(backend):
            with nfref.backend(backend):
                small_matrices.log_abs_det(matrices)

        return {name: (lambda name=name: call(name)) for name in self._available()}


def training_step(density, params, x):
    """Return (a call of training steps on the rows x, their number), as in a fit."""
    vector, unflatten = trees.flatten(params)
    adam, training = Adam(1e-3), nfref.in_training(density)
    state, learns = adam.start(vector), nfref.adapt(density, params, x[:1]) is not params
    now, batches = Progress(vector, vector, state), [np.arange(len(x))] * IN_ONE_CALL

    def one_step(*arguments):
        _, slope = gradient.loss_and_gradient(training, unflatten, vector, x)
        moved, _ = adam.step(vector, slope, state)
        if learns:
            nfref.adapt(density, unflatten(moved), x)
        return slope

    def many_steps():
        return dispatch.run(
            "steps",
            one_step,
            training,
            unflatten,
            now,
            Rows(x),
            batches,
            adam,
            partial(decay_of, 0.99),
        )

    if learns or not dispatch.threads_of_steps(training, vector, unflatten, len(x)):
        return one_step, 1
    return many_steps, IN_ONE_CALL


def has_device():
    try:
        require_cuda()
    except RuntimeError:
        return False
    return True


def dense(family, dim, layers, hidden):
    """Multiplications and additions a row, of networks without masks."""
    size = 3 * BINS - 1 if family.startswith("NSF") else 2
    if family in ("RealNVP", "NSF coupling"):
        widths = [dim - dim // 2, *hidden, size * (dim // 2)]
    else:
        widths = [dim, *hidden, size * dim]
    return 2 * layers * sum(a * b for a, b in zip(widths[:-1], widths[1:]))


def convolutions(flow, params):
    """Count multiplications and additions a row, borders of the images included."""
    total = 0
    for member, _, path in flow.members():
        member = getattr(member, "flow", member)  # a flow of some channels
        total += sum(
            2 * leaf.size * member.shape[1] * member.shape[2]
            for leaf in trees.leaves(trees.at_path(params, path))
            if leaf.ndim == 4
        )
    return total


def cases():
    """All rows of the table."""
    small = {"dim": 2, "layers": 8, "hidden": (64, 64)}
    large = {"dim": 16, "layers": 8, "hidden": (128, 128)}
    maf = {"dim": 63, "layers": 5, "hidden": (512, 512)}
    nsf = {"dim": 11, "layers": 5, "hidden": (128, 128)}
    made = []

    def add(name, kind, family, sizes, rows, passes, **options):
        flops = passes * rows * dense(family, **sizes) if passes else 0
        made.append(
            Case(
                f"{name}, {rows} rows",
                kind,
                family,
                {**sizes, "rows": rows},
                flops=flops,
                **options,
            )
        )

    for label, sizes in (("D=2 8x(64, 64)", small), ("D=16 8x(128, 128)", large)):
        add(f"RealNVP log_prob {label}", "log_prob", "RealNVP", sizes, 50_000, 1, slow=True)
        add(f"RealNVP step {label}", "step", "RealNVP", sizes, 512, 3)
    add("RealNVP log_prob D=8 8x(64, 64)", "log_prob", "RealNVP", {**small, "dim": 8}, 1, 0)
    add("MAF log_prob D=63 5x(512, 512)", "log_prob", "MAF", maf, 2000, 1)
    add("MAF step D=63 5x(512, 512)", "step", "MAF", maf, 512, 3)
    add(
        "MAF sample D=63 5x(512, 512)",
        "sample",
        "MAF",
        maf,
        2000,
        0,
        slow=True,
        backends=("numba",),
    )
    wide = {"dim": 784, "layers": 2, "hidden": (1024, 1024)}
    add("MAF log_prob D=784 2x(1024, 1024)", "log_prob", "MAF", wide, 512, 1, slow=True)
    add(
        "MAF sample D=784 2x(1024, 1024)",
        "sample",
        "MAF",
        wide,
        512,
        0,
        slow=True,
        alone=True,
        backends=("numba",),
    )
    for family in ("NSF", "NSF coupling"):
        add(f"{family} log_prob D=11 5x(128, 128)", "log_prob", family, nsf, 20_000, 1, slow=True)
        add(f"{family} step D=11 5x(128, 128)", "step", family, nsf, 256, 3)
        add(
            f"{family} sample D=11 5x(128, 128)",
            "sample",
            family,
            nsf,
            2000,
            0,
            slow=True,
            backends=BACKENDS if family == "NSF coupling" else ("numba",),
        )
    add(
        "NSF sample D=63 5x(128, 128)",
        "sample",
        "NSF",
        {**nsf, "dim": 63},
        2000,
        0,
        slow=True,
        backends=("numba",),
    )
    add(
        "CNF log_prob D=16 (128, 128)",
        "log_prob",
        "CNF",
        {"dim": 16, "layers": 1, "hidden": (128, 128)},
        5000,
        0,
        slow=True,
    )
    add("CNF step D=2 (64, 64)", "step", "CNF", {"dim": 2, "layers": 1, "hidden": (64, 64)}, 512, 0)
    for family, make in OWN.items():
        flow, flops = make(), 0
        if family in IMAGES:
            flops = 512 * convolutions(flow, flow.init(np.random.default_rng(0)))
        sizes = {"dim": flow.dim, "layers": None, "hidden": None, "rows": 512}
        for kind, passes in (("log_prob", 1), ("step", 3)):
            made.append(
                Case(
                    f"{family} {kind}, 512 rows",
                    kind,
                    family,
                    sizes,
                    flops=passes * flops,
                    slow=True,
                )
            )
    for dim in (4, 8, 16, 32):
        made.append(
            Case(
                f"matrices log|det| D={dim} float64, 20000",
                "log_abs_det",
                "matrices",
                {"dim": dim, "rows": 20_000},
            )
        )
    return made
