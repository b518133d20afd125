"""The site that these tests look at, built once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Build the site with warnings as errors and no lesson run, or take the one in NFREF_SITE."""
    if os.environ.get("NFREF_SITE"):
        return Path(os.environ["NFREF_SITE"])
    pytest.importorskip("sphinx_gallery", reason="needs the extra docs")
    pytest.importorskip("furo", reason="needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-q",
            "-W",
            "--keep-going",
            "-D",
            "plot_gallery=0",
            "-d",
            str(folder / "doctrees"),
            str(DOCS),
            str(folder / "html"),
        ],
        cwd=ROOT,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return folder / "html"
