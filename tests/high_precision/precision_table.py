"""Measure how many units in the last place each float64 formula loses.

``python -m tests.high_precision.precision_table [NAMES]`` prints the table, all of it in about an
hour. Each flow of :mod:`tests.high_precision.configurations` is measured against the sixty-digit
truth on rows in the bulk and on extreme ones: the origin (for maps of directions an opposite row),
a bulk row times 1e-9, and the same row 40 and 1,000 times as far out.
"""

import sys

import numpy as np

from tests.high_precision.configurations import NOT_AT_ORIGIN, configurations
from tests.high_precision.high_precision import measure

FACTORS = (0.0, 1e-9, 40.0, 1000.0)
# A logit's data saturate at its bounds: in float64 no digit is left of a z beyond 36.
FACTORS_NEARER = (0.0, 1e-9, 10.0)
# Gates have no bound: farther out their scales overflow float64. Noise in a cell passes through a
# logit too.
NEARER = ("logit", "channel_sigmoid", "iaf_gate", "dequantisation")


def measured():
    """Return the configurations of the table, by name.

    Continuous flows are not among them: they are as accurate as their solver's tolerance.
    """
    return {name: c for name, c in configurations().items() if not hasattr(c.flow, "rtol")}


def rows_of(name, configuration):
    """Return (bulk, extreme) latent rows, each (N, D)."""
    bulk = configuration.z[:2]
    factors = FACTORS_NEARER if name in NEARER else FACTORS
    if isinstance(configuration.flow, NOT_AT_ORIGIN):
        factors = (-1.0, *factors[1:])
    return bulk, np.concatenate([factor * bulk[:1] for factor in factors])


def lines(names=None):
    """Yield the table, line by line.

    Columns: largest error of the value and of the log-determinant, in units of 2^-52 max(1,
    |truth|), and the same divided by the effect of relative changes of 2^-52 in the row. If the
    first is large and the second is not, the map is steep there and no formula could do better. If
    the second is large, the formula loses digits.
    """
    yield (f"{'':32}{'errors in ulp':^24}{'beyond conditioning':^24}")
    yield (f"{'flow':<24}{'rows':<8}{'value':>12}{'log_det':>12}{'value':>12}{'log_det':>12}")
    for name, c in measured().items():
        if names and name not in names:
            continue
        for kind, z in zip(("bulk", "extreme"), rows_of(name, c)):
            context = None if c.context is None else np.repeat(c.context[:1], len(z), axis=0)
            x, _ = c.flow.forward(c.params, z, context)
            both = [
                measure(c.flow, c.params, z, "forward", context),
                measure(c.flow, c.params, x, "inverse", context),
            ]
            worst = [
                max(getattr(errors, field) for errors in both)
                for field in ("value", "log_det", "value_conditioned", "log_det_conditioned")
            ]
            yield f"{name:<24}{kind:<8}" + "".join(
                # An exact zero, differentiated numerically, leaves a remainder; treat it as zero.
                f"{value if value > 1e-9 else 0:>12.3g}"
                for value in worst
            )


if __name__ == "__main__":
    for line in lines(sys.argv[1:]):
        print(line, flush=True)
