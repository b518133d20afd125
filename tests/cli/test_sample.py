"""``nfref sample``, ``plot`` and ``info``: commands that use a model file."""

import numpy as np
import pytest

import nfref
from nfref.cli import main
from nfref.runtime import params as trees
from nfref.tables.files.model_file import save_model
from nfref.tables.reading import read_table
from tests.cli.commands import COLUMNS, bare_flow, in_process, nfref_command, people, succeeds


def test_samples_carry_the_names_and_the_units(folder):
    text = succeeds("sample", "people.npz", "-n", "500", "--seed", "3", cwd=folder)
    succeeds("sample", "people.npz", "-n", 500, "--seed", 3, "--out", "new.csv", cwd=folder)
    assert (folder / "new.csv").read_text() == text
    samples = read_table(folder / "new.csv")
    assert samples.columns == COLUMNS and samples.values.shape == (500, 3)
    spread = np.std(people(), axis=0)
    assert np.all(np.abs(np.mean(samples.values, axis=0) - np.mean(people(), axis=0)) < spread)
    assert succeeds("sample", "people.npz", "-n", "0", cwd=folder) == "height,body weight,age\n"
    # Samples are data like any other, also through a pipe.
    output = succeeds("score", "people.npz", "new.csv", cwd=folder)
    assert np.isfinite(float(output.split()[-2]))


def test_samples_within_a_range(folder):
    lines = succeeds("sample", "people.npz", "-n", 200, "--seed", 3, "--within", 1.5, cwd=folder)
    drawn = np.array([line.split(",") for line in lines.splitlines()[1:]], float)
    model = nfref.FlowDensity.load(folder / "people.npz")
    middle, scale = (
        [getattr(column, name) for column in model.columns_] for name in ("middle", "scale")
    )
    assert drawn.shape == (200, 3)
    assert np.all(np.abs(drawn - middle) <= 1.5 * np.array(scale) * (1 + 1e-12))
    done = in_process("sample", "people.npz", "--within", "-1", cwd=folder)
    assert done.returncode == 2 and done.stderr.startswith("nfref: error: --within: expected a")


def test_a_flow_that_python_has_fitted_serves_every_command(folder, tmp_path, monkeypatch, capsys):
    density, params = bare_flow(tmp_path / "m.npz", columns=COLUMNS)
    data = folder / "people.csv"
    *lines, _ = succeeds("score", "m.npz", data, cwd=tmp_path).splitlines()
    np.testing.assert_array_equal(np.array(lines, float), density.log_prob(params, people()))
    drawn = succeeds("sample", "m.npz", "-n", 3, "--seed", 4, cwd=tmp_path).splitlines()
    expected = density.sample(params, np.random.default_rng(4), 3)
    np.testing.assert_array_equal([line.split(",") for line in drawn[1:]], expected.astype(str))
    assert "MAF(layers=1, hidden=(8,)) -> Standardise" in succeeds("info", "m.npz", cwd=tmp_path)
    succeeds("plot", "m.npz", "--data", data, "--out", "m.png", cwd=tmp_path)
    monkeypatch.chdir(tmp_path)
    for arguments, option in (
        (("sample", "m.npz", "-n", "1", "--given", "age=3"), "--given"),
        (("score", "m.npz", str(data), "--errors"), "--errors"),
        (("quantile", "m.npz", "--column", "age"), "MODEL"),
    ):
        assert main(arguments) == 2
        assert capsys.readouterr().err == (
            f"nfref: error: {option}: expected the density of a table, got m.npz, a flow that "
            "nfref.fit fitted\n"
        )


@pytest.mark.thorough
def test_samples_never_equal_their_bounds(tmp_path):
    """A model so wide that the logistic function is 0 or 1 in most rows."""
    flow = nfref.Chain([nfref.Scale(2), nfref.Logit((0, None), (1, None))])
    density = nfref.Density(flow)
    for dtype in (np.float64, np.float32):
        params = trees.cast(density.init(np.random.default_rng(0)), dtype)
        params["flow"][0]["log_scale"] += 8
        save_model(tmp_path / "m.npz", density, params)
        drawn = density.sample(params, np.random.default_rng(0), 100)[:, 0]
        assert np.any(drawn == np.nextafter(dtype(1), dtype(0)))
        succeeds("sample", "m.npz", "-n", 100, "--out", "new.csv", cwd=tmp_path)
        shares = read_table(tmp_path / "new.csv").values[:, 0]
        assert np.all((shares > 0) & (shares < 1))
        scored = in_process("score", "m.npz", "new.csv", cwd=tmp_path)
        assert scored.stderr == "" and "inf" not in scored.stdout


def test_out_of_memory_is_one_line(folder):
    import resource

    np.lib.format.open_memmap(folder / "sparse.npy", "w+", np.float32, (10**8, 3))
    done = nfref_command(
        "plot",
        "people.npz",
        "--data",
        "sparse.npy",
        "--out",
        "x.png",
        cwd=folder,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30)),
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("nfref: error: out of memory: Unable to allocate")


def test_a_sample_larger_than_the_disk_is_refused_at_once(folder):
    done = in_process("sample", "people.npz", "-n", 10**14, "--out", "big.csv", cwd=folder)
    assert done.returncode == 2 and "-n: expected rows that fit into the" in done.stderr
    assert not (folder / "big.csv").exists()


def test_info(folder):
    output = succeeds("info", "people.npz", cwd=folder)
    for part in (
        "RealNVP(layers=8, hidden=(64, 64))",
        "3: height (rounded to 1e-05), body weight, age",
        "1 member",
        "144 rows to train",
        "float64",
        "seed 0",
        f"nfref {nfref.__version__}",
    ):
        assert part in output
