"""Rows with gaps and columns given others, against quadrature, sums and closed forms."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import nfref
from nfref.cli import main
from nfref.tables.densities.gaussian import Gaussian
from nfref.tables.densities.mixture import GaussianMixture
from nfref.tables.densities.pool import Pool, Regressed
from nfref.tables.densities.wide import Wide
from nfref.tables.fitting import gaps
from nfref.tables.fitting.fit import fit_table
from nfref.tables.fitting.plan import Plan, TableFit
from nfref.tables.queries import answers
from nfref.tables.queries.closed_form import ClosedForm, chosen_part, closed_weights
from nfref.tables.schema.column_inference import find_columns
from nfref.tables.schema.columns import is_missing

GAP = np.nan


def curve(n=600, seed=0):
    """Columns 100 + 3 a, positive and growing with a^2, and a noisy sum of both."""
    rng = np.random.default_rng(seed)
    a, e = rng.standard_normal((2, n))
    y = np.exp(0.4 * a**2 + 0.3 * e)
    return np.stack(
        [100 + 3 * a, y, 0.1 * a + 0.05 * np.log(y) + 0.1 * rng.standard_normal(n)], axis=1
    )


@pytest.fixture(scope="module")
def simple():
    """Fit a model without a flow."""
    return nfref.FlowDensity("mixture", columns={"x2": "positive"}, random_state=0).fit(curve())


@pytest.fixture(scope="module")
def flowing():
    """Return a model of two flows; everything else has almost no weight."""
    model = nfref.FlowDensity(
        nfref.MAF(3, 3, (24, 24)),
        members=2,
        epochs=20,
        learning_rate=3e-3,
        columns={"x2": "positive"},
        effort="quick",
        random_state=0,
    ).fit(curve(1500))
    pool = model.density_.pool
    weights = np.where(np.isin(range(len(pool.members)), pool.flows), 0.9, 0.1) * pool.weights
    model._keep(replace(model.density_, pool=replace(pool, weights=weights / np.sum(weights))))
    return model


@pytest.fixture(scope="module")
def mixed():
    """A label, a count and two numbers that depend on them, as a DataFrame."""
    rng = np.random.default_rng(3)
    town = rng.choice(["Aix", "Bonn", "Cork"], 800, p=[0.5, 0.3, 0.2])
    count = rng.poisson(np.where(town == "Aix", 2.0, 6.0))
    x = np.where(town == "Bonn", 4.0, 0.0) + 0.5 * count + rng.standard_normal(800)
    data = pd.DataFrame({"town": town, "count": count, "x": x, "y": x + rng.standard_normal(800)})
    return data, nfref.FlowDensity("mixture", effort="quick", random_state=0).fit(data)


def integral(model, row, column, ends):
    """log of the integral of p over one column, by quadrature on a grid through its support."""
    grid = np.linspace(*ends, 20_001)
    rows = np.tile(row, (len(grid), 1))
    rows[:, column] = grid
    log_prob = model.score_samples(rows)
    top = np.max(log_prob)
    return top + np.log(integrate.simpson(np.exp(log_prob - top), x=grid))


# Closed forms -----------------------------------------------------------------------------


def closed_forms(seed=0):
    """A mixture, a Gaussian and the wide density, with slopes of a context of two."""
    rng = np.random.default_rng(seed)
    factors = np.tril(rng.standard_normal((3, 3, 3))) + 2 * np.eye(3)
    mixture = GaussianMixture(np.log([0.7, 0.3]), rng.standard_normal((2, 3)), factors[:2])
    slopes = rng.standard_normal((3, 2, 3))
    members = tuple(
        Regressed(member, slope)
        for member, slope in zip(
            (mixture, Gaussian(rng.standard_normal(3), factors[2]), Wide(3)), slopes
        )
    )
    return Pool(members, np.array([0.5, 0.3, 0.2]), ("mixture", "gaussian", "wide"))


@pytest.mark.parametrize("observed", [[], [1], [0, 2], [0, 1, 2]])
def test_closed_form_marginals_are_integrals(observed):
    """Integrate one and two columns by quadrature, all by the density; no column gives 1."""
    pool, observed = closed_forms(), np.array(observed, int)
    same, weights, is_exact = closed_weights(pool, np.random.default_rng(0))
    assert is_exact and same is pool
    near = ClosedForm.of(pool.members, weights, 2)
    rng = np.random.default_rng(1)
    u, context = rng.standard_normal((3, 3)), rng.standard_normal((3, 2))
    found = near.log_prob(u, observed, context)
    if len(observed) == 3:
        np.testing.assert_allclose(found, pool.log_prob(u, context), rtol=1e-13)
    elif not len(observed):
        np.testing.assert_allclose(found, 0, atol=1e-14)
    else:
        # With t = sinh s, even steps of s reach far out, where the wide density still has mass.
        s = np.linspace(-9, 9, 181)
        axes = np.meshgrid(*[s] * (3 - len(observed)), indexing="ij")
        weight = np.prod([np.cosh(axis) for axis in axes], axis=0).ravel()
        weight = weight * (s[1] - s[0]) ** (3 - len(observed))
        rows = np.empty((weight.size, 3))
        rows[:, np.setdiff1d(np.arange(3), observed)] = np.sinh(
            np.stack([axis.ravel() for axis in axes], axis=1)
        )
        for row, given, log_prob in zip(u, context, found):
            rows[:, observed] = row[observed]
            density = pool.log_prob(rows, np.tile(given, (len(rows), 1)))
            assert np.log(weight @ np.exp(density)) == pytest.approx(log_prob, abs=1e-5)


def test_closed_form_draws_follow_the_conditional():
    """Compare P(u_2 <= t | u_0, u_1) of samples with a ratio of integrals of the joint."""
    pool = closed_forms()
    near, n = ClosedForm.of(pool.members, pool.weights, 2), 20_000
    u, context = np.tile([0.5, -1.0, 0.0], (n, 1)), np.tile([1.0, -0.5], (n, 1))
    uniform = np.random.default_rng(1).random((n, 1))
    chosen, rest = chosen_part(near.log_joint(u, np.array([0, 1]), context), uniform)
    drawn = near.fill(u, np.array([2]), chosen[:, 0], stats.norm.ppf(rest), context)
    np.testing.assert_array_equal(drawn[:, :2], u[:, :2])
    s = np.linspace(-10, 10, n)
    grid = np.stack([u[:, 0], u[:, 1], np.sinh(s)], axis=1)
    mass = np.cumsum(np.exp(pool.log_prob(grid, context)) * np.cosh(s))
    rank = np.interp(drawn[:, 2], grid[:, 2], mass / mass[-1])
    assert stats.kstest(rank, "uniform").pvalue > 1e-3


# Likelihood of what is there --------------------------------------------------------------


@pytest.mark.parametrize("column, ends", [(0, (80, 120)), (2, (-3, 3))])
def test_marginal_of_a_pool_in_closed_form_is_the_integral(simple, column, ends):
    for row in curve(4, seed=5):
        gap = row.copy()
        gap[column] = GAP
        found, error = simple.score_samples(gap[None]), simple.standard_errors(gap[None])
        assert error[0] == 0
        # The wide candidate, with a weight of about 1/1000, has tails beyond the grid.
        assert found[0] == pytest.approx(integral(simple, row, column, ends), abs=2e-3)


@pytest.mark.parametrize(
    "column, ends", [(2, (-3, 3)), pytest.param(0, (80, 120), marks=pytest.mark.thorough)]
)
def test_marginal_of_flows_is_the_integral(flowing, column, ends):
    """The two agree within the estimate's own small standard error."""
    assert sum(w for name, w in flowing.weights_.items() if "maf" in name) > 0.2
    rows = curve(12, seed=6)
    gaps = rows.copy()
    gaps[:, column] = GAP
    found, error = flowing.score_samples(gaps), flowing.standard_errors(gaps)
    true = np.array([integral(flowing, row, column, ends) for row in rows])
    assert np.all((error > 0) & (error < 0.15))
    z = (found - true) / error
    assert np.max(np.abs(z)) < 4 and np.sqrt(np.mean(z**2)) < 2


def test_two_gaps_are_the_integral_over_both(flowing):
    rows = np.array([[101.0, GAP, GAP]])
    found, error = flowing.score_samples(rows), flowing.standard_errors(rows)
    log_y, third = np.meshgrid(np.linspace(-3, 8, 401), np.linspace(-2, 2, 401), indexing="ij")
    grid = np.stack([np.full(log_y.size, 101.0), np.exp(log_y.ravel()), third.ravel()], axis=1)
    cell = 11 / 400 * 4 / 400
    true = np.log(np.sum(np.exp(flowing.score_samples(grid) + log_y.ravel())) * cell)
    assert abs(found[0] - true) < 4 * error[0] < 0.4


def test_nothing_known_is_certain(flowing):
    nothing = np.full((1, 3), GAP)
    assert flowing.score_samples(nothing)[0] == flowing.standard_errors(nothing)[0] == 0


def test_scores_with_gaps_do_not_depend_on_the_batch(flowing):
    rows = curve(10, seed=7)
    rows[np.random.default_rng(0).random(rows.shape) < 0.4] = GAP
    together = flowing.score_samples(rows)
    single = np.concatenate([flowing.score_samples(row[None]) for row in rows])
    np.testing.assert_allclose(single, together, rtol=0, atol=1e-7)
    whole = ~np.any(np.isnan(rows), axis=1)
    assert 0 < np.sum(whole) < 10
    np.testing.assert_array_equal(together[whole], flowing.score_samples(rows[whole]))


def test_outside_of_the_support_has_no_likelihood(simple):
    assert simple.score_samples([[GAP, -1.0, 0.0]])[0] == -np.inf
    assert np.isfinite(simple.score_samples([[GAP, 1.0, 1e9]])[0])


def test_missing_labels_are_summed_over(mixed):
    data, model = mixed
    rows = data.iloc[:20].copy()
    parts = [model.score_samples(rows.assign(town=town)) for town in ("Aix", "Bonn", "Cork")]
    # The file has None in a column of text.
    found = model.score_samples(rows.assign(town=None).astype({"town": object}))
    np.testing.assert_allclose(found, np.logaddexp.reduce(parts, axis=0), rtol=1e-12)


def test_missing_counts_are_summed_over(mixed):
    """The sum over numbers is exact but for the shape of tails beyond all likely ones."""
    data, model = mixed
    rows = data.iloc[:10].copy()
    parts = [model.score_samples(rows.assign(count=float(k))) for k in range(80)]
    found = model.score_samples(rows.assign(count=GAP))
    np.testing.assert_allclose(found, np.logaddexp.reduce(parts, axis=0), atol=2e-3)


# One column given others ------------------------------------------------------------------


def test_held_out_rows_are_uniform_given_the_others(flowing):
    """P(X <= x | others) of new rows passes Kolmogorov-Smirnov, one column after the other."""
    rows = curve(200, seed=8)
    for column in ("x1", "x2", "x3"):
        u = flowing.distribution(rows, column, 300)
        assert stats.kstest(u, "uniform").pvalue > 1e-3
    # Repeat with one of the others unknown.
    rows[:, 0] = GAP
    assert stats.kstest(flowing.distribution(rows, "x3", 300), "uniform").pvalue > 1e-3
    wrong = rows + [0, 0, 0.08]
    assert stats.kstest(flowing.distribution(wrong, "x3", 300), "uniform").pvalue < 1e-6


def test_intervals_hold_their_share(flowing):
    rows = curve(500, seed=9)
    low, middle, high = flowing.predict_quantiles(rows, "x2", draws=400).T
    inside = np.mean((low < rows[:, 1]) & (rows[:, 1] < high))
    assert abs(inside - 0.9) < 4 * np.sqrt(0.09 / 500)
    assert abs(np.mean(rows[:, 1] < middle) - 0.5) < 4 * np.sqrt(0.25 / 500)
    assert np.all((0 < low) & (low < middle) & (middle < high))


def test_quantiles_of_a_gaussian_are_those_of_regression():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 1)) * [[1.0, 2.0]] + rng.standard_normal((2000, 2)) * [1e-6, 1]
    model = nfref.FlowDensity("gaussian", random_state=0).fit(x)
    found = model.predict_quantiles([[1.5, GAP]], "x2", (0.1, 0.5, 0.9))[0]
    np.testing.assert_allclose(found, 3.0 + stats.norm.ppf([0.1, 0.5, 0.9]), atol=0.2)


def test_samples_given_columns_follow_the_conditional(flowing):
    """Against P(X <= x | given) from quadrature of the joint density."""
    given = {"x1": 104.0, "x3": 0.2}
    drawn = flowing.sample(800, random_state=1, given=given)
    assert np.all(drawn[:, 0] == 104.0) and np.all(drawn[:, 2] == 0.2)
    assert np.all(drawn[:, 1] > 0)
    grid = np.exp(np.linspace(-6, 9, 4001))
    rows = np.stack([np.full(4001, 104.0), grid, np.full(4001, 0.2)], axis=1)
    mass = np.cumsum(np.exp(flowing.score_samples(rows)) * grid)
    rank = np.interp(drawn[:, 1], grid, mass / mass[-1])
    assert stats.kstest(rank, "uniform").pvalue > 1e-3


def test_labels_and_counts_given_and_drawn(mixed):
    data, model = mixed
    drawn = model.sample(500, random_state=0, given={"x": 9.0})
    assert set(drawn["town"]) <= {"Aix", "Bonn", "Cork"} and np.all(drawn["x"] == 9.0)
    assert np.mean(drawn["town"] == "Bonn") > 0.6  # nearly all rows near 9 are
    drawn = model.sample(500, random_state=0, given={"town": "Cork", "count": 3})
    assert set(drawn["town"]) == {"Cork"} and set(drawn["count"]) == {3}
    near = data[(data["town"] == "Cork") & (data["count"] == 3)]
    assert abs(np.mean(drawn["x"]) - np.mean(near["x"])) < 0.8
    levels = model.predict_quantiles(data.iloc[:5], "count", (0.05, 0.95))
    assert np.all(levels == np.round(levels)) and np.all(levels[:, 0] <= levels[:, 1])


# Filling ----------------------------------------------------------------------------------


def test_imputed_cells_follow_their_law_and_others_stay(flowing):
    rows = curve(300, seed=10)
    gaps = rows.copy()
    gaps[:, 2] = GAP
    filled = flowing.impute(gaps, random_state=0)
    np.testing.assert_array_equal(filled[:, :2], rows[:, :2])
    ranks = flowing.distribution(filled, "x3", 300)
    assert stats.kstest(ranks, "uniform").pvalue > 1e-3
    assert not np.array_equal(filled, flowing.impute(gaps, random_state=1))
    np.testing.assert_array_equal(rows, flowing.impute(rows, random_state=0))


def test_many_imputations_share_the_scored_samples(flowing, monkeypatch):
    """Ten tables score no more rows than one, and each cell follows its law."""
    rows = flowing.sample(60, random_state=3, within=5.0)
    holes = rows.copy()
    holes[:, 1] = np.nan
    holes[:30, 0] = np.nan
    scored = []
    log_probs = Pool.log_probs
    monkeypatch.setattr(
        Pool, "log_probs", lambda self, u, *rest: scored.append(len(u)) or log_probs(self, u, *rest)
    )
    one = flowing.impute(holes, random_state=0)
    alone, scored[:] = sum(scored), []
    tables = flowing.impute(holes, random_state=0, draws=10)
    assert alone > 0 and sum(scored) == alone and len(tables) == 10
    assert np.isfinite(tables).all()
    known = ~np.isnan(holes)
    assert all(np.array_equal(table[known], rows[known]) for table in tables)
    # Samples for the same cell differ, and spread as much as one sample of each cell does.
    assert np.median(np.std(tables, axis=0)[:, 1]) > 0
    levels = [flowing.distribution(table[30:], "x2") for table in (one, *tables)]
    assert stats.kstest(np.concatenate(levels[1:]), "uniform").statistic < 0.12


@pytest.mark.parametrize("draws", [0, 1.5, True])
def test_a_count_of_imputations_is_whole(flowing, draws):
    with pytest.raises((ValueError, TypeError), match="^draws: expected"):
        flowing.impute(np.full((2, flowing.n_features_in_), np.nan), draws=draws)


def test_imputed_frames_keep_what_is_there(mixed):
    data, model = mixed
    rows = data.iloc[:50].astype({"town": object, "count": float}).copy()
    rows.loc[rows.index[::2], "town"] = None
    rows.loc[rows.index[::3], "y"] = GAP
    filled = model.impute(rows, random_state=0)
    assert not filled.isna().any().any()
    assert list(filled["town"][1::2]) == list(rows["town"][1::2])
    assert set(filled["town"]) <= {"Aix", "Bonn", "Cork"}


# Training ---------------------------------------------------------------------------------


def with_gaps_that_depend(n=2000, seed=0):
    """Return y = x + e, where y is missing for 4 in 5 rows with x > 0: the observed y are low."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    y = x + 0.5 * rng.standard_normal(n)
    return np.stack([x, np.where((x > 0) & (rng.random(n) < 0.8), GAP, y)], axis=1), y


@pytest.mark.thorough
def test_training_with_gaps_is_not_fooled_by_which_are_missing():
    rows, y = with_gaps_that_depend()
    assert np.nanmean(rows[:, 1]) < -0.3  # the mean of the observed y
    model = nfref.FlowDensity("gaussian", random_state=0).fit(rows)
    drawn = model.sample(20_000, random_state=0)
    # 0.02 from 2000 rows, few of them at x > 0; 0.01 from the sampling.
    assert abs(np.mean(drawn[:, 1])) < 0.1
    assert abs(np.cov(drawn.T)[0, 1] - 1) < 0.15
    whole = np.stack([rows[:, 0], y], axis=1)
    best = nfref.FlowDensity("gaussian", random_state=0).fit(whole)
    assert model.score(whole) > best.score(whole) - 0.03


def test_training_with_gaps_of_any_order_and_weights(monkeypatch):
    monkeypatch.setattr("nfref.tables.fitting.gaps.MOST_ROUNDS", 2)
    rows, _ = with_gaps_that_depend(300)
    rows[:3] = GAP  # rows without any cell
    rng = np.random.default_rng(0)
    weight = rng.integers(1, 3, 300)
    repeated = rng.permutation(np.repeat(rows, weight, axis=0))
    models = [
        nfref.FlowDensity("mixture", random_state=0).fit(*arguments)
        for arguments in ((rows, None, weight), (repeated,))
    ]
    whole = np.random.default_rng(1).standard_normal((50, 2))
    np.testing.assert_allclose(*(model.score_samples(whole) for model in models), rtol=1e-12)


@pytest.mark.thorough
def test_training_with_missing_labels():
    rng = np.random.default_rng(0)
    town = rng.choice(["Aix", "Bonn"], 600).astype(object)
    x = np.where(town == "Bonn", 3.0, -3.0) + rng.standard_normal(600)
    town[rng.random(600) < 0.4] = None
    model = nfref.FlowDensity("mixture", random_state=0).fit(pd.DataFrame({"town": town, "x": x}))
    drawn = model.sample(2000, random_state=0, given={"town": "Bonn"})
    assert abs(np.mean(drawn["x"]) - 3) < 0.3


@pytest.mark.thorough
def test_flows_train_on_rows_with_gaps():
    rows = curve(1500)
    rows[np.random.default_rng(1).random(rows.shape) < 0.2] = GAP
    model = nfref.FlowDensity(
        "maf", members=1, epochs=15, random_state=0, columns={"x2": "positive"}
    ).fit(rows)
    test = curve(500, seed=11)
    mixture = nfref.FlowDensity("gaussian", random_state=0, columns={"x2": "positive"}).fit(
        curve(1500)
    )
    assert model.score(test) > mixture.score(test)


# What cannot be asked ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, message",
    [
        ({"x9": 1.0}, "given: expected columns among 'x1', 'x2', 'x3'; got 'x9'"),
        ({"x2": -1.0}, "given\\['x2'\\]: expected values strictly between 0 and inf, got -1"),
        ({"x1": np.nan}, "given\\['x1'\\]: expected a finite number, got nan"),
        ({"x1": "far"}, "given\\['x1'\\]: expected a finite number, got 'far'"),
    ],
)
def test_conditions_that_cannot_be(simple, given, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        simple.sample(2, given=given)


def test_labels_and_counts_that_cannot_be(mixed):
    data, model = mixed
    with pytest.raises(
        ValueError,
        match="^given\\['town'\\]: expected one of the categories "
        "'Aix', 'Bonn', 'Cork', got 'Oslo'$",
    ):
        model.sample(2, given={"town": "Oslo"})
    with pytest.raises(
        ValueError, match="^given\\['count'\\]: expected whole numbers of at least 0, got 1.5$"
    ):
        model.sample(2, given={"count": 1.5})
    with pytest.raises(ValueError, match="^column: expected a column of numbers, got the category"):
        model.predict_quantiles(data, "town")


def test_columns_and_levels_that_cannot_be(simple):
    with pytest.raises(ValueError, match="^column: expected columns among"):
        simple.predict_quantiles(curve(2), "x7")
    with pytest.raises(ValueError, match="^levels: expected numbers above 0 and below 1"):
        simple.predict_quantiles(curve(2), "x1", (0.5, 1.0))
    with pytest.raises(ValueError, match="^column 'x1': expected values, got none in 5 rows"):
        nfref.FlowDensity().fit(np.stack([np.full(5, GAP), np.arange(5)], axis=1))


def test_what_counts_as_a_gap():
    assert not np.any([is_missing(np.arange(3)), is_missing(np.array(["a", "b", "c"], object))])
    assert is_missing(np.array(["a", None], object)).tolist() == [False, True]


# The command line -------------------------------------------------------------------------


def test_the_command_draws_rows_given_columns(mixed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mixed[1].save("m.npz")
    assert main(["sample", "m.npz", "-n", "50", "--given", "town=Cork", "--given", "x=3.5"]) == 0
    drawn = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert set(drawn["town"]) == {"Cork"} and set(drawn["x"]) == {3.5}
    assert len(set(drawn["y"])) > 25 and list(drawn) == ["town", "count", "x", "y"]


@pytest.mark.parametrize(
    "given, message",
    [
        (["town=Oslo"], "--given['town']: expected one of the categories"),
        (["speed=1"], "--given: expected columns among"),
        (["x=fast"], "--given['x']: expected a finite number, got 'fast'"),
        (["count=-1"], "--given['count']: expected whole numbers of at least 0, got -1"),
        (["x"], "--given: expected NAME=VALUE, as in age=40 or age=40,town=Oslo; got 'x'"),
        (["x=1", "x=2"], "--given: expected each column once, got 'x' twice"),
    ],
)
def test_conditions_that_the_command_refuses(mixed, tmp_path, monkeypatch, capsys, given, message):
    monkeypatch.chdir(tmp_path)
    mixed[1].save("m.npz")
    options = [word for one in given for word in ("--given", one)]
    assert main(["sample", "m.npz", "-n", "5", *options, "--out", "new.csv"]) == 2
    output, errors = capsys.readouterr()
    assert not output and errors.startswith(f"nfref: error: {message}")
    assert errors.count("\n") == 1 and not (tmp_path / "new.csv").exists()


# Flows alone, and few samples ---------------------------------------------------------------


@pytest.mark.parametrize("given", [(), ("c",)])
def test_a_flow_alone_answers_about_missing_cells_too(given):
    """No candidate in closed form proposes samples: compare the answer with an integral."""
    from nfref.tables.fitting.fit import fit_table
    from nfref.tables.fitting.plan import Plan, TableFit
    from nfref.tables.schema.column_inference import find_columns

    rng = np.random.default_rng(0)
    a, c = rng.standard_normal((2, 400))
    table = [a, 0.8 * a + 0.5 * c + 0.3 * rng.standard_normal(400), c]
    plan = Plan("nsf", 1, 20, simple=False)
    columns = find_columns(["a", "b", "c"], table)
    density = fit_table(TableFit(columns, table, plan, 0, given=given)).density
    assert density.pool.names == ("nsf",)
    rows = [np.array([0.3, -1.0]), np.full(2, np.nan), np.array([0.2, 1.0])]
    found = answers.log_marginal(density, rows)
    b = np.linspace(-8, 8, 8001)
    for k in range(2):
        whole = density.log_prob([np.full(len(b), rows[0][k]), b, np.full(len(b), rows[2][k])])
        expected = np.log(np.trapezoid(np.exp(whole), b))
        assert abs(found.log_prob[k] - expected) < 5 * found.error[k] < 0.3
        assert found.effective[k] > 100
    filled = answers.impute(density, rows, np.random.default_rng(1))
    assert np.all(np.isfinite(filled[1]))


def test_few_samples_suffice_where_their_error_is_small():
    """Near a Gaussian, weights are nearly equal; far from it, a row takes all its samples."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 4))
    x[:, 3] = x[:, 0] * x[:, 1] + 0.05 * x[:, 3]
    model = nfref.FlowDensity("maf", members=1, epochs=10, random_state=0).fit(x)
    gaps = x[:40].copy()
    gaps[:20, [1, 2]], gaps[20:, [0, 3]] = GAP, GAP
    density, table = model.density_, list(gaps.T)
    found = answers.log_marginal(density, table)
    few = found.error <= answers.SMALL_ERROR
    assert 0 < np.sum(few) < len(x)
    assert np.sum(found.effective <= answers.FIRST_DRAWS) > 10
    assert np.all(found.effective[~few] <= answers.DRAWS)
    precise = answers.log_marginal(density, [column[few] for column in table], 20_000)
    assert np.all(np.abs(found.log_prob[few] - precise.log_prob) < 5 * answers.SMALL_ERROR)
    alone = answers.log_marginal(density, [column[7:8] for column in table])
    assert alone.log_prob == pytest.approx(found.log_prob[7:8], abs=1e-12)


@pytest.mark.parametrize(
    "every, budget, rounds",
    [(12, None, 6), (4, None, 10), (2, None, 2 * gaps.MOST_ROUNDS), (4, 1e-3, 1), (4, 1e3, 10)],
)
def test_rounds_follow_the_share_of_gaps_and_end_with_the_time(every, budget, rounds):
    asked = []

    def counted(fit):
        asked.append(fit.plan)
        return fit_table(fit)

    table = np.random.default_rng(0).standard_normal((60, 2))
    table[::every, 1] = np.nan
    columns = find_columns(("a", "b"), list(table.T))
    plan = Plan(members=0, time_budget=budget)
    gaps.fit_with_gaps(TableFit(columns, list(table.T), plan, 0), counted)
    assert len(asked) == rounds + 1
    assert budget is None or 0 < asked[-1].time_budget <= budget
