"""``nfref info``: the contents of a model file, or the environment."""

import platform
from argparse import ArgumentParser, Namespace
from importlib.metadata import version

import numpy as np

from nfref import __version__
from nfref.cli.arguments import MODEL, UsageError
from nfref.cli.model_rows import check_there, loaded_model
from nfref.cli.notes import described
from nfref.cli.streams import printable
from nfref.flows.composition import Composition, Invert
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any
from nfref.runtime.backends import chosen, cuda_problem, numba_problem, threads
from nfref.runtime.checks import plural, shortened
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.files.estimator_records import PosteriorRecord
from nfref.tables.files.model_file import Model
from nfref.tables.reading.table import numbered_columns


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of ``nfref info``."""
    parser.add_argument("model", nargs="?", **MODEL)
    parser.add_argument("--system", action="store_true", help="describe the environment instead")


def run(options: Namespace) -> None:
    """Print what a model file holds.

    With --system, print versions, processor, backend and the folder of compiled code. You may
    delete this folder at any time.

    example:
      nfref info wine.npz
      nfref info --system
    """
    if (options.model is not None) == options.system:
        got = "both" if options.system else "neither"
        raise UsageError(f"MODEL: expected a model file or --system, got {got}")
    check_there("it")
    lines = environment() if options.system else about_model(loaded_model(options.model or ""))
    for name, text in lines.items():
        print(printable(f"{name + ':':<12}{text}"))


def about_model(model: Model) -> dict[str, Any]:
    """Return what a model file holds, as text by name."""
    density = model.density
    if isinstance(density, TableDensity):
        lines = _about_table(density)
    else:
        columns = model.columns or numbered_columns(density.dim)
        lines = {
            "flow": _outline(density.flow),
            "base": type(density.base).__name__,
            "columns": f"{len(columns)}: {', '.join(columns)}",
            "parameters": _size(model.params),
        }
    for name, value in model.info.items():
        if name == "fit":
            try:
                lines.update(_about_fit(value))
            except (KeyError, TypeError, ValueError, AttributeError):  # notes of another program
                lines["fit"] = shortened(value)
        elif name in ("fitted_to", "estimator"):  # keys of rows, for plots; for Python
            continue
        elif isinstance(value, PosteriorRecord):
            lines[name] = value.summary
        elif name == "written_by":
            lines["written by"] = ", ".join(f"{maker} {its}" for maker, its in value.items())
        else:
            lines[name] = value
    return lines


def _about_table(density):
    """Return the columns and the pool by member."""
    given = [column for column in density.columns if column.name in density.given]
    own = [column for column in density.columns if column.name not in density.given]
    lines = {"columns": f"{len(own)}: {', '.join(map(described, own))}"}
    if given:
        lines["given"] = f"{len(given)}: {', '.join(map(described, given))}"
    if density.discrete is not None:
        lines["classes"] = f"{len(density.discrete.log_weights)}, of the discrete columns"
    if density.pool is not None:
        shares = sorted(density.pool.shares.items(), key=lambda share: -share[1])
        lines["pool"] = f"{len(shares)} {plural('member', len(shares))}: " + ", ".join(
            f"{name} {weight:.3f}" for name, weight in shares
        )
        for k in density.pool.flows:
            flow, name = density.pool.members[k], density.pool.names[k]
            number = density.pool.names.count(name)
            outline = f"{_outline(flow.density.flow)}, {_size(flow.params)}"
            lines[name] = f"{number} of " * (number > 1) + outline
    return lines


def _size(params):
    return f"{trees.count(params):,} numbers in {trees.dtype_of(params)}"


def _about_fit(fit):
    """Return what ``nfref fit`` wrote about the fit."""
    rows, test = fit["rows"], fit["test"]
    error = test["standard_error"]
    error = "" if error is None else f", standard error {error:.3f}"
    return {
        "fitted to": f"{fit['data']}: {rows['train']:,} rows to train, "
        f"{rows['validation']:,} to validate, {rows['test']:,} to test",
        "test": f"{test['mean']:.3f} nats per row{error}",
        "training": f"seed {fit['seed']}",
    }


def _outline(flow):
    """Return the class of a flow, with layers and hidden widths if it has them."""
    if isinstance(flow, Invert):
        return f"Invert({_outline(flow.flow)})"
    if type(flow).__name__ == "Chain":
        return " -> ".join(_outline(member) for member in flow.flows)
    settings = [
        f"{name}={getattr(flow, name)}"
        for name in ("layers", "hidden")
        if isinstance(flow, Composition) and hasattr(flow, name)
    ]
    return f"{type(flow).__name__}({', '.join(settings)})" if settings else type(flow).__name__


# The environment --------------------------------------------------------------------------


def environment() -> dict[str, str | int]:
    """Return versions, processor, backend and cache folder, as text by name."""
    without_numba = numba_problem()
    return {
        "nfref": __version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        "numpy": np.__version__,
        "numba": without_numba or version("numba"),
        "processor": platform.machine() if without_numba else _processor(),
        "threads": threads(),
        "backend": chosen()
        or ("numpy" if without_numba else "numba for large problems, numpy for small ones"),
        "cuda": cuda_problem() or "available",
        "cache": f"none, {without_numba}" if without_numba else _cache(),
    }


def _processor():
    """Return the processor as the compiler names it: compiled code depends on that."""
    from nfref.kernels.numba_internals import binding

    return f"{platform.machine()}, {binding.get_host_cpu_name()}"


def _cache():
    """Return the folder of compiled code."""
    from nfref.kernels.cache import folder

    return str(folder() or "none, this user has no home folder")
