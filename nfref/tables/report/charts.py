"""Charts of a report: Matplotlib plots them as SVG text, in the colours of the page.

Each chart has a label that says what it shows, for readers who cannot see it.
"""

import io
import re
from html import escape

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable
from nfref.tables.report.data import Column

# Stand-ins for the page's colours, which differ between its light and its dark theme.
COLOURS = {
    "#000001": "var(--data)",
    "#000002": "var(--model)",
    "#000003": "var(--band)",
    "#000004": "var(--soft)",
    "#000005": "var(--rule)",
}
DATA, MODEL, BAND, SOFT, RULE = COLOURS
STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": SOFT,
    "axes.labelcolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
}


def chart(label: str, plot: Callable[[Any], None], width: int = 320, height: int = 150) -> str:
    """Return the SVG of a chart that ``plot(axes)`` plots."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**STYLE, "svg.hashsalt": label}):
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        axes = figure.add_subplot()
        plot(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = re.sub(r"<(metadata|style).*?</\1>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' id="\w*_\d+"', "", text)  # several charts share a page
    text = re.sub(r"<svg[^>]*>", _start(label, width, height), text, count=1)
    for stand_in, colour in COLOURS.items():
        text = text.replace(stand_in, colour)
    return text


def _start(label, width, height):
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {width} {height}" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">'
    )


def _percent(axes, top):
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axes.set_ylim(0, top)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))


def _compare(axes, edges, data, samples, gap=1.0):
    """Plot the data as bars and the samples as an outline."""
    axes.bar((edges[:-1] + edges[1:]) / 2, data, np.diff(edges) * gap, color=DATA, alpha=0.65)
    axes.stairs(samples, edges, baseline=0, color=MODEL, linewidth=2)
    axes.set_xlim(edges[0], edges[-1])
    _percent(axes, 1.05 * max(data.max(), samples.max(), 1e-9))


def shares(column: Column) -> str:
    """Plot the shares of a column's values, data beside samples."""
    labelled = column.edges is None
    edges = np.arange(len(column.labels) + 1) - 0.5 if labelled else column.edges

    def plot(axes):
        _compare(axes, edges, column.data, column.samples, 0.7 if labelled else 1.0)
        axes.set_xlabel(_plain(column.name))
        if labelled:
            places = range(0, len(column.labels), -(-len(column.labels) // 5))
            axes.set_xticks(places, [_plain(column.labels[k]) for k in places])

    return chart(f"{column.name}: shares of rows, data as bars and the model as a line", plot)


def pit(column: Column, rows: int) -> str:
    """Plot the ranks of a column's data among samples, with a band of two standard deviations."""
    bins = len(column.pit)
    share, deviation = 1 / bins, np.sqrt((1 - 1 / bins) / bins / rows)

    def plot(axes):
        width = 1 / bins
        axes.bar((np.arange(bins) + 0.5) * width, column.pit, 0.88 * width, color=DATA, alpha=0.65)
        axes.axhspan(max(share - 2 * deviation, 0), share + 2 * deviation, color=BAND)
        axes.axhline(share, color=MODEL, linewidth=2)
        axes.set_xlim(0, 1)
        axes.set_xlabel(f"PIT of {_plain(column.name)}")
        _percent(axes, 1.05 * max(column.pit.max(), share + 2 * deviation))

    label = f"{column.name}: histogram of the probability integral transform"
    return chart(f"{label}, p = {column.pvalue:.3g}", plot)


def calibration(levels: Array, coverage: Array, rows: int, samples: int) -> str:
    """Plot the share of the data in each region against its probability by the model."""
    deviation = np.sqrt(levels * (1 - levels) * (1 / rows + 1 / samples))

    def plot(axes):
        axes.fill_between(levels, levels - 2 * deviation, levels + 2 * deviation, color=BAND)
        axes.plot([0, 1], [0, 1], color=MODEL, linewidth=2)
        axes.plot(levels, coverage, "o-", color=DATA, linewidth=2, markersize=4)
        axes.set_xlabel("probability by the model")
        axes.set_xlim(0, 1)
        axes.set_xticks(np.linspace(0, 1, 5), [f"{25 * k}%" for k in range(5)])
        _percent(axes, 1)

    regions = "shares of the data in the model's highest-density regions"
    return chart(f"Calibration: {regions} against their probability", plot, 360, 300)


def likelihoods(data: Array, samples: Array) -> str:
    """Plot the log-likelihoods of data and of samples; "" if none is finite."""
    data, samples = data[np.isfinite(data)], samples[np.isfinite(samples)]
    if not len(data) or not len(samples):
        return ""
    low = min(np.quantile(part, 0.005) for part in (data, samples))
    high = max(part.max() for part in (data, samples))
    if not high > low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, 41)
    heights = [np.histogram(part, edges)[0] / len(part) for part in (data, samples)]

    def plot(axes):
        _compare(axes, edges, *heights)
        axes.set_xlabel("log-likelihood, nats")

    label = "Log-likelihoods of the rows, data as bars and the model's samples as a line"
    return chart(label, plot, 360, 300)


def curve(name: str, history: dict[str, list[float]]) -> str:
    """Plot negative log-likelihoods by epoch; "" if none is finite."""
    values = np.concatenate([np.asarray(part, np.float64) for part in history.values()])
    values = values[np.isfinite(values)]
    if not len(values):
        return ""
    low, high = values.min(), np.quantile(values, 0.98)  # the first epochs may be far above
    margin = 0.05 * (high - low) or 0.5

    def plot(axes):
        for part, style in (
            ("train", {"color": DATA, "ls": "--"}),
            ("validation", {"color": MODEL}),
        ):
            if part in history:
                axes.plot(np.arange(1, len(history[part]) + 1), history[part], lw=2, **style)
        axes.set_ylim(low - margin, high + margin)
        axes.set_xlim(1, max(2, *map(len, history.values())))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("epoch")

    lines = "training as a dashed and validation as a full line"
    return chart(f"{name}: negative log-likelihood by epoch, {lines}", plot)


def _plain(text):
    """Return text that Matplotlib does not read as a formula, cut to a label's length."""
    text = text if len(text) < 30 else f"{text[:28]}\u2026"
    return text.replace("$", r"\$")
