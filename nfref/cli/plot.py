"""``nfref plot``: a picture of a model."""

from argparse import ArgumentParser, Namespace

import numpy as np

from nfref.cli.arguments import DATA, HEADER, MODEL, UsageError, blamed
from nfref.cli.data import about_missing, load
from nfref.cli.model_rows import check_output, for_model, known_to, loaded_model, texts_for
from nfref.cli.streams import note, printable, say_written
from nfref.runtime.annotations import Any, Array, Sequence
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.queries.scoring import AsDensity, check_cells, stacked
from nfref.tables.reading.table import numbered_columns
from nfref.tables.schema.columns import with_gaps
from nfref.tables.schema.distinct_rows import keys_of, of_text

LONGEST = 40  # characters of a column's name
SAMPLES = 5000  # most points of data and of samples
FORMATS = (".png", ".pdf", ".svg")
KINDS = ("samples", "calibration", "marginals", "likelihoods", "training")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of ``nfref plot``."""
    add = parser.add_argument
    add("model", **MODEL)
    add("--data", **DATA, help="rows to compare with")
    add("--kind", choices=KINDS, default="samples", help="what to plot (default: samples)")
    add("--header", **HEADER)
    add("--out", metavar="FIG.png", required=True, help="the picture, as .png, .pdf or .svg")


def run(options: Namespace) -> None:
    """Plot a model.

    The kinds of pictures are:

    samples: with two columns data, samples and log-density, side by side; with more, each pair of
    columns, data beside samples. calibration: the share of the data in the model's regions of
    highest density, against their probability. marginals: every column, data beside samples.
    likelihoods: the log-likelihoods of data and of samples. training: the losses of the flows that
    were fitted.

    Rows that the model was not fitted to are used alone, if the model file knows some.

    example:
      nfref plot wine.npz --data wine --out wine.png
      nfref plot wine.npz --data wine --kind calibration --out calibration.png
    """
    check_output(options.out, options.model, options.data, formats=FORMATS)
    model = loaded_model(options.model)
    if options.kind == "training":
        _save("MODEL", options.out, lambda plots: plots.loss_curves(_histories(model)))
        return say_written(options.out)
    x = None
    if options.data is not None:
        x = _rows_for(model, options.data, options.header)
    elif options.kind != "samples":
        raise UsageError(f"--data: expected rows, for --kind {options.kind}; got none")
    columns = model.columns or numbered_columns(model.density.dim)
    density: Any = model.density
    if isinstance(density, TableDensity):
        if density.given and x is None:
            raise UsageError(
                "--data: expected rows, because the model is given "
                f"{', '.join(map(repr, density.given))}; got none"
            )
        density = AsDensity(density, () if x is None else list(x.T))
        if x is not None:
            x = density.numbers(list(x.T))[_not_fitted(model, x)]
    plot_density("--out", options.out, density, model.params, columns, x, options.kind)
    say_written(options.out)


def _rows_for(model, name, header):
    """Read the rows of DATA without empty cells, in the order of the model's columns."""
    of_table = isinstance(model.density, TableDensity)
    data = load(name, header, texts_for(model), of_table, known_to(model))
    cells = for_model(data, model)
    if of_table:
        with blamed(f"{data.name}: "):
            check_cells(model.density, cells, may_be_empty=True)
    whole = ~with_gaps(cells)
    if not np.all(whole):
        said = about_missing(model.columns or data.columns, cells)
        if not np.any(whole):
            raise UsageError(f"{data.name}: expected rows without empty cells, got {said}")
        note(f"{said}; these rows are left out")
    return stacked(cells)[whole]


def _not_fitted(model, rows):
    """Return which rows to compare with samples, (N,) of bool.

    These are the rows that the model was not fitted to, if the model file knows some of them: those
    that ``nfref fit`` kept for the test, or all but those that the file remembers. Else all rows.
    """
    fit, fitted = model.info.get("fit"), of_text(model.info.get("fitted_to"))
    keys = keys_of(model.density, list(rows.T))
    tested = of_text(fit.get("tested") if isinstance(fit, dict) else None)
    found = ~np.isin(keys, fitted) if len(fitted) else np.isin(keys, tested)
    if np.all(found) or np.any(found):
        return found
    if len(fitted):
        note("the model was fitted to all of these rows, which flatter it")
    return np.ones(len(rows), bool)


def _histories(model):
    """Return name -> losses of the flows that ``nfref fit`` trained."""
    fit = model.info.get("fit")
    candidates = fit.get("candidates", ()) if isinstance(fit, dict) else ()
    try:
        found = {one["name"]: one["history"] for one in candidates if one["history"]}
        return {name: history for name, history in found.items() if history["train"]}
    except (TypeError, KeyError):  # notes of another program
        return {}


# Pictures ---------------------------------------------------------------------------------


def plot_density(
    option: str,
    path: Any,
    density: Any,
    params: Any,
    columns: Sequence[str],
    x: Array | None = None,
    kind: str = "samples",
) -> None:
    """Plot data against samples; for two columns the log-density too.

    Parameters
    ----------
    option : str
        Named in errors.
    path : path-like
        Written whole or not at all.
    density : Density
    params : nested dicts and lists of arrays
    columns : sequence of str
    x : (N, D) array, optional
        Rows to compare with; all kinds but samples need some.
    kind : str
        One of ``KINDS`` but training.
    """
    # Pictures of the same model are the same, so the seed is not worth an option.
    rng = np.random.default_rng(0)
    kinds = density.table.columns if isinstance(density, AsDensity) else [None] * len(columns)
    shown = [_plotted(name, column) for name, column in zip(columns, kinds)]
    if x is not None and len(x) > SAMPLES and kind == "samples":
        x = x[np.sort(rng.permutation(len(x))[:SAMPLES])]

    def draw(plots):
        if kind == "samples" and density.dim == 2:
            return plots.triptych(density, params, x, rng=rng, columns=shown)
        samples = density.sample(
            params, rng, len(x) if kind == "samples" and x is not None else SAMPLES
        )
        if kind == "samples":
            return plots.corner(x, samples, shown)
        if kind == "marginals":
            return plots.marginals(x, samples, shown)
        return getattr(plots, kind)(*(density.log_prob(params, rows) for rows in (x, samples)))

    _save(option, path, draw)


def _save(option, path, draw):
    """Write the picture that ``draw(plots)`` returns, a figure or its axes."""
    from nfref import plots

    try:
        with np.errstate(all="ignore"):
            drawn = draw(plots)
            plots.save(getattr(drawn, "figure", None) or drawn, path)
    except ValueError as error:
        raise UsageError(f"{option}: no picture of this model: {error}") from None


def _plotted(name, kind):
    """Return how a column is plotted; ``kind`` is that of a table's density, or None."""
    from nfref.plots import PlottedColumn

    # $ starts a formula; a long name would fill the picture and take most of its time.
    name = printable(name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}...")
    name = name.replace("$", r"\$")
    if kind is None or getattr(kind, "period", None) is not None:
        return PlottedColumn(name)  # samples on a circle are in the turn of the data
    if kind.kind == "category":
        return PlottedColumn(name, tuple(printable(str(label)) for label in kind.labels))
    return PlottedColumn(name, whole=kind.kind == "count", low=kind.low, high=kind.high)
