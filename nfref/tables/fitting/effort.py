"""The cost of a fit: the seconds of a training, and when another candidate pays.

A candidate pays if the nats that it promises are worth its seconds. Nats are counted over all rows
of the table: the gain in the held-out mean times the number of rows. Seconds are estimated from the
work, rows times epochs times parameters, not measured. So the same rows give the same candidates on
every machine.
"""

from dataclasses import dataclass

from nfref.runtime.annotations import Sequence

# Seconds of a core for a row, an epoch and a parameter; measured with AVX2.
SECONDS = 5e-10
EPOCHS = 100  # of a training of which nothing is known yet
# Seconds of a whole fit for a row of a fold, about. On eight tables, with two processors (Zen 5),
# the default took 0.3 to 1.4 ms, on six of them 1.1 to 1.4; "quick" took 0.2 to 0.6 ms on five of
# more than 1,000 rows, and 0.9 to 1.3 ms on three of fewer.
ROW_SECONDS, QUICK_ROW_SECONDS = 1e-3, 6e-4
# The gain of the next candidate as a share of the gain of the last ones: of the first flow over the
# simple densities, and of later flows over the candidates before them.
SECOND_SHARE, LATER_SHARE = 0.1, 0.5
# Nats a row that the second flow gains besides, about. Relu units were up to 0.36 ahead of the
# first in eleven tables, in others up to 1.2 behind, and a pool of both gains more.
SECOND_GAIN = 0.1
# A second costs more from CHEAP_ROWS rows on, up to DEAREST times the price. With 3,500 rows, a
# price of 2 gained up to 0.1 nats over one of 5 on five tables; with 8,500 it gained nothing.
CHEAP_ROWS, DEAREST = 3500, 2.5


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
        Nats, over all rows, that a second of training must bring; see :meth:`price_for`.
    row_trainings : int
        Rows times folds: the fewer the rows, the more folds.
    folds : int
        Most folds: more hold out too few rows each to stop early at the right time.
    most : int
        Most flow candidates.
    row_seconds : float
        The seconds that a whole fit takes for a row of a fold, about.
    short : bool
        Whether time is short whatever the budget.
    """

    price: float
    row_trainings: int
    folds: int
    most: int
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

    def price_for(self, rows: float) -> float:
        """Return the nats that a second must bring: of many rows more, whose fits take long."""
        return self.price * min(max(rows / CHEAP_ROWS, 1.0), DEAREST)

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
        if len(gains) >= self.most:
            return False
        promised = (
            SECOND_GAIN + SECOND_SHARE * gains[0]
            if len(gains) == 1
            else LATER_SHARE * max(gains[-2:])
        )
        return promised * rows >= self.price_for(rows) * seconds


# Three folds and kinds gained -0.01 to 1.1 nats a row over two with "quick", in the median 0.07, on
# 11 tables of 262 to 2,255 rows, for half a second more. Five folds lost 0.6 on one of them.
EFFORTS = {
    "quick": Effort(
        price=30.0, row_trainings=5_000, folds=3, most=3, row_seconds=QUICK_ROW_SECONDS, short=True
    ),
    "default": Effort(price=2.0, row_trainings=12_000, folds=5, most=4),
    "thorough": Effort(price=0.2, row_trainings=40_000, folds=5, most=16),
}


def training_seconds(rows: int, parameters: int, epochs: float = EPOCHS) -> float:
    """Estimate the seconds of one core for a training."""
    return SECONDS * rows * parameters * epochs
