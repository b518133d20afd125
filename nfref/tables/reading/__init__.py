"""Read tables of numbers from files, check them, write them.

A table is an (N, D) array with D column names. It is read from and written to .csv, .tsv and .txt
(text; with .gz compressed), .npy and .npz (NumPy), and .parquet (with pyarrow). A fault of a file
is a :class:`TableError` of one line: the file, what was expected, what came, and where. Rows are
counted from 1, without the header; lines are lines of the file.
"""

from nfref.tables.reading.read import batches, read_table
from nfref.tables.reading.sampling import sample
from nfref.tables.reading.table import Table, TableError
from nfref.tables.reading.write import write_table

__all__ = ["Table", "TableError", "batches", "read_table", "sample", "write_table"]
