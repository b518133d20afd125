"""The size of the mixture in a pool: chosen in folds, of which hopeless sizes see two."""

from collections import defaultdict

import numpy as np
import pytest

import nfref
from nfref.tables.densities.mixture import Size
from nfref.tables.fitting import candidates

FOLDS = 5


@pytest.fixture
def fits(monkeypatch):
    """Return a dict that fills: number of components -> tables that were fitted."""
    counts, fit_each = defaultdict(int), Size.fit_each

    def counted(self, tables, rng, weights):
        counts[self.components] += len(tables)
        return fit_each(self, tables, rng, weights)

    monkeypatch.setattr(Size, "fit_each", counted)
    return counts


def mixture_of(table):
    model = nfref.FlowDensity(members=0, random_state=0).fit(table)
    return next(name for name in model.density_.pool.names if name.startswith("mixture"))


def test_a_size_that_lags_behind_in_two_folds_is_not_fitted_to_the_others(fits, monkeypatch):
    table = np.random.default_rng(0).standard_normal((200, 5))  # one component is enough
    chosen = mixture_of(table)
    left_out = [size for size, count in fits.items() if count == candidates.FIRST_FOLDS]
    size = int(chosen.split()[-1])
    assert left_out and fits[size] == FOLDS + 1  # and to all rows
    few = dict(fits)
    fits.clear()
    monkeypatch.setattr(candidates, "HOPELESS", np.inf)
    assert mixture_of(table) == chosen
    assert min(fits.values()) == FOLDS and few.keys() == fits.keys()
