"""Tables of numbers: reading them from files, checking them, writing them.

A table is an (N, D) array with D column names. It is read from .csv, .tsv and .txt (text),
.npy and .npz (NumPy), and .parquet (where pyarrow is installed). Whatever is wrong with a
file is a :class:`TableError` of one line: the file, what was expected, what came, and where.
Rows are counted from 1, the header not included; lines are lines of the file.
"""

from nfref.tables.read import READERS, read_table
from nfref.tables.table import (Table, TableError, check_finite, check_varies, match_columns,
                                numbered_columns)
from nfref.tables.text import write_csv

__all__ = ["READERS", "Table", "TableError", "check_finite", "check_varies", "match_columns",
           "numbered_columns", "read_table", "write_csv"]
