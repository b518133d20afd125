"""One test case for every property: the oracle inside pytest.

    from nfref.oracle.testing import density_tests, flow_tests

    test_my_flow = flow_tests(make_my_flow, dim=3)

``make_my_flow`` returns what :func:`nfref.oracle.adapters.of` understands: a flow of nfref, a
transform or distribution of another library, or a pair of functions. The first test case runs the
check once for all. A file in the repository that is tested names the properties that are known to
fail, with reasons (see the module ``nfref_pytest``).
"""

from functools import cache

import numpy as np

from nfref.oracle.checks.density import check_density
from nfref.oracle.checks.flow import check_flow
from nfref.oracle.checks.properties import DENSITY_PROPERTIES, FLOW_PROPERTIES
from nfref.runtime.annotations import Any, Callable, Iterable

MADE = "can_be_made"


def property_tests(make_report: Callable[..., Any], properties: Iterable[str]) -> Any:
    """Return a test function with one case for every property.

    A case fails if its property failed or could not be judged. It is skipped if the property does
    not apply. If the report itself cannot be made, the case ``can_be_made`` fails and all others
    are skipped.
    """
    import pytest

    @cache
    def outcome():
        try:
            return make_report(), None
        except Exception as error:
            return None, error

    @pytest.mark.parametrize("name", [MADE, *properties])
    def test_property(name):
        report, error = outcome()
        if name == MADE:
            if error is not None:
                raise error
            return
        if error is not None:
            pytest.skip("it cannot be made")
        row = {row.name: row for row in report.rows}.get(name)
        if row is None:
            pytest.skip("not judged for this subject")
        if row.failed or row.inconclusive:
            # Pytest's summary shows the first line, as far as it fits.
            why = row.hint or row.where or row.why
            pytest.fail(f"{report.subject.partition(',')[0]}: {why}\n{row}", pytrace=False)
        if row.verdict == "not applicable":
            pytest.skip(row.why)

    test_property.nfref_property_tests = True
    return test_property


def flow_tests(make: Callable[..., Any], *, seed: int = 0, **arguments: Any) -> Any:
    """Return test cases for a flow.

    ``make`` returns a flow that :func:`nfref.oracle.adapters.of` understands. It is called again to
    check the first calls of a flow in training mode. Further arguments are those of
    :func:`nfref.oracle.check_flow` (``dim``, ``codomain``, ``dtype``, ``skip``, ...) and of
    :func:`nfref.oracle.adapters.of` (``context``, ``event_shape``).
    """
    return property_tests(_maker(check_flow, make, seed, arguments, fresh=True), FLOW_PROPERTIES)


def density_tests(make: Callable, *, seed: int = 0, **arguments: Any) -> Any:
    """Return test cases for a density, by :func:`nfref.oracle.check_density`."""
    return property_tests(_maker(check_density, make, seed, arguments), DENSITY_PROPERTIES)


def _maker(check, make, seed, arguments, fresh=False):
    from nfref.oracle import adapters

    def make_report():
        rng = np.random.default_rng(seed)
        options = {name: arguments[name] for name in ("dtype", "context") if name in arguments}
        options["event_shape"] = arguments.get("event_shape")
        made = make()
        given = {**adapters.of(made, rng=rng, **options), **arguments}
        given.pop("event_shape", None)
        if type(made).__module__ != "builtins":  # a pair of functions has no name
            given.setdefault("subject", type(made).__name__)
        if fresh:
            given.setdefault("make", adapters.maker(make, rng=rng, **options))
        return check(**given, rng=rng)

    return make_report
