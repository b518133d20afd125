"""Model files: a density, its parameters and the names of its columns in one .npz.

The file is a plain NumPy archive. ``header`` is JSON as bytes: what the file is, the version
of its format, and the density as nested descriptions ``{"class": "MAF", "dim": 2, ...}``.
Every parameter is an array of its own, named by its place, as in
``params/flow/0/1/net/2/weight``. Nothing is ever pickled or unpickled, only flows, bases and
densities of this package can be built, and the same model gives the same bytes.
"""

import dataclasses
import json
import numbers
import os
import zipfile
from dataclasses import dataclass

import numpy as np

from nfref.base import Base
from nfref.files import replacing
from nfref.flow import Density, Flow
from nfref.transformers.transformer import Transformer

FORMAT = "nfref model"
VERSION = 1


class ModelError(ValueError):
    """A model file that cannot be used; the message is one line."""


@dataclass(frozen=True)
class Model:
    """What a model file holds.

    Parameters
    ----------
    density : Density
    params : nested dicts and lists of arrays
    columns : tuple of str or None
        The names of the D columns, if they have any.
    info : dict
        Whatever else was stored: how it was trained, on what.
    """

    density: Density
    params: object
    columns: tuple = None
    info: dict = dataclasses.field(default_factory=dict)


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
    if dataclasses.is_dataclass(value):
        return describe(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (tuple, list)):
        return [_plain(item, owner, field) for item in value]
    if isinstance(value, np.generic):
        return value.item()
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
    if name not in known:
        raise ModelError(f"class: expected one of {', '.join(known)}; got {name!r}")
    try:
        return known[name](**fields)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{name}: expected fields that describe one, got {error}") from None


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


def _check_arrays(density, arrays):
    """The parameters that ``density.init`` would make, with ``arrays`` in their places."""
    template = density.init(np.random.default_rng(0))
    expected = dict(_named_leaves(template))
    for name, array in expected.items():
        if name not in arrays:
            raise ModelError(f"{name}: expected an array of shape {array.shape}, got none")
        if arrays[name].shape != array.shape:
            raise ModelError(f"{name}: expected shape {array.shape}, got {arrays[name].shape}")
        if arrays[name].dtype.kind != "f":
            raise ModelError(f"{name}: expected floats, got dtype {arrays[name].dtype}")
    extra = [name for name in arrays if name not in expected]
    if extra:
        raise ModelError(f"{extra[0]}: expected no such array in a model of this kind, got one")
    return _filled(template, arrays)


def _check_columns(density, columns):
    if columns is None:
        return None
    columns = tuple(columns)
    if len(columns) != density.dim or not all(isinstance(column, str) for column in columns):
        raise ModelError(f"columns: expected {density.dim} names, got {columns}")
    return columns


# Files ------------------------------------------------------------------------------------


def save_model(path, density, params, *, columns=None, info=None):
    """Write a model file, whole or not at all.

    Parameters
    ----------
    path : path-like
    density : Density
        Made of the :func:`described_classes`.
    params : nested dicts and lists of arrays
        Of the shapes that ``density.init`` makes.
    columns : sequence of str, optional
        The names of the D columns.
    info : dict, optional
        Anything that JSON can hold.

    Raises
    ------
    TypeError, ValueError
        If the density, the parameters or ``info`` cannot be stored.
    """
    if not isinstance(density, Density):
        raise TypeError(f"density: expected a Density, got {type(density).__name__}")
    leaves = _named_leaves(params)
    _check_arrays(density, dict(leaves))
    from nfref import __version__
    header = {"format": FORMAT, "version": VERSION, "density": describe(density),
              "columns": _check_columns(density, columns), "info": info or {},
              "written_by": {"nfref": __version__, "numpy": np.__version__}}
    encoded = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in [("header", encoded), *leaves]:
            # A ZipInfo made by hand has a fixed date, so equal models are equal files.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


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
    path = os.fspath(path)
    arrays = _read_arrays(path)
    header = _read_header(path, arrays.pop("header", None))
    try:
        density = rebuild(header["density"])
        if not isinstance(density, Density):
            raise ModelError(f"density: expected a Density, got {type(density).__name__}")
        params = _check_arrays(density, arrays)
        columns = _check_columns(density, header["columns"])
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except KeyError as error:
        raise ModelError(f"{path}: expected {error} in its header, got none") from None
    info = {**header.get("info", {}), "written_by": header.get("written_by", {})}
    return Model(density, params, columns, info)


def _read_arrays(path):
    """All arrays of an .npz, by name."""
    if os.path.isdir(path):
        raise ModelError(f"{path}: expected a model file, got a folder")
    try:
        with open(path, "rb") as file:
            start = file.read(4)
            if not start.startswith(b"PK"):
                came = "an empty file" if not start else "something that is no .npz archive"
                raise ModelError(f"{path}: expected an nfref model file, got {came}")
            if len(start) < 4:
                raise EOFError
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise ModelError(f"{path}: expected a model file, found none there") from None
    except OSError as error:
        raise ModelError(f"{path}: expected a readable file, got {error}") from None
    except ModelError:
        raise
    except Exception as error:     # zipfile, zlib and tokenize each have their own
        if "allow_pickle" in str(error):
            raise ModelError(f"{path}: expected plain arrays, got pickled objects, which are "
                             "never loaded") from None
        raise ModelError(f"{path}: expected a complete model file, "
                         "got a truncated or damaged one") from None
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise ModelError(f"{path}: expected an nfref model file, got another kind of archive")
    return arrays


def _read_header(path, encoded):
    try:
        header = json.loads(encoded.tobytes().decode())
    except (AttributeError, ValueError):
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ModelError(f"{path}: expected a model that nfref wrote, "
                         "got an .npz of another kind")
    version = header.get("version")
    if not isinstance(version, int) or version < 1:
        raise ModelError(f"{path}: expected a format version, got {version!r}")
    if version > VERSION:
        raise ModelError(f"{path}: expected format version {VERSION} or older, got {version}; "
                         "a newer nfref reads it")
    return header
