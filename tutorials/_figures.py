"""Where the tutorials put what they draw: figures/, or the folder NFREF_FIGURES names."""

import os
from pathlib import Path


def figure_path(name):
    """The path of a figure; the folder is made if it does not exist."""
    folder = Path(os.environ.get("NFREF_FIGURES") or Path(__file__).parent.parent / "figures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name
