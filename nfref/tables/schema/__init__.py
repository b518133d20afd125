"""The columns of a table: kinds, DataFrames, rounding, equal rows."""
