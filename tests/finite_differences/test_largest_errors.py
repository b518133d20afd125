"""The table of largest errors that ``python -m tests.finite_differences`` prints."""

import pytest

from tests.finite_differences.__main__ import error_table


@pytest.mark.slow
def test_table_of_largest_errors():
    table = error_table(dims=(3,))
    print("\n" + table)
    assert len(table.splitlines()) > 30, table
    assert "inf" not in table, table
