"""A flow before its training: its density, its first parameters, its kernels."""

import math
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nfref.density import Density
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable, Generator, Sequence
from nfref.runtime.batching import BLOCK
from nfref.tables.densities.encoder import coded_columns, feature_count, places_of
from nfref.tables.fitting.effort import TRAINING_SECONDS, epoch_seconds
from nfref.tables.fitting.flow_kinds import FlowKind
from nfref.tables.fitting.folds import Fold, UnitRows, fold_numbers, make_folds
from nfref.tables.fitting.plan import Plan
from nfref.training.gradient import prepare, threads_of_steps

FLOW_ROWS = 50  # fewest rows for which flows are tried beside simple densities
ROWS_TO_COMPILE_FOR = 20_000  # beyond, a few seconds sooner make no difference
# Rows of a batch: the first number if an epoch has few enough steps of it (FlowKind.steps), else
# the second. With 17,000 rows of two tables, 128 gained 0.05 and 0.18 nats over 512 in 0.66 and 0.5
# of the seconds, since fewer epochs are needed; 64 gained nothing more. With 9,000 rows of three,
# 64 gained 0.02, 0.05 and 0.44 over 128 in 0.8 to 1.06 of the seconds.
BATCHES = 64, 128


def flow_of_size(
    kind: FlowKind, rows: int, dim: int, context_dim: int, rng: Generator
) -> tuple[Density, Any]:
    """Return the density of a kind of flow and its first parameters, for that many rows."""
    try:
        density = Density(kind.made(rows, dim, context_dim, rng))
        return density, density.init(rng)
    except (TypeError, ValueError) as error:
        raise ValueError(f"flow {kind.name}: {error}") from None


def first_flow(kind: FlowKind, training: UnitRows, rng: Generator) -> tuple[Density, Any]:
    """Return the density of a kind of flow and its first parameters, for these rows."""
    context_dim = 0 if training.context is None else training.context.shape[1]
    kind = kind.reaching(training.u)
    return flow_of_size(kind, len(training), training.u.shape[1], context_dim, rng)


def batch_size_for(kind: FlowKind, rows: int) -> int:
    """Return the rows of a step for this number of training rows."""
    small, large = BATCHES
    return small if rows <= kind.steps * small else large


@dataclass(frozen=True)
class FirstParameters:
    """The start of a training, as the compiler asks for it.

    Attributes
    ----------
    density : Density
    vector : (P,) array
    unflatten : callable
        (P,) array -> parameters.
    step : int
        The rows of a step.
    likelihood : bool
        Whether the likelihood is maximised, and nothing else.
    epoch_seconds : float
        Of one core, estimated.
    """

    density: Density
    vector: Array
    unflatten: Callable[[Array], Any]
    step: int
    likelihood: bool
    epoch_seconds: float

    @classmethod
    def of(cls, kind: FlowKind, training: UnitRows, plan: Plan) -> "FirstParameters":
        """Return the first parameters of a kind of flow; the generator is not that of a fit."""
        density, params = first_flow(kind, training, np.random.default_rng(0))
        count = len(training)
        batch = plan.batch_size or batch_size_for(kind, count)
        step = math.ceil(count / math.ceil(count / batch))
        vector, unflatten = trees.flatten(trees.cast(params, np.dtype(plan.dtype or "float32")))
        seconds = epoch_seconds(count, batch, len(vector))
        return cls(density, vector, unflatten, step, kind.objective is None, seconds)

    def seconds(self, epochs: float) -> float:
        """Estimate the seconds of one core for a training of so many epochs."""
        return TRAINING_SECONDS + epochs * self.epoch_seconds

    @cached_property
    def by_kernels(self) -> bool:
        """True if kernels alone train the flow, many steps in one call, on one thread.

        Threads that share the steps of one flow wait for each other.
        """
        return self.likelihood and (
            threads_of_steps(self.density, self.vector, self.unflatten, self.step) > 0
        )


# Kernels ----------------------------------------------------------------------------------


def compile_ahead(fold: Fold, plan: Plan) -> bool:
    """Start to compile the kernels that flows need in this process, to train and to score.

    Return True if other processes compile some.
    """
    if plan.jobs > 1:
        return False
    scored, wanted = min(len(fold.held_out), BLOCK), []
    for kind in plan.kinds if plan.flow == "auto" else plan.kinds[:1]:
        start = FirstParameters.of(kind, fold.training, plan)
        density, unflatten = start.density, start.unflatten
        final = start.vector.astype(plan.dtype or "float64")
        wanted += [
            (density, start.vector, unflatten, start.step, scored),
            (density, final, unflatten, 0, scored),
        ]
    return prepare(wanted)


def compile_kernels(plan: Plan, columns: Sequence[Any], rows: int, given: Sequence[str]) -> None:
    """Start to compile the kernels of a fit, if they are missing."""
    dim, context_dim = _dims_of_flows(columns, given)
    if plan.kinds and dim and FLOW_ROWS <= rows <= ROWS_TO_COMPILE_FOR:
        u, context = np.zeros((rows, dim)), np.zeros((rows, context_dim)) if context_dim else None
        folds = make_folds(UnitRows(u, context), fold_numbers(rows, 0.1, plan))
        with suppress(ValueError):  # the fit itself says so
            compile_ahead(folds[0], plan)


# Size -------------------------------------------------------------------------------------


def parameters_of_a_flow(
    plan: Plan, columns: Sequence[Any], rows: int, given: Sequence[str] = ()
) -> int:
    """Count the parameters of the first flow of a plan in all folds; 0 if it has no flow.

    Raises
    ------
    ValueError
        If the flow cannot be made for these columns, or a plan of flows alone has no column for
        them.
    """
    dim, context_dim = _dims_of_flows(columns, given)
    if plan.kinds and not dim and not plan.simple:
        raise ValueError(
            f"flow {plan.kinds[0].name}: expected a column of real numbers, got "
            "categories and counts alone"
        )
    if not (plan.kinds and dim):
        return 0
    params = flow_of_size(plan.kinds[0], rows, dim, context_dim, np.random.default_rng(0))[1]
    return trees.count(params) * (int(np.max(fold_numbers(rows, 0.1, plan))) + 1)


def _dims_of_flows(columns, given):
    """Return how many columns flows have, and how many numbers are their context."""
    return len(places_of(columns, given)[1]), feature_count(coded_columns(columns, given))
