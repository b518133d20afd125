"""A flow before its training: its density and first parameters, and what the training will cost."""

import math
from dataclasses import dataclass

import numpy as np

from nfref.density import Density
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Generator
from nfref.tables.fitting.effort import TRAINING_SECONDS, epoch_seconds
from nfref.tables.fitting.flow_kinds import FlowKind
from nfref.tables.fitting.folds import UnitRows
from nfref.tables.fitting.plan import Plan
from nfref.training.gradient import threads_of_steps

# Rows of a batch: the first number if an epoch has few enough steps of it (FlowKind.steps), else
# the second. With 17,000 rows of two tables, 128 gained 0.05 and 0.18 nats over 512 in 0.66 and 0.5
# of the seconds, since fewer epochs are needed; 64 gained nothing more. With 9,000 rows of three,
# 64 gained 0.02, 0.05 and 0.44 over 128 in 0.8 to 1.06 of the seconds.
BATCHES = 64, 128


def first_flow(kind: FlowKind, training: UnitRows, rng: Generator) -> tuple[Density, Any]:
    """Return the density of a kind of flow and its first parameters, for these rows.

    Raises
    ------
    ValueError
        If the flow cannot be made for these columns.
    """
    context_dim = 0 if training.context is None else training.context.shape[1]
    try:
        made = kind.reaching(training.u).made(len(training), training.u.shape[1], context_dim, rng)
        density = Density(made)
        return density, density.init(rng)
    except (TypeError, ValueError) as error:
        raise ValueError(f"flow {kind.name}: {error}") from None


def batch_size_for(kind: FlowKind, rows: int) -> int:
    """Return the rows of a step for this number of training rows."""
    small, large = BATCHES
    return small if rows <= kind.steps * small else large


@dataclass(frozen=True)
class TrainingCost:
    """The estimated cost of a training.

    Attributes
    ----------
    parameters : int
    epoch_seconds : float
        Of one core.
    by_kernels : bool
        Whether kernels alone train the flow, many steps in one call. Then each training should have
        a thread: threads that share the steps of one flow wait for each other.
    """

    parameters: int
    epoch_seconds: float
    by_kernels: bool

    @classmethod
    def of(cls, kind: FlowKind, training: UnitRows, plan: Plan) -> "TrainingCost":
        """Return the cost of a kind of flow with these rows."""
        density, params = first_flow(kind, training, np.random.default_rng(0))
        rows = len(training)
        batch = plan.batch_size or batch_size_for(kind, rows)
        step = math.ceil(rows / math.ceil(rows / batch))
        vector, unflatten = trees.flatten(trees.cast(params, np.dtype(plan.dtype or "float32")))
        by_kernels = kind.objective is None
        by_kernels = by_kernels and threads_of_steps(density, vector, unflatten, step) > 0
        return cls(len(vector), epoch_seconds(rows, batch, len(vector)), by_kernels)

    def seconds(self, epochs: float) -> float:
        """Estimate the seconds of one core for a training of so many epochs."""
        return TRAINING_SECONDS + epochs * self.epoch_seconds
