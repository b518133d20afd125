"""The plan of a fit, the table that it is for, and how far it has come."""

import time
from dataclasses import dataclass, replace

import numpy as np

from nfref.flow import Flow
from nfref.runtime.annotations import Any, Array, Callable, Places, Sequence
from nfref.runtime.checks import check_count, check_floats, check_positive, require, shortened
from nfref.runtime.configuration import Configuration
from nfref.tables.densities.limited_sum import LimitedSum
from nfref.tables.fitting.effort import EFFORTS, Effort
from nfref.tables.fitting.flow_kinds import FLOWS, SEARCHED, FlowKind
from nfref.tables.fitting.progress import Progress
from nfref.training.fit_state import FitState

BUDGET = 600.0  # default seconds of a search
# A stage begins nothing that would end after this share of the time budget: the rest belongs to the
# stages after it. Flows are the last one, and the first of them are trained beside the simple
# densities. A stage always makes the least that the next one needs.
STAGES = {"gaps": 0.3, "discrete": 0.5, "simple": 0.6}
CHOICES = ("auto", "gaussian", "mixture", *FLOWS)
MOST_MEMBERS = 1000
# 1e-3 with a quarter of the rows in a step is as good, and takes twice as long
LEARNING_RATE = 5e-3


@dataclass(frozen=True)
class Plan:
    """The decisions of the user.

    Parameters
    ----------
    flow : str, FlowKind or Flow
        "auto"; a name of :data:`nfref.tables.fitting.flow_kinds.FLOWS` or a kind made from one; a
        flow with as many columns as are continuous; "mixture" and "gaussian" for simple densities
        alone.
    members : int or None
        The number of flow candidates; None trains others as long as they pay.
    epochs : int
        At most, for each flow.
    batch_size, learning_rate : int, float or None
        None lets the number of rows and the kind of flow decide.
    time_budget : float or None
        Seconds for the whole fit. It leaves out candidates, and stops the last training early.
    callback : callable or None
        Called with the :class:`SearchState` after every epoch, or after each group of flows that
        are trained in processes.
    resume : SearchState or None
        Continue from there. With the same rows and plan the bits are those of a search that was
        never interrupted, unless the time budget ends one of them.
    jobs : int
        How many flows are trained at once by joblib, on whatever backend it uses; 1 trains them in
        this process. The bits are the same.
    simple : bool
        Whether simple densities take part. Without them flows stand alone, however few the rows.
    gradients : bool
        Whether each candidate must have a gradient, as those of a posterior: then no vine is tried.
    folds : int or None
        The number of folds; 1 holds out one part, as for flows alone. None lets the effort and the
        number of rows decide.
    dtype : {None, "float32", "float64"}
        Precision of flows; None trains in float32 and scores in float64.
    effort : {"quick", "default", "thorough"}
        How much the fit may cost: the folds, and when another candidate pays.
    began : float or None
        When the fit began, by :func:`time.perf_counter`; :meth:`begun` sets it.
    """

    flow: Any = "auto"
    members: int | None = None
    epochs: int = 200
    batch_size: int | None = None
    learning_rate: float | None = None
    time_budget: float | None = None
    callback: Callable[["SearchState"], object] | None = None
    resume: "SearchState | None" = None
    jobs: int = 1
    simple: bool = True
    gradients: bool = False
    folds: int | None = None
    dtype: str | None = None
    effort: str = "default"
    began: float | None = None

    def begun(self) -> "Plan":
        """Return the plan with its clock started; the clock of a plan runs from its first call."""
        return self if self.began is not None else replace(self, began=time.perf_counter())

    def seconds(self) -> float:
        """Return the seconds that the fit has taken, those before it was resumed included."""
        before = 0.0 if self.resume is None else self.resume.seconds
        return before if self.began is None else before + time.perf_counter() - self.began

    def seconds_left(self) -> float | None:
        """Return the seconds that the time budget leaves, at least 0; None without a budget."""
        return None if self.time_budget is None else max(self.time_budget - self.seconds(), 0.0)

    def is_over(self, stage: str, seconds: float = 0.0) -> bool:
        """Return True if a stage has no time left for what takes so many seconds."""
        budget = self.time_budget
        return budget is not None and self.seconds() + seconds >= STAGES[stage] * budget

    @property
    def limits(self) -> Effort:
        """The limits of what the fit may cost, in numbers."""
        return EFFORTS[self.effort]

    def most_kinds(self, folds: int) -> int:
        """Return the number of flow candidates that is asked for, or the most that may pay."""
        if self.members is not None:
            return self.members
        return self.limits.most if folds > 1 else self.limits.most_alone

    @property
    def kinds(self) -> tuple[FlowKind, ...]:
        """The kinds of the first flow candidates; later ones are of the best of these."""
        if self.members == 0 or self.flow in ("mixture", "gaussian"):
            return ()
        if self.flow == "auto":
            return SEARCHED if self.members is None else SEARCHED[: self.members]
        kind = self.flow
        if isinstance(kind, str):
            kind = FLOWS[kind]
        elif not isinstance(kind, FlowKind):
            kind = FlowKind(
                type(kind).__name__.lower(),
                self._given_flow,
                learning_rate=LEARNING_RATE,
                patience=2.0,
            )
        return (kind,)

    def _given_flow(self, dim, context_dim):
        """Return the flow itself, if it fits these columns."""
        if (self.flow.dim, self.flow.context_dim) != (dim, context_dim):
            raise ValueError(
                f"expected one of {dim} columns given {context_dim} numbers, got one "
                f"of {self.flow.dim} given {self.flow.context_dim}"
            )
        return self.flow


def asked_plan(flow: Any, members: Any, effort: Any, time_budget: Any, **others: Any) -> Plan:
    """Return the plan of an estimator's arguments, which are checked; ``others`` are already."""
    name = flow.lower() if isinstance(flow, str) else flow
    if not (isinstance(name, Flow) or isinstance(name, str) and name in CHOICES):
        raise ValueError(
            f"flow: expected one of {', '.join(CHOICES)} or a Flow, got {shortened(flow)}"
        )
    if members is not None and check_count("members", members, minimum=0) > MOST_MEMBERS:
        raise ValueError(f"members: expected at most {MOST_MEMBERS}, got {members}")
    if effort not in EFFORTS:
        raise ValueError(f"effort: expected one of {', '.join(EFFORTS)}, got {shortened(effort)}")
    if time_budget is not None:
        check_positive("time_budget", time_budget)
    return Plan(name, members, effort=effort, time_budget=time_budget, **others)


# A table to fit ---------------------------------------------------------------------------


@dataclass(frozen=True)
class TableFit:
    """A fit before it is made: the table, and what decides the result.

    Parameters
    ----------
    columns : sequence of Continuous, Category or Count
        From :func:`~nfref.tables.schema.column_inference.find_columns`; continuous ones get the
        robust units of these rows.
    table : sequence of (N,) arrays
        The columns' values.
    plan : Plan
    seed : int
        The same rows and seed give the same density, whatever the order of the rows.
    weight : (N,) array, optional
        Weight of each row, above 0.
    validation : float
        The share of rows that is held out.
    progress : Progress, optional
        Shows how far the fit has come.
    given : sequence of str
        Names of columns that are given: the density is that of the others.
    limit : LimitedSum, optional
        Of the sum of some columns.
    group : (N,) array of int, optional
        Rows of one group are held out together. Then no cell is empty, and all columns that are not
        given are continuous.
    """

    columns: Sequence[Any]
    table: Sequence[Array]
    plan: Plan
    seed: int
    weight: Array | None = None
    validation: float = 0.1
    progress: Progress | None = None
    given: Sequence[str] = ()
    limit: LimitedSum | None = None
    group: Array | None = None

    def at(self, rows: Places) -> "TableFit":
        """Return the fit of some of the rows."""
        weight = None if self.weight is None else self.weight[rows]
        return replace(self, table=[values[rows] for values in self.table], weight=weight)


# Where a search stands --------------------------------------------------------------------


@dataclass(frozen=True)
class DoneFlow(Configuration):
    """A flow whose training has ended.

    Attributes
    ----------
    vector : (P,) array
        Its parameters, flat: the best by the held-out rows.
    message : str
        Why training ended.
    history : dict of list of float
        Its loss after every epoch.
    seconds : float
    stopped : str
        Why training ended, in one word, see :class:`nfref.training.loop.FitResult`.
    final : (P,) array or None
        The parameters after training continued: with all rows, or, of one fold, those of the last
        epoch; ``vector`` if None.
    epochs : int
        The epochs of both parts of the training.
    """

    vector: np.ndarray
    message: str
    history: dict
    seconds: float
    stopped: str = ""
    final: np.ndarray | None = None
    epochs: int = 0

    def _check(self):
        check_floats("vector", self.vector, None)
        if self.final is not None:
            check_floats("final", self.final, *self.vector.shape)
        require(
            isinstance(self.message, str)
            and isinstance(self.stopped, str)
            and isinstance(self.history, dict)
            and self.seconds >= 0,
            "expected how training ended",
        )


@dataclass(frozen=True)
class SearchState(Configuration):
    """The state of a search after an epoch: all that it takes to continue.

    Simple densities are not part of it: they are fitted again, in seconds, to the same bits.

    Attributes
    ----------
    done : tuple of DoneFlow
        One a fold, kind after kind.
    current : FitState or None
        Of the flow that is in training, if one is.
    seconds : float
        Spent so far.
    folds : int or None
        The number of folds; None in files of older versions.
    kinds : tuple of str
        The names of the kinds of flow so far, in the order of their training. A time budget decides
        both, and a fit may be resumed with another.
    """

    done: tuple
    current: Any
    seconds: float
    folds: int | None = None
    kinds: tuple = ()

    def _check(self):
        require(
            all(isinstance(flow, DoneFlow) for flow in self.done)
            and isinstance(self.current, (FitState, type(None)))
            and self.seconds >= 0
            and (self.folds is None or self.folds >= 1)
            and all(isinstance(name, str) for name in self.kinds),
            "expected flows that are done and the state of another",
        )
