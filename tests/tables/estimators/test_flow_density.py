"""FlowDensity and FlowOutlierDetector: scikit-learn's checks, and what these do not cover."""

import copy
import pickle
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import nfref

SMALL = {"members": 1, "epochs": 3, "effort": "quick", "random_state": 0}


def rows(n=400, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2))
    return np.stack([x[:, 0], 0.5 * x[:, 0] ** 2 + x[:, 1]], axis=1) * [3, 0.1] + [100, 0]


@pytest.fixture(scope="module")
def gaussian():
    """Return a fitted model, for tests that only ask it."""
    return nfref.FlowDensity("gaussian", random_state=0).fit(rows())


@pytest.fixture(scope="module")
def of_frame():
    return nfref.FlowDensity("gaussian", random_state=0).fit(framed())


def framed():
    return pd.DataFrame(rows(), columns=["height", "weight"])


@parametrize_with_checks([nfref.FlowDensity("gaussian")])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.thorough
@parametrize_with_checks(
    [nfref.FlowDensity(members=1, epochs=3), nfref.FlowOutlierDetector(members=1, epochs=3)]
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_of_flows(estimator, check):
    check(estimator)


# What scikit-learn leaves unexamined ------------------------------------------------------


def test_whole_weights_are_repeated_rows_and_their_order_is_none():
    """The bits agree: both are the same distinct rows with the same weights."""
    rng = np.random.default_rng(1)
    x, weight = rows(), rng.integers(0, 4, 400)
    repeated = np.repeat(x, weight, axis=0)
    scores = [
        nfref.FlowDensity("nsf", batch_size=1000, **SMALL).fit(*arguments).score_samples(x)
        for arguments in ((x, None, weight), (repeated,), (rng.permutation(repeated),), (x,))
    ]
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])
    assert np.max(np.abs(scores[0] - scores[3])) > 1e-3


@pytest.mark.parametrize("weight", [2, np.repeat([200, 300], 200)])
def test_whole_weights_with_a_common_divisor_are_repeated_rows(weight):
    x, weight = rows(), np.broadcast_to(weight, 400)
    one, other = (
        nfref.FlowDensity("gaussian", random_state=0).fit(*arguments).score_samples(x)
        for arguments in ((x, None, weight), (np.repeat(x, weight, axis=0),))
    )
    np.testing.assert_array_equal(one, other)


def test_no_copy_of_a_row_is_in_another_part():
    """Copies in both parts would reward memorising; the held-out rows have other values."""
    from nfref.tables.schema.distinct_rows import distinct_rows

    x = np.repeat(rows(50), 3, axis=0)
    places, weight = distinct_rows(x, None, 0)
    assert len(places) == 50 and np.all(weight == 3)
    assert len(np.unique(x[places], axis=0)) == 50
    other, _ = distinct_rows(x, None, 1)
    assert not np.array_equal(x[places], x[other])
    signed = np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, -1.0]])
    assert len(distinct_rows(signed, None, 0)[0]) == 2


def test_the_order_of_distinct_rows_is_random():
    """Compare Kendall's tau of value and place, for any values."""
    from nfref.tables.schema.distinct_rows import distinct_rows

    for values in (np.arange(2000.0), np.arange(2000) * 1e-6 + 1e9, 2.0 ** np.arange(-500, 500)):
        places, _ = distinct_rows(values[:, None], None, 3)
        assert len(places) == len(values)
        assert stats.kendalltau(values[places], np.arange(len(places))).pvalue > 1e-4


def test_scores_do_not_depend_on_the_batch():
    x = rows()
    model = nfref.FlowDensity(**SMALL).fit(x)
    together = model.score_samples(x)
    single = np.concatenate([model.score_samples(x[k : k + 1]) for k in range(50)])
    np.testing.assert_allclose(single, together[:50], rtol=0, atol=1e-7)
    np.testing.assert_allclose(model.score_samples(x[::-1])[::-1], together, rtol=0, atol=1e-7)
    assert model.score(x) == pytest.approx(np.mean(together), rel=1e-14)


def test_idempotent_and_pickled():
    x = rows()
    model = nfref.FlowDensity(**SMALL).fit(x)
    first = model.score_samples(x)
    np.testing.assert_array_equal(model.fit(x).score_samples(x), first)
    np.testing.assert_array_equal(clone(model).fit(x).score_samples(x), first)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.score_samples(x), first)
    np.testing.assert_array_equal(again.sample(5, random_state=1), model.sample(5, random_state=1))


@pytest.mark.thorough
def test_density_integrates_to_one():
    x = rows()
    model = nfref.FlowDensity(**SMALL).fit(x)
    low, high = np.min(x, axis=0), np.max(x, axis=0)
    # Importance sampling from a wide Student t: the density's mass, with its error.
    wide = stats.multivariate_t((low + high) / 2, np.diag(((high - low) / 3) ** 2), df=2, seed=0)
    points = wide.rvs(100_000)
    weight = np.exp(model.score_samples(points) - wide.logpdf(points))
    assert abs(np.mean(weight) - 1) < 4.5 * stats.sem(weight) and stats.sem(weight) < 0.01


def test_samples_come_from_the_density():
    model = nfref.FlowDensity(**SMALL).fit(rows())
    drawn, other = model.sample(4000, random_state=0), model.sample(4000, random_state=1)
    assert drawn.shape == (4000, 2) and model.sample(random_state=0).shape == (1, 2)
    # The two samples agree, and the model's own kinds of rows are those of the data.
    for k in range(2):
        assert stats.ks_2samp(drawn[:, k], other[:, k]).pvalue > 1e-4
        assert stats.ks_2samp(drawn[:, k], rows(4000, seed=5)[:, k]).statistic < 0.1


def test_in_pipelines_and_searches():
    x = rows()
    pipe = make_pipeline(StandardScaler(), nfref.FlowDensity("gaussian", random_state=0))
    assert np.all(np.isfinite(pipe.fit(x).score_samples(x)))
    search = GridSearchCV(
        nfref.FlowDensity(random_state=0), {"flow": ["gaussian", "mixture"]}, cv=2
    ).fit(x)
    assert search.best_params_ == {"flow": "mixture"} and np.isfinite(search.score(x))


@pytest.mark.thorough
def test_every_candidate_is_told_and_the_pool_is_the_best():
    # The pool adds two pseudo-rows, one from the Gaussian and one from the wide density. On 900
    # held-out rows they cost less than 0.01 nats.
    model = nfref.FlowDensity(**{**SMALL, "effort": "default", "members": 3, "epochs": 15}).fit(
        rows(9000)
    )
    *members, pool = model.candidates_
    names = [one.name for one in members]
    assert {"gaussian", "wide", "nsf", "maf"} <= set(names) and pool.name == "pool"
    assert pool.mean >= max(one.mean for one in members) - 0.01
    assert sum(model.weights_.values()) == pytest.approx(1) and list(model.weights_) == names
    assert model.n_rows_held_out_ == 900 and model.n_rows_effective_ == 9000
    spread = model.density_.spread(list(rows(1500).T))
    assert np.all(spread >= 0) and np.median(spread) < 1
    far = model.density_.spread([np.array([130.0]), np.array([3.0])])
    assert far > 3 * np.median(spread)


def test_a_flow_of_ones_own():
    model = nfref.FlowDensity(nfref.RealNVP(2, 2, (8,)), **SMALL).fit(rows())
    assert "realnvp" in model.weights_


def test_a_time_budget_is_kept():
    import time

    began = time.perf_counter()
    nfref.FlowDensity(members=2, epochs=100_000, time_budget=2.0, random_state=0).fit(rows())
    assert time.perf_counter() - began < 15


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"flow": "magic"},
            "flow: expected one of auto, gaussian, mixture, cnf, .* or a Flow, got",
        ),
        ({"members": -1}, "members: expected at least 0, got -1"),
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"time_budget": 0.0}, "time_budget: expected a finite number above 0, got 0.0"),
        ({"validation": 2}, "validation: expected a number between 0 and 1, got 2"),
        ({"columns": {"x3": "real"}}, "columns: expected names among 'x1', 'x2'; got 'x3'"),
        ({"columns": {"x1": "odd"}}, r"column 'x1': expected real, positive, LOW:HIGH, period P"),
        ({"columns": {"x1": 5}}, r"column 'x1': expected real, positive, LOW:HIGH, .*; got 5$"),
        ({"columns": {"x1": np.ones(2)}}, r"column 'x1': expected real, positive, LOW:HIGH"),
        ({"columns": ["real"]}, "columns: expected a dictionary, .*, got .'real'.$"),
        ({"given": 5}, "given: expected names of columns, got 5$"),
        ({"random_state": -1}, "random_state: expected None, a whole number from 0 to .*, got -1$"),
        ({"members": 10**9, "time_budget": 1.0}, "members: expected at most 1000, got 1000000000$"),
        ({"flow": np.array(["maf", "nsf"])}, "flow: expected one of auto"),
    ],
)
def test_bad_parameters(options, message):
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        nfref.FlowDensity(**options).fit(rows())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "weight",
    [
        -np.ones(400),
        np.ones(399),
        np.full(400, np.nan),
        np.zeros(400),
        np.ones((400, 1)),
        np.full(400, np.inf),
        np.ma.masked_array(np.ones(400), np.arange(400) < 3),
        [10**400] * 400,
        [[1.0], [1.0, 2.0]],
    ],
)
def test_bad_weights(gaussian, weight):
    for call in (gaussian.fit, gaussian.score):
        with pytest.raises((ValueError, TypeError), match="^sample_weight: expected"):
            call(rows(), sample_weight=weight)


def test_scores_with_weights_of_any_size():
    """Scores are weighted means; a row of weight 0 may be impossible."""
    x, weight = rows(), np.random.default_rng(0).integers(0, 4, 400)
    model = nfref.FlowDensity("gaussian", random_state=0, columns={"x1": "positive"}).fit(x)
    expected = np.average(model.score_samples(x), weights=weight)
    x = np.concatenate([x, [[-1.0, 0.0]]])
    weight = np.append(weight, 0)
    for scale in (1.0, 1e-300, 1e307, 3.0):
        assert model.score(x, sample_weight=weight * scale) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(
    "X, options",
    [
        (np.stack([rows()[:, 0], 2 * rows()[:, 0]], axis=1), {}),
        (rows(100)[:, :1], {"given": "x1"}),
        (pd.DataFrame({"a": ["b"] * 40}), {}),
        (rows(), {"epochs": 0}),
        (np.full((40, 3), np.inf), {}),
        (rows(), {"random_state": -1}),
        (None, {}),
    ],
)
def test_a_fit_that_fails_leaves_what_was_fitted_before(of_frame, X, options):
    frame, model = framed(), copy.deepcopy(of_frame)
    before, scores = dict(vars(model)), model.score_samples(frame)
    with pytest.raises((ValueError, TypeError)) as caught:
        model.set_params(**options).fit(X)
    assert "\n" not in str(caught.value)
    model.set_params(given=None, epochs=200, random_state=0)
    assert vars(model) == before
    np.testing.assert_array_equal(model.score_samples(frame), scores)
    assert isinstance(model.sample(2), pd.DataFrame)


@pytest.mark.parametrize(
    "X, message",
    [
        (rows()[:, 0], "^X: Expected 2D array, got 1D array; Reshape your data"),
        (rows() * 1j, "^X: Complex data not supported"),
        ({"a": [1]}, "^X: float.. argument must be"),
        (
            np.array([[day, k] for k, day in enumerate(np.arange("2020", "2030", dtype="M8[Y]"))]),
            "^X: expected numbers, got dates or durations among dtype object",
        ),
        (rows().astype("M8[s]"), r"X: expected numbers, got dtype datetime64\[s\]; "),
        (rows().astype("m8[s]"), r"X: expected numbers, got dtype timedelta64\[s\]; "),
        (sparse.csr_array(rows()), r"Sparse data was passed .* Use '.toarray\(\)'"),
        ([[10**400, 1.0], [2.0, 3.0]], "int too large"),
        (pd.DataFrame(rows(), columns=["a", "a"]), "X: .*'a' 2 times"),
    ],
    ids=[
        "1-d",
        "complex",
        "dictionary",
        "dates as objects",
        "dates",
        "durations",
        "sparse",
        "large",
        "names",
    ],
)
def test_tables_that_are_none_are_refused_in_one_line(X, message):
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        nfref.FlowDensity("gaussian").fit(X)
    assert "\n" not in str(caught.value)


def test_a_signalling_nan_and_too_many_samples_are_refused_in_one_line():
    numbers = [Decimal("sNaN"), *map(Decimal, range(50))]
    with pytest.raises(ValueError, match="^column 'a': expected finite numbers, got a signalling"):
        nfref.FlowDensity("gaussian").fit(pd.DataFrame({"a": numbers, "b": np.arange(51.0) ** 2}))
    model = nfref.FlowDensity("gaussian").fit(np.random.default_rng(0).standard_normal((50, 2)))
    with pytest.raises(MemoryError, match="n_samples: expected rows that fit into memory, got 1,0"):
        model.sample(10**12)


def test_numbers_at_the_end_of_float64_are_answered_without_warnings():
    rows = np.random.default_rng(0).standard_normal((300, 2))
    rows[0, 0], rows[1, 1], rows[2] = 1e300, -1e308, 1e305
    model = nfref.FlowDensity("mixture", random_state=0).fit(rows)
    assert not np.any(np.isnan(model.score_samples(rows)))
    assert not np.any(np.isnan(model.predict(rows[:3], "x1")))
    assert not np.any(np.isnan(model.predict_quantiles(rows[:3], "x2", [0.1, 0.5])))


def test_masked_cells_are_missing():
    x = rows()
    masked = np.ma.masked_array(x, mask=np.random.default_rng(0).random(x.shape) < 0.1)
    expected = nfref.FlowDensity("gaussian", random_state=0).fit(masked.filled(np.nan))
    found = nfref.FlowDensity("gaussian", random_state=0).fit(masked)
    np.testing.assert_array_equal(
        found.score_samples(masked), expected.score_samples(masked.filled(np.nan))
    )


def test_what_is_given_to_samples_is_a_dictionary(gaussian):
    for given in (5, "x1", ["x1"]):
        with pytest.raises(TypeError, match="^given: expected a dictionary, name -> value, got"):
            gaussian.sample(given=given)


def test_truth_values_of_an_array_are_those_of_a_frame():
    x = np.random.default_rng(0).random((200, 2)) < [0.3, 0.6]
    frame = pd.DataFrame(x, columns=["x1", "x2"])
    array, named = (nfref.FlowDensity("gaussian", random_state=0).fit(X) for X in (x, frame))
    assert array.columns_ == named.columns_ and array.columns_[0].labels == (False, True)
    np.testing.assert_array_equal(array.score_samples(x), named.score_samples(frame))
    np.testing.assert_array_equal(array.sample(9, 0), named.sample(9, 0).to_numpy())
    assert array.sample(9).dtype == bool


def test_the_frames_of_a_pipeline():
    pytest.importorskip("polars")
    pipe = make_pipeline(StandardScaler(), nfref.FlowDensity("gaussian", random_state=0))
    plain = clone(pipe).fit(rows()).score(rows())
    for kind in ("pandas", "polars"):
        found = clone(pipe).set_output(transform=kind).fit(rows())
        assert found.score(rows()) == plain and kind in type(found[-1].sample(2)).__module__


# Outliers ---------------------------------------------------------------------------------


def test_outliers():
    x = rows()
    found = nfref.FlowOutlierDetector("gaussian", contamination=0.05, random_state=0).fit(x)
    scores = found.score_samples(x)
    assert found.offset_ == np.percentile(scores, 5)
    np.testing.assert_array_equal(found.decision_function(x), scores - found.offset_)
    assert np.sum(found.predict(x) == -1) == 20
    assert found.predict([[200.0, 50.0]])[0] == -1
    np.testing.assert_array_equal(clone(found).fit_predict(x), found.predict(x))
    for share in (0, 0.6, "auto"):
        with pytest.raises(ValueError, match=r"contamination: expected a number in \(0, 0.5\]"):
            nfref.FlowOutlierDetector(contamination=share).fit(x)


@pytest.mark.thorough
def test_the_threshold_with_weights_is_that_of_repeated_rows():
    x, weight = rows(), np.random.default_rng(4).integers(0, 4, 400)
    one = nfref.FlowOutlierDetector("gaussian", random_state=0).fit(x, sample_weight=weight)
    other = nfref.FlowOutlierDetector("gaussian", random_state=0).fit(np.repeat(x, weight, axis=0))
    assert one.offset_ == pytest.approx(other.offset_, rel=1e-13)
    for scale in (0.3, 1e-300, 1e307):  # only their ratios matter
        one = nfref.FlowOutlierDetector("gaussian", random_state=0).fit(
            x, sample_weight=weight * scale
        )
        assert one.offset_ == pytest.approx(other.offset_, rel=1e-6)


@pytest.mark.parametrize("criterion", ["density", "conditional"])
def test_a_threshold_belongs_to_its_criterion(criterion):
    """Scores by another measure would be compared with the old offset."""
    found = nfref.FlowOutlierDetector("gaussian", random_state=0).fit(rows())
    found.set_params(criterion=criterion)
    for ask in (found.predict, found.decision_function, found.score_samples, found.score):
        with pytest.raises(ValueError, match="criterion: expected 'combined', with which .* got"):
            ask(rows())
    found.fit(rows())
    assert np.sum(found.predict(rows()) == -1) == pytest.approx(40, abs=1)
    found.set_params(criterion="combined").fit(rows()).predict(rows())


# A generator is a random state ------------------------------------------------------------


def test_a_generator_is_taken():
    """As in scikit-learn's newer functions: it is advanced, so that two fits differ."""
    x = rows()
    one, again = (
        nfref.FlowDensity("gaussian", random_state=np.random.default_rng(5)).fit(x)
        for _ in range(2)
    )
    np.testing.assert_array_equal(one.score_samples(x), again.score_samples(x))
    rng, same = np.random.default_rng(6), np.random.default_rng(6)
    first, second = one.sample(5, rng), one.sample(5, rng)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, one.sample(5, same))
    holes = np.where(np.arange(2) == 1, np.nan, x[:9])
    assert np.all(np.isfinite(one.impute(holes, rng)))


# DataFrames -------------------------------------------------------------------------------


def test_frames_are_matched_by_name_and_come_back(of_frame):
    frame, model = framed(), of_frame
    assert list(model.feature_names_in_) == ["height", "weight"]
    drawn = model.sample(3, random_state=0)
    assert isinstance(drawn, pd.DataFrame) and list(drawn.columns) == ["height", "weight"]
    with pytest.raises(ValueError, match="feature names"):
        model.score_samples(frame[["weight", "height"]])
    with pytest.raises(ValueError, match="^X: .*unseen at fit time:; - size; .*; - height$"):
        model.score_samples(frame.rename(columns={"height": "size"}))


@pytest.mark.parametrize(
    "frame, what",
    [(pd.DataFrame({"height": []}), "rows"), (pd.DataFrame(index=range(5)), "columns")],
)
def test_a_frame_needs_rows_and_columns(frame, what):
    with pytest.raises(
        ValueError,
        match=f"^X: expected at least one row and one column, got a table without {what}$",
    ):
        nfref.FlowDensity("gaussian", random_state=0).fit(frame)


def test_nothing_of_scikit_learn_is_imported_before_it_is_needed():
    import subprocess
    import sys

    code = (
        "import sys, nfref; print('sklearn' in sys.modules); nfref.FlowDensity; "
        "print('sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.parametrize(
    "name", ["iaf", "realnvp", pytest.param("planar", marks=pytest.mark.thorough)]
)
def test_every_flow_has_the_name_that_the_command_knows(name):
    from nfref.tables.fitting.flow_kinds import FLOWS

    x = np.random.default_rng(0).standard_normal((320, 2)) @ [[1.0, 0.5], [0.0, 1.0]]
    model = nfref.FlowDensity(name, members=1, epochs=1, effort="quick", random_state=0).fit(x)
    flow = model.density_.pool.members[-1].density.flow
    made = FLOWS[name].made(len(x), 2, 0, np.random.default_rng(0))
    assert name in model.weights_ and type(flow) is type(made)
    assert np.all(np.isfinite(model.score_samples(x)))
    with pytest.raises(ValueError, match="flow: expected one of auto, gaussian, mixture, cnf, fm"):
        nfref.FlowDensity("magic").fit(x)


def test_a_flow_of_other_columns_is_refused():
    x = np.random.default_rng(0).standard_normal((320, 2))
    with pytest.raises(
        ValueError,
        match="flow planar: expected one of 2 columns given 0 numbers, got one of 3 given 0",
    ):
        nfref.FlowDensity(nfref.Planar(3), members=1, epochs=1).fit(x)


def test_candidates_show_themselves_as_a_table(capsys):
    model = nfref.FlowDensity("gaussian", random_state=0, verbose=True).fit(rows())
    lines = str(model.candidates_).splitlines()
    header = "held-out nats per row  mean  std. error  median  weight  seconds"
    assert lines[0].split() == header.split()
    assert [line.split("  ")[0].strip() for line in lines[1:]] == [
        one.name for one in model.candidates_
    ]
    assert str(model.candidates_) in capsys.readouterr().err
    assert model.candidates_._repr_html_().count("<tr>") == len(lines)
