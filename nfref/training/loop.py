"""The loop around the rounds of a fit: progress, and every way in which it can end."""

from dataclasses import dataclass

import numpy as np

from nfref.continuous.solve import SolverError
from nfref.runtime.annotations import Any, Iterator


@dataclass(frozen=True)
class FitResult:
    """What a fit found. Epochs and steps are counted from 0, as indices into ``history``.

    Attributes
    ----------
    params : nested dicts and lists of arrays
        The best parameters, in the dtype of the training.
    history : dict of list of float
        Values in nats per row; see the function that fitted.
    best_epoch : int or None
        The epoch that ``params`` come from; None where none was completed and ``params``
        are those the fit started from.
    stopped : {"epochs", "patience", "time", "interrupted", "non-finite"}
        Why it ended.
    message : str
        The same in one line for people.
    """

    params: object
    history: dict
    best_epoch: int | None
    stopped: str
    message: str


class NonFinite(Exception):
    """Raised inside a round to end the fit."""


def check_has_any(vector):
    """A fit needs a parameter to change."""
    if not len(vector):
        raise ValueError("params: expected parameters to fit, got a density that has none")


def check_finite(loss, gradient=None):
    """End the fit where a loss, or one of the entries of a gradient, is not finite."""
    if not np.isfinite(loss):
        raise NonFinite(f"a loss of {loss:.4g}")
    if gradient is not None and not np.all(np.isfinite(gradient)):
        raise NonFinite("a gradient that is not finite")


def run_guarded(
    rounds: Iterator[Any], total: int, unit: str, progress: bool | str, done: int = 0
) -> tuple[str, str]:
    """Run a generator of rounds to its end, with a bar on standard error.

    Parameters
    ----------
    rounds : generator
        Yields after every round what the bar shows; may return why it ended early.
    total : int
        How many rounds there are at most.
    unit : str
        What a round is called: "epoch" or "step".
    progress : bool or "passing"
        Whether there is a bar; one that is passing goes when it is full.
    done : int
        How many rounds an earlier run has done.

    Returns
    -------
    stopped : {"epochs", "patience", "time", "interrupted", "non-finite"}
    cause : str
        What was not finite; empty otherwise.
    """
    from tqdm import tqdm

    # Overflow shows in the loss, which is looked at; a warning would say it twice.
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


def message(stopped, cause, unit, completed, best, patience):
    """Why a fit ended, in one line for people."""
    kept = "the start" if best is None else f"{unit} {best}"
    return {
        "epochs": f"all {completed} {unit}s done; parameters of {kept}",
        "patience": f"nothing better in {patience} {unit}s; parameters of {kept}",
        "time": f"no time left after {completed} {unit}s; parameters of {kept}",
        "interrupted": f"interrupted in {unit} {completed}; parameters of {kept}",
        "non-finite": f"{cause} in {unit} {completed}; parameters of {kept}",
    }[stopped]
