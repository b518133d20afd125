"""``nfref report``: one HTML file about a model and data."""

import os
from dataclasses import dataclass

import numpy as np

from nfref.cli import arguments as arg
from nfref.cli import inputs
from nfref.cli.arguments import Options, UsageError
from nfref.cli.info import about_model
from nfref.cli.streams import note, printable, say_written
from nfref.runtime.files import replacing
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.reading.table import numbered_columns
from nfref.tables.schema.distinct_rows import keys_of, of_text


@dataclass(frozen=True)
class Page(Options):
    """Options of ``nfref report``."""

    model: str = arg.positional("MODEL", "a model file")
    data: str = arg.positional("DATA", "rows to compare with", type=arg.table_path)
    header: str = arg.header()
    weights: str | None = arg.option("this column of DATA holds the weights of rows", "COLUMN")
    out: str = arg.option("write the page here", "HTML", required=True)
    seed: int = arg.seed("the same seed writes the same page")
    quiet: bool = arg.quiet()


def report(options: Page) -> None:
    """Write a report on a model and DATA: one HTML file that loads nothing from the network.

    It shows data beside samples, calibration, candidates, loss curves, the least likely rows, and
    the flow layer by layer.

    example:
      nfref report wine.npz wine --out report.html
    """
    try:
        import jinja2  # noqa: F401, so that nothing is computed without it
    except ModuleNotFoundError:
        raise UsageError(
            "report: expected jinja2 to be installed, found it is not; "
            "pip install 'nfref[report]' brings it"
        ) from None
    from nfref.tables.report.data import gather
    from nfref.tables.report.page import render

    inputs.check_output(options.out, options.model, options.data, formats=(".html", ".htm"))
    model = inputs.loaded_model(options.model)
    rows, weight = inputs.rows_for(model, options.data, options.header, options.weights)
    names = tuple(map(printable, model.columns or numbered_columns(model.density.dim)))
    about = {
        name: printable(str(text)) for name, text in about_model(model).items() if name != "columns"
    }
    rng = np.random.default_rng(options.seed)
    found = gather(model, names, rows, rng, about, weight, _tested(model, rows))
    title = printable(f"{os.path.basename(options.model)} on {os.path.basename(options.data)}")
    with replacing(options.out) as file:
        file.write(render(found, title).encode())
    say_written(options.out)


def _tested(model, rows):
    """Return which rows the model was not fitted to, (N,) of bool; None if unknown, all or none.

    These are the rows that ``nfref fit`` kept for the test, or rows that are not among those that
    the model file remembers.
    """
    if not isinstance(model.density, TableDensity):
        return None
    fit, fitted = model.info.get("fit"), of_text(model.info.get("fitted_to"))
    keys = keys_of(model.density, list(rows.T))
    kept = of_text(fit.get("tested") if isinstance(fit, dict) else None)
    found = ~np.isin(keys, fitted) if len(fitted) else np.isin(keys, kept)
    if len(fitted) and not np.any(found):
        note(
            "the model was fitted to all of these rows, which flatter it; other "
            "rows say how good it is, as those that nfref fit keeps to test by"
        )
    return found if np.any(found) and not np.all(found) else None
