"""The environment: checked before any work, and described as a bug report should include it.

``nfref --help`` imports this module, so slow imports stand where they are used.
"""

import os
import warnings
from importlib import import_module

from nfref.cli.arguments import UsageError

LEAST = {"NUMBA_NUM_THREADS": 1, "SOURCE_DATE_EPOCH": 0}  # read by Numba, and by Matplotlib


def check() -> None:
    """Check variables of the environment that libraries read while they are imported."""
    from nfref.runtime.backends import chosen, vector_bytes

    for name, least in LEAST.items():
        value = os.environ.get(name) or "1"
        if not value.isdecimal() or int(value) < least:
            raise UsageError(f"{name}: expected at least {least}, got {value}")
    for prefix, library in (("NUMBA_", "numba"), ("TQDM_", "tqdm")):
        names = [name for name in os.environ if name.startswith(prefix)]
        if problem := names and _problem_of(library):
            raise UsageError(
                f"{', '.join(names)}: expected values that {library} can read; {problem}"
            )
    try:
        chosen(), vector_bytes()
    except (ValueError, RuntimeError) as error:
        raise UsageError(str(error)) from None


def _problem_of(library):
    """Return the complaint of a library about its environment while it is imported, or ""."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            import_module(library)
        except ValueError as error:
            return str(error)
        except (ImportError, OSError):  # the command that needs the library reports it
            return ""
    complaints = [str(one.message).splitlines()[0] for one in said]
    return next((one for one in complaints if one.startswith("Environment variable")), "")


def environment() -> dict[str, str | int]:
    """Return versions, processor, backend and cache folder, as text by name."""
    import platform
    from importlib.metadata import version

    import numpy as np

    from nfref import __version__
    from nfref.runtime.backends import chosen, cuda_problem, numba_problem, threads

    without_numba = numba_problem()
    return {
        "nfref": __version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        "numpy": np.__version__,
        "numba": without_numba or version("numba"),
        "processor": platform.machine() if without_numba else _processor(),
        "threads": threads(),
        "backend": chosen()
        or ("numpy" if without_numba else "numba for large problems, numpy for small ones"),
        "cuda": cuda_problem() or "available",
        "cache": f"none, {without_numba}" if without_numba else _cache(),
    }


def _processor():
    """Return the processor as the compiler names it: compiled code depends on that."""
    import platform

    from nfref.kernels.numba_internals import binding

    return f"{platform.machine()}, {binding.get_host_cpu_name()}"


def _cache():
    from nfref.kernels.cache import folder

    where = folder()
    if where is None:
        return "none, this user has no home folder"
    try:
        sizes = [entry.stat().st_size for entry in os.scandir(where)]
    except OSError as error:
        return f"{where} ({error.strerror})"
    return f"{where} ({len(sizes)} files, {sum(sizes) / 1e6:.1f} MB)"
