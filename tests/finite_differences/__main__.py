"""python -m tests.finite_differences: the largest errors per flow, as a table."""

from tests.finite_differences import error_table

print(error_table())
