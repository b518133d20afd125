"""The epoch of each flow of one fold that the pool takes: its best or its last."""

import numpy as np

from nfref.tables.fitting.candidates import Candidate, weigh

EVEN = np.arange(400) % 2 == 0
LEVEL = np.full(400, -1.0)


def candidate(name, last):
    return Candidate(
        name, (f"best {name}",), LEVEL, 1.0, last=Candidate(name, (f"last {name}",), last, 1.0)
    )


def test_flows_that_know_different_rows_are_taken_at_their_last_epochs():
    """Alone each is worse than at its best epoch; half of each is better than both bests."""
    first = candidate("a", np.where(EVEN, -0.2, -3.0))
    second = candidate("b", np.where(EVEN, -3.0, -0.2))
    pool, _, scores = weigh([first, second], None)
    assert pool.members == ("last a", "last b")
    np.testing.assert_allclose(scores, np.log(0.5 * (np.exp(-0.2) + np.exp(-3.0))), rtol=1e-6)


def test_flows_that_got_worse_for_all_rows_are_taken_at_their_best_epochs():
    pool, _, scores = weigh([candidate("a", LEVEL - 0.1), candidate("b", LEVEL - 0.2)], None)
    assert pool.members == ("best a", "best b")
    np.testing.assert_allclose(scores, -1.0)
