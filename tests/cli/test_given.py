"""The command line: columns given others, and missing cells."""

import argparse

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import nfref
from nfref.cli import main
from nfref.cli.arguments import conditions
from nfref.tables.files.model_file import load_model
from nfref.tables.queries import answers
from nfref.tables.queries.known_cells import row_given
from tests.cli.mixed import run

COLUMNS = ("--column", "town=category", "--column", "income=positive")
SIMPLE = ("--flow", "mixture")
QUICK = (*SIMPLE, "--effort", "quick")


def people(n=500, seed=0):
    rng = np.random.default_rng(seed)
    age, town = rng.gamma(4, 10, n) + 1, rng.choice(["Rome", "New York", "Oslo"], n)
    kids = rng.poisson(1.0 + (town == "Rome"))
    income = np.exp(0.02 * age + 0.3 * kids + 0.3 * rng.standard_normal(n) + (town == "Oslo"))
    return pd.DataFrame({"age": age, "town": town, "kids": kids, "income": income})


def with_gaps(data, share=0.1, seed=1):
    holes = np.random.default_rng(seed).random(data.shape) < share
    return data.astype({"kids": object}).mask(holes)


@pytest.fixture(scope="module", autouse=True)
def fewer_rounds():
    """Fill gaps in fewer rounds; the tests of the estimator check the full number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nfref.tables.fitting.gaps.MOST_ROUNDS", 1)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, fewer_rounds):
    """Make whole.csv and gaps.csv; fit joint.npz and cond.npz to the second, and keep the notes."""
    folder = tmp_path_factory.mktemp("people")
    people().to_csv(folder / "whole.csv", index=False)
    with_gaps(people()).to_csv(folder / "gaps.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["fit", "gaps.csv", *COLUMNS, *QUICK, "--out", "joint.npz"]) == 0
        assert (
            main(["fit", "gaps.csv", *COLUMNS, *SIMPLE, "--given", "age,town", "--out", "cond.npz"])
            == 0
        )
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def refused(capsys, message, *arguments):
    assert main([str(argument) for argument in arguments]) == 2
    output, errors = capsys.readouterr()
    assert message in errors and errors.count("\n") == 1 and not output, errors


def table(frame, model):
    return [frame[column.name].to_numpy() for column in model.density.columns]


# Fitting ----------------------------------------------------------------------------------


@pytest.mark.thorough
def test_fit_says_what_it_does_with_empty_cells(here, capsys):
    asked = ("--flow", "mixture", "--given", "age,town")
    assert main(["fit", "gaps.csv", *COLUMNS, *asked]) == 0
    told, notes = capsys.readouterr()
    gaps = with_gaps(people())
    assert (
        f"{gaps.isna().any(axis=1).sum()} of 500 rows have empty cells: 'age' "
        f"{gaps.age.isna().sum()}, 'town' {gaps.town.isna().sum()}"
    ) in notes
    lost = gaps.age.isna() | gaps.town.isna() | (gaps.kids.isna() & gaps.income.isna())
    assert f"left out {lost.sum()} rows without a value in a given column, or in all" in notes
    assert "; given age, town (category: New York, Oslo, Rome)" in told
    assert "test nats per row of the cells that are there: " in told
    assert (
        "columns: kids (count), income (0:inf)" in told
    )  # whole numbers in a csv are detected as counts


@pytest.mark.thorough
def test_fit_with_gaps_is_that_of_the_estimator(here):
    """Both call the same function: the same bits for the same rows."""
    from nfref.tables.fitting.fit import fit_table
    from nfref.tables.fitting.plan import Plan, TableFit
    from nfref.tables.reading.read import read_quietly
    from nfref.tables.schema.column_inference import find_columns
    from nfref.tables.schema.distinct_rows import distinct_rows

    found = read_quietly("gaps.csv", texts=("town",), may_be_empty=True)
    names, cells = found.columns, found.cells()
    columns = find_columns(
        names, cells, {"town": "category", "income": "positive", "kids": "count"}
    )
    places, _ = distinct_rows(found.values, None, 0)
    rest = [values[places[50:]] for values in cells]
    fit = TableFit(columns, rest, Plan("auto", 0), 0, given=("age", "town"))
    density = fit_table(fit).density
    model = load_model("cond.npz")
    assert model.density.given == ("age", "town")
    whole = table(people(), model)
    np.testing.assert_array_equal(model.density.log_prob(whole), density.log_prob(whole))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ("--given", "age,nobody"),
            "--given: expected columns among 'age', 'town', 'kids', 'income'",
        ),
        (("--given", "age,age"), "--given: expected each column once, got 'age' twice"),
        (("--given", "age,town,kids,income"), "--given: expected a column that is not given"),
        (("--given", ","), "--given: expected columns among "),
        (("--given", "age", "--weights", "age"), "--given: expected other columns than that of"),
    ],
)
def test_fit_refuses_what_cannot_be_given(here, capsys, arguments, message):
    refused(
        capsys,
        message,
        "fit",
        "whole.csv",
        "--column",
        "town=category",
        "--out",
        "no.npz",
        *arguments,
    )
    assert not (here / "no.npz").exists()


# Scores -----------------------------------------------------------------------------------


def test_scores_of_rows_with_empty_cells_are_marginal(here, capsys):
    assert main(["score", "joint.npz", "gaps.csv", "--errors", "--out", "s.csv"]) == 0
    output, notes = capsys.readouterr()
    scores, model = pd.read_csv("s.csv"), load_model("joint.npz")
    gaps = pd.read_csv("gaps.csv").astype({"town": object})
    gaps = gaps.where(gaps.notna(), None).astype({"age": float, "kids": float, "income": float})
    found = answers.log_marginal(model.density, table(gaps, model))
    np.testing.assert_allclose(scores.log_likelihood, found.log_prob, atol=1e-9)
    np.testing.assert_allclose(scores.standard_error, found.error, atol=1e-12)
    np.testing.assert_allclose(scores.effective_draws, found.effective, rtol=1e-9)
    rows = gaps.isna().any(axis=1).sum()
    assert f"{rows} of 500 rows have empty cells" in notes
    assert f"mean log-likelihood: {found.log_prob.mean():.6f}" in output


def test_scores_given_columns(here, capsys):
    data = people(60, seed=3)
    data.assign(w=np.arange(60) % 3).to_csv("w.csv", index=False)
    output = run(capsys, "score", "cond.npz", "w.csv")
    model = load_model("cond.npz")
    expected = model.density.log_prob(table(data, model))
    lines = output.splitlines()
    np.testing.assert_allclose([float(line) for line in lines[:60]], expected, atol=1e-9)
    assert lines[60] == f"mean log-likelihood: {np.mean(expected):.6f} nats"
    refused(capsys, "missing: 'age'", "score", "cond.npz", drop(data, "age"))
    words = "gaps.csv: column 'age': expected a value in every row, for the others are given it; "
    refused(capsys, f"{words}got none in row ", "score", "cond.npz", "gaps.csv")


def drop(data, *names):
    data.drop(columns=list(names)).to_csv("dropped.csv", index=False)
    return "dropped.csv"


@pytest.mark.parametrize(
    "text, found",
    [
        ("age=40", (("age", "40"),)),
        ("age=40,town=Oslo", (("age", "40"), ("town", "Oslo"))),
        ("town=Oslo, Norway,age=3", (("town", "Oslo, Norway"), ("age", "3"))),
        ("a=b=c", (("a=b", "c"),)),
        ("age", None),
        ("age=", None),
        ("=4", None),
        (",age=4", None),
    ],
)
def test_values_are_given_as_names_are(text, found):
    if found is not None:
        assert conditions(text) == found
        return
    with pytest.raises(argparse.ArgumentTypeError, match="expected NAME=VALUE"):
        conditions(text)


# One column given others ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["joint.npz", "cond.npz"])
def test_quantiles_are_those_of_the_estimator(here, capsys, name):
    output = run(
        capsys,
        "quantile",
        name,
        "--given",
        "age=40,town=Oslo",
        "--column",
        "income",
        "--levels",
        "0.1,0.5",
    )
    model = load_model(name)
    row = row_given(model.density, {"age": 40, "town": "Oslo"})
    expected = answers.predictions(model.density, row, "income", (0.1, 0.5), 10_000)[1][0]
    found = np.array([line.split() for line in output.splitlines()], float)
    np.testing.assert_allclose(found[:, 0], (0.1, 0.5))
    np.testing.assert_allclose(found[:, 1], expected, rtol=1e-5)
    kids = np.random.default_rng(0).poisson(1.0, 20_000)
    truth = np.exp(0.8 + 0.3 * kids + 0.3 * np.random.default_rng(1).standard_normal(20_000) + 1)
    np.testing.assert_allclose(found[:, 1], np.quantile(truth, (0.1, 0.5)), rtol=0.2)
    asked = ("quantile", name, "--column", "income", "--given", "age=40,town=Oslo", "--levels")
    assert run(capsys, *asked, "0.9999999999999999").startswith("0.9999999999999999 ")


@pytest.mark.parametrize("name", ["joint.npz", "cond.npz"])
def test_predictions_hold_what_they_promise(here, capsys, name):
    """Ranks of held-out rows are uniform, and the interval holds its share."""
    data = people(200, seed=6)
    output = run(
        capsys,
        "predict",
        name,
        drop(data, "income"),
        "--column",
        "income",
        "--interval",
        "0.8",
        "--out",
        "p.csv",
    )
    assert output == "wrote p.csv: 200 rows\n"
    found = pd.read_csv("p.csv")
    assert list(found) == ["mean", "median", "lower", "upper"]
    inside = np.mean((data.income > found.lower) & (data.income < found.upper))
    assert abs(inside - 0.8) < 4 * np.sqrt(0.16 / 200)
    assert np.all((found.lower < found["median"]) & (found["median"] < found.upper))
    assert np.corrcoef(np.log(found["mean"]), np.log(data.income))[0, 1] > 0.8
    estimator = nfref.FlowDensity.load(name)
    estimator._frame = data[:0]
    ranks = estimator.distribution(data, "income")
    assert stats.kstest(ranks, "uniform").pvalue > 1e-3


def test_predictions_of_labels_are_their_probabilities(here, capsys):
    data = people(50, seed=6)
    run(capsys, "predict", "joint.npz", drop(data, "town"), "--column", "town", "--out", "p.csv")
    found, model = pd.read_csv("p.csv"), load_model("joint.npz")
    assert list(found) == ["P(New York)", "P(Oslo)", "P(Rome)"]
    joint = np.stack(
        [
            model.density.log_prob(table(data.assign(town=town), model))
            for town in ("New York", "Oslo", "Rome")
        ],
        axis=1,
    )
    expected = np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None])
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ("quantile", "joint.npz", "--column", "town"),
            "--column: expected a column of numbers, got the category 'town'",
        ),
        (
            ("quantile", "joint.npz", "--column", "size"),
            "--column: expected one of 'age', 'town', ",
        ),
        (
            ("quantile", "cond.npz", "--column", "age"),
            "--column: expected one that the model is not ",
        ),
        (("quantile", "cond.npz", "--column", "kids"), "--given: expected a value of 'age', which"),
        (
            ("quantile", "joint.npz", "--column", "age", "--given", "age=3"),
            "--given: expected other ",
        ),
        (
            ("quantile", "joint.npz", "--column", "age", "--given", "income=-1"),
            "--given['income']: expected values strictly between 0 and inf, got -1",
        ),
        *(
            (
                ("quantile", "joint.npz", "--column", "age", "--levels", level),
                f"--levels: expected a number above 0 and below 1, got {level!r}",
            )
            for level in ("0", "1", "2", "x", "nan")
        ),
        (
            (
                "predict",
                "joint.npz",
                "gaps.csv",
                "--column",
                "age",
                "--interval",
                "1",
                "--out",
                "no.csv",
            ),
            "--interval: expected a number above 0 and below 1, got '1'",
        ),
        (
            ("predict", "cond.npz", "gaps.csv", "--column", "kids", "--out", "no.csv"),
            "gaps.csv: column 'age': expected a value in every row",
        ),
        (
            ("impute", "cond.npz", "gaps.csv", "--out", "no.csv"),
            "column 'age': expected a value in",
        ),
        (
            ("impute", "joint.npz", "gaps.csv", "--out", "gaps.csv"),
            "--out: expected a file of its own",
        ),
        (
            ("sample", "cond.npz", "-n", "3"),
            "--given: expected a value of 'age', which the density",
        ),
        (("impute", "cond.npz", "gaps.csv", "--out", "no.csv"), "column 'age': expect"),
        (
            ("plot", "cond.npz", "--out", "no.png"),
            "--data: expected rows, because the model is given",
        ),
    ],
)
def test_refusals(here, capsys, arguments, message):
    before = set(here.iterdir())
    refused(capsys, message, *arguments)
    assert set(here.iterdir()) == before


@pytest.mark.parametrize(
    "model, column, known", [("joint.npz", "kids", ()), ("cond.npz", "income", ("kids",))]
)
def test_a_category_never_seen(here, capsys, model, column, known):
    data = people(6, seed=3).drop(columns="income")
    data["town"] = ["Rome", "Oslo", "Bern", "Rome", "Oslo", "Oslo"]
    data.to_csv("new.csv", index=False)
    message = "new.csv: column 'town': expected one of the 3 categories"
    for arguments in (
        ("predict", model, "new.csv", "--column", "income"),
        ("impute", model, "new.csv", "--out", "no.csv"),
    ):
        refused(capsys, message, *arguments)
    refused(
        capsys,
        "given['town']: expected one of the categories",
        "sample",
        model,
        "-n",
        1,
        "--given",
        "town=Bern",
        "--given",
        "age=30",
    )


def test_predictions_come_in_batches(here, capsys, monkeypatch):
    """Answers are the same, and row numbers continue through the whole file."""
    data = people(300, seed=7)
    drop(data, "income")
    predict = ("predict", "cond.npz", "dropped.csv", "--column", "income")
    whole = run(capsys, *predict)
    monkeypatch.setattr("nfref.tables.reading.text.batch_rows", lambda columns: 64)
    assert run(capsys, *predict) == whole
    data.loc[200, "town"] = "Bern"
    drop(data, "income")
    assert main([*predict, "--out", "no.csv"]) == 2
    assert "got 'Bern' in row 201" in capsys.readouterr().err and not (here / "no.csv").exists()
    data.loc[200, "town"], data.loc[250, "age"] = "Rome", np.nan
    drop(data, "income")
    assert main([*predict, "--out", "no.csv"]) == 2
    assert "got none in row 251" in capsys.readouterr().err and not (here / "no.csv").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("score", "joint.npz", "DATA"),
        ("predict", "joint.npz", "DATA", "--column", "town"),
        ("impute", "joint.npz", "DATA", "--out", "DATA.filled.csv"),
    ],
)
def test_text_without_names_is_taken_by_position(here, capsys, arguments):
    """A file without header gives the same answers as one with the model's names."""
    for name, header in (("named.csv", True), ("bare.csv", False)):
        people(5, seed=3).to_csv(name, index=False, header=header)
    one, other = (
        run(capsys, *(word.replace("DATA", name) for word in arguments)).replace(name, "DATA")
        for name in ("named.csv", "bare.csv")
    )
    assert one == other
    if arguments[0] == "impute":
        assert (here / "named.csv.filled.csv").read_text() == (
            here / "bare.csv.filled.csv"
        ).read_text()


# Drawing ----------------------------------------------------------------------------------


def test_columns_that_a_file_lacks_are_sampled(here, capsys):
    some = pd.DataFrame({"town": ["Rome", "Oslo"], "age": [20.0, 60.0]})
    some.loc[some.index.repeat(900)].to_csv("some.csv", index=False)
    for name in ("cond.npz", "joint.npz"):
        run(capsys, "impute", name, "some.csv", "--out", "drawn.csv")
        drawn = pd.read_csv("drawn.csv")
        assert list(drawn) == ["town", "age", "kids", "income"] and len(drawn) == 1800
        assert list(drawn.town) == ["Rome"] * 900 + ["Oslo"] * 900
        assert set(drawn.age[:900]) == {20.0} and set(drawn.age[900:]) == {60.0}
        kids, income = drawn.kids[:900].mean(), np.log(drawn.income[900:]).mean()
        assert kids == pytest.approx(2, abs=0.4)
        assert income == pytest.approx(0.02 * 60 + 0.3 + 1, abs=0.2)
    impute = ("impute", "cond.npz", "some.csv", "--out", "no.csv")
    pd.DataFrame({"town": ["Rome"]}).to_csv("some.csv", index=False)
    refused(capsys, "some.csv: expected a column 'age', got 'town'", *impute)
    pd.DataFrame({"town": ["Rome", "Paris"], "age": 1.0}).to_csv("some.csv", index=False)
    words = "expected one of the 3 categories 'New York', 'Oslo', 'Rome', got 'Paris' in row 2"
    refused(capsys, words, *impute)


def test_impute_keeps_what_is_there(here, capsys):
    with_gaps(people()).assign(id=np.arange(500))[["id", "town", "income", "kids", "age"]].to_csv(
        "more.csv", index=False
    )
    told = run(capsys, "impute", "joint.npz", "more.csv", "--out", "filled.csv")
    gaps, filled = pd.read_csv("more.csv"), pd.read_csv("filled.csv")
    assert f"{gaps.isna().any(axis=1).sum()} of 500 rows have empty cells" in told
    assert list(filled) == list(gaps) and not filled.isna().any().any()
    assert filled.kids.dtype == np.int64 and set(filled.town) == {"Rome", "New York", "Oslo"}
    for name in gaps:
        there = gaps[name].notna()
        assert list(filled[name][there]) == list(gaps[name][there])
    drawn = np.log(filled.income[gaps.income.isna()])
    truth = np.log(people().income[gaps.income.isna()])
    assert stats.ks_2samp(drawn, truth).pvalue > 1e-3
    assert np.corrcoef(drawn, truth)[0, 1] > 0.4


def test_plot_of_a_model_given_columns(here, capsys):
    people(60).assign(w=1.0).to_csv("w.csv", index=False)
    run(capsys, "plot", "cond.npz", "--data", "w.csv", "--out", "p.png")
    with_gaps(people(60)).to_csv("few.csv", index=False)
    assert main(["plot", "joint.npz", "--data", "few.csv", "--out", "p.png"]) == 0
    assert "rows have empty cells: " in capsys.readouterr().err
    about = run(capsys, "info", "cond.npz")
    assert "columns:    2: kids (count), income (0:inf)" in about
    assert "given:      2: age, town (category: New York, Oslo, Rome)" in about


@pytest.mark.parametrize(
    "model, column, value, expected",
    [
        ("joint.npz", "town", "Nowhere", "expected one of the 3 categories"),
        ("cond.npz", "town", "Nowhere", "expected one of the 3 categories"),
        (
            "kids.npz",
            "kids",
            0.5,
            "expected whole numbers of at least 0, for the others are given it",
        ),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ("plot", "--data", "bad.csv", "--out", "no.png"),
        ("score", "bad.csv", "--out", "no.csv"),
        ("impute", "bad.csv", "--out", "no.csv"),
        ("predict", "bad.csv", "--column", "income", "--out", "no.csv"),
    ],
)
def test_a_wrong_cell_is_named_with_its_row_of_the_file(
    here, capsys, model, column, value, expected, command
):
    """Any number of rows with empty cells and batches of answers may come before it."""
    if model == "kids.npz" and not (here / model).exists():
        run(capsys, "fit", "whole.csv", *COLUMNS, *QUICK, "--given", "kids", "--out", model)
    data = people(1200, seed=3).astype({"kids": object})
    data.loc[:3, "income"] = None
    data.loc[1100, column] = value
    data.to_csv("bad.csv", index=False)
    refused(capsys, f"bad.csv: column {column!r}: {expected}", command[0], model, *command[1:])
    assert main([command[0], model, *command[1:]]) == 2
    assert f"got {value!r} in row 1101" in capsys.readouterr().err
    assert not any(here.glob("no.*"))


@pytest.mark.parametrize(
    "column, value, expected",
    [
        ("kids", 0.5, "whole numbers of at least 0"),
        ("income", -1.0, "values strictly between 0 and inf"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ("impute", "bad.csv", "--out", "no.csv"),
        ("predict", "bad.csv", "--column", "town", "--out", "no.csv"),
        ("predict", "bad.csv", "--column", "age", "--out", "no.csv"),
    ],
)
def test_nothing_is_given_an_impossible_value(here, capsys, column, value, expected, command):
    """No row has such a value, so other cells given it have no density."""
    data = people(1200, seed=3).astype({"kids": object})
    data.loc[1000:, "age"] = None
    data.loc[[7, 1100], column] = value  # nothing is asked of row 8 but by predict
    data.to_csv("bad.csv", index=False)
    row = 8 if command[0] == "predict" else 1101
    words = f"expected {expected}, for the others are given it; got {value:g} in row {row}"
    refused(capsys, f"bad.csv: column {column!r}: {words}\n", command[0], "joint.npz", *command[1:])
    assert not any(here.glob("no.*"))
    run(capsys, "predict", "joint.npz", "bad.csv", "--column", column, "--out", "yes.csv")


def test_text_in_parquet_and_counts_in_integers(here, capsys):
    people().to_parquet("p.parquet")
    quick = ("--flow", "mixture", "--effort", "quick")
    told = run(capsys, "fit", "p.parquet", *COLUMNS, *quick, "--out", "p.npz")
    assert "town (category: New York, Oslo, Rome), kids (count), income (0:inf)" in told
    run(capsys, "score", "p.npz", "p.parquet", "--out", "s.csv")
    people().assign(town="Paris").to_parquet("q.parquet")
    refused(
        capsys,
        "q.parquet: column 'town': expected one of the 3 categories 'New York', 'Oslo'"
        ", 'Rome', got 'Paris' in row 1",
        "score",
        "p.npz",
        "q.parquet",
    )
    values = np.random.default_rng(0).poisson(3, (300, 2))
    np.save("whole.npy", values)
    assert "columns: x1 (count), x2 (count)" in run(capsys, "fit", "whole.npy", *quick)
    told = run(capsys, "fit", "whole.npy", *quick, "--column", "x1=real")
    assert "columns: x1 (rounded to 1), x2 (count)" in told
