"""python -m tests.contract: the largest errors per flow, as a table."""

from tests.contract import error_table

print(error_table())
