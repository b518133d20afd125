"""``nfref quantile``: quantiles of a column given others."""

from argparse import ArgumentParser, Namespace

from nfref.cli.arguments import GIVEN, MODEL, UsageError, share
from nfref.cli.model_rows import check_there, given_values, loaded_model
from nfref.cli.predict import asked_column
from nfref.tables.queries.answers import predictions
from nfref.tables.queries.known_cells import row_given

DRAWS = 10_000  # samples for a single row


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of ``nfref quantile``."""
    add = parser.add_argument
    add("model", **MODEL)
    add("--column", metavar="NAME", required=True, help="a column of numbers")
    add("--given", **GIVEN, help="column NAME is VALUE")
    add(
        "--levels",
        metavar="P,P",
        type=_levels,
        default=(0.05, 0.5, 0.95),
        help="above 0 and below 1 (default: 0.05,0.5,0.95)",
    )


def _levels(text):
    """Read numbers above 0 and below 1, as in 0.05,0.5,0.95."""
    return tuple(share(part) for part in text.split(","))


def run(options: Namespace) -> None:
    """Print quantiles of one column given values of others.

    Columns that you do not give are unknown: the answer averages over their possible values.

    example:
      nfref quantile wine.npz --given alcohol=12 --column quality
      nfref quantile wine.npz --column pH --levels 0.05,0.5,0.95
    """
    check_there("quantiles")
    model = loaded_model(options.model, table_for="MODEL")
    column = asked_column(model.density, options.column)
    if column.kind == "category":
        raise UsageError(
            f"--column: expected a column of numbers, got the category {column.name!r} "
            "(nfref predict gives the probabilities of its labels)"
        )
    given = given_values(model, options.given, options.model)
    if column.name in given:
        raise UsageError(
            f"--given: expected other columns than {column.name!r}, of which quantiles are asked"
        )
    _, found, _ = predictions(
        model.density, row_given(model.density, given), column.name, options.levels, DRAWS
    )
    for level, value in zip(options.levels, found[0]):
        print(f"{level:<8} {value:.6g}")
