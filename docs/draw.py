"""python -m docs.draw NAME ... [--full]: run scripts of tutorials/ and keep the figure of each.

What a script draws last is written as figures/NAME.png, or into the folder NFREF_FIGURES names,
at twice the 736 pixels that a page is wide. With ``--full`` the runs are the long ones.
"""

import argparse
import os
import runpy
import sys
from pathlib import Path

import matplotlib

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 736                     # pixels of the site's text, and of a figure 7.36 inches wide


def scripts():
    """Name -> path of every script of the tutorials that is a page."""
    return {path.stem: path for path in sorted((ROOT / "tutorials").rglob("[!_]*.py"))}


def draw(path, *options):
    """Run a script; the path of the figure that it drew last."""
    import matplotlib.pyplot as plt
    plt.close("all")
    sys.argv, before = [str(path), *options], sys.path[:]
    sys.path.insert(0, str(path.parent))
    runpy.run_path(str(path), run_name="__main__")
    sys.path[:] = before
    folder = Path(os.environ.get("NFREF_FIGURES") or ROOT / "figures")
    folder.mkdir(parents=True, exist_ok=True)
    figure, there = plt.figure(plt.get_fignums()[-1]), folder / f"{path.stem}.png"
    figure.savefig(there, dpi=2 * WIDTH / figure.get_figwidth())
    return there


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
