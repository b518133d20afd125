"""Densities of columns given others: against quadrature, closed forms and known laws."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import nfref
from nfref.tables.densities.gaussian import Gaussian
from nfref.tables.densities.latent_classes import LabelProbabilities, LatentClasses, Normal
from nfref.tables.densities.mixture import GaussianMixture
from nfref.tables.densities.pool import Pool, Regressed
from nfref.tables.densities.regression import MixtureRegression, conditional_of
from nfref.tables.queries import answers
from nfref.tables.queries.closed_form import ClosedForm
from tests.tables.densities.families import families


def bent(n, seed=0):
    """Return y that bends and spreads with x, raised by ``group``; a label depends on x."""
    rng = np.random.default_rng(seed)
    x, group = rng.uniform(-2, 2, n), rng.choice(["a", "b"], n)
    y = np.sin(2 * x) + (group == "b") + spread(x) * rng.standard_normal(n)
    label = np.where(rng.random(n) < 1 / (1 + np.exp(-3 * x)), "up", "down")
    return pd.DataFrame(
        {"y": y, "x": x, "label": label, "group": group, "count": rng.poisson(np.exp(0.5 * x))}
    )


def spread(x):
    return 0.15 + 0.1 * (x + 2)


def mixture(dim, components=3, seed=0):
    rng = np.random.default_rng(seed)
    factors = np.tril(rng.standard_normal((components, dim, dim)), -1) + np.eye(dim)
    return GaussianMixture(
        np.log(rng.dirichlet(np.ones(components))),
        2 * rng.standard_normal((components, dim)),
        factors,
    )


# Gaussian mixture regression --------------------------------------------------------------


def test_conditional_of_a_gaussian():
    """Compare with the inverse covariance: the precision's blocks give the same."""
    rng = np.random.default_rng(0)
    mean, factor = rng.standard_normal(4), np.tril(rng.standard_normal((4, 4))) + 3 * np.eye(4)
    precision = np.linalg.inv(factor @ factor.T)
    start, a, own = conditional_of(mean, factor, 2)
    np.testing.assert_allclose(own @ own.T, np.linalg.inv(precision[2:, 2:]), rtol=1e-12)
    np.testing.assert_allclose(
        a, -np.linalg.solve(precision[2:, 2:], precision[2:, :2]), rtol=1e-12
    )
    np.testing.assert_allclose(start, mean[2:] - a @ mean[:2], rtol=1e-12)


def test_mixture_regression_is_the_joint_over_its_marginal():
    """Components and gates add up to the ratio, which integrates to one."""
    joint, rng = mixture(3), np.random.default_rng(1)
    member = MixtureRegression(joint, rng.standard_normal((2, 3)))
    context = rng.standard_normal((5, 3))
    x = rng.standard_normal((5, 2))
    found = member.log_prob(x, context)
    parts = [gaussian.log_prob(x - context @ slopes) for gaussian, slopes in member.components(3)]
    np.testing.assert_allclose(
        np.logaddexp.reduce(np.stack(parts, 1) + member.log_gates(context), axis=1),
        found,
        rtol=1e-12,
    )
    axis = np.linspace(-25, 25, 401)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    for one in context:
        mass = np.sum(np.exp(member.log_prob(grid, np.tile(one, (len(grid), 1)))))
        assert mass * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=1e-6)


def test_mixture_regression_draws_what_it_says():
    member, rng = MixtureRegression(mixture(2), np.zeros((0, 2))), np.random.default_rng(2)
    drawn = member.sample(rng, 4000, np.full((4000, 1), 0.7))[:, 0]
    grid = np.linspace(-20, 20, 20_001)
    density = np.exp(member.log_prob(grid[:, None], np.full((len(grid), 1), 0.7)))
    below = integrate.cumulative_simpson(density, x=grid, initial=0)
    assert stats.kstest(drawn, lambda x: np.interp(x, grid, below)).pvalue > 1e-3


def test_one_component_is_linear_regression():
    rng = np.random.default_rng(3)
    g = rng.standard_normal((400, 2))
    u = g @ [[1.0], [-2.0]] + 0.5 + 0.3 * rng.standard_normal((400, 1))
    member = MixtureRegression.fit_each(
        lambda x, w: GaussianMixture.fit_each(x, 1, [rng], weights=w), [u], [g], [None], 2
    )[0]
    ((gaussian, slopes),) = member.components(2)
    design = np.column_stack([g, np.ones(400)])
    expected, rest, *_ = np.linalg.lstsq(design, u[:, 0], rcond=None)
    np.testing.assert_allclose([*slopes[:, 0], gaussian.mean[0]], expected, atol=1e-5)
    assert gaussian.cholesky[0, 0] ** 2 == pytest.approx(rest[0] / 400, rel=1e-3)


def test_closed_forms_with_gates_have_the_marginals_of_integrals():
    rng = np.random.default_rng(4)
    pool = Pool(
        (
            MixtureRegression(mixture(3), np.zeros((0, 3))),
            Regressed(Gaussian(np.zeros(2), np.eye(2)), rng.standard_normal((1, 2))),
        ),
        np.array([0.7, 0.3]),
        ("mixture regression", "gaussian"),
    )
    context, u = rng.standard_normal((4, 1)), rng.standard_normal((4, 2))
    near = ClosedForm.of(pool.members, pool.weights, 1)
    found = near.log_prob(u, np.array([0]), context)
    grid = np.linspace(-30, 30, 8001)
    for row, one, log_prob in zip(u, context, found):
        density = np.exp(
            pool.log_prob(
                np.stack([np.full(len(grid), row[0]), grid], axis=1), np.tile(one, (len(grid), 1))
            )
        )
        assert np.log(integrate.simpson(density, x=grid)) == pytest.approx(log_prob, abs=1e-7)


# Classes ----------------------------------------------------------------------------------


def test_classes_given_a_number_are_those_of_bayes():
    """P(d | u) of two classes in the letters of the formula."""
    table = LabelProbabilities(np.log([[0.9, 0.1], [0.2, 0.8]]))
    model = LatentClasses(
        np.log([0.3, 0.7]), (table, Normal(np.array([0.0, 1.0]), np.array([1.0, 0.5]))), (1,)
    )
    u = np.array([-1.0, 0.4, 3.0])
    share = np.array([0.3, 0.7]) * stats.norm.pdf(u[:, None], [0.0, 1.0], [1.0, 0.5])
    share = share / share.sum(axis=1, keepdims=True)
    for label in (0, 1):
        codes = np.stack([np.full(3, float(label)), u], axis=1)
        np.testing.assert_allclose(
            model.log_prob(codes), np.log(share @ np.exp(table.log_prob[:, label])), rtol=1e-12
        )


@pytest.mark.thorough
def test_the_probability_of_a_label_follows_a_number():
    """The probability is the logistic curve that the labels were sampled from."""
    model = nfref.FlowDensity("mixture", given="x", random_state=0).fit(bent(4000)[["label", "x"]])
    at = np.array([-1.5, -0.5, 0.0, 0.5, 1.5])
    found = np.exp(model.score_samples(pd.DataFrame({"label": ["up"] * 5, "x": at})))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-3 * at)), atol=0.06)
    other = np.exp(model.score_samples(pd.DataFrame({"label": ["down"] * 5, "x": at})))
    np.testing.assert_allclose(found + other, 1, rtol=1e-12)


# The estimator ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simple():
    """Fit a model without a flow: numbers, a label and a count given two columns."""
    return nfref.FlowDensity("mixture", given=["x", "group"], effort="quick", random_state=0).fit(
        bent(500)
    )


@pytest.fixture(scope="module")
def flowing():
    return nfref.FlowDensity(
        "nsf",
        given=["x", "group"],
        members=1,
        epochs=40,
        learning_rate=3e-3,
        effort="quick",
        random_state=0,
    ).fit(bent(1900)[["y", "x", "group"]])


@pytest.mark.thorough
def test_mass_is_one_given_whatever_is_given(simple):
    grid = np.linspace(-30, 30, 1501)
    for x, group in ((-1.9, "a"), (0.3, "b"), (7.0, "a")):
        total = 0.0
        for label in ("up", "down"):
            for count in range(20 if x < 3 else 1):
                rows = pd.DataFrame(
                    {"y": grid, "x": x, "label": label, "group": group, "count": count}
                )
                total += integrate.simpson(np.exp(simple.score_samples(rows)), x=grid)
        assert total <= 1 + 1e-6
        if x < 3:
            assert total == pytest.approx(1, abs=5e-3)  # counts of 20 and more, and far y


def test_gaps_are_integrated_and_given_cells_are_not(simple):
    """A sum over labels, an integral over y; a row without known cells has likelihood 1."""
    row = pd.DataFrame({"y": [0.4], "x": [0.5], "label": [None], "group": ["b"], "count": [2]})
    both = pd.concat([row.assign(label=label) for label in ("up", "down")])
    assert simple.score_samples(row)[0] == pytest.approx(
        np.logaddexp.reduce(simple.score_samples(both)), abs=1e-9
    )
    grid = np.linspace(-80, 80, 16_001)
    rows = pd.DataFrame({"y": grid, "x": 0.5, "label": "up", "group": "b", "count": 2})
    mass = integrate.simpson(np.exp(simple.score_samples(rows)), x=grid)
    found = simple.score_samples(row.assign(y=np.nan, label="up"))[0]
    assert found == pytest.approx(np.log(mass), abs=2e-4)
    nothing = row.assign(y=np.nan).astype({"count": object}).assign(count=None)
    assert simple.score_samples(nothing)[0] == 0.0


@pytest.mark.thorough
def test_a_flow_given_columns_is_near_the_truth_and_calibrated(flowing):
    test = bent(2000, seed=1)
    log_prob = flowing.score_samples(test[["y", "x", "group"]])
    middle = np.sin(2 * test.x) + (test.group == "b")
    truth = stats.norm.logpdf(test.y, middle, spread(test.x))
    assert np.mean(truth - log_prob) < 0.1
    u = flowing.distribution(test[["y", "x", "group"]][:300], "y", draws=300)
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    at = pd.DataFrame({"y": np.nan, "x": [1.0], "group": ["b"]})
    low, median, high = flowing.predict_quantiles(at, "y")[0]
    assert median == pytest.approx(np.sin(2) + 1, abs=0.15)
    assert high - low == pytest.approx(2 * 1.645 * spread(1.0), rel=0.3)


def test_samples_follow_what_is_given(flowing, simple):
    drawn = flowing.sample(2000, random_state=0, given={"x": 1.0, "group": "b"})
    assert set(drawn.group) == {"b"} and set(drawn.x) == {1.0}
    assert drawn.y.mean() == pytest.approx(np.sin(2) + 1, abs=0.12)
    rows = bent(50)
    rows.index = rows.index[::-1] + 7
    imputed = simple.impute(rows.assign(y=np.nan, label=None), random_state=0)
    assert list(imputed.index) == list(rows.index)
    for name in ("x", "group", "count"):
        assert list(imputed[name]) == list(rows[name])
    assert imputed.y.notna().all() and set(imputed.label) <= {"up", "down"}


@pytest.mark.parametrize("count", [1, 3])
def test_rows_without_a_known_column_of_the_pool_are_samples_of_the_pool(count):
    """Also if the pool is not where its closed forms are, which propose samples of other rows."""
    density = families()["given"]
    n, pool = 3000 // count, replace(density.pool, weights=np.array([0.0, 1.0]))
    density = replace(density, pool=pool)
    table = [np.full(n, np.nan) for _ in density.columns]
    table[0] = np.full(n, None, object)
    for name in density.given:
        table[[column.name for column in density.columns].index(name)][:] = 1.5
    rng = np.random.default_rng(0)
    tables = answers.imputations(density, table, rng, count)
    found = [np.concatenate(parts) for parts in zip(*tables)]
    codes = density.encode(found)[0]
    expected = density.sampled(codes, pool.sample(rng, len(codes), density.context(codes)))
    drawn = answers.sample_given(density, {"a": 1.5, "c": 1.5}, rng, 2000)
    for k in density.places[1]:
        for values in (found[k], drawn[k]):
            assert stats.ks_2samp(values, expected[k], method="asymp").pvalue > 1e-4


def test_rows_with_gaps_train_a_density_given_columns():
    """Rows without given cells, or with nothing else, are left out; other gaps are filled."""
    data = bent(400)[["y", "x", "count"]].astype(float)
    rng = np.random.default_rng(0)
    whole, holes = data[:300], data.copy()
    holes.loc[300:349, "x"] = np.nan
    holes.loc[350:, ["y", "count"]] = np.nan
    made = nfref.FlowDensity("gaussian", given=["x"], random_state=0)
    scores = [made.fit(part).score_samples(data) for part in (whole, holes)]
    np.testing.assert_array_equal(*scores)
    holes = data.mask((rng.random(data.shape) < 0.2) & [True, False, False])
    score = made.fit(data).score(bent(500, seed=2)[["y", "x", "count"]])
    assert made.fit(holes).score(bent(500, seed=2)[["y", "x", "count"]]) > score - 0.1
    here, gone = [1.0, 2.0] * 100, [np.nan] * 200
    with pytest.raises(ValueError, match="given: expected rows in which all given columns have"):
        made.fit(data.assign(y=gone + here, count=gone + here, x=here + gone))


@pytest.mark.parametrize(
    "given",
    [
        ["group"],
        *(
            pytest.param(given, marks=pytest.mark.thorough)
            for given in (["x"], ["x", "label", "count"], ["y", "x", "count"])
        ),
    ],
)
def test_files_hold_what_is_given(given, tmp_path):
    rows = bent(300)
    model = nfref.FlowDensity("mixture", given=given, random_state=0).fit(rows)
    model.save(tmp_path / "m.npz")
    again = nfref.FlowDensity.load(tmp_path / "m.npz")
    assert again.density_.given == tuple(name for name in rows.columns if name in given)
    np.testing.assert_array_equal(again.score_samples(rows), model.score_samples(rows))


def test_any_number_has_a_place_in_the_distribution(simple):
    """Also a count of 1.5, and one below zero; not a missing one."""
    rows = bent(1)
    at = [simple.distribution(rows.assign(count=k), "count")[0] for k in (-1, 1, 1.5, 2, np.nan)]
    assert at[0] == 0 and at[1] == at[2] < at[3] <= 1 and np.isnan(at[4])


def test_what_is_given_has_to_be_there_and_fit(simple):
    rows = bent(20)
    fit = nfref.FlowDensity("gaussian", given=["x", "z"]).fit
    impossible = "column 'count': expected whole numbers .*, for the others are given it; got 0.5"
    for call, message in (
        (lambda: fit(rows), "given: expected columns among 'y', 'x', .*; got 'z'"),
        (
            lambda: nfref.FlowDensity(given=["y", "x", "x"]).fit(rows[["y", "x"]]),
            "given: expected each column once, got 'x' twice",
        ),
        (
            lambda: nfref.FlowDensity(given=["y", "x"]).fit(rows[["y", "x"]]),
            "given: expected a column that is not given, got all 2",
        ),
        (lambda: simple.sample(3), "given: expected values of 'x', 'group', which"),
        (lambda: simple.sample(3, given={"x": 1.0}), "given: expected a value of 'group'"),
        (
            lambda: simple.score_samples(rows.assign(x=[np.nan] + [0.0] * 19, y=np.nan)),
            "column 'x': expected a value in every row, .*; got none in row 0",
        ),
        (lambda: simple.predict_quantiles(rows, "x"), "column: expected one that is not given"),
        (
            lambda: simple.predict(rows, "group"),
            "column: expected one that is not given, got 'group'",
        ),
        (lambda: simple.predict_proba(rows, "group"), "column: expected one that is not"),
        (lambda: simple.impute(rows.assign(y=np.nan, count=0.5)), impossible),
        (lambda: simple.predict(rows.assign(count=0.5), "y"), impossible),
        (lambda: simple.predict_proba(rows.assign(count=0.5), "label"), impossible),
        (lambda: simple.distribution(rows.assign(count=0.5), "y"), impossible),
        (lambda: simple.impute(rows.assign(y="high")), "column 'y': expected numbers, got 'high'"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    bounded = nfref.FlowDensity("mixture", given=["x"], columns={"x": "-3:3"}, random_state=0).fit(
        bent(100)[["y", "x"]]
    )
    with pytest.raises(
        ValueError,
        match="column 'x': expected values strictly between -3 and 3, "
        "for the others are given it; got 4 in row 1",
    ):
        bounded.score_samples(pd.DataFrame({"y": [0.0, 0.0], "x": [0.0, 4.0]}))


@pytest.mark.thorough
def test_numbers_that_are_all_given_may_be_functions_of_each_other():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"x": rng.standard_normal(80), "z": rng.standard_normal(80)})
    rows["sum"] = rows["x"] + rows["z"]
    rows["label"] = np.where(rows["sum"] + 0.1 * rng.standard_normal(80) > 0, "up", "down")
    model = nfref.FlowDensity(given=["x", "z", "sum"], random_state=0).fit(rows)
    assert np.mean(model.predict(rows, "label") == rows["label"]) > 0.9
    with pytest.raises(ValueError, match="sum|x|z.*leave it out"):
        nfref.FlowDensity(given=["x", "z"], random_state=0).fit(rows)
