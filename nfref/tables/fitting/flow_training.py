"""Train one flow on one fold: its early stopping, its last epochs.

Training has two parts. The first keeps the learning rate and stops early, by the rows that the fold
holds out. The second continues while the rate falls to zero. With several folds it takes all rows:
the pool takes the mean of the flows, and what each flow learned of its own rows alone costs the
mean little. It would cost a flow of one fold more, so that continues on its training rows. Both its
best epoch and its last are kept, and the pool takes one of them
(:func:`nfref.tables.fitting.candidates.weigh`). Flows of small tables gain from more epochs at a
higher rate.
"""

import math
import time
from dataclasses import dataclass, replace

import numpy as np

from nfref.density import Density
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Callable, Generator
from nfref.runtime.checks import plural
from nfref.tables.fitting.effort import TRAINING_SECONDS, epoch_seconds
from nfref.tables.fitting.flow_kinds import FlowKind
from nfref.tables.fitting.folds import Fold, UnitRows
from nfref.tables.fitting.plan import Plan
from nfref.tables.fitting.trainings import Key, Training
from nfref.training.fit_state import FitState
from nfref.training.fitting import fit as fit_flow
from nfref.training.gradient import threads_of_steps

FIRST_PART = 0.6  # share of a flow's seconds for the part with early stopping
# The second part has (1 + MORE exp(-LONGER gap)) times the epochs of the best. The gap is how many
# nats training rows score above held-out ones. MORE is 1 for a flow of several folds and 2 for
# FASTER_ROWS, which also take FASTER times the rate. Fewer rows make few steps an epoch; more rows
# have larger networks, which do not gain.
LONGER, FASTER, FASTER_ROWS = 3.0, 4, range(250, 1250)
# An epoch of all rows has up to twice as many steps as one of the training rows. Beyond this ratio,
# that of five folds, fewer epochs follow, so that the steps do not grow.
MOST_GROWTH = 1.25
LEAST_PATIENCE = 6  # epochs: scores of fewer vary by chance, however many steps they have
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


# The training -------------------------------------------------------------------------------


def train_flow(
    key: Key,
    kind: FlowKind,
    fold: Fold,
    rng: Generator,
    plan: Plan,
    seconds_left: float | None = None,
    after_epoch: Callable[[FitState], object] = lambda state: None,
    resume: FitState | None = None,
) -> Training:
    """Train one flow on one fold, from the start or from a state of the first part.

    ``after_epoch`` is called with the state of the first part after every epoch of both parts.
    """
    began = time.perf_counter()
    training = _FlowTraining(kind, fold, rng, plan, after_epoch, resume)
    chosen = training.first_part(seconds_left and FIRST_PART * seconds_left)
    spent = time.perf_counter() - began
    left = seconds_left and seconds_left - spent
    if len(training.ends) > 1:  # the first epoch waits for kernels that are still being compiled
        ends, epochs = training.ends, len(chosen.history["train"])
        spent = (ends[-1] - ends[0]) / (len(ends) - 1) * epochs
    wanted = epochs_of_second_part(chosen, training.more, training.growth, None, spent)
    epochs = epochs_of_second_part(chosen, training.more, training.growth, left, spent)
    done = training.done(key, chosen, training.second_part(chosen.params, epochs, left))
    if epochs < wanted and done.stopped != "interrupted":
        done = replace(done, message=f"{done.message}; no time left for more", stopped="time")
    return replace(done, seconds=time.perf_counter() - began)


class _FlowTraining:
    """The training of one flow on one fold.

    Attributes
    ----------
    density : Density
    start : nested dicts and lists of arrays
        Its first parameters.
    batch_size : int
    rates : pair of float
        The learning rates of both parts.
    more : int
        MORE, see above.
    growth : float
        Rows of an epoch of the second part for each row of one of the first.
    state : FitState or None
        Of the first part, after its last epoch.
    last : FitState or None
        Of the second part, after its last epoch.
    ends : list of float
        When each epoch of the first part ended.
    """

    def __init__(self, kind, fold, rng, plan, after_epoch, resume):
        self.kind, self.fold, self.rng, self.plan = kind, fold, rng, plan
        self.after_epoch, self.state, self.last = after_epoch, resume, None
        self.ends: list[float] = []
        self.density, self.start = first_flow(kind, fold.training, rng)
        self.batch_size = plan.batch_size or batch_size_for(kind, len(fold.training))
        in_bag = fold.of > 1 and kind.objective is None
        rows = len(fold.training), len(fold.training) + len(fold.held_out)
        faster = in_bag and rows[1] in FASTER_ROWS
        self.more, self.growth = in_bag + faster, 1.0 if fold.of == 1 else rows[1] / rows[0]
        rate = plan.learning_rate or kind.learning_rate
        self.rates = rate, rate * (FASTER if faster and not plan.learning_rate else 1)

    def first_part(self, seconds):
        """Train until the held-out rows gain no more."""
        plan, rows, held_out = self.plan, self.fold.training, self.fold.held_out
        steps = math.ceil(len(rows) / self.batch_size)
        patience = max(LEAST_PATIENCE, math.ceil(self.kind.patience * math.sqrt(len(rows)) / steps))
        # An epoch in every fold has to pay, like a candidate; the second part repeats it.
        epoch = epoch_seconds(len(rows), self.batch_size, trees.count(self.start))
        price = plan.limits.price * 2 * self.fold.of * epoch / (rows.total + held_out.total)
        return self._fit(
            self.start,
            rows,
            **self._held_out(),
            epochs=plan.epochs,
            learning_rate=self.rates[0],
            patience=patience,
            tolerance=patience * price if plan.members is None else 0.0,
            time_limit=seconds,
            callback=self._keep,
            resume=self.state,
        )

    def second_part(self, params, epochs, seconds):
        """Continue while the rate falls to zero; return None without epochs.

        A resumed fit repeats this part from the same state, to the same bits.
        """
        if not epochs:
            return None

        def keep(state):
            self.last = state
            self._keep(self.state)

        alone = self.fold.of == 1
        rows = self.fold.training if alone else self.fold.all_rows()
        return self._fit(
            params,
            rows,
            **(self._held_out() if alone else {"validation": None}),
            epochs=epochs,
            schedule="cosine",
            learning_rate=self.rates[1],
            patience=None,
            data_dependent_init=False,
            callback=keep,
            time_limit=seconds,
        )

    def done(self, key, chosen, final):
        """Return the record for the first part's result and the second's, which may be None."""
        message, stopped, history = chosen.message, chosen.stopped, chosen.history
        epochs, last = len(history["train"]), chosen.params
        if final is not None:
            more, last = len(final.history["train"]), final.params
            message, epochs = f"{message}; then {more} {plural('epoch', more)}", epochs + more
            stopped = final.stopped if final.stopped == "interrupted" else stopped
            if self.fold.of == 1:
                history = {name: values + final.history[name] for name, values in history.items()}
                chosen = final
                if self.last is not None:
                    last = self.last.evaluated(self.last.averaged)
            else:
                message += " of all rows"
        dtype = np.dtype(self.plan.dtype or "float64")
        vector, last = (trees.flatten(trees.cast(one, dtype))[0] for one in (chosen.params, last))
        return Training(
            *key,
            vector=vector,
            final=last,
            history=history,
            epochs=epochs,
            stopped=stopped,
            message=message,
        )

    def _fit(self, params, rows, **options):
        rows = rows if self.kind.objective is None else rows.repeated()
        return fit_flow(
            self.density,
            params,
            self._as_type(rows.u),
            self.rng,
            context=self._as_type(rows.context),
            sample_weight=rows.weight,
            batch_size=self.batch_size,
            objective=self.kind.objective,
            progress=False,
            **options,
        )

    def _held_out(self):
        """Return the arguments that let held-out rows stop a fit."""
        rows = self.fold.held_out
        return {
            "validation": self._as_type(rows.u),
            "validation_context": self._as_type(rows.context),
            "validation_weight": rows.weight,
        }

    def _as_type(self, array):
        return None if array is None else array.astype(self.plan.dtype or "float32")

    def _keep(self, state):
        self.state = state
        self.ends.append(time.perf_counter())
        self.after_epoch(state)


def epochs_of_second_part(
    chosen: Any, more: int, growth: float, left: float | None, spent: float
) -> int:
    """Return for how many epochs a flow continues, 0 if training broke off.

    These are the epochs that led to its best, and up to ``more`` times as many besides. They are
    fewer if training rows scored better than those held out, and fewer again if an epoch now has
    many more rows.
    """
    best = chosen.best_epoch
    if best is None or chosen.stopped in ("interrupted", "non-finite"):
        return 0
    gap = max(chosen.history["validation"][best] - chosen.history["train"][best], 0.0)
    longer = (1 + more * math.exp(-LONGER * gap)) * min(1.0, MOST_GROWTH / growth)
    epochs = round((best + 1) * longer)
    if left is None:
        return epochs
    return min(epochs, max(0, int(left * len(chosen.history["train"]) / (spent * growth))))
