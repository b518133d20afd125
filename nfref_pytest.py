"""The pytest plugin of :mod:`nfref.oracle.testing`: properties that are known to fail.

It stands outside of the package because every pytest session of an environment loads it, and
importing the oracle takes about a second.

The plugin adds the option ``--nfref-known=FILE`` (or ``nfref_known`` in the ini file). The file
belongs to the repository that is tested. Each of its lines is a property that is known to fail, and
the reason::

    # pattern of the test's name                  reason
    test_coupling[empty_batch_*]                   networks refuse a batch of no rows, issue 12

Such a test may fail. If it passes, pytest reports it as xpassed, and as failed where
``xfail_strict`` is set. A line without a reason is an error. So is a pattern that fits no test, if
all tests of the repository were asked for.
"""

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

HELP = "file of properties that are known to fail: pattern of the test's name, then the reason"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option and the setting that name the file."""
    group = parser.getgroup("nfref")
    group.addoption("--nfref-known", metavar="FILE", help=HELP)
    parser.addini("nfref_known", HELP, default="")


def read_known(path: str | Path) -> list[tuple[str, str]]:
    """Return the (pattern, reason) pairs of a file of known failures.

    Raises
    ------
    ValueError
        If a line has no reason.
    """
    pairs = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        pattern, _, reason = line.partition(" ")
        if not reason.strip():
            raise ValueError(
                f"{path}, line {number}: expected a pattern and a reason, got {line!r}"
            )
        pairs.append((pattern, reason.strip()))
    return pairs


@pytest.hookimpl(tryfirst=True)  # before -k and -m leave tests out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that the file of known failures names."""
    name = config.getoption("--nfref-known") or config.getini("nfref_known")
    if not name:
        return
    path = config.rootpath / name
    try:
        known = read_known(path)
    except (OSError, ValueError) as error:
        raise pytest.UsageError(f"nfref_known: {error}") from None
    used = set()
    for item in items:
        if not hasattr(getattr(item, "function", None), "nfref_property_tests"):
            continue
        for pattern, reason in known:
            # Pytest puts a parameter in square brackets, which are no set of characters.
            if fnmatchcase(item.name, pattern.replace("[", "[[]")):
                item.add_marker(pytest.mark.xfail(reason=reason))
                used.add(pattern)
    unused = [pattern for pattern, _ in known if pattern not in used]
    if unused and _everything(config):
        raise pytest.UsageError(f"nfref_known: {path}: no test fits the pattern {unused[0]}")


def _everything(config: pytest.Config) -> bool:
    """Check that all tests of the repository are asked for, and not files or tests by name."""
    asked = [Path(config.invocation_params.dir, text) for text in config.args]
    return all(
        path == config.rootpath or str(text) in config.getini("testpaths")
        for path, text in zip(asked, config.args)
    )
