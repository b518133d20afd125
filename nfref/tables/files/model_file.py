"""Model files: a density, its parameters and the names of its columns in one .npz.

The density may be that of a table, as ``nfref.FlowDensity`` fits it: columns, a pool of densities
and their weights. ``docs/model_files.rst`` specifies the file byte for byte.
:mod:`nfref.runtime.serialization` describes how a density is written,
:mod:`nfref.tables.files.archives` what holds it, and why you can open a file from anyone. Every
later version reads files of version 1.
"""

import dataclasses
from collections import Counter
from dataclasses import dataclass

import numpy as np

import nfref.flows.free_form
import nfref.tables.densities.label_network
import nfref.tables.densities.regression
import nfref.tables.files.estimator_records
import nfref.transformers.rounded  # noqa: F401
from nfref.density import Density
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Params, PathLike, Sequence
from nfref.runtime.checks import as_array, as_rows, require, shortened
from nfref.runtime.configuration import Configuration
from nfref.tables.densities.pool import check_parameters
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.files import archives
from nfref.tables.files.archives import ArchiveError
from nfref.tables.reading.table import (
    Table,
    check_name,
    match_columns,
    named_columns,
    numbered_columns,
)

FORMAT = "nfref model"
VERSION = 1


class ModelError(ArchiveError):
    """A model file that cannot be used; the message is one line."""


@dataclass(frozen=True)
class Model:
    """The content of a model file.

    Parameters
    ----------
    density : Density or TableDensity
    params : nested dicts and lists of arrays
        None for the density of a table, which holds them.
    columns : tuple of str or None
        The names of the D columns, if they have any.
    info : dict
        Anything else that was stored: how the model was trained, and on what.
    """

    density: Any
    params: Any
    columns: tuple | None = None
    info: dict = dataclasses.field(default_factory=dict)

    def rows(self, data: Array) -> Array:
        """Return rows for ``density.log_prob``, in the order of the model's columns.

        Parameters
        ----------
        data : DataFrame or (N, D) array
            The columns of a DataFrame are matched by name if the model has names: another order is
            rearranged, other names are an error. Columns of an array are taken as they come.

        Returns
        -------
        (N, D) array

        Raises
        ------
        ValueError, TypeError
            If the columns are not those of the model, or do not hold numbers.
        """
        if not hasattr(data, "columns"):
            return as_rows("data", data, self.density.dim)
        values = as_array("data", np.asarray(data))
        table = Table(values, named_columns("data", [str(name) for name in data.columns]))
        expected = self.columns or numbered_columns(self.density.dim)
        return match_columns("data", table, expected, self.columns is not None)


def save_model(
    path: PathLike,
    density: Density | TableDensity,
    params: Params | None = None,
    *,
    columns: Sequence[str] | None = None,
    info: dict[str, Any] | None = None,
) -> None:
    """Write a model file, whole or not at all.

    Parameters
    ----------
    path : path-like
    density : Density or nfref.tables.densities.table_density.TableDensity
        Made of flows, bases and transformers of this package, or of your own: a class that is a
        frozen dataclass of a module. The file holds its name, not its code.
    params : nested dicts and lists of arrays
        Finite, in one dtype, of the shapes that ``density.init`` makes. None for the density of a
        table.
    columns : sequence of str, optional
        The names of the D columns, all different.
    info : dict, optional
        Anything that JSON can hold, arrays and configurations.

    Raises
    ------
    TypeError, ModelError
        If the density, the parameters or ``info`` cannot be stored.
    """
    from nfref import __version__

    if hasattr(density, "save") and not isinstance(density, Configuration):  # an estimator
        kind = type(density).__name__
        raise TypeError(f"density: expected a Density, got {kind}; its method save writes it")
    content = {
        "density": density,
        "params": None if params is None else trees.tree_map(np.asarray, params),
        "columns": columns if columns is None or isinstance(columns, str) else [*columns],
        "info": {**(info or {}), "written_by": {"nfref": __version__, "numpy": np.__version__}},
    }
    try:
        archives.save(path, FORMAT, VERSION, content, _model)
    except ArchiveError as error:
        raise ModelError(str(error)) from None


def load_model(path: PathLike, classes: Sequence[type] = ()) -> Model:
    """Read a model file.

    Parameters
    ----------
    path : path-like
    classes : sequence of classes
        Your own classes that the file may name. Nothing is imported because a file names it.

    Returns
    -------
    Model
        Its parameters are bit for bit those that were saved.

    Raises
    ------
    ModelError
        If there is no such file, if it is damaged or of another kind or version, or if its parts do
        not fit together.
    """
    try:
        return archives.load(path, "model file", FORMAT, VERSION, _model, classes)
    except ArchiveError as error:
        raise ModelError(str(error)) from None


def _model(density, params, columns, info):
    """Return the Model, if its parts fit together."""
    if isinstance(density, TableDensity):
        require(params is None, "params: expected none beside the density of a table")
        own = [column.name for column in density.columns]
        require(
            columns in (None, own),
            f"columns: expected those of the table, {shortened(own)}, got {shortened(columns)}",
        )
        _check_names(own, density.dim)
    else:
        require(
            isinstance(density, Density),
            f"density: expected a Density, got {type(density).__name__}",
        )
        check_parameters(density, params)
        if columns is not None:
            _check_names(columns, density.dim)
    require(isinstance(info, dict), f"info: expected a dictionary, got {shortened(info)}")
    writer = info.get("written_by", {})
    require(
        isinstance(writer, dict), f"info.written_by: expected a dictionary, got {shortened(writer)}"
    )
    return Model(density, params, None if columns is None else tuple(columns), info)


def _check_names(columns, dim):
    """Check that each column has a name, and that a csv header returns the same names."""
    require(
        isinstance(columns, list)
        and len(columns) == dim
        and all(isinstance(name, str) for name in columns),
        f"columns: expected {dim} names, got {shortened(columns)}",
    )
    twice = [name for name, times in Counter(columns).items() if times > 1]
    require(not twice, f"columns: expected names that differ, got {twice[:1]} twice")
    for name in columns:
        check_name("columns", name)
