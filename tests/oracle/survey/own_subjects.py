"""nfref's own flows at random parameters, for its row on the scoreboard."""

from dataclasses import dataclass

import numpy as np

import nfref


@dataclass(frozen=True)
class OwnSubject:
    """One of nfref's flows: its name, and what reports on it for a seed and a dtype."""

    name: str
    make: object
    library: str = "nfref"
    version: str = nfref.__version__

    def report(self, seed, dtype, seconds=20.0):
        """The report."""
        return self.make(seed, np.dtype(dtype))


def _own():
    from tests.oracle.false_alarms import table_cases

    for name, dim, report in table_cases():
        yield OwnSubject(f"{name} D={dim}", report)


OWN = list(_own())
