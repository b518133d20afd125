"""The state of a fit after an epoch, and what a fit needs to continue from it to the same bits."""

import math
from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, Generator
from nfref.runtime.checks import require
from nfref.runtime.configuration import Configuration


@dataclass(frozen=True)
class FitState(Configuration):
    """The state of a fit after an epoch, with all that resuming it to the same bits needs.

    Attributes
    ----------
    vector, averaged : (P,) array
        The parameters, and their running average, which is scored.
    m, v : (P,) array
        Adam's moments after ``steps`` steps.
    steps : int
    best : (P,) array
        The best parameters so far, of epoch ``best_epoch`` (None: the start), with
        ``best_score`` nats per row.
    best_score : float
    best_epoch : int or None
    history : dict of list of float
        As in :class:`~nfref.training.loop.FitResult`.
    rng : dict
        The state of the generator.
    unflatten, evaluated : callable or None
        Functions from a vector to parameters: the first returns the parameters themselves; the
        second those for scoring, with the statistics of the training set in batch norm that
        evaluates with them. None in a state from a file.
    """

    vector: Array
    averaged: Array
    m: Array
    v: Array
    steps: int
    best: Array
    best_score: float
    best_epoch: int | None
    history: dict[str, list[float]]
    rng: dict[str, Any]
    unflatten: Any
    evaluated: Any

    @classmethod
    def later(cls, make: Callable[[], "FitState"]) -> "FitState":
        """Return the state that ``make`` makes once any of it is read.

        Few callbacks read every state, and to put its vectors into the order of the parameters
        takes half as long as the steps of a small epoch.
        """
        state = object.__new__(cls)
        state._set(_make=make)
        return state

    def __getattr__(self, name):
        """Return a field of a state that is not made yet; threads may ask at the same time."""
        make = self.__dict__.get("_make")
        if make is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._set(**vars(make()), _make=None)
        return getattr(self, name)

    @property
    def epoch(self) -> int:
        """The number of completed epochs."""
        return len(self.history["train"])

    @property
    def params(self) -> dict[str, Any]:
        """The current parameters, nested.

        Batch norm that evaluates with the statistics of the training set has outdated ones here:
        training does not use them.
        """
        return self.unflatten(self.vector)

    @property
    def best_params(self) -> dict[str, Any]:
        """The best parameters so far, nested: the result of a fit that ended here.

        If batch norm evaluates with the statistics of the training set, each access costs a pass
        over the training rows.
        """
        return self.evaluated(self.best)

    def _check(self):
        vectors = (self.vector, self.averaged, self.m, self.v, self.best)
        require(
            len({(one.shape, one.dtype) for one in vectors}) == 1
            and self.vector.ndim == 1
            and self.vector.dtype.kind == "f",
            "vector: expected vectors of one length and dtype, got others",
        )
        np.random.default_rng(0).bit_generator.state = self.rng
        passed = [[float(value) for value in values] for values in self.history.values()]
        require(
            {"train"} <= set(self.history) <= {"train", "validation"}
            and len({len(values) for values in passed}) == 1
            and type(self.steps) is int
            and not math.isnan(self.best_score)
            and (self.best_epoch is None or 0 <= int(self.best_epoch) < len(passed[0])),
            "history: expected numbers that fit each other, got others",
        )


def check_resume(state: Any, vector: Array, validated: bool, rng: Generator) -> None:
    """Check that a fit can continue from a state.

    Parameters
    ----------
    state : object
        Expected to be a FitState.
    vector : (P,) array
        The starting parameters of the fit, in its dtype.
    validated : bool
        Whether the fit has validation rows.
    rng : numpy.random.Generator
    """
    if not isinstance(state, FitState):
        raise TypeError(f"resume: expected a FitState, got {type(state).__name__}")
    if state.vector.shape != vector.shape or state.vector.dtype != vector.dtype:
        raise ValueError(
            f"resume: expected {vector.size} parameters in {vector.dtype}, "
            f"got {state.vector.size} in {state.vector.dtype}"
        )
    if ("validation" in state.history) != validated:
        raise ValueError("resume: expected validation rows exactly where the first fit had some")
    kind = type(rng.bit_generator).__name__
    if state.rng["bit_generator"] != kind:
        raise ValueError(
            f"rng: expected a generator of {state.rng['bit_generator']}, as in the "
            f"first fit, got {kind}"
        )
