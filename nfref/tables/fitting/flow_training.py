"""Train one flow on one fold: its size, its batches, its early stopping, its last epochs.

Training has two parts. The first keeps the learning rate and stops early, by the rows that the fold
holds out. The second continues while the rate falls to zero. A flow that is one of several folds,
whose mean counts, then sees all rows: the mean does not pay for what each flow learned of its own
rows alone. A flow of one fold would, so it continues on its training rows, and early stopping still
holds. Flows of small tables gain from more epochs at a higher rate.
"""

import math
import time
from typing import NamedTuple

import numpy as np

from nfref.density import Density
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable, Generator
from nfref.runtime.batching import BLOCK
from nfref.tables.densities.pool import FittedFlow
from nfref.tables.fitting.effort import training_seconds
from nfref.tables.fitting.flow_kinds import FEW, FlowKind
from nfref.tables.fitting.folds import Fold, UnitRows
from nfref.tables.fitting.plan import DoneFlow, Plan
from nfref.training.fitting import FitState
from nfref.training.fitting import fit as fit_flow
from nfref.training.gradient import prepare, threads_of_steps

FIRST_PART = 0.6  # share of a flow's seconds for the part with early stopping
# The second part has (1 + MORE exp(-LONGER gap)) times the epochs of the best. The gap is how many
# nats training rows score above held-out ones. MORE is 1 for a flow of several folds and 2 for
# FASTER_ROWS, which also take FASTER times the rate. Fewer rows make few steps an epoch; more rows
# have larger networks, which do not gain.
LONGER, FASTER, FASTER_ROWS = 3.0, 4, range(250, 1250)
LEAST_PATIENCE = 6  # epochs: scores of fewer vary by chance, however many steps they have


class FirstParameters(NamedTuple):
    """A density, its parameters as a vector, the way back from it, and the rows of a step."""

    density: Density
    vector: Array
    unflatten: Callable[[Array], Any]
    step: int


def density_of(kind: FlowKind, rows: int, dim: int, context_dim: int, rng: Generator) -> Density:
    """Return the density of a kind of flow, in a size that suits the number of rows."""
    try:
        density = Density(kind.made(rows, dim, context_dim, rng))
        density.init(np.random.default_rng(0))  # a stack makes its layers only when asked
        return density
    except (TypeError, ValueError) as error:
        raise ValueError(f"flow {kind.name}: {error}") from None


def _density_for(kind, training, rng):
    context_dim = 0 if training.context is None else training.context.shape[1]
    kind = kind.reaching(training.u)
    return density_of(kind, len(training), training.u.shape[1], context_dim, rng)


def batch_size_for(rows: int) -> int:
    """Return the rows of a step: 64 for few rows, then 256, and 512 beyond 50 steps of 256."""
    return 64 if rows < FEW else 256 if rows <= 50 * 256 else 512


def first_parameters(kind: FlowKind, training: UnitRows, plan: Plan) -> FirstParameters:
    """Return what a training of this kind would start from, for the compiler."""
    density, count = _density_for(kind, training, np.random.default_rng(0)), len(training)
    params = density.init(np.random.default_rng(0))
    step = math.ceil(count / math.ceil(count / (plan.batch_size or batch_size_for(count))))
    vector, unflatten = trees.flatten(trees.cast(params, np.dtype(plan.dtype or "float32")))
    return FirstParameters(density, vector, unflatten, step)


def compile_ahead(fold: Fold, plan: Plan) -> None:
    """Start to compile the kernels that flows need in this process, to train and to score."""
    if plan.jobs > 1:
        return
    scored, wanted = min(len(fold.held_out), BLOCK), []
    for kind in plan.kinds if plan.flow == "auto" else plan.kinds[:1]:
        density, vector, unflatten, step = start = first_parameters(kind, fold.training, plan)
        # Many steps in one call have a kernel of their own for scores on the way.
        in_one_call = kind.objective is None and threads_of_steps(*start)
        final = vector.astype(plan.dtype or "float64")
        wanted += [
            (density, vector, unflatten, step, 0 if in_one_call else scored),
            (density, final, unflatten, 0, scored),
        ]
    prepare(wanted)


def train_flow(
    kind: FlowKind,
    fold: Fold,
    rng: Generator,
    plan: Plan,
    seconds_left: float | None,
    callback: Callable[[FitState], object] | None = None,
    resume: FitState | None = None,
) -> DoneFlow:
    """Train one flow on one fold, from the start or from a state of the first part."""
    began, state = time.perf_counter(), resume
    ends: list[float] = []  # of epochs of the first part
    density = _density_for(kind, fold.training, rng)
    dtype = plan.dtype or "float32"
    rate = plan.learning_rate or kind.learning_rate
    batch_size = plan.batch_size or batch_size_for(len(fold.training))
    steps = math.ceil(len(fold.training) / batch_size)

    def train(params, rows, **options):
        rows = rows if kind.objective is None else rows.repeated()
        return fit_flow(
            density,
            params,
            rows.u.astype(dtype),
            rng,
            context=_as_type(rows.context, dtype),
            sample_weight=rows.weight,
            batch_size=batch_size,
            objective=kind.objective,
            progress=False,
            **options,
        )

    def keep(now):
        nonlocal state
        state = now
        ends.append(time.perf_counter())
        if callback is not None:
            callback(now)

    held_out = {
        "validation": fold.held_out.u.astype(dtype),
        "validation_context": _as_type(fold.held_out.context, dtype),
        "validation_weight": fold.held_out.weight,
    }
    patience = max(LEAST_PATIENCE, math.ceil(kind.patience * math.sqrt(len(fold.training)) / steps))
    start = density.init(rng)
    # An epoch in every fold has to pay, like a candidate; the second part repeats it.
    epoch = fold.of * training_seconds(len(fold.training), trees.count(start), epochs=2)
    rows = fold.training.total + fold.held_out.total
    chosen = train(
        start,
        fold.training,
        **held_out,
        epochs=plan.epochs,
        learning_rate=rate,
        patience=patience,
        tolerance=patience * plan.limits.price * epoch / rows if plan.members is None else 0.0,
        time_limit=seconds_left and FIRST_PART * seconds_left,
        callback=keep,
        resume=resume,
    )
    final, message, stopped = chosen, chosen.message, chosen.stopped
    history, epochs_done = chosen.history, len(chosen.history["train"])
    spent = time.perf_counter() - began
    left = seconds_left and seconds_left - spent
    if len(ends) > 1:  # the first epoch waits for kernels that are still being compiled
        spent = (ends[-1] - ends[0]) / (len(ends) - 1) * len(chosen.history["train"])
    bag = fold.of > 1 and kind.objective is None
    faster = bag and len(fold.training) + len(fold.held_out) in FASTER_ROWS
    wanted = epochs_of_second_part(chosen, bag + faster, None, spent)
    if epochs := epochs_of_second_part(chosen, bag + faster, left, spent):
        alone = fold.of == 1
        rows, how = (fold.training, held_out) if alone else (fold.all_rows(), {"validation": None})
        # A resumed fit repeats this part from the same state, to the same bits.
        final = train(
            chosen.params,
            rows,
            **how,
            epochs=epochs,
            schedule="cosine",
            learning_rate=rate * (FASTER if faster and not plan.learning_rate else 1),
            patience=None,
            data_dependent_init=False,
            callback=lambda _: keep(state),
            time_limit=left,
        )
        more = len(final.history["train"])
        message, epochs_done = f"{message}; then {more} epochs", epochs_done + more
        if alone:
            history = {name: values + final.history[name] for name, values in history.items()}
        else:
            message += " of all rows"
        stopped = final.stopped if final.stopped == "interrupted" else stopped
        chosen = final if alone else chosen
    if epochs < wanted and stopped != "interrupted":
        message, stopped = f"{message}; no time left for more", "time"
    vector, last = (
        trees.flatten(trees.cast(one.params, np.dtype(plan.dtype or "float64")))[0]
        for one in (chosen, final)
    )
    seconds = time.perf_counter() - began
    return DoneFlow(vector, message, history, seconds, stopped, last, epochs_done)


def interrupted_flow(state: FitState) -> DoneFlow:
    """Return the flow of the best epoch of a training that Ctrl-C ended."""
    vector = trees.flatten(state.best_params)[0].astype(np.float64)
    message = f"interrupted in epoch {state.epoch}"
    return DoneFlow(vector, message, state.history, 0.0, "interrupted", None, state.epoch)


def _as_type(array, dtype):
    return None if array is None else array.astype(dtype)


def epochs_of_second_part(chosen: Any, more: int, left: float | None, spent: float) -> int:
    """Return for how many epochs a flow continues, 0 if training broke off.

    As many as led to its best, and up to ``more`` times as many besides: the fewer, the better it
    knew its training rows than those held out.
    """
    best = chosen.best_epoch
    if best is None or chosen.stopped in ("interrupted", "non-finite"):
        return 0
    gap = max(chosen.history["validation"][best] - chosen.history["train"][best], 0.0)
    epochs = round((best + 1) * (1 + more * math.exp(-LONGER * gap)))
    if left is None:
        return epochs
    return min(epochs, max(0, int(left * len(chosen.history["train"]) / spent)))


def fitted_flows(
    kind: FlowKind, training: UnitRows, rng: Generator, done: DoneFlow
) -> tuple[FittedFlow, FittedFlow]:
    """Return the flow as held-out rows scored it, and as it was in the end."""
    density = _density_for(kind, training, rng)
    start, unflatten = trees.flatten(trees.cast(density.init(rng), done.vector.dtype))
    if start.shape != done.vector.shape:
        raise ValueError(
            f"resume: expected a flow of {start.size} parameters, got {done.vector.size}"
        )
    final = done.vector if done.final is None else done.final
    return FittedFlow(density, unflatten(done.vector)), FittedFlow(density, unflatten(final))
