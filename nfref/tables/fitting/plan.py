"""What is asked of the fit of a table, how far it has come, and what was tried."""

from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Any
from nfref.runtime.checks import check_floats, require
from nfref.runtime.configuration import Configuration
from nfref.tables.fitting.flow_kinds import FLOWS, SEARCHED, FlowKind
from nfref.training.fitting import FitState

BUDGET = 600.0  # seconds for a search where nothing else is said
LEARNING_RATE = 5e-3  # 1e-3 with a quarter of the rows a step is as good, and takes twice as long


@dataclass(frozen=True)
class Plan:
    """What the user decides.

    Parameters
    ----------
    flow : str, FlowKind or Flow
        "auto", a name of :data:`nfref.tables.fitting.flow_kinds.FLOWS` or a kind made of one, a
        flow of as many columns as are continuous; "mixture" and "gaussian" are simple densities
        alone.
    members : int
        How many flows.
    epochs : int
    batch_size, learning_rate : int, float or None
        None goes by the number of rows, and by the kind of flow.
    time_budget : float or None
        Seconds for all.
    progress : bool
    callback : callable or None
        Called with the :class:`SearchState` after every epoch; where several flows are trained at
        once, after these.
    resume : SearchState or None
        Go on from there: with the same rows and plan otherwise, to the same bits as a search that
        was never interrupted, unless the time budget ends one of them.
    jobs : int
        How many flows are trained at once, by joblib and whatever it is told to run on; 1 trains
        them here, one after the other. The bits are the same.
    simple : bool
        Whether the simple densities take part; without them flows stand alone, however few the
        rows are.
    folds : int
        In how many parts few rows are held out by turns; 1 holds one part out, as of many rows and
        where flows stand alone.
    dtype : {None, "float32", "float64"}
        What flows are trained and scored in; None trains in float32 and scores in float64.
    """

    flow: object = "auto"
    members: int = 4
    epochs: int = 200
    batch_size: int | None = None
    learning_rate: float | None = None
    time_budget: float | None = None
    progress: bool = False
    callback: object = None
    resume: object = None
    jobs: int = 1
    simple: bool = True
    folds: int = 5
    dtype: str | None = None

    @property
    def wants_flows(self):
        return self.members > 0 and self.flow not in ("mixture", "gaussian")

    @property
    def kinds(self):
        """The first flows to be trained; more are of the best of these."""
        if not self.wants_flows:
            return ()
        if self.flow == "auto":
            return SEARCHED[: self.members]
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
        return (kind,) * self.members

    def _given_flow(self, dim, context_dim):
        """The flow itself, if it is one of these columns."""
        if (self.flow.dim, self.flow.context_dim) != (dim, context_dim):
            raise ValueError(
                f"expected one of {dim} columns given {context_dim} numbers, got one "
                f"of {self.flow.dim} given {self.flow.context_dim}"
            )
        return self.flow


# Where a search stands --------------------------------------------------------------------


@dataclass(frozen=True)
class DoneFlow(Configuration):
    """A flow whose training has ended.

    Attributes
    ----------
    vector : (P,) array
        Its parameters, flat, the best by the rows held out.
    message : str
        How its training ended.
    history : dict of list of float
        Its loss after every epoch.
    seconds : float
    stopped : str
        The same in a word, see :class:`nfref.training.loop.FitResult`.
    final : (P,) array or None
        The parameters after it went on with all rows; None is ``vector``.
    """

    vector: np.ndarray
    message: str
    history: dict
    seconds: float
    stopped: str = ""
    final: np.ndarray | None = None

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
    """Where a search stands after an epoch: all that it takes to go on.

    The simple densities are not in it: they are fitted again, in seconds, to the same bits.

    Attributes
    ----------
    done : tuple of DoneFlow
        Those of one kind after each other, one a fold.
    current : FitState or None
        Of the flow that is trained now, if one is.
    seconds : float
        Spent so far.
    """

    done: tuple
    current: Any
    seconds: float

    def _check(self):
        require(
            all(isinstance(flow, DoneFlow) for flow in self.done)
            and isinstance(self.current, (FitState, type(None)))
            and self.seconds >= 0,
            "expected flows that are done and the state of another",
        )
