"""Densities of tables: the mistakes that were made are found by name, right ones pass."""

import importlib
import json
import pickle
import sys

import numpy as np
import pytest
from scipy import stats

import nfref
from nfref.cli import main
from nfref.oracle import DENSITY_PROPERTIES, TABLE_PROPERTIES, check_estimator_density
from nfref.oracle.adapters.estimators import estimator
from tests.oracle import but_of_tables
from tests.oracle.wrong_densities import (
    FAULTS,
    Chain,
    Hidden,
    Kernels,
    Mixed,
    Normal,
    table,
    table_for,
)

# Those that take a second: the kernel estimate asks for a hundred thousand distances.
QUICK = [case for case in FAULTS if case[0] is not Kernels]
CHAIN = next(case for case in QUICK if case[0] is Chain)
SLOW = [case for case in FAULTS if case[0] is Kernels]


def found(kind, fault, dim, seed=0, rows=300, skip=()):
    rng = np.random.default_rng(seed)
    return check_estimator_density(kind(fault), table_for(kind, rng, dim, rows), rng=rng, skip=skip)


@pytest.mark.parametrize(
    "kind, fault, name",
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.thorough) for case in SLOW)],
)
def test_a_mistake_is_found_by_name(kind, fault, name):
    report = found(
        kind, fault, 2, rows=300 if kind is not Kernels else 120, skip=but_of_tables(name)
    )
    assert name in [row.name for row in report.failures], report


@pytest.mark.parametrize(
    "dim, kind, fault, name",
    [
        (4, *CHAIN),
        *(
            pytest.param(dim, *case, marks=pytest.mark.thorough)
            for case in QUICK
            for dim in (3, 4, 6)
            if (dim, case) != (4, CHAIN) and (dim != 4 or case[0] is not Mixed)
        ),
    ],
)
def test_and_in_more_columns(kind, fault, name, dim):
    report = found(kind, fault, dim, seed=1, skip=but_of_tables(name, "sample_follows"))
    # Where neither quadrature nor sampling covers a density, its sampler shows what is wrong.
    assert {name, "sample_follows"} & {row.name for row in report.failures}, report


@pytest.mark.parametrize(
    "kind, dim",
    [
        (Chain, 2),
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in ((Normal, 3), (Mixed, 3), (Kernels, 2), (Hidden, 5))
        ),
    ],
)
def test_without_the_mistake_nothing_is_accused(kind, dim):
    report = found(kind, "", dim, rows=300 if kind is not Kernels else 120)
    assert report.ok, report
    assert {row.name for row in report.rows} <= {*TABLE_PROPERTIES, *DENSITY_PROPERTIES}


@pytest.mark.parametrize(
    "fault, words",
    [
        ("log p in standardised units", "log p in standardised units"),
        ("missing normaliser", "(D/2 log 2 pi)"),
        pytest.param(
            "sample in standardised units",
            "does sample() return standardised units?",
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_what_explains_a_failure_is_said(fault, words):
    rng = np.random.default_rng(0)
    fitted = Normal(fault).fit(rows := table(rng, 2) + 1000)
    functions = {
        "log_prob": fitted.score_samples,
        "sample": lambda rng, n: fitted.sample(n, rng.integers(2**31)),
    }
    report = check_estimator_density(
        functions, rows, rng=rng, skip=but_of_tables("normalised", "sample_follows")
    )
    assert any(words in row.hint for row in report.failures), report


RIGHT = {
    "normal": lambda rng: (stats.norm(1e6, 0.01), None),
    "gamma": lambda rng: (stats.gamma(0.5, scale=100), None),
    "gumbel": lambda rng: (stats.gumbel_r(), None),
    "vonmises": lambda rng: (stats.vonmises(2), None),
    "zipf": lambda rng: (stats.zipf(2.5), None),
    "poisson": lambda rng: (stats.poisson(3.3), None),
    "t": lambda rng: (stats.multivariate_t([1, 2], [[2, 0.3], [0.3, 1]], df=4), None),
    "multinomial": lambda rng: (stats.multinomial(5, [0.2, 0.3, 0.5]), None),
    "gaussian_kde": lambda rng: (stats.gaussian_kde(table(rng, 2, 40).T), table(rng, 2, 40)),
    "FlowDensity": lambda rng: (nfref.FlowDensity("gaussian"), table(rng, 3, 100)),
    "functions": lambda rng: (
        {
            "log_prob": lambda x: -0.5 * np.sum(x**2, axis=1) - np.log(2 * np.pi),
            "sample": lambda rng, n: rng.standard_normal((n, 2)),
        },
        rng.standard_normal((50, 2)),
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", RIGHT)
def test_right_densities_pass(name):
    rng = np.random.default_rng(0)
    thing, rows = RIGHT[name](rng)
    report = check_estimator_density(thing, rows, rng=rng)
    assert report.ok, report


def scikit_learn(rng):
    from sklearn.mixture import GaussianMixture
    from sklearn.neighbors import KernelDensity

    rows = rng.standard_normal((150, 2))
    yield KernelDensity(bandwidth=0.4), rows
    yield KernelDensity(bandwidth=0.7, kernel="tophat"), rows[:, :1]
    yield GaussianMixture(2), table(rng, 3)


@pytest.mark.thorough
def test_right_densities_of_scikit_learn_pass():
    rng = np.random.default_rng(0)
    for thing, rows in scikit_learn(rng):
        report = check_estimator_density(thing, rows, rng=rng)
        assert report.ok, report


@pytest.mark.thorough
def test_mixtures_by_variational_bayes_hold_less_than_one():
    """scikit-learn scores them by means of logarithms, which are no logarithm of a density.

    A second proof, without an integral: each component is a normal density times exp of the mean
    of its log weight and of half of what digamma is below the logarithm.
    """
    from scipy.special import digamma
    from sklearn.mixture import BayesianGaussianMixture

    rng = np.random.default_rng(0)
    rows = rng.standard_normal((200, 2))
    fitted = BayesianGaussianMixture(n_components=3, random_state=0, max_iter=500).fit(rows)
    report = check_estimator_density(fitted, rows, rng=rng, refit=False)
    a, b = fitted.weight_concentration_
    stick = digamma(a) - digamma(a + b)
    log_weight = stick + np.concatenate([[0], np.cumsum(digamma(b) - digamma(a + b))[:-1]])
    nu = fitted.degrees_of_freedom_
    log_mass = log_weight + 0.5 * (
        2 * np.log(2)
        + digamma(0.5 * nu)
        + digamma(0.5 * (nu - 1))
        - 2 * np.log(nu)
        - 2 / fitted.mean_precision_
    )
    row = report["normalised"]
    assert row.failed
    assert (
        abs(float(row.where.split("exp(")[1].split(")")[0]) - np.log(np.sum(np.exp(log_mass))))
        < 1e-5
    )


@pytest.mark.peers
@pytest.mark.parametrize("name", ["KDEpy", "pomegranate"])
@pytest.mark.filterwarnings("ignore")
def test_densities_of_other_libraries(name):
    module = pytest.importorskip(name)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((100, 2))
    if name == "KDEpy":  # slow: its numbers against the sum itself
        made = estimator(module.NaiveKDE("gaussian", bw=0.4), rows[:40, :1])
        x = np.array([[0.3], [-1.0], [2.0]])
        exact = np.mean(stats.norm.pdf(x, rows[:40, 0], 0.4), axis=1)
        np.testing.assert_allclose(made.log_prob(x), np.log(exact), rtol=1e-4)
        assert made.sample is None and made.of_probabilities and "bw" in made.lengths
    else:
        made = importlib.import_module("pomegranate.distributions").Normal()
        made.fit(rows.astype(np.float32))
        assert check_estimator_density(made, rows, rng=rng, refit=False).ok


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda logs, rows: np.exp(logs), "categories: log_prob is the density, not its logarithm"),
        (lambda logs, rows: np.sum(logs), "answers: log_prob raised ValueError: expected log p of"),
        (lambda logs, rows: logs + np.std(rows[:, -1]), "rows_of_table: log p of row 0, "),
    ],
)
def test_the_first_line_about_rows_with_categories(change, words):
    class Changed(Mixed):
        def score_samples(self, X):
            return change(super().score_samples(X), X)

    rng = np.random.default_rng(0)
    report = check_estimator_density(Changed(), table_for(Mixed, rng, 2, 300), rng=rng, refit=False)
    assert words in report.summary


def test_answers_that_pickling_changes():
    class Told:
        def log_prob(self, x):
            return stats.norm.logpdf(x[:, 0]) + 1

    kept = Told()
    row = _pickled(estimator({"log_prob": stats.norm(3).logpdf, "object": kept}))
    assert row.verdict == "not applicable"  # a class of a function
    new = stats.Normal(mu=3.0, sigma=2.0)
    if not np.isclose(pickle.loads(pickle.dumps(new)).logpdf(0.0), new.logpdf(0.0)):
        assert _pickled(estimator(new)).failed  # scipy 1.17: mu and sigma are not read


def test_a_number_drawn_beside_the_category_of_another_row():
    class Exchanged(Mixed):
        def sample(self, n_samples=1, random_state=None):
            rows = super().sample(n_samples, random_state)
            rows[:, -1] = rows[::-1, -1]
            return rows

    rng = np.random.default_rng(0)
    rows = table_for(Mixed, rng, 2)
    rows[:, 0] += 3 * np.std(rows[:, 0]) * (rows[:, 1] > 5)
    for kind, failed in ((Mixed, False), (Exchanged, True)):
        report = check_estimator_density(
            kind().fit(rows), rows, rng=rng, skip=but_of_tables("categories")
        )
        assert report["categories"].failed == failed, report
    assert "where column 0 is above its median" in report["categories"].where


def test_values_that_no_row_has_are_no_fault_where_log_p_says_that_they_come():
    rng = np.random.default_rng(0)
    rows = rng.choice([0.0, 1, 4], (200, 1))
    law = {
        "log_prob": lambda x: stats.poisson(1.7).logpmf(x[:, 0]),
        "sample": lambda rng, n: rng.poisson(1.7, (n, 1)),
    }
    for draw, failed in ((law["sample"], False), (lambda rng, n: rng.poisson(4, (n, 1)), True)):
        row = check_estimator_density(
            {**law, "sample": draw}, rows, rng=rng, skip=but_of_tables("categories")
        )["categories"]
        assert row.failed == failed and "not among its values [0, 1, 4]" in row.where + row.why


def _pickled(made):
    from nfref.oracle.checks import tables

    return tables.pickled("pickled", made, np.zeros((3, 1)), estimator)


def test_wrong_questions():
    rng = np.random.default_rng(0)
    for thing, rows, words in (
        (3, np.zeros((30, 2)), "expected an estimator"),
        (stats.dirichlet([1, 2]), None, "values on a surface"),
        (stats.norm(), np.zeros((3, 1)), "at least 20 rows"),
        ({"pdf": abs}, None, "expected fields"),
        (abs, None, "table: "),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            check_estimator_density(thing, rows, rng=rng)


def test_from_the_shell(tmp_path, monkeypatch, capsys):
    (tmp_path / "estimators_to_check.py").write_text(
        "from tests.oracle.wrong_densities import Normal\n"
        "right, wrong = Normal(), Normal('missing normaliser')\n"
    )
    np.savetxt(
        tmp_path / "rows.csv",
        table(np.random.default_rng(0), 1),
        delimiter=",",
        header="a",
        comments="",
    )
    monkeypatch.chdir(tmp_path)
    for name, status in (("right", 0), ("wrong", 1)):
        assert (
            main(
                [
                    "check",
                    f"estimators_to_check:{name}",
                    "--density",
                    "rows.csv",
                    "--json",
                    "--skip",
                    ",".join(but_of_tables("normalised")),
                ]
            )
            == status
        )
        assert json.loads(capsys.readouterr().out)["verdict"] == ("ok", "failed")[status]
    for arguments, words in (
        (["right", "--density", "none.csv"], "none.csv"),
        (["right", "--density", "rows.csv", "--dim", "3"], "--dim: expected"),
        (["right", "--density", "rows.csv", "--context", "2"], "--context"),
        (["right", "--density", "rows.csv", "--discrete", "c"], "--discrete"),
    ):
        assert main(["check", "estimators_to_check:" + arguments[0], *arguments[1:]]) == 2
        printed = capsys.readouterr()
        assert words in printed.err and printed.err.count("\n") == 1 and printed.out == ""
    sys.modules.pop("estimators_to_check")
