"""List the files, functions and lines of code that log_prob and sample run through.

    python -m tests.benchmarks.call_paths [--functions]

A function that runs counts with all of its code (no docstrings, comments and blank lines), in the
second of two calls, by the formulas. *Plumbing* is the code in ``runtime``, ``flow.py`` and
``density.py``; the rest is mathematics. If zuko is installed, its flows of the same names follow.
"""

import sys
from functools import cache
from pathlib import Path

import numpy as np

from tests.test_architecture import lines_of_code

FLOWS = ("RealNVP", "MAF", "NSF", "CNF")
PLUMBING = ("runtime/", "flow.py", "density.py")


@cache
def code_lines(path):
    """Numbers of the lines of a file that hold code."""
    return lines_of_code(Path(path).read_text(encoding="utf-8"))


def functions_run(call, root):
    """Return the code objects of the files below ``root`` that ``call`` runs."""
    found = set()

    def note(frame, event, argument):
        if event == "call" and frame.f_code.co_filename.startswith(root):
            found.add(frame.f_code)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


def counted(codes, root):
    """file -> (names of its functions, numbers of their lines of code)."""
    found = {}
    for code in codes:
        path = code.co_filename
        own = {line for *_, line in code.co_lines() if line}
        span = set(range(code.co_firstlineno, max(own, default=0) + 1)) & code_lines(path)
        names, lines = found.setdefault(path[len(root) :].lstrip("/"), (set(), set()))
        names.add(code.co_name)
        lines |= span
    return found


def show(name, call, package, functions=False):
    """Print one line for a call; with ``functions`` one for each file as well."""
    root = str(Path(package.__file__).parent)
    call()
    found = counted(functions_run(call, root), root)
    total = sum(len(lines) for _, lines in found.values())
    plumbing = sum(len(lines) for file, (_, lines) in found.items() if file.startswith(PLUMBING))
    of_these = f", {plumbing} of them plumbing" if package.__name__ == "nfref" else ""
    print(
        f"{name:<24}{len(found):>6} files{sum(len(names) for names, _ in found.values()):>6} "
        f"functions{total:>6} lines{of_these}"
    )
    if functions:
        for file, (names, lines) in sorted(found.items()):
            print(f"    {file}: {len(lines)} lines, {', '.join(sorted(names))}")


def main():
    import nfref

    functions, rng = "--functions" in sys.argv, np.random.default_rng(0)
    x = rng.standard_normal((100, 4))
    for name in FLOWS:
        density = nfref.Density(getattr(nfref, name)(4))
        params = density.init(rng)
        with nfref.backend("numpy"):
            show(f"{name} log_prob", lambda: density.log_prob(params, x), nfref, functions)
            show(f"{name} sample", lambda: density.sample(params, rng, 100), nfref, functions)
    try:
        import torch
        import zuko
    except ModuleNotFoundError:
        return
    for name in FLOWS:
        flow = getattr(zuko.flows, name)(4)
        rows = torch.tensor(x).float()
        with torch.no_grad():
            show(f"zuko {name} log_prob", lambda: flow().log_prob(rows), zuko, functions)
            show(f"zuko {name} sample", lambda: flow().sample((100,)), zuko, functions)


if __name__ == "__main__":
    main()
