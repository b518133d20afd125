"""When another candidate pays, and how far a time budget reaches."""

from dataclasses import replace

import numpy as np
import pytest

import nfref
from nfref.tables.fitting import flow_search
from nfref.tables.fitting.effort import EFFORTS, Effort, epoch_seconds
from nfref.tables.fitting.plan import Plan
from tests.tables.fitting.test_folds import fitted, rows

FREE = Effort(price=0.0, row_trainings=400, folds=2, most=3, most_alone=3)


@pytest.mark.parametrize(
    "gains, seconds, pays",
    [
        ([], 1e9, True),  # the first flow is always tried
        ([1.0], 20.0, True),  # 0.1 nats and a tenth of 1 for 100 rows are worth 20 seconds
        ([1.0], 20.1, False),
        ([1.0, 0.2], 50.0, True),  # half of the last gain, or of the one before
        ([1.0, 0.0, 0.4], 20.0, True),
        ([1.0, 0.0, 0.0], 0.1, False),
    ],
)
def test_a_candidate_pays_if_its_promise_is_worth_its_seconds(gains, seconds, pays):
    effort = Effort(price=1.0, row_trainings=1, folds=1, most=4, most_alone=4)
    assert effort.pays(gains, 100, seconds) == pays


def test_the_estimated_seconds_are_those_of_steps_and_parameters():
    """A step of 64 rows takes as long as one of 128, which kernels compute at once."""
    seconds = [epoch_seconds(12_800, size, 10**5) for size in (64, 128, 512)]
    np.testing.assert_allclose(seconds, [0.14, 0.07, 0.07])


def test_one_fold_has_room_for_one_more_candidate():
    assert [Plan().most_kinds(folds) for folds in (5, 2, 1)] == [4, 4, 5]
    assert Plan(members=2).most_kinds(1) == 2


def test_the_cost_has_no_step_where_the_number_of_folds_changes():
    """Rows times folds never fall by more than half, and more effort never has fewer folds."""
    counts = np.unique(np.geomspace(50, 110_000, 400).astype(int))
    for effort in EFFORTS.values():
        work = np.array([n * effort.folds_for(n) for n in counts])
        assert np.all(work[1:] > 0.5 * work[:-1])
    quick, default, thorough = (
        [EFFORTS[name].folds_for(n) for n in counts] for name in ("quick", "default", "thorough")
    )
    assert np.all(np.array(quick) <= default) and np.all(np.array(default) <= thorough)


def test_candidates_are_added_until_they_do_not_pay(monkeypatch):
    x = rows(300)
    for price, names in ((0.0, ["nsf", "nsf relu", "maf"]), (1e9, ["nsf"])):
        effort = replace(FREE, price=price)
        monkeypatch.setitem(EFFORTS, "default", effort)
        model = nfref.FlowDensity(epochs=2, random_state=0).fit(x)
        assert [one.name for one in model.candidates_ if "f" in one.name][-len(names) :] == names


@pytest.mark.parametrize("folds, begins", [(3, "2 folds, 2 epochs"), (2, "all 2 epochs done; ")])
def test_a_candidate_whose_other_folds_do_not_pay_is_left(monkeypatch, folds, begins):
    """It is in the table of candidates, and not in the pool."""
    monkeypatch.setitem(EFFORTS, "default", Effort(0.0, 10_000, folds, 2, 2))
    monkeypatch.setattr(flow_search.FlowSearch, "_promises", lambda *arguments: False)
    model = nfref.FlowDensity(epochs=2, random_state=0).fit(rows(300))
    pool, found = model.density_.pool, {one.name: one for one in model.candidates_}
    assert pool.names.count("nsf") == folds and "nsf relu" not in pool.names
    assert found["nsf relu"].weight == 0.0 and found["nsf relu"].message.startswith(begins)


def test_a_time_budget_leaves_candidates_out():
    """The clock of the plan says that no time is left after the simple densities."""
    plan = Plan(epochs=3, time_budget=1e-3)
    found = fitted(rows(), plan)
    flows = [one.name for one in found.tried if one.name in ("nsf", "maf", "nsf relu")]
    assert flows == [] and "the time budget cut" in found.tried[-1].message
    assert np.all(np.isfinite(found.unseen.log_prob))


def test_a_time_budget_has_fewer_folds_not_shorter_trainings():
    default = EFFORTS["default"]
    assert [default.folds_for(4000, budget) for budget in (1, 5, 9, 600, None)] == [1, 1, 2, 3, 3]
    assert default.folds_for(400, 5) == 5


def test_a_time_budget_has_at_least_the_folds_of_a_quick_fit_that_ends_in_time():
    quick, default = EFFORTS["quick"], EFFORTS["default"]
    for count in (60, 700, 1700, 2500, 3300, 9000):
        whole = count * quick.folds_for(count) * quick.row_seconds
        assert default.folds_for(count, 1.01 * whole) >= quick.folds_for(count)


def test_a_time_budget_changes_nothing_if_the_default_fit_ends_in_time():
    default = EFFORTS["default"]
    for count in (60, 700, 3300, 9000, 100_000):
        whole = count * default.folds_for(count) * default.row_seconds
        assert default.folds_for(count, 1.01 * whole) == default.folds_for(count)
        assert not default.is_short(count, 1.01 * whole)
        assert default.is_short(count, 0.99 * whole)


def test_a_stage_may_spend_a_share_of_the_budget():
    plan = Plan(time_budget=100.0).begun()
    assert not plan.has_spent(0.3) and plan.has_spent(0.0)
    assert not Plan().begun().has_spent(0.0)


def test_a_short_time_budget_has_the_cheapest_flow_first():
    """Of two columns, no flow costs a third of another."""
    plan, narrow, wide = Plan(epochs=2), rows(), np.random.default_rng(0).normal(size=(200, 14))
    short, long = 0.9, 600.0
    for x, budget, first in ((wide, short, "maf"), (wide, long, "nsf"), (narrow, short, "nsf")):
        found = fitted(x, replace(plan, time_budget=budget))
        names = [one.name for one in found.tried]
        assert next(one for one in names if one in ("maf", "nsf", "nsf relu")) == first


def test_effort_is_one_of_three():
    with pytest.raises(ValueError, match="^effort: expected one of quick, default, thorough, got"):
        nfref.FlowDensity(effort="much").fit(rows(60))


def test_the_same_rows_give_the_same_bits_with_candidates_as_they_pay():
    one, other = (fitted(rows(), Plan(epochs=3)).unseen.log_prob for _ in range(2))
    np.testing.assert_array_equal(one, other)
