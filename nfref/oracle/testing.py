"""One test case for every property: the oracle inside pytest.

    from nfref.oracle import check_flow
    from nfref.oracle.testing import property_tests

    test_my_flow = property_tests(lambda: check_flow(forward, inverse, dim=3, rng=...))

The check runs once, when its first test case does.
"""

from functools import cache

from nfref.oracle.checks.properties import DENSITY_PROPERTIES, FLOW_PROPERTIES, GRADIENT_PROPERTIES

PROPERTIES = {"flow": FLOW_PROPERTIES, "density": DENSITY_PROPERTIES,
              "gradient": GRADIENT_PROPERTIES}


def property_tests(make_report, kind="flow"):
    """A test function with one case for every property.

    A failed property fails its case with its row; one that does not apply is skipped.

    Parameters
    ----------
    make_report : callable
        Without arguments, returns a Report.
    kind : {"flow", "density", "gradient"}
        Which check it makes.

    Returns
    -------
    function
        To be bound to a name that starts with ``test``.
    """
    import pytest
    report = cache(make_report)

    @pytest.mark.parametrize("name", PROPERTIES[kind])
    def test_property(name):
        try:
            row = report()[name]
        except KeyError:
            pytest.skip("not asked of this subject")
        if row.failed:
            pytest.fail(f"{report().subject}\n{row}", pytrace=False)
        if row.verdict == "not applicable":
            pytest.skip(row.why)

    return test_property
