"""Model files: a density, its parameters and the names of its columns in one .npz.

A model may also be the density of a table that ``nfref.FlowDensity`` found: columns, a pool of
densities and their weights.

The file is a plain NumPy archive, not compressed. ``header`` is JSON as bytes: what the file
is, the version of its format, and the density as nested descriptions ``{"class": "MAF",
"dim": 2, ...}``. Every parameter is an array of its own, named by its place, as in
``params/flow/0/1/net/2/weight``. ``digest`` is the SHA-256 of all others. Nothing is ever
pickled or unpickled, only flows, bases and densities of this package can be built, and the
same model gives the same bytes.

A file may come from a stranger. It is read from the outside in: what the archive says of its
members has to add up to the size of the file; the header comes first; what it describes may
be no larger than the arrays are; and their shapes, as their own headers give them, have to be
those of the density's parameters before any number is read. So a file takes memory and time
in proportion to its own size, and whatever is wrong with it is a ModelError of one line.
"""

import dataclasses
import math
import numbers
from dataclasses import dataclass

import numpy as np

import nfref.flows.free_form  # noqa: F401, not a name of nfref itself, but described as others are
from nfref.bases.base import Base
from nfref.density import Density
from nfref.flow import Flow
from nfref.runtime.checks import as_array, as_rows
from nfref.tables import stored
from nfref.tables.archives import ArchiveError, one_line, opened_archive, shortened, write_archive
from nfref.tables.density import TableDensity
from nfref.tables.reading.table import Table, match_columns, named_columns, numbered_columns
from nfref.transformers.transformer import Transformer

FORMAT = "nfref model"
VERSION = 4                 # 1 had no digest, 2 no densities of tables, 3 no columns given
OWN = ("header", "digest")
DEEPEST = 50                # descriptions inside of each other
SLACK = 4096                # what a description may ask for however small the file is


class ModelError(ArchiveError):
    """A model file that cannot be used; the message is one line."""


@dataclass(frozen=True)
class Model:
    """What a model file holds.

    Parameters
    ----------
    density : Density or TableDensity
    params : nested dicts and lists of arrays
        None for the density of a table, which holds them.
    columns : tuple of str or None
        The names of the D columns, if they have any.
    info : dict
        Whatever else was stored: how it was trained, on what.
    """

    density: Density
    params: object
    columns: tuple = None
    info: dict = dataclasses.field(default_factory=dict)

    def rows(self, data):
        """Rows for ``density.log_prob``, in the order of the model's columns.

        Parameters
        ----------
        data : DataFrame or (N, D) array
            The columns of a DataFrame are matched by name where the model has names; another
            order is put in order, other names are an error. Arrays have no names, and their
            columns are taken as they come.

        Returns
        -------
        (N, D) array

        Raises
        ------
        ValueError, TypeError
            If the columns are not those of the model, or hold no numbers.
        """
        if not hasattr(data, "columns"):
            return as_rows("data", data, self.density.dim)
        values = as_array("data", np.asarray(data))
        table = Table(values, named_columns("data", [str(name) for name in data.columns]))
        expected = self.columns or numbered_columns(self.density.dim)
        return match_columns("data", table, expected, self.columns is not None)


# Descriptions -----------------------------------------------------------------------------


def described_classes():
    """name -> class of all that a description may name.

    These are the frozen dataclasses of this package that are flows, transformers, bases or
    densities: a flow that is imported with the package needs no entry in a list. Their fields
    hold numbers, strings, None, tuples of these, or objects of such classes.
    """
    found, pending = {}, [Flow, Base, Density, Transformer]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if dataclasses.is_dataclass(kind) and kind.__module__.startswith("nfref."):
            found[kind.__name__] = kind
    return dict(sorted(found.items()))


def describe(thing):
    """A flow, base or density as nested dicts and lists that JSON can hold.

    Parameters
    ----------
    thing : frozen dataclass
        Of one of the :func:`described_classes`, as are those inside of it.

    Returns
    -------
    dict
        ``{"class": name, field: value, ...}``.

    Raises
    ------
    TypeError
        If something inside has no description.
    """
    name = type(thing).__name__
    known = described_classes()
    if known.get(name) is not type(thing):
        raise TypeError(f"describe: expected one of {', '.join(known)}; got {name}")
    return {"class": name, **{field.name: _plain(getattr(thing, field.name), name, field.name)
                              for field in dataclasses.fields(thing)}}


def _plain(value, owner, field):
    if isinstance(value, dict):
        return {key: _plain(item, owner, key) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        return describe(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (tuple, list)):
        return [_plain(item, owner, field) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, numbers.Real) and not math.isfinite(value):
        raise ModelError(f"describe: expected {owner}.{field} to be finite, got {value}")
    if value is None or isinstance(value, (bool, str, numbers.Integral, numbers.Real)):
        return value
    raise TypeError(f"describe: expected {owner}.{field} to hold numbers, strings or flows, "
                    f"got {type(value).__name__}")


def rebuild(description):
    """The flow, base or density that :func:`describe` described.

    Parameters
    ----------
    description : dict

    Raises
    ------
    ModelError
        If a class is unknown or its fields aren't those of this version.
    """
    if isinstance(description, list):
        return tuple(rebuild(item) for item in description)
    if not isinstance(description, dict):
        return description
    fields = {key: rebuild(value) for key, value in description.items() if key != "class"}
    name = description.get("class")
    known = described_classes()
    if not isinstance(name, str) or name not in known:
        raise ModelError(f"class: expected one of {', '.join(known)}; got {shortened(name)}")
    try:
        return known[name](**fields)
    except Exception as error:      # a stranger's fields fail in whatever way they like
        raise ModelError(f"{name}: expected fields that describe one, "
                         f"got {one_line(error)}") from None


# Parameters -------------------------------------------------------------------------------


def _named_leaves(params, place="params"):
    """(name, array) for every array, named by its place."""
    if isinstance(params, dict):
        return [leaf for key, value in params.items()
                for leaf in _named_leaves(value, f"{place}/{key}")]
    if isinstance(params, (list, tuple)):
        return [leaf for k, value in enumerate(params)
                for leaf in _named_leaves(value, f"{place}/{k}")]
    return [(place, np.asarray(params))]


def _filled(template, arrays, place="params"):
    """A structure like ``template`` with the arrays in their places."""
    if isinstance(template, dict):
        return {key: _filled(value, arrays, f"{place}/{key}") for key, value in template.items()}
    if isinstance(template, (list, tuple)):
        return [_filled(value, arrays, f"{place}/{k}") for k, value in enumerate(template)]
    return arrays[place]


def _check_shapes(template, arrays, place="params"):
    """That ``arrays`` (name -> shape and dtype) are those of the template's parameters."""
    expected = dict(_named_leaves(template, place))
    for name, array in expected.items():
        if name not in arrays:
            raise ModelError(f"{name}: expected an array of shape {array.shape}, got none")
        if arrays[name].shape != array.shape:
            raise ModelError(f"{name}: expected shape {array.shape}, got {arrays[name].shape}")
        if arrays[name].dtype.newbyteorder("=") not in (np.float32, np.float64):
            raise ModelError(f"{name}: expected floats of 32 or 64 bits, "
                             f"got dtype {arrays[name].dtype}")
    extra = [name for name in arrays if name not in expected]
    if extra:
        raise ModelError(f"{extra[0]}: expected no such array in a model of this kind, got one")
    dtypes = {str(array.dtype.newbyteorder("=")) for array in arrays.values()}
    if len(dtypes) > 1:
        raise ModelError(f"params: expected one dtype, got {' and '.join(sorted(dtypes))}")


def _check_finite(arrays):
    for name, array in arrays.items():
        if not np.all(np.isfinite(array)):
            bad = array[~np.isfinite(array)].flat[0]
            raise ModelError(f"{name}: expected finite numbers, got {bad}")


def _check_columns(density, columns):
    if columns is None:
        return None
    if isinstance(columns, str) or not isinstance(columns, (list, tuple, np.ndarray)):
        raise ModelError(f"columns: expected {density.dim} names, got {shortened(columns)}")
    columns = tuple(columns)
    if len(columns) != density.dim or not all(isinstance(column, str) for column in columns):
        raise ModelError(f"columns: expected {density.dim} names, got {shortened(columns)}")
    if len(set(columns)) < len(columns):
        twice = next(name for k, name in enumerate(columns) if name in columns[:k])
        raise ModelError(f"columns: expected names that differ, got {twice!r} twice")
    return columns


def _check_writable_names(columns):
    """That a csv with these names in its first line gives them back."""
    for name in columns or ():
        try:
            fine = name == name.strip() != "" and b"\0" not in name.encode()
        except UnicodeEncodeError:
            fine = False
        if not fine:
            raise ModelError("columns: expected names that text can hold, not blank and without "
                             f"blanks around them, got {shortened(name)}")


# Writing ----------------------------------------------------------------------------------


def save_model(path, density, params=None, *, columns=None, info=None):
    """Write a model file, whole or not at all.

    Parameters
    ----------
    path : path-like or nfref.runtime.files.Reservation
    density : Density or nfref.tables.density.TableDensity
        A Density made of the :func:`described_classes`.
    params : nested dicts and lists of arrays
        Finite, in one dtype, of the shapes that ``density.init`` makes. None for the density of a
        table.
    columns : sequence of str, optional
        The names of the D columns, which differ.
    info : dict, optional
        Anything that JSON can hold.

    Raises
    ------
    TypeError, ValueError
        If the density, the parameters or ``info`` cannot be stored.
    """
    if isinstance(density, TableDensity):
        return _save_table(path, density, columns, info)
    if not isinstance(density, Density):
        raise TypeError(f"density: expected a Density, got {type(density).__name__}")
    leaves = dict(_named_leaves(params))
    _check_shapes(density.init(np.random.default_rng(0)), leaves)
    _check_finite(leaves)
    columns = _check_columns(density, columns)
    _check_writable_names(columns)
    _write(path, 2, {"density": describe(density), "columns": columns}, info, leaves)


def _write(path, version, described, info, leaves):
    from nfref import __version__
    header = {"format": FORMAT, "version": version, **described, "info": info or {},
              "written_by": {"nfref": __version__, "numpy": np.__version__}}
    write_archive(path, header, leaves)


def _save_table(path, density, columns, info):
    description, arrays = stored.to_plain(density)
    leaves = {name: np.asarray(array, np.float64)
              for name, array in _named_leaves(arrays, "table")}
    _check_finite(leaves)
    columns = _check_columns(density, columns)
    names = tuple(column.name for column in density.columns)
    if columns not in (None, names):
        raise ModelError(f"columns: expected those of the table, {shortened(names)}, "
                         f"got {shortened(columns)}")
    _check_writable_names(names)
    described = {"table": _plain(description, "TableDensity", "table"), "columns": columns}
    _write(path, 4 if density.given else 3, described, info, leaves)


# Reading ----------------------------------------------------------------------------------


def load_model(path):
    """Read a model file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Model
        Its parameters are bit for bit those that were saved.

    Raises
    ------
    ModelError
        If there is no such file, it is damaged, of another kind or of a newer version, or
        what it holds doesn't fit together.
    """
    try:
        with opened_archive(path, "model file") as archive:
            return _read(archive)
    except ArchiveError as error:
        raise ModelError(str(error)) from None


def _read(archive):
    header = archive.header(FORMAT, VERSION, "a model that nfref wrote")
    kind = "table" if "table" in header else "density"
    for name in (kind, "columns"):
        if name not in header:
            raise ModelError(f"expected {name!r} in its header, got none")
    info, makers = header.get("info", {}), header.get("written_by", {})
    if not isinstance(info, dict) or not isinstance(makers, dict):
        raise ModelError(f"info: expected a dictionary, got {shortened(info)}, "
                         f"{shortened(makers)}")
    if kind == "table":
        return _read_table(header, archive, {**info, "written_by": makers})
    density = _built(header["density"], archive)
    try:
        template = density.init(_Budget(2 * archive.numbers + SLACK))
    except ArchiveError:
        raise
    except Exception as error:
        raise ModelError(f"density: expected one that can be made, got {one_line(error)}") from None
    columns = _check_columns(density, header["columns"])
    return Model(density, _arrays(template, archive, header["version"], "params"), columns,
                 {**info, "written_by": makers})


def _arrays(template, archive, version, place):
    """The file's arrays in a structure like ``template``, if that is what it holds."""
    held = {name: form for name, form in archive.forms.items() if name not in OWN}
    _check_shapes(template, held, place)
    arrays = {name: archive.read(name) for name in held}
    if version > 1:
        archive.check_digest(arrays)
    _check_finite(arrays)
    native = {name: array.astype(array.dtype.newbyteorder("="), copy=False)
              for name, array in arrays.items()}
    return _filled(template, native, place)


def _read_table(header, archive, info):
    """The Model of a table's density."""
    budget = _Budget(2 * archive.numbers + SLACK)
    _check_sizes(header["table"], archive.numbers + archive.forms["header"].size + SLACK,
                 len(archive.forms) + DEEPEST)
    try:
        description = _rebuilt_within(header["table"])
        template = stored.forms(description, lambda density: density.init(budget))
        arrays = _arrays(template, archive, header["version"], "table")
        density = stored.from_plain(description, arrays)
    except ArchiveError:
        raise
    except Exception as error:      # a stranger's description fails in whatever way it likes
        raise ModelError(f"table: expected the density of one, got {one_line(error)}") from None
    columns = _check_columns(density, header["columns"])
    if columns not in (None, tuple(column.name for column in density.columns)):
        raise ModelError("columns: expected those of the table, got others")
    return Model(density, None, columns, info)


def _rebuilt_within(description):
    """A description with the densities in it built; all else as it is."""
    if isinstance(description, dict):
        if "class" in description:
            density = rebuild(description)
            if not isinstance(density, Density):
                raise ModelError(f"density: expected a Density, got {type(density).__name__}")
            if not isinstance(density.base, Base):
                raise ModelError(f"base: expected a Base, got {type(density.base).__name__}")
            return density
        return {key: _rebuilt_within(value) for key, value in description.items()}
    if isinstance(description, list):
        return [_rebuilt_within(item) for item in description]
    return description


class _Budget(np.random.Generator):
    """A generator that draws no more numbers than a file could hold as parameters."""

    def __init__(self, left):
        super().__init__(np.random.PCG64(0))
        self.left = left

    def _take(self, size):
        self.left -= math.prod(size) if isinstance(size, tuple) else size or 1
        if self.left < 0:
            raise ModelError("density: expected one of the size of its arrays, got one that "
                             "has more parameters")

    def uniform(self, low=0.0, high=1.0, size=None):
        self._take(size)
        return super().uniform(low, high, size)

    def standard_normal(self, size=None, *rest):
        self._take(size)
        return super().standard_normal(size, *rest)


def _built(description, archive):
    """The described density, if what it asks for is in proportion to the arrays."""
    _check_sizes(description, archive.numbers + archive.forms["header"].size + SLACK,
                 len(archive.forms) + DEEPEST)
    density = rebuild(description)
    if not isinstance(density, Density):
        raise ModelError(f"density: expected a Density, got {type(density).__name__}")
    if not isinstance(density.base, Base):
        raise ModelError(f"base: expected a Base, got {type(density.base).__name__}")
    return density


def _check_sizes(description, numbers_held, arrays_held, depth=0):
    """That no size in a description is larger than what the file holds.

    Each layer has an array or more, and each coordinate of a flow a number or more; only bases
    and flows of images can have more coordinates than parameters, and make nothing of them.
    """
    if depth > DEEPEST:
        raise ModelError(f"density: expected at most {DEEPEST} descriptions inside each other, "
                         "got more")
    if isinstance(description, float) and not math.isfinite(description):
        raise ModelError(f"density: expected finite numbers, got {description}")
    if isinstance(description, int) and abs(description) > 2 ** 53:
        raise ModelError("density: expected numbers below 2^53, got a larger one")
    if isinstance(description, list):
        for item in description:
            _check_sizes(item, numbers_held, arrays_held, depth + 1)
    if not isinstance(description, dict):
        return

    def count(key):
        value = description.get(key, 1)
        return value if isinstance(value, int) else 1

    layers = count("layers") * count("levels") * max(count("blocks"), 1)
    if description.get("class") == "Glow":
        layers *= count("steps")
    sizeless = ("StandardNormal", "Logistic", "Laplace", "OnFirst")
    dim = 1 if description.get("class") in sizeless else count("dim")
    widths = description.get("hidden", [])
    widest = max((width for width in (widths if isinstance(widths, list) else [widths])
                  if isinstance(width, int)), default=1)
    for name, size, most in (("layers", layers, arrays_held),
                             ("dim", max(layers, 1) * dim, 2 * numbers_held),
                             ("hidden", max(layers, 1) * widest, numbers_held),
                             ("context_dim", count("context_dim"), numbers_held),
                             ("components", count("components"), numbers_held),
                             ("classes", count("classes"), numbers_held),
                             ("bins", count("bins"), numbers_held)):
        if size > most:
            raise ModelError(f"{name}: expected at most what the file's arrays hold, "
                             f"got a flow that needs {size:,}")
    for value in description.values():
        _check_sizes(value, numbers_held, arrays_held, depth + 1)
