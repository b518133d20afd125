"""python -m docs.draw NAME ... [--full]: run scripts of tutorials/ and keep the figure of each.

The last figure of a script is written as figures/NAME.png, or into the folder that NFREF_FIGURES
names, at twice the 736 pixels of a page's width. ``--full`` runs the long versions and writes their
output as figures/NAME.txt. The page shows this output, and a test compares the page's numbers with
it.
"""

import argparse
import contextlib
import datetime
import io
import os
import runpy
import sys
from pathlib import Path

import matplotlib

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 736  # pixels of the site's text, and of a figure 7.36 inches wide
COMMAND = "python -m docs.draw {} --full"


def scripts():
    """Name -> path of every script of the tutorials that is a page."""
    return {path.stem: path for path in sorted((ROOT / "tutorials").rglob("[!_]*.py"))}


def draw(path, *options):
    """Run a script; return the path of the last figure that it drew."""
    import matplotlib.pyplot as plt

    plt.close("all")
    sys.argv, before = [str(path), *options], sys.path[:]
    sys.path.insert(0, str(path.parent))
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            runpy.run_path(str(path), run_name="__main__")
    finally:
        sys.path[:] = before
        print(printed.getvalue(), end="")  # printed before a claim at the end can fail
    folder = Path(os.environ.get("NFREF_FIGURES") or ROOT / "figures")
    folder.mkdir(parents=True, exist_ok=True)
    figure, there = plt.figure(plt.get_fignums()[-1]), folder / f"{path.stem}.png"
    figure.savefig(there, dpi=2 * WIDTH / figure.get_figwidth())
    if "--full" in options:
        today = datetime.date.today()
        lines = [
            f"{today.day} {today:%B %Y}: {COMMAND.format(path.stem)}",
            *(line for line in printed.getvalue().splitlines() if not line.startswith("exercise ")),
        ]
        there.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return there


def full_run(stem):
    """Return (date, lines) of a page's full run; None if a page has no other run.

    There are no lines for runs older than the files of printed output.
    """
    path = ROOT / "figures" / f"{stem}.txt"
    if not path.exists():
        return None
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    date, _, command = head.partition(": ")
    if command != COMMAND.format(stem):
        raise ValueError(
            f"{path.name}: expected a first line that ends in "
            f"'{COMMAND.format(stem)}', got '{head}'"
        )
    return date, lines


def main():
    known = scripts()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=known, metavar="NAME")
    parser.add_argument("--full", action="store_true", help="the long run")
    options = parser.parse_args()
    matplotlib.use("Agg")
    for name in options.names:
        print(draw(known[name], *(["--full"] if options.full else [])))


if __name__ == "__main__":
    main()
