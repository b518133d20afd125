"""Share fitted models among all tests of the command in a process."""

import pytest

from tests.cli.commands import REAL, succeeds, write_people


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder with people.csv (semicolons, quoted names) and people.npz, a model of it."""
    folder = tmp_path_factory.mktemp("a folder")
    write_people(folder / "people.csv", ";")
    output = succeeds(
        "fit", "people.csv", "--flow", "realnvp", *REAL, "--out", "people.npz", cwd=folder
    )
    (folder / "fit.txt").write_text(output)
    return folder
