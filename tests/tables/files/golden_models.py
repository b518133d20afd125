"""Golden model files: one of every kind, which every later version of nfref has to read.

    python -m tests.tables.files.golden_models

writes into ``tests/tables/files/golden`` the missing files of this table: ``NAME.npz``, with its
rows and their log-likelihoods in ``NAME.json``. It never overwrites a file: a new class gets a file
of its own, and old files keep their content.
"""

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pandas

import nfref
from nfref.flows.free_form import FreeFormFlow
from nfref.runtime import params as trees
from nfref.runtime.backends import one_thread
from nfref.tables.files import checkpoints
from nfref.tables.files.model_file import save_model
from nfref.tables.fitting import trainings
from nfref.tables.fitting.fit import fit_table
from nfref.tables.fitting.plan import Plan, TableFit
from nfref.tables.schema.column_inference import find_columns
from nfref.transformers.rounded import Rounded

FOLDER = Path(__file__).with_name("golden")
IMAGE = (2, 4, 4)
ASKED = {"seed": 0, "flow": "maf", "lr": None, "bounded": [["a", 0.0, 1.0]]}


def densities():
    """Return name -> density of flows, with random parameters."""
    small, affine = (3,), nfref.Affine("exp")
    inner = nfref.Coupling((True, False), context_dim=2, hidden=small)
    flows = {
        "planar": nfref.Chain([nfref.Invert(nfref.PlanarLayer(2)), nfref.Planar(2, 2)]),
        "radial": nfref.Chain([nfref.RadialLayer(2), nfref.Radial(2, 2), nfref.RadialExpansion(2)]),
        "sylvester": nfref.Chain(
            [nfref.SylvesterLayer(3, "triangular"), nfref.Sylvester(3, 2, bottleneck=2)]
        ),
        "elementwise": nfref.Chain(
            [
                nfref.Scale(2),
                nfref.ElementwiseAffine(2),
                nfref.BatchNorm(2),
                nfref.Standardise((0.1, -7.0), (2.0, 1 / 3)),
                nfref.Logit((None, 0), (None, 3)),
            ]
        ),
        "linear": nfref.Chain(
            [
                nfref.Linear(3),
                nfref.LULinear(3),
                nfref.Permutation((2, 0, 1)),
                nfref.FixedLinear(((1, 2, 0), (0, 0.5, 1), (1, 0, 0))),
                nfref.OnFirst(nfref.Linear(2, bias=False), 3),
            ]
        ),
        "nice": nfref.NICE(3, 2, small),
        "real_nvp": nfref.RealNVP(3, 2, small, batch_norm=True, activation="tanh"),
        "coupling": nfref.Chain(
            [
                nfref.Coupling((True, False, False), transformer, small, context_dim=1)
                for transformer in (
                    nfref.Additive(),
                    affine,
                    nfref.LogisticMixture(2),
                    nfref.RationalQuadratic(3),
                )
            ]
        ),
        "made": nfref.MADE(3, (4,), order=(2, 0, 1), context_dim=2),
        "maf": nfref.MAF(3, 2, (4,), context_dim=1),
        "iaf": nfref.IAF(2, 1, (4,)),
        "naf": nfref.Chain(
            [
                nfref.NAF(2, 1, (4,), 2),
                nfref.UMNN(2, 1, (4,), 2, 16, 2.0),
                nfref.MADE(2, (4,), nfref.DeepSigmoid(2)),
            ]
        ),
        "monotone_maps": nfref.Chain(
            [
                nfref.MADE(2, (4,), transformer)
                for transformer in (
                    nfref.LinearSpline(2),
                    nfref.QuadraticSpline(3),
                    nfref.CubicSpline(2),
                    nfref.Bernstein(3),
                    nfref.SumOfSquares(2, 2),
                )
            ]
        ),
        "gaussianization": nfref.GaussianizationFlow(2, 2, 2),
        "single_coordinates": nfref.Elementwise(2, nfref.Gaussianization(2)),
        "marginal_spline": nfref.MarginalSpline(2, 3),
        "block_naf": nfref.BlockNAF(2, (2, 2)),
        "umnn": nfref.MADE(2, (4,), nfref.MonotoneIntegral(2, 16, 2.0)),
        "nsf": nfref.NSF(2, 2, (4,), 3),
        "cnf": nfref.CNF(2, (4,), solver="rk4", steps=10),
        "convex_potential": nfref.ConvexPotentialFlow(2, (4,)),
        "residual": nfref.Chain([nfref.ResidualFlow(2, 2, (4,)), nfref.ResidualBlock(2, small)]),
        "free_form": FreeFormFlow(2, 1, (4,)),
        "injective": nfref.InjectiveFlow(nfref.RealNVP(3, 2, small), 2),
        "amortized": nfref.Amortized(nfref.PlanarLayer(2), 1, small),
        "hinge": nfref.Hinge(2),
        "probability_flow": nfref.ProbabilityFlow(2, 2),
        "dequantisation": nfref.Chain([nfref.Scale(2), nfref.VariationalDequantisation(inner, 16)]),
        "image_layers": nfref.Chain(
            [
                nfref.ActNorm(IMAGE),
                nfref.ChannelAffine(IMAGE),
                nfref.InvertibleConv(IMAGE),
                nfref.ChannelCoupling(IMAGE, small),
                nfref.SplitPrior(IMAGE),
                nfref.TopPrior(IMAGE),
                nfref.ImageCoupling(IMAGE, "checkerboard", 0, 2, 1),
                nfref.Squeeze(IMAGE),
            ]
        ),
        "glow": nfref.Glow(IMAGE, 1, 1, small),
        "real_nvp_image": nfref.RealNVPImage((1, 4, 4), 1, 2, 1),
        "tarflow": nfref.Chain(
            [nfref.TarFlow(4, 2, channels=2, heads=1), nfref.TarFlowBlock(4, channels=2, heads=1)]
        ),
    }
    circles = nfref.Product(
        (
            nfref.VonMises(1),
            nfref.Uniform((-np.pi,), (np.pi,), periodic=True),
            nfref.StandardNormal(1),
        )
    )
    by_coordinate = nfref.ByCoordinate((nfref.MoebiusCircle(2), nfref.MoebiusCircle(2), affine))
    bases = {
        "normal_bases": nfref.Product(
            (nfref.DiagonalNormal(1), nfref.FullNormal(2), nfref.NormalMixture(2, 2))
        ),
        "other_bases": nfref.Product(
            (
                nfref.Logistic(1),
                nfref.Laplace(1),
                nfref.StudentT(1, 5.0),
                nfref.Uniform((-9.0,), (9.0,)),
            )
        ),
        "absolute_value": nfref.Product(
            (
                nfref.GenerativeAbs(nfref.Density(nfref.Scale(1)), small),
                nfref.InferenceAbs(nfref.StandardNormal(2), None),
            )
        ),
        "sorting": nfref.Product(
            (
                nfref.InferenceSort(nfref.GenerativeSort(nfref.DiagonalNormal(2))),
                nfref.InferenceMax(
                    nfref.DiagonalNormal(1), nfref.GenerativeAbs(nfref.DiagonalNormal(1))
                ),
            )
        ),
    }
    return {
        **{name: nfref.Density(flow) for name, flow in flows.items()},
        **{name: nfref.Density(nfref.Scale(base.dim), base) for name, base in bases.items()},
        "whole_numbers": nfref.Density(
            nfref.RealNVP(2, 2, small, transformer=Rounded()), nfref.DiscretisedLogistic(2, 2)
        ),
        "masks": nfref.Density(nfref.Permutation((1, 0)), nfref.MaskedFlow(2, 3, small)),
        "argmax": nfref.Density(
            nfref.Permutation((1, 0)),
            nfref.ArgmaxFlow(nfref.DiagonalNormal(4), 2, nfref.MAF(4, 1, (4,), context_dim=4)),
        ),
        "sphere": nfref.Density(nfref.SphereSpline(3, 1, (4,), 3), nfref.UniformSphere(3)),
        "equivariant": nfref.Density(
            nfref.EquivariantCNF(4, 2, kernels=3, times=2), nfref.CentredNormal(4, 2)
        ),
        "directions": nfref.Density(nfref.ExponentialMap(3, 2), nfref.VonMisesFisher(3, 2.0)),
        "torus": nfref.Density(nfref.MADE(3, (4,), by_coordinate, periodic=(0, 1)), circles),
        "float32": nfref.Density(nfref.MAF(2, 1, (4,))),
    }


def tables():
    """name -> the density of a table of 400 rows."""
    rng = np.random.default_rng(0)
    n = 400
    columns = {
        "size": rng.lognormal(0, 1, n),
        "share": rng.beta(2, 2, n),
        "hour": rng.random(n) * 24,
        "height": rng.normal(170, 10, n),
        "visits": rng.poisson(3, n),
        "color": rng.choice(["blue", "rot"], n),
        "good": rng.random(n) < 0.3,
    }
    columns["amount"] = np.where(columns["good"], 0.0, np.round(columns["size"], 3) + 0.001)
    supports = {"size": "positive", "share": "0:1", "hour": "period 24"}

    def fitted(names, given=(), dim=0, context_dim=0, hidden=(8,)):
        kinds = find_columns(
            names,
            [columns[name] for name in names],
            {name: supports[name] for name in names if name in supports},
        )
        flow = nfref.MAF(dim, 1, hidden, context_dim=context_dim) if dim else "mixture"
        plan = Plan(flow, members=1, epochs=2)
        table = [columns[name] for name in names]
        return fit_table(TableFit(kinds, table, plan, 0, given=given)).density

    return {
        "table": fitted(tuple(columns)[:-1], (), 4, 5),
        "table_given": fitted(("height", "size", "visits", "color"), ("size", "color"), 1, 4),
        "table_labels": fitted(("height", "size", "color"), ("height", "size")),
        "table_atoms": fitted(("amount", "height", "color", "good")),
        "table_packed": fitted(("height", "share"), (), 2, 0, (16, 16)),
        "table_continuous": fitted(("height", "share")),
        "table_discrete": fitted(("visits", "color")),
    }


def detectors():
    """name -> a detector of 40 rows of a DataFrame, and rows to score."""
    rng = np.random.default_rng(0)
    rows = pandas.DataFrame({"x": rng.standard_normal(40), "town": rng.choice(["a", "b"], 40)})
    return {"estimator": nfref.FlowOutlierDetector("gaussian", random_state=0).fit(rows)}


def posterior():
    """A posterior from simulations, given an observation."""
    rng = np.random.default_rng(0)
    theta = rng.random((60, 2))
    x = theta[:, :1] + 0.1 * rng.standard_normal((60, 1))
    options = {"bounds": [(0, 1), (0, None)], "flow": "gaussian"}
    return nfref.Posterior.from_simulations(theta, x, **options).given([0.4])


def checkpoint():
    """The state of a search: a training that ended, and one after its second epoch."""
    rng, states = np.random.default_rng(0), []
    columns = [rng.standard_normal(400), rng.standard_normal(400)]
    plan = Plan(nfref.MAF(2, 1, (4,)), members=1, epochs=2, folds=2, checkpoint=states.append)
    with mock.patch.object(trainings, "CHECKPOINT_SECONDS", 0.0):
        one_thread().run(fit_table, TableFit(find_columns(("a", "b"), columns), columns, plan, 0))
    return next(
        state
        for state in states
        if [one.state and one.state.epoch for one in state.trainings] == [None, 2]
    )


def drawn(density, rng, dtype=np.float64):
    """Parameters near those that a fit starts from."""
    return trees.tree_map(
        lambda leaf: (leaf + 0.2 * rng.standard_normal(leaf.shape)).astype(dtype), density.init(rng)
    )


def exact(value):
    """Nested dicts and lists in which floats are hexadecimal text."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return value.hex() if isinstance(value, float) else value


def log_prob_of(density, params, rows, context):
    """What rows score; the bound of an argmax flow, which has no log_prob."""
    if isinstance(density.base, nfref.ArgmaxFlow):
        return density.base.lower_bound(params["base"], rows, np.random.default_rng(0))
    return density.log_prob(params, rows, context)


def write_density(name, density):
    """The model file of a density of flows, and what its rows score."""
    rng = np.random.default_rng(sum(name.encode()))
    params = drawn(density, rng, np.float32 if name == "float32" else np.float64)
    context = rng.standard_normal((3, density.context_dim)) if density.context_dim else None
    if isinstance(density.base, nfref.ArgmaxFlow):
        rows = density.base.sample(params["base"], rng, 3)
    else:
        rows = density.sample(params, rng, 3, context).astype(np.float64)
    with nfref.backend("numpy"):
        scores = {
            "rows": rows,
            "context": context,
            "log_prob": log_prob_of(density, params, rows, context),
        }
    save_model(
        FOLDER / f"{name}.npz",
        density,
        params,
        info={"purpose": "golden"},
        columns=[f"column {k}" for k in range(density.dim)],
    )
    return scores


def write_table(name, density):
    """The same of the density of a table."""
    rows = [column.sampled(np.array([0.0, 1.0])) for column in density.columns]
    save_model(FOLDER / f"{name}.npz", density, info={"purpose": "golden"})
    return {"rows": rows, "log_prob": density.log_prob(rows)}


def write_detector(name, detector):
    """The same of a detector, and what it calls outliers."""
    detector.save(FOLDER / f"{name}.npz")
    rows = pandas.DataFrame({"x": [0.1, 7.0], "town": ["a", "b"]})
    return {
        "rows": [values.tolist() for _, values in rows.items()],
        "log_prob": nfref.FlowDensity.score_samples(detector, rows),
        "score": detector.score_samples(rows),
    }


def write_posterior(name, given):
    """The same of a posterior; the column of the observation is last."""
    given.save(FOLDER / f"{name}.npz")
    rows = np.array([[0.3, 0.5], [0.45, 0.7]])
    return {"rows": [*rows.T, np.full(2, 0.4)], "log_prob": given.logpdf(rows)}


def write_checkpoint(name, state):
    """A checkpoint, and the sum of the parameters in it."""
    checkpoints.write(FOLDER / f"{name}.npz", state, ASKED)
    ended, begun = state.trainings
    return {
        "sum": float(np.sum(ended.vector)),
        "epoch": begun.state.epoch,
        "history": ended.history,
    }


def main():
    for write, things in (
        (write_density, densities()),
        (write_table, tables()),
        (write_detector, detectors()),
        (write_posterior, {"posterior": posterior()}),
        (write_checkpoint, {"checkpoint": None}),
    ):
        for name, thing in things.items():
            if not (FOLDER / f"{name}.npz").exists():
                scores = write(name, thing or checkpoint())
                (FOLDER / f"{name}.json").write_text(
                    json.dumps(exact(scores)) + "\n", encoding="utf-8"
                )
                print(f"wrote {name}")


if __name__ == "__main__":
    main()
