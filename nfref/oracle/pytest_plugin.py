"""The oracle as a pytest plugin: one line per flow, one test per property.

In a test module, with nfref installed::

    from nfref.oracle.testing import flow_tests, density_tests

    test_coupling = flow_tests(make_coupling, dim=3)

The plugin adds the option ``--nfref-known=FILE`` (or ``nfref_known`` in the ini file). Each
line of that file, which belongs to the repository that is tested, is a property that is known to
fail, and the reason::

    # pattern of the test's name                  reason
    test_coupling[empty_batch_*]                   networks refuse a batch of no rows, issue 12

Such a test may fail; one that passes although it stands there is reported as xpassed, and
fails where ``xfail_strict`` is set. A line without a reason is an error, and so is one that fits no
test, where all tests of the repository were asked for.
"""

from fnmatch import fnmatchcase
from pathlib import Path

HELP = "file of properties that are known to fail: pattern of the test's name, then the reason"


def pytest_addoption(parser):
    group = parser.getgroup("nfref")
    group.addoption("--nfref-known", metavar="FILE", help=HELP)
    parser.addini("nfref_known", HELP, default="")


def read_known(path):
    """(pattern, reason) pairs of a file of known failures.

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


def pytest_collection_modifyitems(config, items):
    """Mark what the file of known failures names."""
    path = config.getoption("--nfref-known") or config.getini("nfref_known")
    if not path:
        return
    import pytest

    path = config.rootpath / path
    try:
        known = read_known(path)
    except (OSError, ValueError) as error:
        raise pytest.UsageError(f"nfref_known: {error}") from None
    used = set()
    for item in items:
        if not hasattr(getattr(item, "function", None), "nfref_property_tests"):
            continue
        for pattern, reason in known:
            # Square brackets are what pytest puts around a parameter: no sets of characters.
            if fnmatchcase(item.name, pattern.replace("[", "[[]")):
                item.add_marker(pytest.mark.xfail(reason=reason))
                used.add(pattern)
    unused = [pattern for pattern, _ in known if pattern not in used]
    if unused and _everything(config):
        raise pytest.UsageError(f"nfref_known: {path}: no test fits the pattern {unused[0]}")


# Before -k and -m leave tests out: what pytest.hookimpl notes, which pages that are built without
# pytest cannot import.
pytest_collection_modifyitems.pytest_impl = {"tryfirst": True}  # type: ignore[attr-defined]


def _everything(config):
    """Whether all tests of the repository are asked for, and not files or tests by name."""
    asked = [Path(config.invocation_params.dir, text) for text in config.args]
    return all(
        path == config.rootpath or str(text) in config.getini("testpaths")
        for path, text in zip(asked, config.args)
    )
