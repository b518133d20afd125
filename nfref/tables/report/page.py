"""The page of a report: numbers and charts in one HTML file."""

import json

import numpy as np

from nfref.tables.report import charts
from nfref.tables.report.data import LEVELS, Report
from nfref.tables.report.layers import Layers


def render(report: Report, title: str) -> str:
    """Render one self-contained HTML page.

    Parameters
    ----------
    report : nfref.tables.report.data.Report
    title : str

    Returns
    -------
    str

    Raises
    ------
    ModuleNotFoundError
        If Jinja2 is not installed (extra ``report``).
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("nfref.tables.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["nats"] = nats
    template = environment.get_template("page.html.j2")
    layers = None if report.layers is None else embedded(report.layers)
    return template.render(report=report, title=title, charts=charts, levels=LEVELS, layers=layers)


def nats(value: float | None) -> str:
    """Format a log-likelihood; a dash for none."""
    if value is None or np.isnan(value):
        return "\u2013"
    return f"{value:.3f}".replace("-", "\u2212")


def embedded(layers: Layers) -> str:
    """Return the layers as JSON for a script element, each stage in units of its own.

    Points are rounded to a thousandth of the width of a stage's column; null if not finite.
    """
    stages = []
    for name, points in zip(layers.stages, layers.points):
        columns = []
        for values in points.T:
            finite = values[np.isfinite(values)]
            low, high = np.quantile(finite, [0.01, 0.99]) if len(finite) else (0.0, 1.0)
            margin = 0.15 * (high - low) or 0.5
            low, high = low - margin, high + margin
            places = [
                round(1000 * float((value - low) / (high - low)))
                if np.isfinite(value) and low <= value <= high
                else None
                for value in values
            ]
            columns.append({"low": f"{low:.3g}", "high": f"{high:.3g}", "at": places})
        stages.append({"name": name, "columns": columns})
    text = json.dumps(
        {"columns": layers.columns, "stages": stages, "quadrant": layers.quadrant.tolist()},
        separators=(",", ":"),
    )
    for sign in "<>&":  # so that no name can end the element
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
