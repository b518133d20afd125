"""The loop around the rounds of a fit: progress, and all ways to end."""

from dataclasses import dataclass

import numpy as np

from nfref.continuous.solve import SolverError
from nfref.objectives.divergences import ImportanceEstimate
from nfref.runtime.annotations import Any, Array, Iterator
from nfref.runtime.checks import plural
from nfref.training.adam import Adam


@dataclass(frozen=True)
class FitResult:
    """The result of a fit. Epochs and steps are counted from 0, as indices into ``history``.

    Attributes
    ----------
    params : nested dicts and lists of arrays
        The best parameters, in the dtype of the training.
    history : dict of list of float
        Values in nats per row; see the function that made the fit.
    best_epoch : int or None
        The epoch of ``params``; None if ``params`` are the starting parameters.
    stopped : {"epochs", "patience", "time", "interrupted", "non-finite"}
        The reason why the fit ended.
    message : str
        The reason in one line for people.
    evidence : ImportanceEstimate or None
        After a fit to a target: log Z by importance sampling from the fitted density, with
        error, effective size, Pareto k and weighted samples. None for other fits, and if the
        target fails at a sample.
    """

    params: dict[str, Any]
    history: dict[str, list[float]]
    best_epoch: int | None
    stopped: str
    message: str
    evidence: ImportanceEstimate | None = None


class NonFinite(Exception):
    """An exception inside a round that ends the fit."""


def check_has_any(vector: Array) -> None:
    """Check that there is a parameter to fit."""
    if not len(vector):
        raise ValueError("params: expected parameters to fit, got a density that has none")


def check_finite(loss: float, gradient: Array | None = None) -> None:
    """End the fit if a loss, or an entry of a gradient, is not finite."""
    if not np.isfinite(loss):
        raise NonFinite(f"a loss of {loss:.4g}")
    if gradient is not None and not np.all(np.isfinite(gradient)):
        raise NonFinite("a gradient that is not finite")


class Descent:
    """Steps of Adam on one vector, each from a loss and its gradient there.

    Parameters
    ----------
    adam : Adam
    vector : (P,) array

    Attributes
    ----------
    latest : (vector, AdamState)
        One assignment changes both, so they belong together after Ctrl-C.
    losses : list of float
    """

    def __init__(self, adam: Adam, vector: Array) -> None:
        self.adam, self.latest = adam, (vector, adam.start(vector))
        self._losses: list[float] = []

    @property
    def losses(self) -> list[float]:
        """The losses of all steps that are done."""
        return self._losses[: self.latest[1].steps]

    def step(self, loss: float, gradient: Array) -> str:
        """Take a step, and return the text of a bar."""
        check_finite(loss, gradient)
        self._losses.append(float(loss))
        self.latest = self.adam.step(self.latest[0], gradient, self.latest[1])
        return f"{loss:.3f} nats"


def run_guarded(
    rounds: Iterator[Any], total: int, unit: str, progress: bool | str, done: int = 0
) -> tuple[str, str]:
    """Run a generator of rounds to its end, with a bar on standard error.

    Parameters
    ----------
    rounds : generator
        Yields the text of the bar after every round; may return the reason for an early end.
    total : int
        Largest number of rounds.
    unit : str
        Name of a round: "epoch" or "step".
    progress : bool or "passing"
        Show a bar; a passing bar disappears when it is full.
    done : int
        Number of rounds of an earlier run.

    Returns
    -------
    stopped : {"epochs", "patience", "time", "interrupted", "non-finite"}
    cause : str
        The value that was not finite; empty otherwise.
    """
    from tqdm import tqdm

    # Overflow shows in the loss, which is checked; a warning would repeat it.
    with (
        tqdm(
            total=total,
            initial=done,
            unit=unit,
            disable=not progress,
            leave=progress != "passing",
            dynamic_ncols=True,
        ) as bar,
        np.errstate(all="ignore"),
    ):
        try:
            while True:
                bar.set_postfix_str(next(rounds), refresh=False)
                bar.update()
        except StopIteration as end:
            return end.value or "epochs", ""
        except KeyboardInterrupt:
            return "interrupted", ""
        except NonFinite as problem:
            return "non-finite", str(problem)
        except SolverError as problem:
            return "non-finite", f"an integration that failed ({problem})"


def message(
    stopped: str, cause: str, unit: str, completed: int, best: int | None, patience: int | None
) -> str:
    """Return the reason why a fit ended, in one line for people."""
    kept = "the start" if best is None else f"{unit} {best}"
    done = f"{completed} {plural(unit, completed)}"
    without = f"{patience} {plural(unit, patience or 0)}"
    if best is None and stopped in ("epochs", "patience"):
        none = "none improved on the starting parameters, which are returned"
        return f"{done} done; {none}"
    return {
        "epochs": f"all {done} done; parameters of {kept}",
        "patience": f"nothing better in {without}; parameters of {kept}",
        "time": f"no time left after {done}; parameters of {kept}",
        "interrupted": f"interrupted in {unit} {completed}; parameters of {kept}",
        "non-finite": f"{cause} in {unit} {completed}; parameters of {kept}",
    }[stopped]
