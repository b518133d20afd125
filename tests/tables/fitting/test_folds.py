"""Rows held out in turn: folds, out-of-fold scores, and weights."""

import re
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from nfref.runtime import backends, interrupts
from nfref.runtime import params as trees
from nfref.tables.densities.gaussian import Gaussian
from nfref.tables.densities.wide import REACH, Wide
from nfref.tables.fitting import flow_candidate, flow_search, flow_training
from nfref.tables.fitting.candidates import Candidate, weigh
from nfref.tables.fitting.fit import fit_table
from nfref.tables.fitting.folds import UnitRows, fold_numbers, group_fold_numbers, make_folds
from nfref.tables.fitting.plan import Plan, TableFit
from nfref.tables.schema.column_inference import find_columns
from nfref.tables.schema.distinct_rows import as_counts, grouped_rows
from nfref.training.loop import FitResult

PLAN = Plan(members=1, epochs=3)


def rows(n=200, seed=0):
    """Return two columns; one bends with the other."""
    x = np.random.default_rng(seed).standard_normal((n, 2))
    return np.stack([x[:, 0], 0.5 * x[:, 0] ** 2 + 0.3 * x[:, 1]], axis=1)


def fitted(x, plan=PLAN, weight=None, seed=0):
    names, table = [f"x{j}" for j in range(x.shape[1])], list(x.T)
    return fit_table(TableFit(find_columns(names, table), table, plan, seed, weight))


# Folds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [200, 4000, 9000])
@pytest.mark.parametrize("groups", [2, 4, 20])
def test_a_group_is_held_out_whole(count, groups):
    group = np.random.default_rng(0).integers(groups, size=count)
    numbers = fold_numbers(count, 0.1, PLAN)
    found = group_fold_numbers(numbers, group)
    assert all(len(np.unique(found[group == k])) == 1 for k in range(groups))
    if np.all(numbers >= 0):
        assert set(found) == set(range(min(groups, np.max(numbers) + 1)))
    else:
        held_out = np.mean(found == 0)
        assert 0 < held_out < 1 and held_out < 0.1 + 1.3 / groups


def test_blocks_of_a_chain_are_held_out_whole():
    # Copies of five points with a little noise: only whole blocks are new to a mixture.
    rng = np.random.default_rng(0)
    block = np.repeat(np.arange(20), 10)
    x = rng.standard_normal((20, 2))[block] + 1e-3 * rng.standard_normal((200, 2))
    columns, plan = find_columns(["a", "b"], list(x.T)), replace(PLAN, flow="mixture")
    alone = fit_table(TableFit(columns, list(x.T), plan, 0)).tried[-1].mean
    held_out = fit_table(TableFit(columns, list(x.T), plan, 0, group=block)).tried[-1].mean
    truth = np.mean(-0.5 * np.sum(x**2, axis=1) - np.log(2 * np.pi))
    assert alone > truth + 2 and held_out < truth + 0.5


@pytest.mark.parametrize(
    "count, plan, folds",
    [
        (200, PLAN, 5),
        (3, PLAN, 3),
        (4000, PLAN, 3),
        (9000, PLAN, 1),
        (4000, replace(PLAN, effort="quick"), 1),
        (4000, replace(PLAN, effort="thorough"), 5),
        (200, replace(PLAN, simple=False), 1),
        (200, replace(PLAN, folds=1), 1),
        (9000, replace(PLAN, folds=2), 2),
    ],
)
def test_few_rows_are_held_out_by_turns_and_many_once(count, plan, folds):
    parts = fold_numbers(count, 0.1, plan)
    found = make_folds(UnitRows(np.arange(count)[:, None]), parts)
    assert len(found) == folds and len(parts) == count
    assert np.all(parts >= 0) == (folds > 1)
    for fold in found:
        np.testing.assert_array_equal(fold.held_out.u[:, 0], fold.places)
        assert sorted([*fold.training.u[:, 0], *fold.places]) == list(range(count))


def test_a_bag_is_the_mean_of_its_flows_and_each_row_is_scored_by_one_that_has_not_seen_it(
    monkeypatch,
):
    """The weight of a flow is computed before its training continues on all rows."""
    done, lengths = {}, []

    def tried(key, kind, fold, *rest):
        found = done[fold.places[0]] = try_flow(key, kind, fold, *rest)
        return found

    def fit_flow(density, params, u, *rest, **options):
        lengths.append((len(u), options["validation"] is not None))
        return fit(density, params, u, *rest, **options)

    try_flow, fit = flow_training.train_flow, flow_training.fit_flow
    monkeypatch.setattr(flow_search, "train_flow", tried)
    monkeypatch.setattr(flow_training, "fit_flow", fit_flow)
    x = rows()
    found = fitted(x)
    assert sorted(lengths) == [(160, True)] * 5 + [(200, False)] * 5
    pool = found.density.pool
    flows = [pool.members[k] for k in pool.flows]
    assert pool.names.count("nsf") == len(flows) == 5
    np.testing.assert_allclose([pool.weights[k] for k in pool.flows], pool.shares["nsf"] / 5)
    places, _ = grouped_rows(x, 0)
    u = found.density.encode(list(x[places].T))[1]
    own, final = [np.empty(200), np.empty(200)]  # by the flow of the row's own fold
    for k, flow in enumerate(flows):
        held_out, (_, unflatten) = np.arange(200) % 5 == k, trees.flatten(flow.params)
        np.testing.assert_array_equal(trees.flatten(flow.params)[0], done[k].final)
        final[held_out] = flow.log_prob(u[held_out])
        own[held_out] = replace(flow, params=unflatten(done[k].vector)).log_prob(u[held_out])
    (tried,) = [one for one in found.tried if one.name == "nsf"]
    offset = np.mean(found.density.encode(list(x.T))[2])
    assert tried.mean == pytest.approx(np.mean(own) + offset, abs=1e-6)
    assert np.mean(final) > np.mean(own)
    log_prob = pool.log_probs(u)
    both = np.logaddexp.reduce(log_prob[:, pool.flows], axis=1) - np.log(5)
    np.testing.assert_allclose(
        pool.by_name(log_prob)[:, list(pool.shares).index("nsf")], both, rtol=1e-12
    )


def test_a_flow_alone_goes_on_with_the_rows_it_had_and_never_to_what_is_worse(monkeypatch):
    passed = []

    def fit_flow(density, params, u, *rest, **options):
        found = fit(density, params, u, *rest, **options)
        passed.append((len(u), len(options["validation"]), found.history["validation"]))
        return found

    fit = flow_training.fit_flow
    monkeypatch.setattr(flow_training, "fit_flow", fit_flow)
    found = fitted(rows(), replace(PLAN, flow="maf", simple=False, epochs=8))
    assert [one[:2] for one in passed] == [(160, 40)] * 2
    (tried,) = [one for one in found.tried if one.name == "maf"]
    offset = np.mean(found.density.encode(list(rows().T))[2])
    assert tried.mean >= offset - min(passed[0][2]) - 1e-3 and "; then " in tried.message


@pytest.mark.parametrize(
    "stopped, best, left, epochs",
    [
        ("patience", 11, None, 12),
        ("epochs", 11, 100.0, 12),
        ("time", 11, 3.0, 4),
        ("time", 11, -1.0, 0),
        ("patience", None, None, 0),
        ("interrupted", 11, None, 0),
    ],
)
def test_a_flow_goes_on_with_all_rows_as_long_as_there_is_time(stopped, best, left, epochs):
    """Twenty epochs of four rows in five took ten seconds."""
    chosen = FitResult(None, {"train": [0.0] * 20, "validation": [0.0] * 20}, best, stopped, "")
    assert flow_training.epochs_of_second_part(chosen, 0, 1.25, left, 10.0) == epochs


@pytest.mark.parametrize("compiling, cut", [(0.0, False), (20.0, False), (29.9, True)])
def test_a_slow_first_epoch_shortens_no_flow_that_has_time(monkeypatch, compiling, cut):
    """Kernels compile in the first epoch, here of 30 seconds for a flow; later ones take 0.1 s."""
    clock = [0.0]
    monkeypatch.setattr(flow_training.time, "perf_counter", lambda: clock[0])
    asked = []

    def fit_flow(density, params, u, *rest, epochs, callback, **options):
        asked.append(epochs)
        clock[0] += compiling * (len(asked) == 1)
        for _ in range(20):
            clock[0] += 0.1
            callback(None)
        history = {"train": [0.0] * 20, "validation": [0.0] * 20}
        return FitResult(params, history, 11, "patience", "done")

    monkeypatch.setattr(flow_training, "fit_flow", fit_flow)
    x = rows(200)
    (fold,) = make_folds(UnitRows(x), np.where(np.arange(200) < 40, 0, -1))
    plan = replace(PLAN, flow="maf", members=2)
    done = flow_training.train_flow(
        ("maf", 0), plan.kinds[0], fold, np.random.default_rng(0), plan, 30.0 + 1.9 * cut
    )
    assert (asked[1:] == [12]) == (not cut) and ("no time left" in done.message) == cut
    assert done.stopped == ("time" if cut else "patience")


@pytest.mark.parametrize(
    "gap, more, growth, epochs",
    [
        (-1.0, 1, 1.25, 24),
        (0.0, 1, 1.0, 24),
        (0.0, 2, 1.25, 36),
        (np.log(2) / 3, 1, 1.25, 18),
        (np.log(2) / 3, 2, 1.25, 24),
        (9.0, 2, 1.25, 12),
        (0.0, 1, 1.5, 20),
        (0.0, 1, 2.0, 15),
    ],
)
def test_a_flow_of_a_bag_goes_on_longer_the_less_it_knows_its_own_rows_better(
    gap, more, growth, epochs
):
    chosen = FitResult(
        None, {"train": [2.0] * 20, "validation": [2.0 + gap] * 20}, 11, "epochs", ""
    )
    assert flow_training.epochs_of_second_part(chosen, more, growth, None, 10.0) == epochs


@pytest.mark.parametrize(
    "count, asked, times",
    [(249, None, 1), (250, None, flow_training.FASTER), (250, 5e-3, 1), (1250, None, 1)],
)
def test_flows_of_some_hundred_rows_go_on_at_a_higher_rate(monkeypatch, count, asked, times):
    """You may set another rate."""
    rates = []

    def fit_flow(*arguments, **options):
        rates.append(options["learning_rate"])
        return fit(*arguments, **options)

    fit = flow_training.fit_flow
    monkeypatch.setattr(flow_training, "fit_flow", fit_flow)
    fitted(rows(count), replace(PLAN, flow="maf", learning_rate=asked))
    assert set(rates) == {5e-3, 5e-3 * times}


def test_more_flows_are_of_the_best_kind():
    """One part is held out of normal rows, where a MAF of eight epochs is ahead."""
    mix = np.array([[1, 2, 0], [0, 1, 3], [0, 0, 1]])
    x = np.random.default_rng(0).standard_normal((300, 3)) @ mix
    tried = fitted(x, replace(PLAN, members=4, folds=1, epochs=8)).tried
    kinds = {one.name: one.mean for one in tried if one.name in ("nsf", "nsf relu", "maf")}
    best = max(kinds, key=kinds.get)
    assert best != "nsf" and f"{best} 4" in [one.name for one in tried]


def test_unseen_rows_are_scored_without_themselves():
    """Gaussians of the other folds and the pool's weights score them; copies score alike."""
    x = rows(40)
    found = fitted(np.concatenate([x, x[:9]]), replace(PLAN, flow="gaussian"))
    assert found.held_out == 0 and found.distinct == 40
    np.testing.assert_array_equal(found.unseen.places, np.arange(49))
    np.testing.assert_array_equal(found.unseen.log_prob[40:], found.unseen.log_prob[:9])
    assert np.mean(found.unseen.log_prob) == pytest.approx(found.tried[-1].mean, abs=1e-10)
    _, u, log_slope = found.density.encode(list(x.T))
    places, group = grouped_rows(np.concatenate([x, x[:9]]), 0)
    count, part, pool = np.bincount(group).astype(float), group[:40] % 5, found.density.pool
    for k in range(5):
        rest, held = part != k, part == k
        weight = count[group[:40]][rest]
        members = {
            "gaussian": Gaussian.fit(u[rest], weight),
            "wide": Wide(2, reach=REACH),
            "shrunk gaussian": Gaussian.shrunk(u[rest], weight),
        }
        by_hand = np.log(
            sum(
                share * np.exp(members[name].log_prob(u[held]))
                for name, share in pool.shares.items()
            )
        )
        np.testing.assert_allclose(
            found.unseen.log_prob[:40][held], by_hand + log_slope[held], rtol=1e-10
        )


def test_of_many_rows_those_held_out_are_unseen():
    x = rows(9000)
    found = fitted(x, replace(PLAN, flow="gaussian"))
    assert len(found.unseen.places) == found.held_out == 900
    np.testing.assert_allclose(
        found.unseen.log_prob, found.density.log_prob(list(x[found.unseen.places].T)), rtol=1e-12
    )
    assert np.mean(found.unseen.log_prob) == pytest.approx(found.tried[-1].mean, abs=1e-10)


def test_unseen_rows_have_no_empty_cells():
    x = rows()
    x[::4, 1] = np.nan
    found = fitted(x, replace(PLAN, flow="gaussian"))
    np.testing.assert_array_equal(found.unseen.places, np.flatnonzero(np.arange(200) % 4))


@pytest.mark.parametrize("n", [300, 40])
def test_unseen_rows_of_labels(n):
    """Copies are held out if all columns are discrete; if one is real, whole rows are."""
    rng = np.random.default_rng(0)
    town = rng.choice(np.array(["a", "b", "c"], object), n)
    for other in (rng.poisson(2.0, n).astype(float), rng.standard_normal(n)):
        table = [town, other]
        columns = find_columns(
            ("town", "other"),
            table,
            {"other": "count"} if np.all(other == np.round(other)) else None,
        )
        found = fit_table(TableFit(columns, table, replace(PLAN, flow="gaussian"), 0))
        assert np.mean(found.unseen.log_prob) == pytest.approx(found.tried[-1].mean, abs=1e-9)
        if columns[1].kind == "real":
            np.testing.assert_array_equal(found.unseen.places, np.arange(n))
        else:
            assert 0 < len(found.unseen.places) < n / 2


def test_flows_at_once_have_the_bits_of_flows_in_turn(monkeypatch):
    """Flows of several folds and kinds are trained at once, if kernels train them."""
    running, most_at_once, found, real = [], [0, 0], [], flow_search.train_flow

    def noted(key, *rest):
        running.append(key)
        most_at_once[len(found)] = max(most_at_once[len(found)], len(running))
        done = real(key, *rest)
        running.remove(key)
        return done

    monkeypatch.setattr(flow_search, "train_flow", noted)
    for most in (1, 3):
        monkeypatch.setattr(flow_search, "threads", lambda most=most: most)
        found.append(fitted(rows(), replace(PLAN, members=2, batch_size=64)))
    twins = backends.chosen() != "numpy" and not backends.numba_problem()
    assert most_at_once[0] == 1 and (most_at_once[1] > 1) == twins
    one, other = found
    np.testing.assert_array_equal(one.unseen.log_prob, other.unseen.log_prob)
    assert one.density.pool.shares == other.density.pool.shares


def test_of_one_fold_each_thread_trains_a_kind(monkeypatch):
    if backends.chosen() == "numpy" or backends.numba_problem():
        pytest.skip("formulas train one flow at a time")
    together, real = threading.Barrier(3, timeout=120), flow_search.train_flow

    def met(*arguments):
        together.wait()
        return real(*arguments)

    monkeypatch.setattr(flow_search, "train_flow", met)
    monkeypatch.setattr(flow_search, "threads", lambda: 3)
    found = fitted(rows(), replace(PLAN, members=3, folds=1, batch_size=64))
    assert {"nsf", "nsf relu", "maf"} <= {one.name for one in found.tried}


# What ends early --------------------------------------------------------------------------


def test_trainings_at_once_share_the_seconds_that_are_left(monkeypatch):
    """Of three folds on two threads, two share one thread, and one has the other to itself."""
    budgets, real = [], flow_search.train_flow

    def noted(key, kind, fold, rng, plan, seconds, *rest):
        budgets.append(seconds)
        return real(key, kind, fold, rng, plan, 0.1, *rest)

    monkeypatch.setattr(flow_search, "train_flow", noted)
    monkeypatch.setattr(flow_search, "threads", lambda: 2)
    fitted(rows(), replace(PLAN, members=1, folds=3, batch_size=64, time_budget=600.0))
    twins = backends.chosen() != "numpy" and not backends.numba_problem()
    assert np.round(np.divide(budgets, 600), 1).tolist() == (
        [0.5, 1, 1] if twins else [0.3, 0.5, 1]
    )


@pytest.mark.thorough
def test_a_budget_that_cuts_says_so():
    found = fitted(rows(), replace(PLAN, members=2, time_budget=1e-3))
    assert re.fullmatch(
        r"the time budget cut (1 training|\d+ trainings) of flows", found.tried[-1].message
    )
    assert np.all(np.isfinite(found.unseen.log_prob))
    assert not fitted(rows(), replace(PLAN, time_budget=1e4)).tried[-1].message


def test_an_interrupt_keeps_the_flows_of_the_folds_so_far(monkeypatch):
    """Ctrl-C comes after the first epoch of the third fold, which counts as it is."""
    # Flows run in turn: in parallel, one may finish an epoch before the other's end is known.
    monkeypatch.setattr(flow_search, "threads", lambda: 1)
    real, states = flow_search.train_flow, []

    def pressed(key, kind, fold, rng, plan, seconds, after_epoch, resume):
        def then(state):
            if key == ("nsf", 2):
                while not signals.keeps:  # the first of the simple densities
                    time.sleep(0.001)
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                while not signals.came:
                    time.sleep(0.001)
            after_epoch(state)

        return real(key, kind, fold, rng, plan, seconds, then, resume)

    monkeypatch.setattr(flow_search, "train_flow", pressed)
    with interrupts.keeping() as signals:
        found = fitted(rows(), replace(PLAN, members=2, checkpoint=states.append))
    assert signals.came
    pool = found.density.pool
    assert pool.names.count("nsf") == 3 and "maf" not in pool.names
    (tried,) = [one for one in found.tried if one.name == "nsf"]
    assert tried.message == "3 folds, 1 to 3 epochs, 1 interrupted" and np.isfinite(tried.mean)
    assert np.all(np.isfinite(found.unseen.log_prob)) and len(found.unseen.places) == 200
    (state,) = states
    assert [one.state is None for one in state.trainings] == [True, True, False]


@pytest.mark.parametrize("most", [1, 2])
def test_a_resumed_search_has_the_bits_of_a_whole_one(monkeypatch, most):
    """Ctrl-C comes in several folds; the next search goes on from the checkpoint each time."""
    monkeypatch.setattr(flow_search, "threads", lambda: most)
    plan = replace(PLAN, members=2, batch_size=64, epochs=4)
    whole, real = fitted(rows(), plan), flow_search.train_flow
    states, stop = [None], None

    def pressed(key, kind, fold, rng, plan, seconds, after_epoch, resume):
        def then(state):
            if key == stop and state.epoch == 2:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                while not signals.came:
                    time.sleep(0.001)
            after_epoch(state)

        return real(key, kind, fold, rng, plan, seconds, then, resume)

    monkeypatch.setattr(flow_search, "train_flow", pressed)
    for stop in (("nsf", 1), ("nsf", 4), ("nsf relu", 2)):
        with interrupts.keeping() as signals:
            fitted(rows(), replace(plan, checkpoint=states.append, resume=states[-1]))
        assert signals.came
    assert len(states) == 4 and len(states[3].trainings) >= 7
    found = fitted(rows(), replace(plan, resume=states[-1]))
    np.testing.assert_array_equal(found.unseen.log_prob, whole.unseen.log_prob)
    assert found.density.pool.shares == whole.density.pool.shares


# Weights ----------------------------------------------------------------------------------


def test_counts_of_weights():
    whole = np.array([3.0, 1.0, 2.0, 3.0])
    for constant in (1, 0.1, 1 / 3, 1e-6, 1e300, 1e-300):
        np.testing.assert_array_equal(as_counts(whole * constant), whole)
    for constant in (2, 100):  # whole weights are counts, whatever divides them
        np.testing.assert_array_equal(as_counts(whole * constant), whole * constant)
    real = np.random.default_rng(0).exponential(size=500)
    counts = as_counts(real)
    np.testing.assert_allclose(counts / np.sum(counts), real / np.sum(real), rtol=1e-6)
    assert np.sum(counts) == pytest.approx(np.sum(real) ** 2 / np.sum(real**2), rel=1e-6)
    for constant in (1e-6, 1 / 500, 0.7, 1e300, 1e-300):
        np.testing.assert_array_equal(as_counts(real * constant), counts)
    np.testing.assert_array_equal(as_counts(real[::-1])[::-1], counts)


@pytest.mark.parametrize(
    "weight",
    [
        pytest.param(np.ones(200), marks=pytest.mark.thorough, id="equal"),
        pytest.param(np.random.default_rng(0).exponential(size=200), id="real"),
        pytest.param(
            np.random.default_rng(1).integers(1, 4, 200), marks=pytest.mark.thorough, id="whole"
        ),
    ],
)
def test_weights_times_a_constant_give_the_same_bits(weight):
    x = rows()
    one = fitted(x, weight=weight.astype(float))
    for constant in (1 / 200, 1e300, 1e-300):
        other = fitted(x, weight=weight * constant)
        np.testing.assert_array_equal(one.unseen.log_prob, other.unseen.log_prob)
        assert other.rows == one.rows and other.tried[-1].mean == one.tried[-1].mean
    if np.all(weight == np.round(weight)):
        repeated = fitted(np.repeat(x, weight.astype(int), axis=0))
        np.testing.assert_array_equal(
            repeated.density.log_prob(list(x.T)), one.density.log_prob(list(x.T))
        )


# Units ------------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize("factor", [2.0**20, 1e6, 1 / 3])
def test_the_split_and_the_model_know_nothing_of_units(factor):
    """In Cauchy rows the values far out weigh most."""
    x = np.random.default_rng(0).standard_cauchy((300, 3))
    scaled = x * [1, factor, 1]
    for one, other in zip(grouped_rows(x, 3), grouped_rows(scaled, 3)):
        np.testing.assert_array_equal(one, other)
    plain, moved = fitted(x), fitted(scaled)
    assert plain.density.pool.shares == pytest.approx(moved.density.pool.shares, abs=1e-9)
    np.testing.assert_allclose(
        moved.density.log_prob(list(scaled.T)) + np.log(factor),
        plain.density.log_prob(list(x.T)),
        rtol=1e-9,
    )


@pytest.mark.parametrize("labels", ["aba", "abac"])
def test_of_a_few_labels_a_copy_is_held_out(labels):
    """A fifth of few labels, rounded down, is zero: nothing could be chosen by it."""
    table = [np.array(list(labels), object)]
    columns = find_columns(("a",), table, {"a": "category"})
    found = fit_table(TableFit(columns, table, Plan(members=0), 0))
    assert np.all(np.isfinite(found.density.log_prob(table)))


# Means of flows ---------------------------------------------------------------------------


class Normal:
    """A normal density of one column with mean m."""

    def __init__(self, m):
        self.m = m

    def log_prob(self, u):
        return -0.5 * (u[:, 0] - self.m) ** 2 - 0.5 * np.log(2 * np.pi)


def trained_in_folds(means, u):
    folds = make_folds(UnitRows(u), np.arange(len(u)) % len(means))
    log_probs = [Normal(m).log_prob(u) for m in means]
    return flow_candidate.gains_of_mean(log_probs, folds)


def test_the_gain_of_a_mean_is_that_of_the_flows_of_the_other_folds():
    u = np.random.default_rng(0).standard_normal((12, 1))
    means = np.array([-1.0, 0.3, 0.5, 2.0])
    found = trained_in_folds(means, u)
    for i, x in enumerate(u[:, 0]):
        p = np.exp(-0.5 * (x - np.delete(means, i % 4)) ** 2) / np.sqrt(2 * np.pi)
        assert found[i] == pytest.approx(np.log(np.mean(p)) - np.mean(np.log(p)), rel=1e-12)


def test_flows_that_agree_gain_nothing_and_two_say_nothing():
    u = np.random.default_rng(0).standard_normal((12, 1))
    np.testing.assert_allclose(trained_in_folds([0.5, 0.5, 0.5], u), 0, atol=1e-15)
    assert trained_in_folds([0.0, 1.0], u) is None
    assert np.all(np.isfinite(trained_in_folds([0.0, np.inf, 1.0], u)))


def test_a_gain_moves_weight_and_leaves_the_scores():
    scores = np.zeros(50)
    alone = Candidate("one", (None,), scores, 0.0)
    mean = Candidate("three", (None,) * 3, scores - 0.1, 0.0)
    for gains, weight in ((None, 0.0), (np.full(50, 0.2), 1.0)):
        candidates = [alone, replace(mean, gains=gains)]
        pool, results, log_prob = weigh(candidates, None)
        assert pool.shares["three"] == pytest.approx(weight, abs=1e-4)
        np.testing.assert_allclose(log_prob, -0.1 * weight, atol=1e-4)
        assert [one.mean for one in results[:2]] == pytest.approx([0, -0.1])
