"""Completion in a shell, by argcomplete."""

import os
import subprocess

import pytest

from nfref.tables.fitting.flow_kinds import FLOWS
from tests.cli.commands import COMMAND


@pytest.mark.parametrize(
    "line, expected",
    [
        ("nfref sc", {"score"}),
        ("nfref score --da", {"--dask"}),
        ("nfref fit wine --flow ", {"auto", "gaussian", "mixture", *FLOWS}),
    ],
)
def test_a_shell_completes(tmp_path, line, expected):
    pytest.importorskip("argcomplete")
    found = tmp_path / "found"
    subprocess.run(
        [COMMAND],
        env={
            **os.environ,
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(found),
            "_ARGCOMPLETE_IFS": "\n",
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
        },
        check=False,
        capture_output=True,
    )
    assert {word.strip() for word in found.read_text().splitlines()} == expected
