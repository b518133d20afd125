"""A model as nested dicts and lists of arrays, as the exported file computes with it.

One function a class, by its exact type: whatever has none is refused by name. Masked weights of
autoregressive networks are 0 in the result, and constants that need SciPy are numbers.
"""

import dataclasses

import numpy as np
from scipy.special import stdtr

from nfref.bases.standard_normal import StandardNormal
from nfref.density import Density
from nfref.flows.autoregressive import MADE
from nfref.flows.coupling import Coupling
from nfref.flows.elementwise import ElementwiseAffine, Logit, Scale, Standardise
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable, Sequence
from nfref.runtime.checks import require
from nfref.tables.densities.gaussian import Gaussian
from nfref.tables.densities.grouped import GroupedGaussian
from nfref.tables.densities.label_models import LabelNetwork, LabelTrees
from nfref.tables.densities.label_pool import LabelPool
from nfref.tables.densities.latent_classes import (
    FREEDOM,
    LabelProbabilities,
    LatentClasses,
    Normal,
    Numbers,
)
from nfref.tables.densities.mixture import GaussianMixture
from nfref.tables.densities.pool import FittedFlow, Regressed
from nfref.tables.densities.regression import MixtureRegression
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.densities.wide import Wide
from nfref.tables.schema.columns import EXACT, Category, Column, Continuous
from nfref.tables.schema.repeated_values import cell_of, decimals
from nfref.transformers.additive import Additive
from nfref.transformers.affine import Affine
from nfref.transformers.rational_quadratic import RationalQuadratic

Described = dict[str, Any]


def described(
    name: str, part: Any, kinds: dict[Any, Callable[..., Described]], *params: Any
) -> Described:
    """Return a part as ``kinds`` describe its class, or refuse it by name."""
    if type(part) not in kinds:
        expected = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(f"{name}: expected {expected}, got {type(part).__name__}")
    return kinds[type(part)](name, part, *params)


# Columns ------------------------------------------------------------------------------------


def described_columns(density: TableDensity) -> list[Described]:
    """Return name, kind and support of each column, and the constants of its maps."""
    found = []
    for column in density.columns:
        about = {"name": column.name, "kind": column.kind, "given": column.name in density.given}
        if isinstance(column, Continuous):
            about |= {"kind": "real", **_continuous(column)}
        elif column.kind == "category":
            about |= {"labels": list(column.labels), "least": 0, "most": len(column.labels) - 1}
        else:
            about |= {"least": column.low, "most": column.high}
        found.append(about)
    return found


def _continuous(column):
    """Return the constants of a continuous column; what does not apply to it is left out."""
    about: Described = {
        "low": column.low,
        "high": column.high,
        "middle": column.middle,
        "scale": column.scale,
        "tail": column.tail,
        "inner": column.decode(np.zeros(1))[0],  # a point of the support
    }
    for name in ("soft", "period"):
        if getattr(column, name) is not None:
            about[name] = getattr(column, name)
    if column.first is not None:
        about["turn"] = [column.first, np.nextafter(column.first + column.period, column.first)]
    if column.step is not None:
        low, high = (column.low, column.high) if column.period is None else (-np.inf, np.inf)
        ends = (np.array([low, high]) - column.offset) / column.step
        about |= {"step": column.step, "offset": column.offset, "alone": column.alone}
        about["ends"] = [np.floor(ends[0]) + 1, np.ceil(ends[1]) - 1]
        about["digits"] = decimals(column.step, column.offset)
    if column.atoms:
        turned = column._turned(column.atoms)
        about["atoms"] = np.stack([column.atoms, turned, cell_of(turned)], axis=1).tolist()
    return about


def flow_columns(names: Sequence[str], ends: Logit | None) -> list[Described]:
    """Return the columns of a flow alone, which have no units; a logit next to the data is theirs.

    Parameters
    ----------
    names : sequence of str
    ends : Logit or None
    """
    none = [None] * len(names)
    bounds = zip(ends.lower, ends.upper) if ends else zip(none, none)
    columns = [
        Continuous(name) if low is None or high is None else Continuous(name, low, high)
        for name, (low, high) in zip(names, bounds)
    ]
    found = described_columns(TableDensity(tuple(columns), None, None))
    return [{**about, "tail": np.inf} for about in found]


def described_features(
    columns: Sequence[Column], centre: Array, scale: Array
) -> list[Described | None]:
    """Return how the codes of columns become numbers for a network; None for real ones."""
    return [
        None
        if isinstance(column, Continuous)
        else _feature(
            len(column.labels) if isinstance(column, Category) else 0, centre[k], scale[k]
        )
        for k, column in enumerate(columns)
    ]


def _feature(labels: int, centre: float, scale: float) -> Described:
    """Return the places of labels, or the units of a number."""
    if labels:
        return {"places": np.arange(labels, dtype=np.float64)}
    return {"centre": float(centre), "scale": float(scale)}


# Discrete columns ---------------------------------------------------------------------------


def _classes(name, classes):
    return {
        "log_weights": classes.log_weights,
        "given": list(classes.given),
        "parts": [described(name, part, PARTS) for part in classes.parts],
    }


def _numbers(name, part):
    within = part.mass_within()
    return {
        **_fields(name, part),
        "low": max(part.low, -EXACT),
        "high": min(part.high, EXACT),
        "log_whole": np.log(within),
        "within": within,
        "below": stdtr(FREEDOM, (part.low - 0.5 - part.middle) / part.scale),
    }


def _label_pool(name, pool):
    return {
        "classes": _classes(name, pool.classes),
        "target": pool.target,
        "features": [_feature(pool.sizes[j], pool.centre[j], pool.scale[j]) for j in pool.given],
        "networks": [
            [described(name, one, NETWORKS) for one in member] for member in pool.networks
        ],
        "weights": pool.weights,
        "linear": pool.linear,
        "power": pool.power,
    }


def _trees(name, part):
    asked = part.asked[..., 0].astype(np.int64)
    return {"asked": asked, "edge": part.asked[..., 1], "value": part.value, "start": part.start}


def _fields(name, part):
    return {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}


PARTS = {LabelProbabilities: _fields, Numbers: _numbers, Normal: _fields}
NETWORKS = {LabelNetwork: _fields, LabelTrees: _trees}
DISCRETE = {LatentClasses: _classes, LabelPool: _label_pool}


# Members of the pool ------------------------------------------------------------------------


def _gaussian(name, one):
    return _mixture(
        name, GaussianMixture(np.zeros(1), one.mean[None], np.asarray(one.cholesky)[None])
    )


def _mixture(name, mixture):
    return {
        "kind": "mixture",
        "log_weights": mixture.log_weights,
        "means": mixture.means,
        "choleskys": mixture.choleskys,
        "log_diagonal": _log_diagonal(mixture.choleskys),
    }


def _grouped(name, groups):
    return {
        "kind": "grouped",
        **_fields(name, groups),
        "labels": groups.labels.astype(np.int64),
        "log_diagonal": _log_diagonal(groups.choleskys),
    }


def _log_diagonal(factors):
    return np.sum(np.log(np.diagonal(factors, axis1=1, axis2=2)), axis=1)


def _regression(name, one):
    return {**_mixture(name, one.joint), "kind": "regression", "slopes": one.slopes}


def _regressed(name, one):
    return {
        "kind": "regressed",
        "density": described(name, one.density, MEMBERS),
        "slopes": one.slopes,
    }


def _wide(name, wide):
    require(
        wide.freedom == 3 and np.isfinite(wide.reach),
        f"{name}: expected a wide density of 3 degrees of freedom and finite reach, got {wide}",
    )
    beyond, of_t, mass = wide._mass
    return {
        "kind": "wide",
        "freedom": 3.0,
        "reach": wide.reach,
        "beyond": beyond,
        "of_t": of_t,
        "mass": mass,
    }


MEMBERS: dict[Any, Callable[..., Described]] = {
    Gaussian: _gaussian,
    GaussianMixture: _mixture,
    GroupedGaussian: _grouped,
    MixtureRegression: _regression,
    Regressed: _regressed,
    Wide: _wide,
    FittedFlow: lambda name, fitted: described_flow(name, fitted.density, fitted.params),
}


# Flows --------------------------------------------------------------------------------------


def described_flow(name: str, density: Density, params: Any, skip: int = 0) -> Described:
    """Return the layers of a flow, from data to latent, without the first ``skip``."""
    require(
        type(density.base) is StandardNormal,
        f"{name}: expected base StandardNormal, got {type(density.base).__name__}",
    )
    layers = []
    for layer, direction, path in density.flow.members(-1)[skip:]:
        layers.append(described(name, layer, LAYERS, trees.at_path(params["flow"], path)))
        require(direction == -1, f"{name}: expected no Invert, got one of {type(layer).__name__}")
    return {"kind": "flow", "layers": layers}


def _made(name, made, params):
    net = [
        {"weight": np.where(mask, layer["weight"], 0), "bias": layer["bias"]}
        for layer, mask in zip(params["net"], made.masks)
    ]
    return {"kind": "made", **_conditioned(name, made, params), "net": net}


def _coupling(name, coupling, params):
    mask = np.array(coupling.mask)
    stay, change = np.flatnonzero(mask), np.flatnonzero(~mask)
    return {
        "kind": "coupling",
        **_conditioned(name, coupling, params),
        "net": params["net"],
        "stay": stay,
        "change": change,
        "back": np.argsort(np.concatenate([stay, change])),
    }


def _conditioned(name, layer, params):
    name = f"{name}, {type(layer).__name__}"
    require(not layer.periodic, f"{name}: expected no periodic coordinates, got some")
    return {
        "context": layer.context_dim > 0,
        "activation": layer.activation,
        "transformer": {
            **described(name, layer.transformer, TRANSFORMERS),
            **params.get("transformer", {}),
        },
    }


def _scale(name, layer, params):
    shift, log_scale = layer._affine(params, np.dtype(np.float64))
    return {"kind": "scale", "shift": shift, "log_scale": log_scale}


def _affine(name, affine):
    require(affine.scale != "gate", f"{name}: expected an affine scale other than 'gate', got it")
    return {"kind": "affine", "size": 2, **_fields(name, affine)}


def _spline(name, spline):
    require(not spline.circular, f"{name}: expected splines with linear tails, got circular ones")
    bound = np.array(spline.bound) if isinstance(spline.bound, tuple) else spline.bound
    return {"kind": "spline", "size": spline.size, **_fields(name, spline), "bound": bound}


LAYERS = {
    MADE: _made,
    Coupling: _coupling,
    Scale: _scale,
    ElementwiseAffine: _scale,
    Standardise: _scale,
}
TRANSFORMERS = {
    Additive: lambda name, part: {"kind": "affine", "size": 1, "scale": None},
    Affine: _affine,
    RationalQuadratic: _spline,
}
