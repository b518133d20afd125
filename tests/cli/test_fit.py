"""``nfref fit`` with several candidates, and the models that it writes."""

import signal

import numpy as np
import pandas as pd
import pytest

import nfref
from nfref.cli import main
from nfref.tables.files.model_file import load_model
from nfref.tables.reading import read_table
from tests.cli.commands import ended, plan_with, started, wait_for_an_epoch, write_people
from tests.cli.mixed import COLUMNS, QUICK, people, run

REAL = ("--column", "age=real", "--column", "share=real")


def table_of(output):
    """The last lines of ``fit`` as {name: [numbers]}."""
    lines = output.splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("test nats per row"))
    rows = [(line[:24].strip(), line[24:].split()) for line in lines[start + 1 :]]
    return {
        name: [float("nan" if number == "-" else number) for number in numbers]
        for name, numbers in rows
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    people().to_csv("people.csv", index=False)
    return tmp_path


def test_the_table_is_that_of_the_model(folder, capsys):
    data = people()[["age", "share"]]
    data.to_csv("t.csv", index=False)
    output = run(capsys, "fit", "t.csv", *QUICK, "--out", "m.npz")
    table = table_of(output)
    assert {"gaussian", "wide", "nsf", "pool", "full Gaussian"} <= set(table)
    assert sum(
        numbers[3] for name, numbers in table.items() if len(numbers) == 5 and name != "pool"
    ) == pytest.approx(1, abs=0.003)
    model = load_model("m.npz")
    # Recompute the test rows: the first tenth in the order that content and seed decide.
    from nfref.tables.schema.distinct_rows import distinct_rows

    places, _ = distinct_rows(data.to_numpy(), None, 0)
    scores = model.density.log_prob(list(data.to_numpy()[places[:50]].T))
    assert table["pool"][0] == pytest.approx(np.mean(scores), abs=6e-4)
    assert table["pool"][1] == pytest.approx(np.std(scores, ddof=1) / 50**0.5, abs=6e-4)
    assert table["pool"][0] > max(table[name][0] - table[name][1] for name in ("gaussian", "nsf"))


def test_a_model_that_cannot_be_written_is_kept_elsewhere(folder, capsys, monkeypatch):
    (folder / "spare").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder / "spare"))
    assert main(["fit", "people.csv", "--flow", "gaussian", "--out", "/dev/full"]) == 2
    output, errors = capsys.readouterr()
    assert "test nats per row" in output and "wrote" not in output
    (spare,) = (folder / "spare").iterdir()
    told = "/dev/full: No space left on device; the model is in"
    assert errors == f"nfref: error: {told} {spare} instead\n"
    assert load_model(spare).density.dim == 5


def test_command_line_and_estimator_are_one(folder, capsys):
    """The same rows, options and seed give the same bits."""
    data = people()[["age", "share"]]
    data.to_csv("t.csv", index=False)
    seed = int(np.random.RandomState(0).randint(2**31 - 1))  # what random_state=0 draws
    run(capsys, "fit", "t.csv", *QUICK, *REAL, "--seed", seed, "--out", "m.npz")
    from nfref.tables.fitting.fit import fit_table
    from nfref.tables.fitting.plan import Plan, TableFit
    from nfref.tables.schema.column_inference import find_columns
    from nfref.tables.schema.distinct_rows import distinct_rows

    places, _ = distinct_rows(data.to_numpy(), None, seed)
    rest = data.to_numpy()[places[50:]]
    columns = find_columns(["age", "share"], list(data.to_numpy().T))
    plan = Plan(effort="quick")
    found = fit_table(TableFit(columns, list(rest.T), plan, seed)).density
    x = list(data.to_numpy().T)
    np.testing.assert_array_equal(load_model("m.npz").density.log_prob(x), found.log_prob(x))
    # The estimator calls the same function.
    real = {"x1": "real", "x2": "real"}
    model = nfref.FlowDensity(columns=real, effort="quick", random_state=0)
    np.testing.assert_array_equal(model.fit(rest).score_samples(rest), found.log_prob(list(rest.T)))


def test_columns_of_all_kinds_from_fit_to_sample_and_score(folder, capsys):
    told = run(
        capsys,
        "fit",
        "people.csv",
        "--weights",
        "w",
        *COLUMNS,
        *QUICK,
        "--out",
        "m.npz",
        "--plot",
        "m.png",
    )
    effective = people().w.sum() ** 2 / (people().w ** 2).sum()
    assert f"with weights (effective number {effective:,.1f})" in told
    assert "town (category: New York, Oslo, Rome), children (count)" in told
    assert (folder / "m.png").read_bytes().startswith(b"\x89PNG")
    run(capsys, "sample", "m.npz", "-n", 400, "--out", "new.csv")
    run(capsys, "plot", "m.npz", "--data", "new.csv", "--out", "p.png")
    drawn = pd.read_csv("new.csv")
    assert list(drawn.columns) == ["age", "share", "town", "children"]
    assert set(drawn.town) == {"Rome", "New York", "Oslo"} and np.all(drawn.age > 0)
    assert np.all((drawn.share > 0) & (drawn.share < 1))
    assert np.all(drawn.children == drawn.children.round())
    assert drawn.children[drawn.town == "Rome"].mean() > drawn.children[drawn.town == "Oslo"].mean()
    output = run(capsys, "score", "m.npz", "new.csv")
    table = [drawn[name].to_numpy() for name in drawn.columns]
    expected = load_model("m.npz").density.log_prob(table)
    np.testing.assert_allclose(
        [float(line) for line in output.splitlines()[:-1]], expected, atol=1e-9
    )
    turned = people()[["town", "children", "share", "age"]]
    turned.to_csv("turned.csv", index=False)
    run(capsys, "score", "m.npz", "turned.csv", "--out", "scores.csv")
    table = [people()[name].to_numpy() for name in drawn.columns]
    np.testing.assert_allclose(
        read_table("scores.csv").values[:, 0],
        load_model("m.npz").density.log_prob(table),
        atol=1e-9,
    )
    about = run(capsys, "info", "m.npz")
    assert "town (category: New York, Oslo, Rome), children (count)" in about and "pool:" in about


@pytest.mark.thorough
def test_a_weight_is_so_many_rows(folder, capsys):
    data = people()[["age", "share", "w"]]
    data.to_csv("weighted.csv", index=False)
    repeated = data.loc[data.index.repeat(data.w), ["age", "share"]]
    repeated.to_csv("repeated.csv", index=False)
    run(capsys, "fit", "weighted.csv", "--weights", "w", *QUICK, "--out", "one.npz")
    run(capsys, "fit", "repeated.csv", *QUICK, "--out", "other.npz")
    x = list(data[["age", "share"]].to_numpy().T)
    np.testing.assert_array_equal(
        load_model("one.npz").density.log_prob(x), load_model("other.npz").density.log_prob(x)
    )


def test_one_flow_takes_weights_too(folder, capsys):
    people()[["age", "share", "w"]].to_csv("t.csv", index=False)
    told = run(capsys, "fit", "t.csv", "--weights", "w", "--flow", "maf")
    assert "with weights (effective number" in told and "maf" in told


def test_one_flow_alone_is_a_plan_of_the_same_search(folder, capsys):
    """Fit categories, counts, weights, empty cells and given columns, with one flow or several."""
    data = people().astype({"town": object})
    data.loc[::9, "share"] = np.nan
    data.loc[1::9, "town"] = None
    data.to_csv("gaps.csv", index=False)
    options = ("--weights", "w", "--given", "age", *COLUMNS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nfref.tables.fitting.gaps.MOST_ROUNDS", 1)
        told = run(capsys, "fit", "gaps.csv", "--flow", "nsf", *options, "--out", "m.npz")
    assert "; given age (0:inf)" in told and "nsf" in told
    density = load_model("m.npz").density
    assert density.pool.names == ("nsf",) and density.given == ("age",)
    assert np.sum(density.pool.weights) == pytest.approx(1) and density.discrete is not None
    new = people(3, seed=5)[["age", "share", "town", "children"]]
    new.to_csv("new.csv", index=False)
    lines = run(capsys, "score", "m.npz", "new.csv").splitlines()[:-1]
    np.testing.assert_array_equal(
        np.array(lines, float), density.log_prob([new[name].to_numpy() for name in new.columns])
    )
    run(capsys, "sample", "m.npz", "-n", 2, "--given", "age=40", "--out", "drawn.csv")
    assert list(pd.read_csv("drawn.csv").age) == [40, 40]


def test_one_flow_is_that_of_the_library(folder, capsys):
    """``--flow maf`` has the bits of a plan with one flow and no simple densities."""
    from nfref.cli.test_rows import Split
    from nfref.tables.fitting.fit import fit_table
    from nfref.tables.fitting.plan import Plan, TableFit
    from nfref.tables.schema.column_inference import find_columns

    data = people()[["age", "share"]]
    data.to_csv("t.csv", index=False)
    run(capsys, "fit", "t.csv", "--flow", "maf", *REAL, "--out", "m.npz")
    split, table = Split.of(data.to_numpy(), None, 0), list(data.to_numpy().T)
    columns, plan = find_columns(["age", "share"], table), Plan("maf", 1, simple=False)
    found = fit_table(TableFit(columns, split.train(table).table, plan, 0)).density
    assert found.pool.names == ("maf",) and found.pool.weights.tolist() == [1.0]
    np.testing.assert_array_equal(
        load_model("m.npz").density.log_prob(table), found.log_prob(table)
    )


@pytest.mark.thorough
def test_flows_are_trained_in_float32_and_score_in_float64(folder, capsys, monkeypatch):
    from nfref.tables.fitting import flow_training

    fit, seen = flow_training.fit_flow, []

    def watched(density, params, x, *rest, **options):
        seen.append(str(x.dtype))
        return fit(density, params, x, *rest, **options)

    monkeypatch.setattr(flow_training, "fit_flow", watched)
    people()[["age", "share"]].to_csv("t.csv", index=False)
    run(capsys, "fit", "t.csv", "--flow", "realnvp", "--out", "m.npz")
    member = load_model("m.npz").density.pool.members[0]
    assert set(seen) == {"float32"} and "numbers in float64" in run(capsys, "info", "m.npz")
    assert member.log_prob(np.zeros((1, 2))).dtype == np.float64


def test_a_flow_that_is_not_trained_by_likelihood_counts_rows(folder, capsys):
    """Flow matching repeats a row by its whole weight; it cannot take fractions."""
    data = people(60)[["age", "share", "w"]]
    data.to_csv("weighted.csv", index=False)
    data.loc[data.index.repeat(data.w), ["age", "share"]].to_csv("repeated.csv", index=False)
    fit = ("--flow", "fm", "--out")
    run(capsys, "fit", "weighted.csv", "--weights", "w", *fit, "one.npz")
    run(capsys, "fit", "repeated.csv", *fit, "other.npz")
    x = list(data[["age", "share"]].to_numpy().T)
    np.testing.assert_array_equal(
        load_model("one.npz").density.log_prob(x), load_model("other.npz").density.log_prob(x)
    )
    data.assign(w=np.sqrt(data.w)).to_csv("roots.csv", index=False)
    assert main(["fit", "roots.csv", "--weights", "w", "--flow", "fm"]) == 2
    assert "roots.csv: weight: expected whole numbers for a flow" in capsys.readouterr().err


@pytest.mark.thorough
def test_values_that_repeat_are_said_in_one_line(folder, capsys):
    assert main(["fit", "wine", "--flow", "mixture", "--without", "density"]) == 0
    told, said = capsys.readouterr()
    assert said.count("without bound") == 1 and "few different values in 3,9" in said
    assert "fixed acidity (0:inf; rounded to 0.05), volatile acidity (0:inf; rounded to " in told


def test_few_rows_are_enough(folder, capsys):
    np.savetxt("few.csv", np.random.default_rng(0).standard_normal((12, 20)), delimiter=",")
    output = run(capsys, "fit", "few.csv", *QUICK, "--out", "m.npz")
    assert "nsf" not in table_of(output) and "pool" in table_of(output)
    np.savetxt("fewer.csv", np.random.default_rng(0).standard_normal((4, 2)), delimiter=",")
    assert main(["fit", "fewer.csv"]) == 2
    assert "fewer.csv: expected at least 5 distinct rows, got 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--weights", "x"), "--weights: expected a column of people.csv, got 'x'"),
        (("--column", "town"), "--column: expected NAME=SUPPORT"),
        (
            ("--column", "town=odd"),
            "--column: expected real, positive, LOW:HIGH, period P, count or",
        ),
        (("--column", "city=category"), "--column: expected a column of people.csv, got 'city'"),
        (
            ("--column", "age=0:1"),
            "people.csv: column 'age': expected values strictly between 0 and 1",
        ),
        (("--column", "age=count"), "people.csv: column 'age': expected whole numbers, got"),
        (("--column", "age=0:900", "--column", "age=real"), "expected each column once, got 'age'"),
        (("--flow", "maf", "--column", "age=count"), "column 'age': expected whole numbers, got"),
        (
            ("--flow", "maf", "--column", "age=category", "--without", "share,children,w"),
            "flow maf: expected a column of real numbers, got categories and counts alone",
        ),
        (("--time", "0"), "--time: expected a number above 0 and below inf, got '0'"),
    ],
)
def test_bad_input(folder, capsys, arguments, message):
    status = main(["fit", "people.csv", "--column", "town=category", *arguments, "--out", "m.npz"])
    *notes, error = capsys.readouterr().err.splitlines()
    assert status == 2 and message in error
    assert all(line.startswith("nfref: note: ") for line in notes)
    assert not (folder / "m.npz").exists()


def test_rows_of_weight_zero_take_no_part(folder):
    x = np.random.default_rng(0).standard_normal(60)
    rows = [f"{one},1" for one in x] + [f"{1000 + k},0" for k in range(40)]
    (folder / "t.csv").write_text("\n".join(["x,w", *rows]) + "\n")
    fit = ["fit", "t.csv", "--flow", "gaussian", "--weights", "w", "--column", "x=real"]
    assert main([*fit, "--out", "m.npz"]) == 0
    model = load_model("m.npz")
    assert sum(model.info["fit"]["rows"].values()) == 60
    assert model.density.columns[0].middle == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize(
    "cells, message",
    [
        ("w\n-1\n1\n2\n", "expected finite numbers of at least 0, got -1 in row 1"),
        ("w\n0\n0\n0\n", "expected one above 0, got zero in each of 3 rows"),
    ],
)
def test_bad_weights(folder, capsys, cells, message):
    lines = ["x,y", "1,2", "3,4", "5,7"]
    (folder / "t.csv").write_text(
        "\n".join(f"{line},{cell}" for line, cell in zip(lines, cells.split())) + "\n"
    )
    assert main(["fit", "t.csv", "--weights", "w"]) == 2
    assert message in capsys.readouterr().err


def test_a_category_never_seen(folder, capsys):
    run(capsys, "fit", "people.csv", *COLUMNS, "--flow", "mixture", "--out", "m.npz")
    new = people(5)
    new["town"] = ["Rome", "Bern", "Rome", "Oslo", "Oslo"]
    new.to_csv("new.csv", index=False)
    assert main(["score", "m.npz", "new.csv"]) == 2
    assert "got 'Bern' in row 2" in capsys.readouterr().err


def test_interrupted_the_best_so_far_is_kept(folder):
    people()[["age", "share"]].to_csv("t.csv", index=False)
    process = started("fit", "t.csv", "--out", "m.npz", cwd=folder, endless=True)
    wait_for_an_epoch(process)
    process.send_signal(signal.SIGINT)
    output, errors = ended(process)
    assert process.returncode == 0 and "Traceback" not in errors
    assert "pool" in table_of(output) and "trying maf" not in output
    candidates = load_model(folder / "m.npz").info["fit"]["candidates"]
    last = [one["message"] for one in candidates if one["name"].startswith("nsf")][-1]
    # Without the word, the signal came between the trainings of two folds.
    assert "interrupted" in last or not last.startswith("5 folds")


def test_the_time_is_kept(folder):
    people()[["age", "share"]].to_csv("t.csv", index=False)
    output, _ = ended(started("fit", "t.csv", "--time", "2", cwd=folder, endless=True))
    assert table_of(output)["pool"][3] < 60


def test_names_that_no_file_can_hold_are_found_before_the_work(folder, capsys):
    from nfref.tables.reading import TableError

    (folder / "t.csv").write_bytes(b"a\0b,c\n" + b"1.5,2\n2.5,3.5\n" * 20)
    assert main(["fit", "t.csv", "--out", "m.npz"]) == 2
    said = capsys.readouterr()
    assert "t.csv: expected names that text can hold" in said.err and not said.out
    for name in ("a\0b", "\udcff", " a", ""):
        frame = pd.DataFrame({"b": [1.0, 2.5, 3.0] * 9, "c": range(27)})
        frame.columns = pd.Index([name, "c"], dtype=object)
        with pytest.raises(TableError, match="^X: expected names that text can hold"):
            nfref.FlowDensity("gaussian").fit(frame)


def test_whole_numbers_that_are_rounded_are_told_of(folder, capsys):
    """A note names rounded whole numbers; a column of weights gets no note."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "id": 2**60 + rng.integers(0, 10**12, 60),
            "x": rng.random(60),
            "w": rng.integers(1, 4, 60),
        }
    )
    table.to_csv("t.csv", index=False)
    assert main(["fit", "t.csv", "--flow", "mixture", "--weights", "w"]) == 0
    assert (
        "nfref: note: t.csv: column 'id': whole numbers beyond 2^53 "
        "are rounded, here to multiples of 256 at most\n"
    ) in capsys.readouterr().err
    table.assign(id=1e301 * table.x**2).to_csv("t.csv", index=False)  # no identifier
    assert main(["fit", "t.csv", "--flow", "mixture", "--weights", "w"]) == 0
    assert "2^53" not in capsys.readouterr().err
    table.assign(id=2**60 + rng.integers(0, 900, 60)).to_csv("t.csv", index=False)
    assert main(["fit", "t.csv", "--flow", "mixture", "--weights", "w"]) == 2
    assert "column 'id': expected whole numbers that float64 can tell" in capsys.readouterr().err


def test_effort_decides_how_many_rows_are_held_out_at_once(folder, capsys, monkeypatch):
    """Fewer folds are cheaper; a line says how many each flow had."""
    write_people(folder / "people.csv")
    plan_with(monkeypatch, epochs=1)
    for effort, folds in (("quick", 3), ("default", 5)):
        arguments = ["fit", "people.csv", "--effort", effort]
        assert main(arguments) == 0
        assert f"nats a row held out; {folds} folds" in capsys.readouterr().out
    assert main(["fit", "people.csv", "--effort", "much"]) == 2
    assert "--effort: " in capsys.readouterr().err
