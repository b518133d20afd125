"""The very first call of a flow that was just made.

Some layers choose their parameters, or their mode, by the first batch (activation normalisation,
batch statistics). If they are wrong anywhere, it is there: the standard deviation of one row is
zero. Their first answer must be the answer of the flow that they have become.
"""

import numpy as np

from nfref.oracle.checks.batches import agree
from nfref.oracle.instruments.guarded_calls import CallFailed
from nfref.oracle.instruments.measurement import Measurement
from nfref.oracle.report import failed, not_applicable, show
from nfref.runtime.annotations import Any, Callable

ROWS = 32


def first_call(
    name: str, make: Callable[..., Any] | None, direction: str, measured: Measurement, count: int
) -> Any:
    """Check the first call of a fresh flow, with ``count`` rows, and the same call again.

    ``make`` returns the arguments of ``check_flow`` for a fresh flow. The rows are those of a flow
    that is not fresh any more.
    """
    if make is None:
        return not_applicable(name, "no make= was given")
    probes = measured.probes
    index = measured.answered(probes.bulk)[:count]
    try:
        function = make().get(direction)
    except Exception as error:
        return failed(name, "make() raised an error", f"{type(error).__name__}: {error}")
    if function is None:
        return not_applicable(name, "a new flow lacks this direction")
    subject = measured.subject.apart(function=function)
    rows, context_row = probes.rows[index], probes.context_row[index]
    count_of_rows = f"{len(index)} row{'s' * (len(index) > 1)}"
    why = f"a new flow, called twice with {count_of_rows}"
    try:
        first = subject(rows, context_row)
        again = subject(rows, context_row)
    except CallFailed as error:
        return failed(name, why, str(error))
    for values in first:
        if values is not None and not np.all(np.isfinite(values)):
            bad = np.argwhere(~np.isfinite(values))[0][0]
            return failed(name, why, f"{direction} at {show(rows[bad])}: {show(values[bad])}")
    how = f"in the second call of a new flow with {count_of_rows}"
    return agree(name, measured, index, again, how, first=first, strict=True)
