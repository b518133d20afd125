"""The cost of a fit: the seconds of a training, and when another candidate pays.

A candidate pays if the nats that it promises are worth its seconds. Nats are counted over all rows
of the table: the gain in the held-out mean times the number of rows. Seconds are estimated from the
work, steps times parameters, not measured. So the same rows give the same candidates on every
machine.
"""

import math
from dataclasses import dataclass

from nfref.runtime.annotations import Sequence
from nfref.runtime.batching import ALIGNED

# Seconds of a core for a step of up to ALIGNED rows and a parameter, and for a training besides.
# 42 trainings of 150 to 40,000 rows of 3, 10 and 30 columns took 0.66 to 1.55 times as long (Zen 5
# with AVX-512). A step of fewer rows counts as one of ALIGNED, though 60 rows take 0.6 of its time.
STEP_SECONDS, TRAINING_SECONDS = 7e-9, 0.025
# Seconds of a whole fit for a row of a fold, about, except with "quick". On eight tables, with two
# processors (Zen 5), the default took 0.3 to 1.4 ms, on six of them 1.1 to 1.4; "quick" took 0.2 to
# 0.6 ms on five of more than 1,000 rows, and 0.9 to 1.3 ms on three of fewer.
# A budget decides the folds by it, before any training, since the first training tells hardly more:
# the log of the work of 80 fits of 150 and 700 rows varied by 0.22 and 0.28 given the rows, and by
# 0.16 to 0.44 given their first flow.
ROW_SECONDS = 1e-3
# The gain of the next candidate as a share of the gain of the last ones: of the first flow over the
# simple densities, and of later flows over the candidates before them.
SECOND_SHARE, LATER_SHARE = 0.1, 0.5
# Nats a row that the second flow gains besides, about. Relu units were up to 0.36 ahead of the
# first in eleven tables, in others up to 1.2 behind, and a pool of both gains more.
SECOND_GAIN = 0.1


@dataclass(frozen=True)
class Effort:
    """A limit of what a fit may cost.

    A time budget should cost nothing against an effort that ends in the same time:

    - If the whole fit is expected to end in time, it is the same as without a budget.
    - Otherwise it has as many folds as are expected to end in time, but at least those of "quick"
      if these are. Cheap kinds come first, as with "quick", and more follow while time is left.

    Attributes
    ----------
    price : float
        Nats, over all rows, that a second of training must bring.
    row_trainings : int
        Rows times folds: the fewer the rows, the more folds.
    folds : int
        Most folds: more hold out too few rows each to stop early at the right time.
    most, most_alone : int
        Most flow candidates, of several folds and of one. There a candidate is a single flow, and
        a fourth and a fifth gained 0.02 to 0.2 nats on three tables of 12,000 rows.
    row_seconds : float
        The seconds that a whole fit takes for a row of a fold, about.
    short : bool
        Whether time is short whatever the budget.
    """

    price: float
    row_trainings: int
    folds: int
    most: int
    most_alone: int
    row_seconds: float = ROW_SECONDS
    short: bool = False

    def folds_for(self, rows: int, time_budget: float | None = None) -> int:
        """Return the number of folds for so many distinct rows, within a budget of seconds."""
        rows = max(rows, 1)
        folds = max(1, min(self.folds, rows, round(self.row_trainings / rows)))
        if time_budget is None:
            return folds
        affordable = max(1, int(time_budget / (self.row_seconds * rows)))
        if not self.short:
            affordable = max(affordable, EFFORTS["quick"].folds_for(rows, time_budget))
        return min(folds, affordable)

    def is_short(self, rows: int, time_budget: float | None) -> bool:
        """Return True if a budget of seconds may not suffice for all folds."""
        whole = self.folds_for(rows) * self.row_seconds * rows
        return self.short or (time_budget is not None and time_budget < whole)

    def pays(self, gains: Sequence[float], rows: float, seconds: float) -> bool:
        """Decide whether another candidate pays.

        Parameters
        ----------
        gains : sequence of float
            How much each flow candidate so far raised the held-out mean of the pool, in nats a row.
        rows : float
            The number of rows of the table.
        seconds : float
            The estimated cost of the candidate.
        """
        if not gains:
            return True
        promised = (
            SECOND_GAIN + SECOND_SHARE * gains[0]
            if len(gains) == 1
            else LATER_SHARE * max(gains[-2:])
        )
        return promised * rows >= self.price * seconds


# Three folds and kinds gained -0.01 to 1.1 nats a row over two with "quick", in the median 0.07, on
# 11 tables of 262 to 2,255 rows, for half a second more. Five folds lost 0.6 on one of them.
EFFORTS = {
    "quick": Effort(
        price=135, row_trainings=5_000, folds=3, most=3, most_alone=1, row_seconds=6e-4, short=True
    ),
    "default": Effort(price=9.0, row_trainings=12_000, folds=5, most=4, most_alone=5),
    "thorough": Effort(price=0.9, row_trainings=40_000, folds=5, most=16, most_alone=16),
}


def epoch_seconds(rows: int, batch_size: int, parameters: int) -> float:
    """Estimate the seconds of one core for an epoch."""
    return STEP_SECONDS * math.ceil(rows / min(batch_size, ALIGNED)) * parameters
