"""Reading a table from a file, by its extension."""

import io
import os

import numpy as np

from nfref.tables.table import Table, TableError, check_finite, named_columns, numbered_columns
from nfref.tables.text import read_text


def read_table(path):
    """Read a table of finite numbers.

    Text files: the delimiter is a tab, a semicolon or a comma, whichever splits the first
    lines evenly; quotes are respected. A first row that is all numbers is data, and the
    columns are then called x1 ... xD; any other first row holds the names. An .npz must
    hold one array, or only one of two dimensions.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Table
        With float64 values.

    Raises
    ------
    TableError
        If there is no such file, or it doesn't hold a table of finite numbers.
    """
    path = os.fspath(path)
    extension = os.path.splitext(path)[1].lower()
    if extension not in READERS:
        raise TableError(f"{path}: expected a file named {', '.join(READERS)}, "
                         f"got {repr(extension) if extension else 'no extension'}")
    if os.path.isdir(path):
        raise TableError(f"{path}: expected a file, got a folder")
    try:
        if os.path.getsize(path) == 0 and os.path.isfile(path):
            raise TableError(f"{path}: expected a table, got an empty file")
        table = READERS[extension](path)
    except FileNotFoundError:
        raise TableError(f"{path}: expected a file, found none there") from None
    except OSError as error:
        raise TableError(f"{path}: expected a readable file, got {error}") from None
    return check_finite(path, table)


def _read_npy(path):
    return _from_array(path, _load(path))


def _read_npz(path):
    with _load(path) as archive:
        names = archive.files
        try:
            arrays = {name: archive[name] for name in names}
        except Exception as error:
            raise _unreadable(path, error) from None
    matrices = [name for name, array in arrays.items() if array.ndim == 2]
    if len(names) != 1 and len(matrices) != 1:
        held = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise TableError(f"{path}: expected one array, or only one of two dimensions; "
                         f"got {held or 'none'}")
    return _from_array(path, arrays[names[0] if len(names) == 1 else matrices[0]])


def _load(path):
    """np.load of a file that has to be what its extension says."""
    with open(path, "rb") as file:
        content = io.BytesIO(file.read())
    try:
        loaded = np.load(content, allow_pickle=False)
    except Exception as error:     # zipfile, zlib, tokenize and pickle each have their own
        raise _unreadable(path, error) from None
    extension = ".npy" if isinstance(loaded, np.ndarray) else ".npz"
    if not path.lower().endswith(extension):
        raise TableError(f"{path}: expected what its name says, got an {extension} file")
    return loaded


def _unreadable(path, error):
    if "allow_pickle" in str(error):
        return TableError(f"{path}: expected arrays of numbers, got pickled objects, which are "
                          "never loaded")
    kind = os.path.splitext(path)[1].lower()
    return TableError(f"{path}: expected a complete {kind} file, got a damaged one or another "
                      "kind of file")


def _from_array(path, array):
    if array.dtype.kind not in "buif":
        raise TableError(f"{path}: expected real numbers, got dtype {array.dtype}")
    if array.ndim != 2:
        hint = "; reshape(-1, 1) makes it one column" if array.ndim == 1 else ""
        raise TableError(f"{path}: expected a 2-D array, got shape {array.shape}{hint}")
    if array.size == 0:
        raise TableError(f"{path}: expected rows and columns, got shape {array.shape}")
    return Table(array.astype(np.float64), numbered_columns(array.shape[1]), named=False)


def _read_parquet(path):
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise TableError(f"{path}: reading .parquet needs pyarrow, which is not installed "
                         "(pip install pyarrow)") from None
    try:
        content = parquet.ParquetFile(path).read()
    except pyarrow.ArrowException:
        raise _unreadable(path, None) from None
    # What pandas stores of a table's row labels is no column of the table.
    names = [name for name in content.column_names if not name.startswith("__index_level_")]
    if not names or content.num_rows == 0:
        raise TableError(f"{path}: expected rows and columns, got {content.num_rows} rows "
                         f"of {len(names)} columns")
    columns = named_columns(path, names)
    values = np.empty((content.num_rows, len(names)))
    for k, name in enumerate(names):
        column = content.column(name)
        kind = column.type
        if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind)
                or pyarrow.types.is_boolean(kind)):
            raise TableError(f"{path}: column {name!r}: expected numbers, got {kind}")
        values[:, k] = column.to_pandas().to_numpy(dtype=np.float64, na_value=np.nan)
    return Table(values, columns)


READERS = {".csv": read_text, ".tsv": read_text, ".txt": read_text, ".npy": _read_npy,
           ".npz": _read_npz, ".parquet": _read_parquet}
