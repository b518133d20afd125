"""Pages fit into 100 columns."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
WRITTEN = ("*.rst", "docs/*.rst", "docs/galleries/*.rst", "docs/how_to/*.rst", "docs/teach/*.rst")
GENERATED = {"docs/sg_execution_times.rst"}  # building the site writes it
LONGEST = 100


def long_lines(path):
    """Return the lines of a page that are too long, with their numbers."""
    # You copy the README's two commands whole, so each stays one line.
    allowed = ["    python3 -m venv "] if path.name == "README.rst" else []
    return [
        (number, line)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > LONGEST and not line.startswith(tuple(allowed))
    ]


def test_no_line_of_a_page_is_too_long():
    pages = {
        path.relative_to(ROOT).as_posix(): path
        for pattern in WRITTEN
        for path in ROOT.glob(pattern)
    }
    assert {"README.rst", "CHANGELOG.rst", "CONTRIBUTING.rst", "RELEASING.rst"} <= set(pages)
    assert len(pages) >= 35
    long = {
        name: lines
        for name, path in pages.items()
        if name not in GENERATED and (lines := long_lines(path))
    }
    assert not long


def test_a_long_line_is_found(tmp_path):
    path = tmp_path / "README.rst"
    path.write_text(f"{'a' * 100}\n{'b' * 101}\n    python3 -m venv .venv && {'c' * 90}\n")
    assert long_lines(path) == [(2, "b" * 101)]
