"""Charts as SVG, which is text: shares side by side, ranks, curves.

Colours are classes that the page's style sheet gives, one set for light and one for dark. Each
chart says in its label what it shows, for those who hear it.
"""

from html import escape

import numpy as np

from nfref.runtime.annotations import Any, Sequence

WIDTH, HEIGHT = 320, 150
LEFT, RIGHT, TOP, BOTTOM = 40, 14, 10, 34


def _number(value):
    return f"{value:.6g}"


def ticks(low, high, most=5):
    """Round numbers from low to high, at most so many."""
    if not high > low:
        return [low]
    step = 10 ** np.floor(np.log10((high - low) / most))
    step = next(step * m for m in (1, 2, 5, 10, 20) if (high - low) / (step * m) <= most - 1)
    first = np.ceil(low / step - 1e-9)
    return [float(k * step) + 0.0 for k in np.arange(first, np.floor(high / step + 1e-9) + 1)]


class Chart:
    """A plot area with axes in data units, to which marks are added.

    Parameters
    ----------
    x, y : (low, high)
    label : str
        What it shows, in a sentence.
    xlabel : str
    xticks : sequence of (position, text), optional
    percent : bool
        Whether y is a share.
    width, height : int
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        label: str,
        xlabel: str = "",
        xticks: Sequence[Any] | None = None,
        percent: bool = False,
        width: int = WIDTH,
        height: int = HEIGHT,
    ) -> None:
        self.x, self.y, self.width, self.height, self.label = x, y, width, height, label
        self.marks = []
        bottom = height - BOTTOM
        for value in ticks(*y, 4):
            at = self._v(value)
            text = f"{100 * value:.4g}%" if percent else _number(value)
            self.marks.append(
                f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{at:.1f}" '
                f'y2="{at:.1f}"/><text x="{LEFT - 4}" y="{at + 3.5:.1f}" '
                f'text-anchor="end">{text}</text>'
            )
        for value, text in xticks or [(value, _number(value)) for value in ticks(*x)]:
            at = self._h(value)
            self.marks.append(
                f'<text x="{at:.1f}" y="{bottom + 13}" text-anchor="middle">{escape(text)}</text>'
            )
        self.marks.append(
            f'<text x="{(LEFT + width - RIGHT) / 2}" y="{height - 5}" '
            f'text-anchor="middle">{escape(xlabel)}</text>'
        )

    def _h(self, value):
        return LEFT + (value - self.x[0]) / (self.x[1] - self.x[0]) * (self.width - LEFT - RIGHT)

    def _v(self, value):
        return TOP + (self.y[1] - value) / (self.y[1] - self.y[0]) * (self.height - TOP - BOTTOM)

    def bars(self, edges, heights, kind, shrink=0.0):
        """Bars from zero."""
        for low, high, share in zip(edges[:-1], edges[1:], heights):
            gap = shrink * (high - low)
            left, right = self._h(low + gap), self._h(high - gap)
            top = self._v(share)
            self.marks.append(
                f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" '
                f'width="{right - left:.1f}" height="{self._v(0) - top:.1f}"/>'
            )

    def steps(self, edges, heights, kind):
        """The outline of bars."""
        x = np.repeat(edges, 2)
        y = np.concatenate([[0], np.repeat(heights, 2), [0]])
        self.line(x, y, kind)

    def line(self, x, y, kind):
        """A line through points; numbers that are not finite are left out."""
        points = " ".join(
            f"{self._h(a):.1f},{self._v(np.clip(b, *self.y)):.1f}"
            for a, b in zip(x, y)
            if np.isfinite(b)
        )
        self.marks.append(f'<polyline class="{kind}" points="{points}"/>')

    def band(self, x, low, high):
        """What chance allows."""
        points = [*zip(x, low), *zip(x[::-1], high[::-1])]
        points = " ".join(f"{self._h(a):.1f},{self._v(np.clip(b, *self.y)):.1f}" for a, b in points)
        self.marks.append(f'<polygon class="band" points="{points}"/>')

    def dots(self, x, y, kind):
        """Points."""
        self.marks += [
            f'<circle class="{kind}" cx="{self._h(a):.1f}" cy="{self._v(b):.1f}" r="3"/>'
            for a, b in zip(x, y)
        ]

    def text(self):
        """The SVG."""
        return (
            f'<svg role="img" aria-label="{escape(self.label, quote=True)}" '
            f'viewBox="0 0 {self.width} {self.height}">{"".join(self.marks)}</svg>'
        )


def shares(column):
    """A column's data as bars and the model's draws as an outline."""
    labelled = column.edges is None
    edges = np.arange(len(column.labels) + 1) - 0.5 if labelled else column.edges
    top = max(column.data.max(), column.draws.max(), 1e-9)
    xticks = None
    if labelled:
        every = -(-len(column.labels) // 5)
        xticks = [
            (k, label if len(label) < 13 else label[:11] + "\u2026")
            for k, label in enumerate(column.labels)
            if k % every == 0
        ]
    chart = Chart(
        (edges[0], edges[-1]),
        (0, 1.05 * top),
        f"{column.name}: shares of rows, data as bars and the model as a line",
        column.name,
        xticks,
        percent=True,
    )
    chart.bars(edges, column.data, "data", 0.15 if labelled else 0.0)
    chart.steps(edges, column.draws, "model")
    return chart.text()


def pit(column, rows):
    """Ranks of a column's data among draws, with a band of two standard deviations."""
    bins = len(column.pit)
    share, sd = 1 / bins, np.sqrt((1 - 1 / bins) / bins / rows)
    chart = Chart(
        (0, 1),
        (0, 1.05 * max(column.pit.max(), share + 2 * sd)),
        f"{column.name}: histogram of the probability integral transform, p = {column.pvalue:.3g}",
        f"PIT of {column.name}",
        percent=True,
    )
    chart.bars(np.linspace(0, 1, bins + 1), column.pit, "data", 0.06)
    ends = np.array([0.0, 1.0])
    chart.band(ends, np.full(2, max(share - 2 * sd, 0)), np.full(2, share + 2 * sd))
    chart.line(ends, np.full(2, share), "model")
    return chart.text()


def calibration(levels, coverage, rows, draws):
    """Shares of the data within regions against the probability that the model gives them."""
    sd = np.sqrt(levels * (1 - levels) * (1 / rows + 1 / draws))
    chart = Chart(
        (0, 1),
        (0, 1),
        "Calibration: shares of the data in the model's highest-density "
        "regions against their probability",
        "probability by the model",
        percent=True,
        width=360,
        height=300,
        xticks=[(k / 4, f"{25 * k}%") for k in range(5)],
    )
    chart.band(levels, levels - 2 * sd, levels + 2 * sd)
    chart.line([0, 1], [0, 1], "model")
    chart.line(levels, coverage, "observed")
    chart.dots(levels, coverage, "data")
    return chart.text()


def likelihoods(data, draws):
    """Log-likelihoods of data and of draws."""
    data, draws = data[np.isfinite(data)], draws[np.isfinite(draws)]
    if not len(data) or not len(draws):
        return ""
    low = min(np.quantile(part, 0.005) for part in (data, draws))
    high = max(part.max() for part in (data, draws))
    if not high > low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, 41)
    heights = [np.histogram(part, edges)[0] / len(part) for part in (data, draws)]
    chart = Chart(
        (low, high),
        (0, 1.05 * max(part.max() for part in heights)),
        "Log-likelihoods of the rows, data as bars and the model's draws as a line",
        "log-likelihood, nats",
        percent=True,
        width=360,
        height=300,
    )
    chart.bars(edges, heights[0], "data")
    chart.steps(edges, heights[1], "model")
    return chart.text()


def curve(name, history):
    """Negative log-likelihoods by epoch."""
    values = np.concatenate([np.asarray(part, np.float64) for part in history.values()])
    values = values[np.isfinite(values)]
    if not len(values):
        return ""
    low, high = values.min(), np.quantile(values, 0.98)  # the first epochs may be far above
    margin = 0.05 * (high - low) or 0.5
    epochs = max(map(len, history.values()))
    chart = Chart(
        (1, max(epochs, 2)),
        (low - margin, high + margin),
        f"{name}: negative log-likelihood by epoch, training as a dashed and validation "
        "as a full line",
        "epoch",
    )
    for part, kind in (("train", "observed dashed"), ("validation", "model")):
        if part in history:
            chart.line(np.arange(1, len(history[part]) + 1), history[part], kind)
    return chart.text()
