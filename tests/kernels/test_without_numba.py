"""nfref where Numba is not installed: formulas do everything, and who asks for twins is told."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nfref
from nfref.oracle import adapters, check_flow
from nfref.runtime import params as trees
from nfref.runtime import small_matrices
from nfref.runtime.dispatch import CALL


def session():
    """What somebody computes in an afternoon, with calls that are large enough for twins."""
    rng = np.random.default_rng(0)
    flow = nfref.RealNVP(2, layers=2, hidden=(8,))
    density = nfref.Density(flow)
    params = density.init(rng)
    x = density.sample(params, rng, CALL // trees.count(params) + 1)
    fitted = nfref.fit(density, params, x[:3000], rng, epochs=2, progress=False)
    # How much a check draws depends on the time it has.
    check_flow(
        **adapters.from_nfref(flow, params["flow"]), dim=2, rng=np.random.default_rng(1)
    ).raise_if_failed()
    cnf = nfref.CNF(2, hidden=(8,))
    return [
        x,
        density.log_prob(params, x),
        *trees.leaves(fitted.params),
        small_matrices.log_abs_det(rng.standard_normal((CALL // 8**3 + 1, 8, 8))),
        *cnf.inverse(cnf.init(rng), x[:1000]),
    ]


def without_numba(code, **environment):
    # Python refuses to import what stands as None in this table.
    code = f"import sys; sys.modules.update(numba=None, llvmlite=None)\n{code}"
    # An older autograd asks NumPy 2 for a name that it no longer likes to be asked for.
    return subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:numpy.core:DeprecationWarning", "-c", code],
        text=True,
        cwd=Path(nfref.__file__).parents[1],
        capture_output=True,
        timeout=300,
        env={**os.environ, "NFREF_BACKEND": "", "MPLBACKEND": "Agg", **environment},
    )


@pytest.mark.thorough
def test_formulas_do_everything(tmp_path):
    done = without_numba(
        "import numpy as np\n"
        f"from {__name__} import session\n"
        f"np.savez({str(tmp_path / 'there.npz')!r}, *session())\n"
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    with nfref.backend("numpy"):
        here = session()
    with np.load(tmp_path / "there.npz") as there:
        assert len(here) == len(there.files)
        assert all(map(np.array_equal, here, there.values()))


@pytest.mark.thorough
def test_the_command_line(tmp_path):
    model = str(tmp_path / "wine.npz")
    done = without_numba(
        "from nfref.cli import main\n"
        "sys.exit(main(['fit', 'wine', '--flow', 'maf', '--time', '1', "
        f"'--out', {model!r}]) or main(['score', {model!r}, 'wine']) "
        "or main(['info', '--system']))"
    )
    assert done.returncode == 0 and done.stderr.count("\n") <= 1, done.stderr  # a note on wine
    lines = done.stdout.splitlines()
    problem = "numba is not installed (pip install numba)"
    assert {f"numba:      {problem}", "backend:    numpy", f"cache:      none, {problem}"} <= set(
        lines
    )


def test_who_asks_for_twins_is_told_in_one_line():
    problem = "backend: expected Numba for 'numba'; numba is not installed (pip install numba)"
    done = without_numba("import nfref\nwith nfref.backend('numba'): pass")
    assert done.stderr.splitlines()[-1] == f"RuntimeError: {problem}"
    done = without_numba(
        "from nfref.cli import main; sys.exit(main(['info', '--system']))", NFREF_BACKEND="numba"
    )
    assert done.returncode == 2 and done.stderr == f"nfref: error: {problem}\n"
