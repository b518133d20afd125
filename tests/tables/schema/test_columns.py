"""Columns: mass 1 on every support, round trips of values, and refusals by name."""

from dataclasses import replace

import mpmath
import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

import nfref
from nfref.runtime.serialization import describe, rebuild
from nfref.tables.densities.latent_classes import (
    CodedRows,
    LabelProbabilities,
    LatentClasses,
    Numbers,
)
from nfref.tables.densities.wide import Wide
from nfref.tables.queries.answers import predictions
from nfref.tables.schema import columns as kinds
from nfref.tables.schema.column_inference import column_of
from nfref.tables.schema.columns import (
    Category,
    ColumnError,
    Continuous,
    compress_tails,
    expand_tails,
    robust_units,
)

RNG = np.random.default_rng(0)
SUPPORTS = {
    "real": (RNG.standard_normal(500) * 3 + 7, "real"),
    "positive": (RNG.lognormal(1, 2, 500), "positive"),
    "from below": (RNG.gamma(0.5, size=500) + 10, "10:"),
    "from above": (-RNG.gamma(2.0, size=500) - 1, (None, -1)),
    "an interval": (RNG.beta(0.4, 0.6, 500) * 5 - 2, "-2:3"),
    "a circle": (RNG.vonmises(3.0, 2, 500) + 50, f"period {2 * np.pi}"),
}


def coordinate(name):
    values, asked = SUPPORTS[name]
    return column_of("a", values, asked), values


# Maps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SUPPORTS)
def test_round_trip_and_slope(name):
    column, x = coordinate(name)
    u, _ = column.encode(x)
    back = column.decode(u)
    if column.period:
        np.testing.assert_allclose(np.cos(back), np.cos(x), atol=1e-9)
        assert np.all((back > column.low) & (back < column.high))
    else:
        np.testing.assert_allclose(back, x, rtol=1e-10)
    # Keep away from ends by more than rounding, and from the start of the tails.
    ends = column.encode(x)[0]
    x = x[(np.abs(ends) < 4) & (np.abs(ends) > 1e-3)]
    where = column.low + np.mod(x - column.low, column.period) if column.period else x
    h = 1e-4 * np.minimum(np.minimum(where - column.low, column.high - where), 1.0)
    kept = h > 1e-9 * np.abs(where)
    x, h = x[kept], h[kept]
    difference = (column.encode(x + h)[0] - column.encode(x - h)[0]) / (2 * h)
    assert len(x) > 300
    np.testing.assert_allclose(np.exp(column.encode(x)[1]), difference, rtol=1e-6)


def rounded_columns():
    """Yield columns of each support, with wide and narrow cells."""
    for name in SUPPORTS:
        for step in (0.001, 0.3):
            yield replace(coordinate(name)[0], step=step, offset=0.0)


def test_columns_of_one_kind_are_encoded_together_to_the_same_bits():
    columns = list(rounded_columns())
    x = np.stack([np.append(column.decode(RNG.standard_normal(30) * 4), -9) for column in columns])
    found = {}
    for places, column in kinds.alike(columns, range(len(columns))):
        found.update(zip(places, zip(*column.encode(x[places]))))
    circles = {k for k, column in enumerate(columns) if column.period is not None}
    assert set(found) == set(range(len(columns))) - circles
    for k, (u, log_slope) in found.items():
        own = columns[k].encode(x[k])
        assert np.array_equal(u, own[0]) and np.array_equal(log_slope, own[1])


def test_cells_between_the_level_ends_are_narrow():
    levels = 0
    for column in rounded_columns():
        low, high = column.level
        x = column.decode(np.linspace(-9, 9, 4001))
        x = np.append(x, [end + side for end in (low, high) for side in (-1e-9, 1e-9)])
        x = x[(x > low) & (x < high)]
        ends = [column.encode(column.spread(x, np.full(len(x), part)))[0] for part in (0.0, 1.0)]
        assert np.all(np.abs(ends[1] - ends[0]) <= kinds.WIDE)
        levels += len(x) > 100
    assert levels > 8
    assert replace(coordinate("real")[0], atoms=(0.0,)).level == (np.inf, -np.inf)


def test_long_tails_are_drawn_in_to_sixty_digits():
    t = np.array([0.0, 1.5, 5.0, 5.0 + 1e-9, 40.0, 1e6, 1e300, -7.0])
    u, log_slope = compress_tails(t, 5.0)
    with mpmath.workdps(60):
        for value, found, slope in zip(t, u, log_slope):
            beyond = mpmath.mpf(max(abs(value) - 5, 0))
            exact = mpmath.sign(value) * (min(abs(value), 5) + mpmath.log1p(beyond))
            assert abs(found - exact) <= 4.5e-16 * abs(exact)
            assert abs(slope + mpmath.log1p(beyond)) <= 4e-16 * (1 + abs(mpmath.log1p(beyond)))
    np.testing.assert_allclose(expand_tails(u, 5.0), t, rtol=1e-12)
    assert np.all(np.isfinite(expand_tails(np.array([-1e4, 1e4]), 5.0)))


def test_units_are_robust():
    x = np.random.default_rng(1).standard_normal(100_000) * 2 + 5
    middle, scale = robust_units(x)
    assert middle == pytest.approx(5, abs=0.05) and scale == pytest.approx(2, rel=0.02)
    x[:100] = 1e12
    assert robust_units(x)[0] == pytest.approx(5, abs=0.05)
    weight = np.random.default_rng(2).integers(0, 3, len(x))
    assert robust_units(x[weight > 0], weight[weight > 0]) == robust_units(np.repeat(x, weight))
    mostly = np.where(np.arange(1000) < 900, 0.0, np.arange(1000.0))
    assert robust_units(mostly)[1] > 0 and robust_units(np.ones(5)) == (1.0, 1.0)


def test_timestamps_lose_no_digits():
    """1.7e9 +- 1 has the rows and the density of the same numbers shifted to 0."""
    near = np.round(np.random.default_rng(3).standard_normal(300) * 2**10) / 2**10
    far = near + 1.7e9
    np.testing.assert_array_equal(far - 1.7e9, near)
    one = column_of("t", far).encode(far)
    other = column_of("t", near).encode(near)
    np.testing.assert_array_equal(one[0], other[0])
    models = [nfref.FlowDensity(members=0, random_state=0).fit(x[:, None]) for x in (near, far)]
    scores = [model.score_samples(x[:, None]) for model, x in zip(models, (near, far))]
    np.testing.assert_allclose(scores[1], scores[0], atol=0.1)  # the held-out rows differ
    assert np.max(scores[1]) < 0


def nodes():
    """Gauss-Legendre in narrow pieces of (-80, 80): (points, their widths)."""
    points, weights = np.polynomial.legendre.leggauss(6)
    ends = np.concatenate(
        [
            np.linspace(-80, -10, 1400)[:-1],
            np.linspace(-10, 10, 8001)[:-1],
            np.linspace(10, 80, 1400),
        ]
    )
    half = np.diff(ends) / 2
    middle = (ends[1:] + ends[:-1]) / 2
    return ((middle[:, None] + half[:, None] * points).ravel(), (half[:, None] * weights).ravel())


# Mass -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=() if name in ("an interval", "a circle") else pytest.mark.thorough
        )
        for name in SUPPORTS
    ],
)
def test_mass_one_on_every_support_and_no_sample_outside(name):
    x, asked = SUPPORTS[name]
    model = nfref.FlowDensity(
        members=1, epochs=4, columns={"x1": asked}, effort="quick", random_state=0
    )
    model.fit(x[:, None])
    column = model.columns_[0]

    assert column.tail == (kinds.TAIL if name == "real" else np.inf)
    u, width = nodes()
    values = column.decode(u)
    again, log_slope = column.encode(values)
    log_prob = model.score_samples(values[:, None]) - log_slope
    # Too few numbers lie next to an end: the pool itself gives the mass there.
    close = np.abs(again - u) < 1e-7 * (1 + np.abs(u))
    own = model.density_.pool.log_prob(u[:, None])
    assert np.exp(own[~close]) @ width[~close] < 1e-2
    total = np.exp(np.where(close, log_prob, own)) @ width
    (wide,) = (one for one in model.density_.pool.members if isinstance(one, Wide))
    lost = 2 * model.weights_["wide"] * wide.below(np.array(-80.0))
    assert abs(total + lost - 1) < 1e-6
    drawn = model.sample(20_000, random_state=0)[:, 0]
    low, high = (
        (column.low, column.high)
        if column.period is None
        else (np.min(x), np.min(x) + column.period)
    )  # they do not begin at 0
    assert np.all((drawn >= low) & (drawn <= high)) and np.all(np.isfinite(drawn))
    if column.period is None:
        for end in (column.low, column.high):
            if np.isfinite(end):
                assert model.score_samples([[end]])[0] == -np.inf


@pytest.mark.parametrize(
    "values, first",
    [
        ([0.0, 3.0, 23.9], 0.0),
        ([0.1, 24.0], 0.0),
        ([-11.0, 0.0123456789, 12.0], -12.0),
        ([350.0, 365.0], 350.0),
        ([-30.0, 3.0, 70.0], 0.0),
    ],
)
def test_what_is_drawn_on_a_circle_is_in_the_turn_of_the_values(values, first):
    column = column_of("hour", np.array(values), "period 24")
    assert column.first == first
    for u in (-50.0, *np.linspace(-6, 6, 41), 50.0):
        (drawn,), (decoded,) = column.sampled([u]), column.decode([u])
        assert first <= drawn < first + 24
        assert np.cos(np.pi * drawn / 12) == pytest.approx(np.cos(np.pi * decoded / 12), abs=1e-12)
    assert rebuild(*describe(column)) == column


@pytest.mark.parametrize(
    "labels",
    [("a", "b"), (False, True), (0, "0"), (1, 2.5), (-1, 2**63), ("a", "a\0"), (False, "False")],
)
def test_labels_come_back_as_they_are(labels):
    column = Category("kind", labels)
    drawn = column.sampled(np.array([1, 0, 1]))
    assert drawn.tolist() == [labels[1], labels[0], labels[1]]
    np.testing.assert_array_equal(column.encode(drawn), [1, 0, 1])


def test_hours_are_predicted_in_their_turn():
    """Around midnight the mean is an hour of the day, and the quantiles ascend around it."""
    rng = np.random.default_rng(3)
    other = rng.standard_normal(800)
    hours = np.mod(other + rng.normal(0, 0.5, 800), 24)
    model = nfref.FlowDensity("mixture", columns={"x2": "period 24"}, random_state=0)
    model.fit(np.stack([other, hours], axis=1))
    rows = [np.array([1.0, -1.0]), np.full(2, np.nan)]
    mean, found, _ = predictions(model.density_, rows, "x2", [0.05, 0.5, 0.95])
    np.testing.assert_allclose(mean, [1, 23], atol=0.2)
    np.testing.assert_allclose(found, mean[:, None] + [[-0.82, 0, 0.82]] * 2, atol=0.35)


def test_a_circle_has_no_other_side():
    x, asked = SUPPORTS["a circle"]
    model = nfref.FlowDensity("mixture", columns={"x1": asked}, random_state=0).fit(x[:, None])
    turned = model.score_samples(x[:, None] + 4 * np.pi * np.round(RNG.normal(size=(500, 1))))
    np.testing.assert_allclose(turned, model.score_samples(x[:, None]), atol=1e-8)


def frame(n=600, seed=0):
    """A mixed table in which all columns depend on each other."""
    rng = np.random.default_rng(seed)
    color = rng.choice(["blue", "green", "red"], n, p=[0.5, 0.3, 0.2])
    shift = np.select([color == "blue", color == "green"], [0.0, 4.0], -4.0)
    return pd.DataFrame(
        {
            "size": rng.lognormal(0, 0.5, n) + np.abs(shift),
            "color": color,
            "visits": rng.poisson(2 + np.abs(shift)),
            "good": rng.random(n) < 0.3,
        }
    )


def test_probabilities_of_all_discrete_values_add_up_to_one():
    data = frame()[["color", "visits", "good"]]
    model = nfref.FlowDensity(random_state=0).fit(data)
    assert [column.kind for column in model.columns_] == ["category", "count", "category"]
    grid = pd.MultiIndex.from_product(
        [["blue", "green", "red"], range(3000), [False, True]], names=data.columns
    ).to_frame(index=False)
    total = np.sum(np.exp(model.score_samples(grid)))
    assert abs(total - 1) < 1e-6
    outside = grid.iloc[:2].assign(visits=[-1.0, 0.5])
    assert np.all(model.score_samples(outside) == -np.inf)


def test_a_mixed_table_is_probability_times_density():
    data = frame()
    model = nfref.FlowDensity(
        "nsf", members=1, epochs=1, columns={"size": "positive"}, effort="quick", random_state=0
    ).fit(data)
    column = model.columns_[0]

    def mass(color, visits):
        u, width = nodes()
        data = pd.DataFrame({"size": column.decode(u)})
        data = data.assign(color=color, visits=visits, good=True)
        _, log_slope = column.encode(data["size"])
        return np.exp(model.score_samples(data) - log_slope) @ width

    codes = np.array([[0.0, 2.0, 1.0], [2.0, 7.0, 1.0]])
    probabilities = np.exp(model.density_.discrete.log_prob(codes))
    for (color, visits), probability in zip((("blue", 2), ("red", 7)), probabilities):
        assert mass(color, visits) == pytest.approx(probability, rel=1e-5)


def test_categories_and_counts_come_back_with_their_dependence():
    data = frame(3000)
    drawn = nfref.FlowDensity(members=0, random_state=0).fit(data).sample(6000, random_state=0)
    assert list(drawn.columns) == list(data.columns)
    assert set(drawn["color"]) == {"blue", "green", "red"}
    assert set(drawn["good"].map(type)) <= {bool, np.bool_} and np.all(drawn["visits"] >= 0)
    assert np.all(drawn["visits"] == np.round(drawn["visits"]))
    for color in ("blue", "red"):
        for name in ("visits", "size"):
            one, other = data[data.color == color][name], drawn[drawn.color == color][name]
            error = np.hypot(stats.sem(one), stats.sem(other))
            # Smoothing moves counts slightly towards those of all rows.
            assert abs(np.mean(one) - np.mean(other)) < 4 * error + 0.15


def test_latent_classes_find_dependence():
    rng = np.random.default_rng(4)
    side = rng.random(2000) < 0.5
    codes = np.stack(
        [
            np.where(rng.random(2000) < 0.9, side, ~side),
            np.where(rng.random(2000) < 0.9, side, ~side),
        ],
        axis=1,
    ).astype(float)
    columns = (kinds.Category("a", (0, 1)), kinds.Category("b", (0, 1)))
    some = CodedRows(codes[:1500], columns, np.ones(1500))
    others = CodedRows(codes[1500:], columns, np.ones(500))
    model = LatentClasses.choose(some, others, rng)
    cells = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    np.testing.assert_allclose(np.exp(model.log_prob(cells)), [0.41, 0.09, 0.09, 0.41], atol=0.03)


def test_cells_of_student_t_far_out():
    numbers = Numbers(
        0.0, np.array([1.0]), np.zeros((1, 1)), np.array([1e-300]), np.array([3.0]), np.array([0.7])
    )
    places = np.array([0.0, 3.0, 50.0, 1e4, 1e9])
    found = numbers.of(places)[:, 0]
    with mpmath.workdps(60):

        def cdf(t):  # of four degrees of freedom, in closed form
            t = mpmath.mpf(t)
            root = mpmath.sqrt(4 + t * t)
            return mpmath.mpf(1) / 2 + 3 * (t / root - (t / root) ** 3 / 3) / 4

        whole = 1 - cdf((mpmath.mpf(-0.5) - 3) / mpmath.mpf(0.7))
        for value, place in zip(found, places):
            exact = mpmath.log(
                (
                    cdf((place + mpmath.mpf(0.5) - 3) / mpmath.mpf(0.7))
                    - cdf((place - mpmath.mpf(0.5) - 3) / mpmath.mpf(0.7))
                )
                / whole
            )
            assert abs(value - exact) < 1e-7
    drawn = numbers.sample(np.random.default_rng(0), np.zeros(20_000, int))
    seen, counts = np.unique(drawn[drawn < 6], return_counts=True)
    expected = 20_000 * np.exp(numbers.of(seen)[:, 0])
    assert np.sum((counts - expected) ** 2 / expected) < stats.chi2(len(seen)).isf(1e-5)


def test_counts_between_bounds_take_no_other_value():
    """Their probabilities sum to 1, samples have these frequencies, and others are impossible."""
    rng = np.random.default_rng(0)
    answers = rng.choice([1, 2, 3, 4, 5], 300, p=[0.1, 0.2, 0.4, 0.2, 0.1])
    model = nfref.FlowDensity(effort="quick", random_state=0).fit(
        pd.DataFrame({"answer": answers, "yes": rng.integers(2, size=300)})
    )
    assert [(column.low, column.high) for column in model.columns_] == [(1, 5), (0, 1)]
    cells = pd.DataFrame([(a, y) for a in range(7) for y in range(3)], columns=["answer", "yes"])
    log_prob = model.score_samples(cells)
    possible = cells["answer"].between(1, 5) & (cells["yes"] < 2)
    assert np.array_equal(np.isfinite(log_prob), possible)
    assert abs(special.logsumexp(log_prob)) < 1e-12
    drawn = model.sample(20_000).value_counts().to_dict()
    for (answer, yes), found in zip(
        cells[possible].to_numpy(), 20_000 * np.exp(log_prob[possible])
    ):
        assert abs(drawn.pop((answer, yes)) - found) < 5 * np.sqrt(found)
    assert not drawn


def test_a_table_draws_what_it_says():
    table = LabelProbabilities(np.log(np.array([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05]])))
    drawn = table.sample(np.random.default_rng(1), np.repeat([0, 1], 10_000))
    for part, expected in zip(np.split(drawn, 2), np.exp(table.log_prob)):
        counts = np.bincount(part, minlength=3)
        assert np.sum((counts - 10_000 * expected) ** 2 / (10_000 * expected)) < 28


# What is found, and what is refused -------------------------------------------------------


@pytest.mark.parametrize(
    "values, kind",
    [
        (np.array(["a", "b", "a"]), "category"),
        (np.array([True, False]), "category"),
        (np.arange(100) % 7, "count"),
        (np.arange(100), "real"),
        (np.arange(100.0) % 7, "real"),
        (np.array([0.5, 2.0]), "real"),
    ],
)
def test_what_a_column_is_taken_for(values, kind):
    assert column_of("a", values).kind == kind


@pytest.mark.parametrize(
    "rows, asked, ends",
    [
        ({1: 20, 2: 100, 5: 30}, None, (1, 5)),
        ({1: 20, 2: 100, 5: 30}, "count", (0, np.inf)),
        ({-1: 50, 1: 50}, None, (-1, 1)),
        ({0: 990, 1: 10}, None, (0, 1)),
        ({0: 991, 1: 9}, None, (0, np.inf)),
        ({0: 200, 1: 100, 2: 15}, None, (0, np.inf)),
        ({-2: 2, 0: 100, 2: 20}, None, (-np.inf, np.inf)),
    ],
)
def test_counts_have_bounds_if_many_rows_hold_them(rows, asked, ends):
    column = column_of("a", np.repeat(list(rows), list(rows.values())), asked)
    assert (column.kind, column.low, column.high) == ("count", *ends)


@pytest.mark.parametrize(
    "values, asked, message",
    [
        ([7.5] * 5, None, r"column 'a': expected values that differ, got 7.5 in every row; leave"),
        (["x"] * 3, None, r"column 'a': expected values that differ, got 'x' in every row"),
        (
            [1.0, -2.0, 3.0],
            "positive",
            "column 'a': expected values strictly between 0 and inf, got -2 in row 1",
        ),
        ([0.0, 0.5, 1.0], "0:1", "strictly between 0 and 1, got 0 in row 0"),
        ([0.0, 0.5, 1.0], "count", "column 'a': expected whole numbers, got 0.5 in row 1"),
        ([0.0, np.nan, 1.0], "real", "column 'a': expected finite numbers, got nan in row 1"),
        (["1", "two", "3"], "real", "column 'a': expected numbers, got 'two'"),
        ([0.0, 1e17], "count", "expected whole numbers below 2.53, got 1e[+]17 in row 1"),
        (
            [0.0, 1e300],
            "period 3",
            "expected values that a period of 3 can tell apart, got 1e[+]300",
        ),
        (
            [0.5, 0.7],
            "-1e300:1e300",
            "expected bounds near the values, so that their logits differ",
        ),
        (
            [-1.7e308, 0.0, 1.7e308],
            "real",
            "expected values whose spread float64 can hold, got values",
        ),
        ([1.0, 2.0], "1:0", r"column 'a': expected real, positive, LOW:HIGH, period P, count or"),
        ([1.0, 2.0], "period -1", r"column 'a': expected real"),
        ([1.0, 2.0], "period", r"column 'a': expected real"),
    ],
)
def test_what_is_refused(values, asked, message):
    with pytest.raises(ValueError, match=message):
        column_of("a", np.array(values), asked)


def test_a_category_never_seen():
    model = nfref.FlowDensity("gaussian", random_state=0).fit(frame())
    with pytest.raises(
        ValueError,
        match="column 'color': expected one of the 3 categories "
        "'blue', 'green', 'red', got 'pink' in row 1",
    ):
        model.score_samples(frame(3).assign(color=["red", "pink", "red"]))


def test_a_missing_cell_costs_no_row(monkeypatch):
    monkeypatch.setattr("nfref.tables.fitting.gaps.MOST_ROUNDS", 1)
    data = frame()
    data.loc[3, "size"] = np.nan
    model = nfref.FlowDensity("gaussian", random_state=0).fit(data)
    assert np.all(np.isfinite(model.score_samples(data)))


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_exact_linear_dependence_is_named(shift):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((200, 3)) + shift
    data = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "sum": 2 * x[:, 0] - x[:, 2]})
    with pytest.raises(
        ValueError,
        match="column 'sum': expected values that other columns do not determine, "
        r"got 2 \* 'a' - 1 \* 'c' \+ a constant",
    ):
        nfref.FlowDensity("gaussian").fit(data)
    outlier = data.copy()
    outlier.loc[0] = 1e9
    with pytest.raises(
        ValueError, match="column 'sum': expected values that other columns do not determine"
    ):
        nfref.FlowDensity("gaussian").fit(outlier)
    far = pd.DataFrame({"a": x[:, 0], "b": x[:, 1]})
    far.loc[0] = [1e300, -1e300]
    assert np.all(np.isfinite(nfref.FlowDensity("gaussian").fit(far).score_samples(far)))
    nearly = data.assign(sum=data["sum"] + 1e-6 * rng.standard_normal(200))
    assert np.all(np.isfinite(nfref.FlowDensity("gaussian").fit(nearly).score_samples(nearly)))


def test_rows_outside_of_a_support_have_no_density():
    column = Continuous("a", 0.0, 1.0)
    u, log_slope = column.encode(np.array([-1.0, 0.0, 0.5, 1.0, 2.0]))
    np.testing.assert_array_equal(np.isneginf(log_slope), [True, True, False, True, True])
    assert np.all(np.isfinite(u))


@pytest.mark.parametrize("seed", range(3))
def test_probabilities_of_categories_alone_are_their_shares(seed):
    """Two columns depend on each other, with hundreds of rows per combination."""
    rng = np.random.default_rng(seed)
    a, c = rng.integers(0, 2, 2000), rng.integers(0, 3, 2000)
    b = np.where(rng.random(2000) < 0.9, a, 1 - a)
    codes = np.stack([a, b, c], axis=1)
    frame = pd.DataFrame(codes.astype(str), columns=list("abc"))
    model = nfref.FlowDensity(random_state=seed).fit(frame)
    cells, counts = np.unique(codes, axis=0, return_counts=True)
    found = np.exp(model.score_samples(pd.DataFrame(cells.astype(str), columns=list("abc"))))
    assert np.sum(found) == pytest.approx(1, abs=1e-9)
    true = np.where(cells[:, 0] == cells[:, 1], 0.9, 0.1) / 6
    assert np.sum(true * np.log(true / found)) < 0.01
    weighted = nfref.FlowDensity(random_state=seed).fit(
        pd.DataFrame(cells.astype(str), columns=list("abc")), sample_weight=counts
    )
    np.testing.assert_array_equal(weighted.score_samples(frame), model.score_samples(frame))


# Numbers that float64 does not hold -------------------------------------------------------


def test_whole_numbers_beyond_what_float64_holds():
    """They give a note if it hardly matters, an error if it does, and no false dependence."""
    rng = np.random.default_rng(0)
    wide = 2**60 + rng.integers(0, 10**9, (200, 2))
    for X in (wide, pd.DataFrame(wide, columns=["x1", "x2"])):
        with pytest.warns(
            UserWarning,
            match="column 'x.': whole numbers beyond 2.53 are rounded, "
            "here to multiples of 256 at most",
        ):
            nfref.FlowDensity("gaussian", random_state=0).fit(X)
    near = 2**60 + rng.integers(0, 500, (200, 2))
    gaps = pd.DataFrame(near, columns=["a", "b"], dtype="Int64")
    gaps.loc[3, "a"] = None
    for X in (near, pd.DataFrame(near), gaps):
        with pytest.raises(
            ColumnError,
            match="expected whole numbers that float64 can tell apart"
            ", got some near 1.15292e.18, where it rounds to ",
        ):
            nfref.FlowDensity("gaussian", random_state=0).fit(X)
    nfref.FlowDensity("gaussian", random_state=0).fit(near - near.min())
    steps = 2.0**60 + 256.0 * rng.integers(0, 40, (200, 2))
    nfref.FlowDensity("gaussian", random_state=0).fit(steps)
    with pytest.raises(
        ColumnError, match=r"other columns do not determine, got 1 \* .x1. \+ a constant"
    ):
        nfref.FlowDensity("gaussian", random_state=0).fit(np.repeat(steps[:, :1], 2, axis=1))


def test_samples_within():
    """Values beyond the bounds are sampled again: the rest has its own law, truncated."""
    rng = np.random.default_rng(0)
    data = pd.DataFrame(
        {
            "a": rng.standard_cauchy(500),
            "b": np.exp(rng.standard_cauchy(500)),
            "c": rng.uniform(0, 1, 500),
            "d": rng.choice(["p", "q"], 500),
        }
    )
    model = nfref.FlowDensity("mixture", random_state=0, columns={"b": "positive", "c": "0:1"})
    model.fit(data)
    every = model.sample(20_000, random_state=0)
    some = model.sample(5000, random_state=2, within=4)

    def inside(frame):
        found = np.ones(len(frame), bool)
        for name, values in (("a", data["a"]), ("b", np.log(data["b"]))):
            units = frame[name] if name == "a" else np.log(frame[name])
            low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
            found &= np.abs(units - middle) <= 4.02 * (high - low) / stats.norm.ppf(0.75) / 2
        return found

    assert np.max(np.abs(every["a"])) > 1e3 and np.all(inside(some)) and len(some) == 5000
    for name in "abc":
        assert stats.ks_2samp(some[name], every[name][inside(every)]).pvalue > 1e-3
    assert np.all(inside(model.sample(200, random_state=0, within=4, given={"c": 0.5})))
    assert model.sample(0, within=4).shape == (0, 4)
    with pytest.raises(ValueError, match="within: expected a range in which rows are drawn, got"):
        model.sample(5, within=1e-6)
    with pytest.raises(ValueError, match="within: expected a finite number above 0"):
        model.sample(5, within=0)


def test_labels_are_such_as_files_hold():
    with pytest.raises(ColumnError, match="whole numbers below 2\\^128, got a larger one"):
        column_of("id", np.array([10**400, 10**400 + 1] * 5, object), "category")
    with pytest.raises(ColumnError, match="text without surrogates, got '.ud800'"):
        column_of("id", np.array(["\ud800", "b"] * 5, object), "category")
