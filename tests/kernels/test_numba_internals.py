"""Numba's insides, broken on purpose: what needs them goes another way, and numbers stay right."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import nfref
from nfref.kernels import jit, numba_internals

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="uncompiled, none are used")

# Formulas and kernels on the same rows, with what is left of Numba.
SESSION = """
import json, numpy as np, nfref
from nfref.kernels.availability import kernels_work
from nfref.runtime import params as trees
rng = np.random.default_rng(0)
density = nfref.Density(nfref.RealNVP(2, layers=2, hidden=(8,)))
params = trees.tree_map(lambda leaf: leaf + rng.normal(0, 0.1, leaf.shape), density.init(rng))
rows, found = rng.standard_normal((300, 2)), []
for backend in ("numba", "numpy"):
    with nfref.backend(backend):
        fitted = nfref.fit(density, params, rows, np.random.default_rng(1), epochs=2,
                           progress=False).params
        found.append([density.log_prob(some, rows) for some in (params, fitted)])
works = kernels_work()
if works:
    from nfref.kernels import jit
print(json.dumps([works and jit.HAS_COMPILER, works and jit.HAS_CACHE, works,
                  float(np.abs(np.subtract(*found)).max())]))
"""
UNKNOWN = "from nfref.kernels import numba_internals; numba_internals.TESTED = ()\n"


def moved(name):
    """Code after which a part is not where it was."""
    return (
        "from nfref.kernels import numba_internals\n"
        f"numba_internals._PLACES[{name!r}] = 'numba.another'\n"
    )


# As another version has it: an argument more (that was 0.61), or the same name for another thing.
ANOTHER_ARGUMENT = (
    UNKNOWN
    + """
from numba.core.codegen import CPUCodegen, JITCodeLibrary
manager = CPUCodegen._function_pass_manager
CPUCodegen._function_pass_manager = lambda self, llvm_module: manager(self)

def optimize(self, module):
    for function in module.functions:
        passes, builder = self._codegen._function_pass_manager(module)
        passes.run(function, builder)

JITCodeLibrary._optimize_functions = optimize
"""
)
SHUFFLE_IS_ANOTHER = (
    UNKNOWN
    + """
from llvmlite import ir
ir.IRBuilder.shuffle_vector = lambda self, one, other, order, name="": ir.Constant(
    ir.VectorType(one.type.element, order.type.count), [1.0] * order.type.count)
"""
)
PRODUCT_IS_ANOTHER = (
    UNKNOWN
    + """
from llvmlite import ir
instruction = ir.IRBuilder.fmul
ir.IRBuilder.fmul = lambda self, *values, flags=(), **named: (
    self.fadd if flags == ("contract",) else instruction.__get__(self))(
        *values, flags=flags, **named)
"""
)


@pytest.mark.parametrize(
    "broken, works, told",
    [
        pytest.param(
            moved("PassManager"),
            (False, True, True),
            "expected ways to compile",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            ANOTHER_ARGUMENT, (False, True, True), "TypeError", marks=pytest.mark.thorough
        ),
        pytest.param(
            moved("dumps"),
            (True, False, True),
            "expected ways to keep what is compiled",
            marks=pytest.mark.thorough,
        ),
        (moved("populate_array"), (False,) * 3, "formulas compute"),
        pytest.param(
            moved("binding"), (False,) * 3, "formulas compute", marks=pytest.mark.thorough
        ),
        pytest.param(
            SHUFFLE_IS_ANOTHER, (False,) * 3, "wrong products", marks=pytest.mark.thorough
        ),
        pytest.param(PRODUCT_IS_ANOTHER, (False,) * 3, "wrong vectors", marks=pytest.mark.thorough),
        pytest.param(UNKNOWN, (True,) * 3, None, marks=pytest.mark.thorough),
    ],
    ids=["passes", "argument", "dumps", "arrays", "binding", "shuffle", "product", "nothing"],
)
def test_a_broken_inside_costs_time_alone(tmp_path, broken, works, told):
    done = subprocess.run(
        [sys.executable, "-c", broken + SESSION],
        text=True,
        capture_output=True,
        cwd=Path(nfref.__file__).parents[1],
        timeout=600,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NFREF_BACKEND": ""},
    )
    assert done.returncode == 0, done.stderr
    *found, difference = json.loads(done.stdout)
    assert tuple(found) == works
    assert difference == 0 if not works[2] else 0 < difference < 1e-11
    warned = re.findall("RuntimeWarning: (.*)", done.stderr)
    assert len(warned) == (told is not None)
    assert told is None or told in warned[0] and warned[0].startswith("numba: expected ")
    if works[2]:
        assert any(tmp_path.iterdir()) == works[1]


# Each trial finds what it is there for --------------------------------------------------------


@pytest.fixture
def unknown(monkeypatch):
    monkeypatch.setattr(numba_internals, "TESTED", ())
    monkeypatch.setattr("nfref.kernels.compile_notice._TELL", [])


def test_what_is_as_expected_passes(unknown):
    jit._try_compiler()
    jit._try_cache()


HALF = numba.njit(lambda x: x / 2)


def to_difference(self):
    """The code of a library, in which sums are differences."""
    return numba_internals.binding.parse_assembly(str(self._final_module).replace("fadd", "fsub"))


@pytest.mark.parametrize(
    "place, other, error, why",
    [
        (
            "numba.core.codegen.JITCodeLibrary._get_module_for_linking",
            to_difference,
            ValueError,
            "wrong sums",
        ),
        (
            "numba.core.codegen.CPUCodegen._module_pass_manager",
            lambda self, module: None,
            TypeError,
            "module",
        ),
        ("nfref.kernels.compiler_pipeline.PASSES", (), Exception, None),
    ],
)
def test_the_trial_of_the_compiler(unknown, monkeypatch, place, other, error, why):
    monkeypatch.setattr(place, other)
    with pytest.raises(error, match=why):
        jit._try_compiler()


@pytest.mark.parametrize(
    "place, other, why",
    [
        (
            "numba.core.compiler.CompileResult._rebuild",
            lambda context, *parts: HALF.overloads[numba.float64,]._replace(metadata=None),
            "not found again",
        ),
        (
            "numba.core.codegen.CPUCodegen.magic_tuple",
            lambda self: ("x86_64",),
            "another processor",
        ),
    ],
)
def test_the_trial_of_the_cache(unknown, monkeypatch, place, other, why):
    HALF.compile("f8(f8)")
    monkeypatch.setattr(place, other)
    with pytest.raises(ValueError, match=why):
        jit._try_cache()
