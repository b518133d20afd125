"""A column of a table for a plot: its name, its labels, where it ends."""

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import FixedLocator, MaxNLocator

from nfref.plots.canvas import limits_of
from nfref.runtime.annotations import Any, Array, Sequence

LONGEST_LABEL = 12  # characters of a label on an axis
MOST_LABELS = 6  # on an axis of a small panel; of more, every second, third, ... is written
JITTER = 0.35  # most that a discrete value is moved to either side, so that dots do not overlap
JITTER_SEED = 6174
BINS = 40


@dataclass(frozen=True)
class PlottedColumn:
    """A column of numbers, of whole numbers, or of labels.

    Parameters
    ----------
    name : str
    labels : tuple of str
        The values are places of these labels; empty for numbers.
    whole : bool
        True if the values are whole numbers that are counted.
    low, high : float
        The ends of its support: no axis goes beyond.
    """

    name: str
    labels: tuple = ()
    whole: bool = False
    low: float = -math.inf
    high: float = math.inf

    @property
    def discrete(self) -> bool:
        """True if values repeat: they are moved apart in a scatter, and counted in bars."""
        return bool(self.labels) or self.whole

    def limits(self, *values: Array) -> Array:
        """Return (low, high) around nearly all values, inside of the support."""
        if self.labels:
            return np.array([-0.5, len(self.labels) - 0.5])
        found = limits_of(*(part[:, None] for part in values))[0]
        if self.whole:
            found = np.array([np.floor(found[0]) - 0.5, np.ceil(found[1]) + 0.5])
            return np.maximum(found, self.low - 0.5)
        return np.clip(found, self.low, self.high)

    def histogram(self, axes: Any, tables: Any, colours: Any) -> None:
        """Plot the shares of values (name -> values): a few bars beside each other, or outlines."""
        low, high = axes.get_xlim()
        if not self.discrete or high - low > 2 * BINS:
            edges = np.linspace(low, high, BINS + 1)
            for name, values in tables.items():
                axes.hist(values, edges, density=True, histtype="step", color=colours[name])
            return
        edges = np.arange(low, high + 0.5)
        width = 0.8 / len(tables)
        for k, (name, values) in enumerate(tables.items()):
            shares = np.histogram(values, edges)[0] / len(values)
            middle = edges[:-1] + 0.5 + width * (k - (len(tables) - 1) / 2)
            axes.bar(middle, shares, width, color=colours[name])

    def ticks(self, axis: Any, most: int) -> None:
        """Put at most ``most`` ticks of numbers on an axis, or labels."""
        if not self.labels:
            axis.set_major_locator(MaxNLocator(most, prune="both", integer=self.whole))
            return
        places = np.arange(0, len(self.labels), -(-len(self.labels) // MOST_LABELS))
        axis.set_major_locator(FixedLocator(places.tolist()))
        axis.set_ticklabels([_short(self.labels[place]) for place in places])


def dots(columns: Sequence[PlottedColumn], rows: Array) -> Array:
    """Return rows for a scatter: discrete values are moved a little, the same way each time."""
    # a seed of its own: samples whose generator had the same one would show a pattern
    jitter = np.random.default_rng(JITTER_SEED).uniform(-JITTER, JITTER, rows.shape)
    return rows + jitter * np.array([column.discrete for column in columns])


def as_columns(columns: Sequence[Any]) -> list[PlottedColumn]:
    """Return columns, of which some may be plain names."""
    return [one if isinstance(one, PlottedColumn) else PlottedColumn(one) for one in columns]


def _short(label):
    text = label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}\u2026"
    return text.replace("$", r"\$")  # which starts a formula
