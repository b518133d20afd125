"""Compiled kernels on disk: found again, never trusted when damaged, never missed."""

import ast
import os
import random
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numba
import numpy as np
import pytest

import nfref
from nfref.kernels import cache, jit, numba_internals
from nfref.kernels.numba_internals import dumps
from nfref.training import adam

compiled_only = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="uncompiled, none is kept")
can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

# One step of Adam in a fresh process.
STEP = (
    "import numpy as np\n"
    "from nfref.kernels.adam import adam_update\n"
    "a = np.ones(3)\n"
    "print(adam_update(a, a, a, a, 1, 0.1)[0])\n"
)


def run_python(code, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "NUMBA_DISABLE_JIT": "0", **environment},
        timeout=300,
    )


def step_of_the_formula():
    a = np.ones(3)
    return str(adam.adam_update(a, a, a, a, 1, 0.1)[0])


def plus_one(x):
    return x + 1


def plus_two(x):
    return x + 2


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache folder for kernels that are made in this process."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path / "nfref"


def hits(kernel):
    return sum(kernel.stats.cache_hits.values())


def only(folder):
    (entry,) = folder.iterdir()
    return entry


# Found again ------------------------------------------------------------------------------


@compiled_only
def test_an_entry_is_found_again_one_for_each_combination_of_types(folder):
    first = jit.kernel(plus_one)
    assert first(1.0) == 2 and first(1) == 2 and hits(first) == 0
    assert len(list(folder.iterdir())) == 2
    again = jit.kernel(plus_one)
    assert again(1.0) == 2 and again(1) == 2 and hits(again) == 2


@compiled_only
def test_the_folder_is_made_for_the_user_alone(folder):
    jit.kernel(plus_one)(1.0)
    assert os.name == "nt" or folder.stat().st_mode & 0o777 == 0o700


def test_the_name_of_an_entry_says_what_its_code_was_made_from(folder, monkeypatch):
    class Processor:
        def __init__(self, *description):
            self.magic_tuple = lambda: description

    floats, here = (numba.float64,), Processor("linux", "zen", "+avx")
    path = cache.Cache(plus_one).path(floats, here)
    assert path == cache.Cache(plus_one).path(floats, here)
    assert path.name.startswith(f"{nfref.__version__}-tests.kernels.test_cache.plus_one-")
    others = [
        cache.Cache(plus_two).path(floats, here),
        cache.Cache(plus_one).path((numba.float32,), here),
        cache.Cache(plus_one).path((numba.float64[:],), here),
        cache.Cache(plus_one).path((numba.float64[::1],), here),
        cache.Cache(plus_one).path(floats, Processor("linux", "zen", "-avx")),
        cache.Cache(plus_one).path(floats, Processor("linux", "other", "+avx")),
    ]
    numba_, llvmlite = numba_internals.VERSIONS
    for module, name, value in (
        (nfref, "__version__", "another"),
        (sys, "version", "another"),
        (numba_internals, "VERSIONS", ("another", llvmlite)),
        (numba_internals, "VERSIONS", (numba_, "another")),
    ):
        with monkeypatch.context() as context:
            context.setattr(module, name, value)
            others.append(cache.Cache(plus_one).path(floats, here))
    assert len({path, *others}) == 1 + len(others)


def test_a_change_in_any_file_that_a_kernel_is_made_of_is_a_change_of_its_sources(
    tmp_path, monkeypatch
):
    from nfref.kernels import adam as adam_kernels
    from nfref.kernels.chain import coupling
    from nfref.kernels.simd import elementary, tiles

    def digests():
        cache._source.cache_clear()
        return [cache.digest_of_sources(module.__name__) for module in (coupling, adam_kernels)]

    of_layer, of_adam = digests()
    assert digests() == [of_layer, of_adam]
    # elementary becomes part of the layer, tiles of its products; it imports neither itself.
    for module in (elementary, tiles):
        edited = tmp_path / "edited.py"
        edited.write_bytes(Path(module.__file__).read_bytes() + b"# edited\n")
        with monkeypatch.context() as context:
            context.setattr(module, "__file__", str(edited))
            now_of_layer, now_of_adam = digests()
        assert now_of_layer != of_layer and now_of_adam == of_adam
    assert digests() == [of_layer, of_adam]


def test_imports_are_found_as_the_parser_finds_them():
    for module in [name for name in sys.modules if name.startswith("nfref.")]:
        expected = set()
        for statement in ast.parse(Path(sys.modules[module].__file__).read_bytes()).body:
            if isinstance(statement, ast.ImportFrom):
                expected |= {
                    statement.module,
                    *(f"{statement.module}.{alias.name}" for alias in statement.names),
                }
            elif isinstance(statement, ast.Import):
                expected |= {alias.name for alias in statement.names}
        _, found = cache._source(module)
        assert {name for name in found if name.startswith("nfref.")} == {
            name for name in expected if name.startswith("nfref.")
        }, module


@compiled_only
def test_what_a_closure_holds_is_never_taken_from_the_disk(folder):
    def plus(number):
        @jit.kernel
        def add(x):
            return x + number

        return add

    assert plus(1)(1.0) == 2 and plus(2)(1.0) == 3
    assert not folder.exists()


# Damage -----------------------------------------------------------------------------------


def flipped(data, bit):
    data = bytearray(data)
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


DAMAGE = {
    "empty": lambda data: b"",
    "one byte": lambda data: data[:1],
    "its digest alone": lambda data: data[:32],
    "cut in half": lambda data: data[: len(data) // 2],
    "without its last byte": lambda data: data[:-1],
    "a byte too many": lambda data: data + b"\0",
    "a bit of the digest": lambda data: flipped(data, 17),
    "the first bit of the pickle": lambda data: flipped(data, 8 * 32),
    "a bit in the middle": lambda data: flipped(data, 4 * len(data)),
    "the last bit": lambda data: flipped(data, 8 * len(data) - 1),
    "zeros, as after a power cut": lambda data: bytes(len(data)),
    "a pickle without a digest": lambda data: data[32:],
    "text": lambda data: b"<html>404</html>",
}


@compiled_only
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_compiled_anew(folder, damage):
    jit.kernel(plus_one)(1.0)
    entry = only(folder)
    entry.write_bytes(damage(entry.read_bytes()))
    again = jit.kernel(plus_one)
    assert again(1.0) == 2 and hits(again) == 0
    healed = jit.kernel(plus_one)
    assert healed(1.0) == 2 and hits(healed) == 1


@compiled_only
def test_nothing_is_unpickled_before_its_digest_is_right(folder, monkeypatch):
    kernel = jit.kernel(plus_one)
    kernel(1.0)
    entry, context = only(folder), kernel.targetctx
    data = entry.read_bytes()

    def load(payload):
        raise AssertionError("unpickled")

    monkeypatch.setattr(cache.pickle, "loads", load)
    draw = random.Random(0)
    for bit in [*range(64), *(draw.randrange(8 * len(data)) for _ in range(500))]:
        entry.write_bytes(flipped(data, bit))
        with pytest.raises(ValueError, match="got a damaged one"):
            cache._contents(entry)
        assert kernel._cache.load_overload((numba.float64,), context) is None
        assert not entry.exists()


@compiled_only
def test_the_entry_of_another_kernel_is_not_run(folder):
    jit.kernel(plus_one)(1.0)
    one = only(folder)
    jit.kernel(plus_two)(1.0)
    (two,) = set(folder.iterdir()) - {one}
    shutil.copy(two, one)
    again = jit.kernel(plus_one)
    assert again(1.0) == 2 and hits(again) == 0


@compiled_only
def test_an_intact_entry_that_cannot_be_used_is_compiled_anew(folder):
    jit.kernel(plus_one)(1.0)
    entry = only(folder)
    for payload in (b"no pickle", dumps("no code"), dumps(tuple(range(9)))):
        entry.write_bytes(cache._digest(entry, payload) + payload)
        again = jit.kernel(plus_one)
        assert again(1.0) == 2 and hits(again) == 0
        assert cache._contents(entry) != payload


# Folders ----------------------------------------------------------------------------------


@compiled_only
@pytest.mark.parametrize("becomes", ["gone", "a file"])
def test_a_folder_that_is_lost(folder, becomes):
    jit.kernel(plus_one)(1.0)
    shutil.rmtree(folder)
    if becomes == "a file":
        folder.touch()
    assert jit.kernel(plus_one)(1.0) == 2
    assert folder.is_dir() == (becomes == "gone")


@compiled_only
def test_a_folder_in_the_place_of_an_entry(folder):
    jit.kernel(plus_one)(1.0)
    entry = only(folder)
    entry.unlink()
    entry.mkdir()
    assert jit.kernel(plus_one)(1.0) == 2
    assert only(folder) == entry and entry.is_dir()


@compiled_only
@pytest.mark.parametrize("failing", ["open", "write"])
def test_a_folder_that_takes_nothing_costs_time_alone(folder, monkeypatch, failing):
    """Read-only or full: as root, permissions stop nobody, so the file itself refuses."""

    @contextmanager
    def refusing(path):
        class File:
            def write(self, data):
                raise OSError(28, "No space left on device")

        if failing == "open":
            raise PermissionError(13, "Permission denied")
        yield File()

    monkeypatch.setattr(cache, "replacing", refusing)
    assert jit.kernel(plus_one)(1.0) == jit.kernel(plus_one)(1.0) == 2
    assert list(folder.iterdir()) == []


@pytest.mark.thorough
@pytest.mark.skipif(os.name == "nt", reason="no limit on the size of files here")
def test_a_disk_that_fills_while_an_entry_is_written_leaves_nothing(tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (999, 999))\n"
    done = run_python(limit + STEP, NUMBA_CACHE_DIR=str(tmp_path), PYTHONDONTWRITEBYTECODE="1")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.strip() == step_of_the_formula()
    assert list((tmp_path / "nfref").iterdir()) == []


@compiled_only
@pytest.mark.parametrize("raises", [True, False])
def test_who_has_no_home_has_no_folder(tmp_path, monkeypatch, raises):
    # What versions of platformdirs do where the user has neither HOME nor an account.
    def user_cache_path(name, appauthor):
        if raises:
            raise RuntimeError("could not determine the home directory for '~/.cache'")
        return Path("~/.cache/nfref")

    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(cache, "user_cache_path", user_cache_path)
    monkeypatch.chdir(tmp_path)
    assert cache.folder() is None
    assert jit.kernel(plus_one)(1.0) == 2
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_into_the_package(tmp_path):
    package = tmp_path / "site" / "nfref"
    shutil.copytree(
        Path(nfref.__file__).parent,
        package,
        ignore=shutil.ignore_patterns("__pycache__", "vectors"),
    )
    before = set(package.rglob("*"))
    code = f"{STEP}from nfref.kernels import cache; print(cache.__file__); print(cache.folder())\n"
    homes = dict.fromkeys(["HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"], str(tmp_path / "home"))
    done = run_python(
        code,
        cwd=package.parent,
        PYTHONPATH="",
        PYTHONDONTWRITEBYTECODE="1",
        NUMBA_CACHE_DIR="",
        **homes,
    )
    assert done.returncode == 0, done.stderr
    answer, used, where = done.stdout.splitlines()
    assert answer == step_of_the_formula() and Path(used).is_relative_to(package)
    assert set(package.rglob("*")) == before
    assert Path(where).is_relative_to(tmp_path / "home") and only(Path(where)).is_file()


# Many at once -----------------------------------------------------------------------------


@pytest.mark.thorough
@can_fork
def test_ten_cold_processes_at_once(tmp_path):
    code = (
        "import os, sys\n"
        "from nfref.kernels.adam import _adam_update, adam_update\n"
        "import numpy as np\n"
        "a, (waiting, go), children = np.ones(3), os.pipe(), []\n"
        "for _ in range(10):\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        os.close(go)\n"
        "        os.read(waiting, 1)\n"  # until all of them are there
        "        answer = str(adam_update(a, a, a, a, 1, 0.1)[0])\n"
        "        found = sum(_adam_update.stats.cache_hits.values())\n"
        f"        os._exit(found if answer == {step_of_the_formula()!r} else 9)\n"
        "    children.append(child)\n"
        "os.close(go)\n"
        "print(sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "             for child in children))\n"
    )
    done = run_python(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert done.stdout.strip() == str([0] + [1] * 9), done.stderr  # one compiles, the rest read
    entry = only(tmp_path / "nfref")
    assert cache._contents(entry)
    before = entry.stat().st_mtime_ns
    assert run_python(STEP, NUMBA_CACHE_DIR=str(tmp_path)).stdout.strip() == step_of_the_formula()
    assert only(tmp_path / "nfref").stat().st_mtime_ns == before


@can_fork
@compiled_only
def test_who_waits_for_a_process_that_dies_compiles_it(folder):
    ours = jit.kernel(plus_one)
    path = ours._cache.path((numba.float64,), ours.targetctx.codegen())
    (waiting, ready), (hold, go) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go)
        cache.Turn(path, 1)
        os.write(ready, b".")
        os.read(hold, 1)  # until the parent lets go, or ends
        os._exit(0)  # as if killed: nothing is let go
    os.read(waiting, 1)
    assert cache.Turn(path, 0.2)._descriptor is None
    threading.Timer(0.3, os.close, [go]).start()
    assert ours(1.0) == 2 and hits(ours) == 0
    os.waitpid(child, 0)
    assert only(folder) == path


@compiled_only
def test_a_kernel_that_does_not_compile_keeps_nobody_waiting(folder):
    @jit.kernel
    def broken(x):
        return x + "a"

    for _ in range(2):
        with pytest.raises(numba.TypingError):
            broken(1.0)
    assert list(folder.iterdir()) == []


@pytest.mark.thorough
@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root becomes another")
@pytest.mark.parametrize("made", [True, False])
def test_the_folder_of_another_user_costs_time_alone(tmp_path, made):
    """As after sudo: a folder of mode 0700 that belongs to root."""
    code = (
        "import os, numba, numpy as np, nfref\n"
        "from nfref.kernels.adam import adam_update\n"
        "numba.njit(lambda x: x + 1)(1.0)\n"  # loads what another user may not read
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "a = np.ones(3)\n"
        "print(adam_update(a, a, a, a, 1, 0.1)[0])\n"
    )
    (tmp_path / "cache").mkdir(mode=0o700)
    if made:
        (tmp_path / "cache" / "nfref").mkdir(mode=0o700)
    done = run_python(code, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == step_of_the_formula()


# Telling ----------------------------------------------------------------------------------


def test_who_asks_is_told_once_when_kernels_are_compiled_and_not_when_they_are_cached(tmp_path):
    code = (
        "import numpy as np, nfref\n"
        "from nfref.kernels.compile_notice import when_compiling\n"
        "when_compiling(lambda: print('compiling'))\n"
        "from nfref.kernels.adam import adam_update\n"
        "a = np.ones(3)\n"
        "adam_update(a, a, a, a, 1, 0.1); adam_update(*[a.astype('f')] * 4, 1, 0.1)\n"
    )
    first = run_python(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert first.stdout.split() == ["compiling"], first.stderr
    second = run_python(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert second.stdout.split() == [], second.stderr


def test_the_command_line_names_the_folder(folder, capsys):
    from nfref.cli import main

    assert main(["info", "--system"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"cache:      {folder}"
