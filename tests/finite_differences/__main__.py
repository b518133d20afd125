"""python -m tests.finite_differences: print the largest errors of each flow as a table."""

from tests import flow_table
from tests.finite_differences import maps
from tests.finite_differences.case import gravest, measure
from tests.finite_differences.structure import rows_independent
from tests.finite_differences.subjects import from_table
from tests.finite_differences.test_log_determinants import log_det_against_differences

COLUMNS = {
    "round trip": maps.round_trip,
    "log-det FD": log_det_against_differences,
    "log-det AD": maps.log_det_against_autograd,
    "cancel": maps.log_dets_cancel,
    "float32": maps.single_precision,
    "row alone": rows_independent,
}


def error_table(dims=None):
    """Return the largest errors of each flow as text, each with error / tolerance in brackets."""
    lines = [f"{'largest contract errors':<24}" + "".join(f"{head:>17}" for head in COLUMNS)]
    for name in flow_table.flows():
        subjects = [from_table(*case) for case in flow_table.cases([name], dims)]
        if subjects:
            findings = [
                gravest([measure(check, subject) for subject in subjects])
                for check in COLUMNS.values()
            ]
            cells = [f"{finding.error:>10.1e} ({finding.share:.2f})" for finding in findings]
            lines.append(f"{name:<24}" + "".join(cells))
    return "\n".join(lines)


if __name__ == "__main__":
    print(error_table())
