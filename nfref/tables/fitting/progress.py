"""Show how far a fit has come: one line that is rewritten in place, and a line a candidate."""

import sys

from nfref.runtime.annotations import Any, Callable

Say = Callable[[str], object]


class Progress:
    """The progress of a fit on standard error.

    Parameters
    ----------
    say : callable
        Prints a line that stays, such as that of a finished candidate.
    shown : bool
        Whether to show the line that is rewritten. Without a terminal it is never shown.
    """

    def __init__(self, say: Say = lambda line: None, shown: bool = False) -> None:
        self._say, self._shown = say, shown
        self._bar: Any = None
        self.offset = 0.0  # nats a row from the units of a fit to those of the table

    @classmethod
    def on_stderr(cls, shown: bool) -> "Progress":
        """Return a progress that shows all on standard error, or nothing."""
        return cls(lambda line: print(line, file=sys.stderr), shown=True) if shown else cls()

    def stage(self, text: str) -> None:
        """Show what is being done."""
        if not self._shown:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(bar_format="{desc}", disable=None, leave=False, dynamic_ncols=True)
        self._bar.set_description_str(text, refresh=False)
        self._bar.update()

    def epoch(self, name: str, fold: int, folds: int, state: Any, spent: float) -> None:
        """Show the state of a training after an epoch; ``spent`` are the seconds of the search."""
        if not self._shown:
            return
        where = f"fold {fold + 1} of {folds}   " if folds > 1 else ""
        best = self.offset - state.best_score
        self.stage(f"{name}   {where}epoch {state.epoch}   best {best:.2f}   {clock(spent)}")

    def candidate(self, name: str, mean: float, message: str) -> None:
        """Print the line of a candidate whose trainings have ended; ``mean`` is held out."""
        self.say(f"{name}: {mean + self.offset:.3f} nats a row held out; {message}")

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if self._bar is not None:
            self._bar.clear()
        self._say(line)

    def close(self) -> None:
        """Remove the line that is rewritten."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def clock(seconds: float) -> str:
    """Format seconds as minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
