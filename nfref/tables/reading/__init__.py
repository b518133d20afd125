"""Read tables of numbers from files, check them, write them.

A table is an (N, D) array with D column names. It is read from and written to .csv, .tsv and .txt
(text; with .gz compressed), .npy and .npz (NumPy), and .parquet (with pyarrow). A fault of a file
is a :class:`TableError` of one line: the file, what was expected, what came, and where. Rows are
counted from 1, without the header; lines are lines of the file.
"""

from nfref.tables.reading.batches import batch_rows, batches
from nfref.tables.reading.read import (
    HEADERS,
    READERS,
    check_suffix,
    read_quietly,
    read_table,
    suffix,
)
from nfref.tables.reading.sampling import Sample, sample
from nfref.tables.reading.table import (
    Table,
    TableError,
    check_finite,
    match_columns,
    numbered_columns,
    quoted_names,
    text_at,
)
from nfref.tables.reading.write import WRITERS, as_stored, write_table, writer

__all__ = [
    "HEADERS",
    "READERS",
    "WRITERS",
    "Sample",
    "Table",
    "TableError",
    "as_stored",
    "batch_rows",
    "batches",
    "check_finite",
    "check_suffix",
    "match_columns",
    "numbered_columns",
    "quoted_names",
    "read_quietly",
    "read_table",
    "sample",
    "suffix",
    "text_at",
    "write_table",
    "writer",
]
