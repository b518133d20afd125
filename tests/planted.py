"""Plant errors in a copy of nfref, one at a time, and list the plain tests that catch each.

    python -m tests.planted [NAME ...] [--whole]

An error is caught if a test of its folders fails. With ``--whole`` the whole suite runs for each
error, which takes an hour or two. The exit status is 1 if an error is not caught. Run it before and
after tests are deleted: every error has to be caught both times.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SHOWN = 3  # most names of tests in a line


class Planted(NamedTuple):
    """A text that stands once in a file of nfref, and what stands there instead."""

    file: str
    right: str
    wrong: str
    tests: str


PLANTED = {
    # Formulas
    "planar, sign of log_det": Planted(
        "flows/planar.py",
        "return z + u_hat * tanh(a), np.log(",
        "return z + u_hat * tanh(a), -np.log(",
        "flows",
    ),
    "linear, transposed": Planted(
        "flows/linear.py", "return z @ weight.T, np.linalg", "return z @ weight, np.linalg", "flows"
    ),
    "images, axis of pixels": Planted(
        "flows/images/layers.py",
        "np.sum(log_dets.reshape((len(rows), height * width)), axis=1)",
        "log_dets.reshape((len(rows), height * width))[:, 0]",
        "flows",
    ),
    "affine, sign of the inverse": Planted(
        "transformers/affine.py",
        "return (x - shift) * np.exp(-log_scale), -log_scale",
        "return (x - shift) * np.exp(-log_scale), log_scale",
        "transformers flows",
    ),
    "spline, slopes of a bin swapped": Planted(
        "transformers/rational_quadratic.py",
        "return a * (s * a + d0 * b) /",
        "return a * (s * a + d1 * b) /",
        "transformers flows",
    ),
    "MADE, outputs see their own input": Planted(
        "networks/masked.py",
        "masks.append(levels[-1][:, None] <= np.tile(places, outputs_per_dim)[None, :])",
        "masks.append(levels[-1][:, None] <= np.tile(places, outputs_per_dim)[None, :] + 1)",
        "networks flows",
    ),
    "mixture base, weights without their sum": Planted(
        "bases/normal_mixture.py",
        'log_weights = params["logits"] - logsumexp(params["logits"])',
        'log_weights = params["logits"]',
        "bases",
    ),
    "bases, dtype of samples": Planted(
        "bases/base.py",
        "self._sample(params, check_rng(rng), n).astype(dtype)",
        "self._sample(params, check_rng(rng), n)",
        "bases flows",
    ),
    "Adam, first steps too short": Planted(
        "training/adam.py", "m_hat = m / (1 - beta1**t)", "m_hat = m", "training"
    ),
    # Kernels
    "kernel, sign of log_det": Planted(
        "kernels/chain/transformers/affine.py",
        "log_det[r] += sign * raw[s, r]",
        "log_det[r] -= sign * raw[s, r]",
        "kernels",
    ),
    "kernel, factor on the tape": Planted(
        "kernels/chain/transformers/affine.py",
        "tape[product, r] = (before - p) * tape[slope, r]",
        "tape[product, r] = before - p",
        "kernels",
    ),
    "kernel of Adam, second moment": Planted(
        "kernels/adam.py", "math.sqrt(v[i] * unbias)", "math.sqrt(v[i])", "kernels training"
    ),
    "device, sign of the inverse": Planted(
        "kernels/cuda/coupling.py",
        "return value, -log_slope if direction == 1 else log_slope",
        "return value, log_slope",
        "kernels",
    ),
    # Oracle
    "oracle, no row is judged": Planted(
        "oracle/checks/log_det.py",
        "measured.finite & (tolerance < WIDEST)",
        "measured.finite & (tolerance > WIDEST)",
        "oracle",
    ),
    "oracle, any ratio is the factor": Planted(
        "oracle/checks/log_det.py",
        "if abs(ratio - factor) < 1e-4:",
        "if abs(ratio - factor) < 1e4:",
        "oracle",
    ),
    # Tables
    "columns, ends of an interval swapped": Planted(
        "tables/schema/columns.py",
        "x = np.where(y < 0, low + part, high - part)",
        "x = np.where(y < 0, high - part, low + part)",
        "tables/schema",
    ),
    "columns, sign of a tail's slope": Planted(
        "tables/schema/columns.py",
        "np.sign(t) * beyond, -beyond",
        "np.sign(t) * beyond, beyond",
        "tables/schema tables/densities",
    ),
    "pool, weights of rows lost": Planted(
        "tables/densities/pool.py",
        "v = np.ones(rows) if weight is None else np.asarray(weight, np.float64)",
        "v = np.ones(rows)",
        "tables/densities tables/estimators",
    ),
    "folds, held-out rows are fitted to": Planted(
        "tables/fitting/folds.py",
        "Fold(rows.at(numbers != k), rows.at(numbers == k)",
        "Fold(rows, rows.at(numbers == k)",
        "tables/fitting",
    ),
    "search, what does not pay is trained": Planted(
        "tables/fitting/effort.py",
        "return promised * rows >= self.price * seconds",
        "return promised * rows <= self.price * seconds",
        "tables/fitting",
    ),
    "supports, far columns take logarithms": Planted(
        "tables/fitting/supports.py",
        "<= NEAR * column.scale",
        ">= NEAR * column.scale",
        "tables/fitting",
    ),
    "queries, weights of samples lost": Planted(
        "tables/queries/conditional.py",
        "log_weight = log_weight + self._interpolated(u, codes, missing[0])",
        "log_weight = np.repeat(log_weight, draws, axis=1)",
        "tables/queries",
    ),
    "labels, mean of networks": Planted(
        "tables/densities/label_network.py",
        "np.logaddexp.reduce(each, axis=0) - np.log(len(each))",
        "np.logaddexp.reduce(each, axis=0)",
        "tables/densities",
    ),
    "model files, digest not compared": Planted(
        "tables/files/archives.py",
        'if not np.array_equal(written, digest({"header": encoded, **arrays})):',
        "if written is None:",
        "tables/files",
    ),
    # Command
    "command, rows of no weight are tested": Planted(
        "cli/test_rows.py", "np.flatnonzero(weight > 0)", "np.flatnonzero(weight >= 0)", "cli"
    ),
    "score, impossible rows not counted": Planted(
        "cli/score.py", "int(np.sum(score == -np.inf))", "int(np.sum(score == np.inf))", "cli"
    ),
}


def copied(folder):
    """Copy all files of the working tree that Git tracks into a folder."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def failures(folder, tests):
    """Return the names of the plain tests in some folders that fail, or an error in collecting."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--tb=no", "--maxfail=20", *tests],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    return re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)


def main():
    parser = argparse.ArgumentParser(
        prog="python -m tests.planted",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="parts of names of errors")
    parser.add_argument("--whole", action="store_true", help="run the whole suite for each")
    options = parser.parse_args()
    chosen = [
        name for name in PLANTED if not options.names or any(part in name for part in options.names)
    ]
    missed = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        copied(folder)
        for name in chosen:
            one, began = PLANTED[name], time.perf_counter()
            path = folder / "nfref" / one.file
            source = path.read_text(encoding="utf-8")
            if source.count(one.right) != 1:
                sys.exit(f"{one.file}: expected once {one.right!r}, got {source.count(one.right)}")
            path.write_text(source.replace(one.right, one.wrong), encoding="utf-8")
            tests = ["tests"] if options.whole else [f"tests/{part}" for part in one.tests.split()]
            found = failures(folder, tests)
            path.write_text(source, encoding="utf-8")
            missed += [] if found else [name]
            said = ", ".join(found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
            seconds = time.perf_counter() - began
            print(f"{name}: {said or 'NOT CAUGHT'} ({seconds:.0f} s)", flush=True)
    print(f"caught {len(chosen) - len(missed)} of {len(chosen)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
