"""The plan of a fit, and the table that it is for."""

import time
from dataclasses import dataclass, replace

from nfref.flow import Flow
from nfref.runtime.annotations import Any, Array, Callable, Places, Sequence
from nfref.runtime.checks import check_count, check_positive, shortened
from nfref.tables.fitting.effort import EFFORTS, Effort
from nfref.tables.fitting.flow_kinds import FLOWS, SEARCHED, FlowKind
from nfref.tables.fitting.results import Progress
from nfref.tables.fitting.trainings import SearchState

BUDGET = 600.0  # default seconds of a search
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
    checkpoint : callable or None
        Called with a :class:`~nfref.tables.fitting.trainings.SearchState` once a minute, in a
        thread of the fit, and when a signal ends it.
    resume : SearchState or None
        Continue from there. With the same rows and plan the bits are those of a search that was
        never interrupted, unless the time budget ends one of them.
    simple : bool
        Whether simple densities take part. Without them flows stand alone, however few the rows.
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
    checkpoint: Callable[[SearchState], object] | None = None
    resume: SearchState | None = None
    simple: bool = True
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

    def has_spent(self, share: float) -> bool:
        """Return True if this share of the time budget is spent; the rest is for later stages."""
        return self.time_budget is not None and self.seconds() >= share * self.time_budget

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
    group: Array | None = None

    def at(self, rows: Places) -> "TableFit":
        """Return the fit of some of the rows."""
        weight = None if self.weight is None else self.weight[rows]
        return replace(self, table=[values[rows] for values in self.table], weight=weight)
