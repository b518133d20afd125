"""The installed command, run as a user runs it."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import warnings

import numpy as np
import pytest

import nfref
from nfref.cli import main
from nfref.cli.data import load
from nfref.runtime import params as trees
from nfref.tables.model_file import VERSION, load_model, save_model
from nfref.tables.reading import read_table

COMMAND = shutil.which("nfref", path=sysconfig.get_path("scripts"))
SMALL = ("--layers", "1", "--hidden", "8", "--epochs", "2")
COLUMNS = ("height", "body weight", "age")


def nfref_command(*arguments, cwd, **options):
    """Run ``nfref ARGUMENTS`` in a folder; gives status, stdout and stderr as text."""
    assert COMMAND, "the command nfref is not installed beside this Python"
    return subprocess.run([COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
                          timeout=120, env={**os.environ, "MPLBACKEND": "Agg"}, **options)


def succeeds(*arguments, cwd):
    done = nfref_command(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def people(n=200, seed=0):
    """Three correlated columns of very different size, rounded as people round."""
    rng = np.random.default_rng(seed)
    height = rng.normal(1.7, 0.1, n)
    return np.round(np.stack([height, 1000 * rng.normal(22 * height ** 2, 5),
                              rng.gamma(4, 10, n)], axis=1), 5)


def write_people(path, delimiter=",", rows=None, header=COLUMNS):
    rows = people() if rows is None else rows
    lines = [delimiter.join(f'"{name}"' for name in header)] if header else []
    lines += [delimiter.join(map(repr, row)) for row in rows.tolist()]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with people.csv (semicolons, quoted names) and people.npz, a model of it."""
    folder = tmp_path_factory.mktemp("a folder")
    write_people(folder / "people.csv", ";")
    output = succeeds("fit", "people.csv", "--flow", "realnvp", *SMALL, "--out", "people.npz",
                      cwd=folder)
    (folder / "fit.txt").write_text(output)
    return folder


def bare_flow(path, **about):
    """A model file of a flow with its parameters, as ``nfref.fit`` leaves one; returns both."""
    rows = people()
    density = nfref.Density(nfref.in_units_of(nfref.MAF(3, 1, (8,)), rows))
    found = nfref.fit(density, density.init(np.random.default_rng(0)), rows,
                      np.random.default_rng(1), epochs=1, progress=False)
    save_model(path, density, found.params, **about)
    return density, found.params


# The main job -----------------------------------------------------------------------------


def table_of(output):
    """The last lines of ``fit`` as {name: (mean, standard error)}."""
    lines = output.splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("test nats per row"))
    end = next((k for k, line in enumerate(lines) if k > start and line.startswith("note: ")), None)
    rows = [(line[:24].strip(), line[24:].split()) for line in lines[start + 1:end]]
    return {name: (float(numbers[0]), float(numbers[1])) for name, numbers in rows}


def test_fit_ends_with_the_table(folder):
    table = table_of((folder / "fit.txt").read_text())
    names = list(table)
    assert names[:2] == ["realnvp", "full Gaussian"]
    assert names[2].startswith("Gaussian mixture of ") and names[3:] == ["kernel density"]
    assert all(error > 0 for _, error in table.values())


def test_the_table_is_right(folder):
    """The flow's figure again from the model file, the others' from scipy and from scratch."""
    from scipy import stats

    from nfref.tables.closed_form import GaussianMixture
    from nfref.tables.frames import distinct_rows
    data, model = load(str(folder / "people.csv")), load_model(folder / "people.npz")
    places, _ = distinct_rows(data.values, None, 0)
    test, train = data.values[places[:20]], data.values[places[20:]]

    table = table_of((folder / "fit.txt").read_text())
    flow = model.density.log_prob(list(test.T))
    # In standardised units, since scipy takes columns of very different size for singular.
    mean, std = np.mean(train, axis=0), np.std(train, axis=0)
    gaussian = stats.multivariate_normal(np.zeros(3), np.corrcoef(train.T)).logpdf(
        (test - mean) / std) - np.sum(np.log(std))
    for name, log_prob in (("realnvp", flow), ("full Gaussian", gaussian)):
        assert table[name][0] == pytest.approx(np.mean(log_prob), abs=6e-4)
        assert table[name][1] == pytest.approx(stats.sem(log_prob), abs=6e-4)
    # The mixture in robust units, of which a fifth of the rows chooses the number.
    _, u, log_slope = model.density.encode(list(data.values[places].T))
    mixture = GaussianMixture.choose(u[56:], u[20:56], np.random.default_rng(0))
    found = np.mean(mixture.log_prob(u[:20]) + log_slope[:20])
    name = f"Gaussian mixture of {mixture.components}"
    assert table[name][0] == pytest.approx(found, abs=6e-4)


def test_score(folder):
    output = succeeds("score", "people.npz", "people.csv", cwd=folder)
    *lines, last = output.splitlines()
    model = load_model(folder / "people.npz")
    expected = model.density.log_prob(list(people().T))
    np.testing.assert_array_equal(np.array(lines, dtype=float), expected)
    assert last == f"mean log-likelihood: {np.mean(expected):.6f} nats"

    output = succeeds("score", "people.npz", "people.csv", "--out", "scores.csv", cwd=folder)
    first, title, *least = output.splitlines()
    assert first == last and title == "least likely of 200 rows:"
    order = np.argsort(expected)[:5]
    assert [int(line.split()[1]) for line in least] == (order + 1).tolist()
    assert [float(line.split()[2]) for line in least] == pytest.approx(expected[order], abs=6e-4)
    assert f"age={people()[order[0], 2]:.6g}" in least[0]
    assert last + "\n" == succeeds("score", "people.npz", "people.csv", "--least", 0, "--out",
                                   "scores.csv", cwd=folder)
    scores = read_table(folder / "scores.csv")
    assert scores.columns == ("log_likelihood",)
    np.testing.assert_array_equal(scores.values[:, 0], expected)


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


def test_columns_are_found_by_name(folder, tmp_path):
    turned = people()[:, [2, 0, 1]]
    write_people(tmp_path / "turned.csv", rows=turned, header=("age", "height", "body weight"))
    np.save(tmp_path / "bare.npy", people())
    scores = [succeeds("score", folder / "people.npz", data, cwd=tmp_path)
              for data in (folder / "people.csv", "turned.csv", "bare.npy")]
    assert scores[0] == scores[1] == scores[2]


def test_the_same_seed_gives_the_same_file(folder):
    for name in ("one.npz", "two.npz"):
        succeeds("fit", "people.csv", "--flow", "realnvp", *SMALL, "--out", name, "--quiet",
                 cwd=folder)
    assert (folder / "one.npz").read_bytes() == (folder / "two.npz").read_bytes()
    assert (folder / "one.npz").read_bytes() == (folder / "people.npz").read_bytes()


def test_a_flow_that_python_has_fitted_serves_every_command(folder, tmp_path):
    density, params = bare_flow(tmp_path / "m.npz", columns=COLUMNS)
    data = folder / "people.csv"
    *lines, _ = succeeds("score", "m.npz", data, cwd=tmp_path).splitlines()
    np.testing.assert_array_equal(np.array(lines, float), density.log_prob(params, people()))
    drawn = succeeds("sample", "m.npz", "-n", 3, "--seed", 4, cwd=tmp_path).splitlines()
    expected = density.sample(params, np.random.default_rng(4), 3)
    np.testing.assert_array_equal([line.split(",") for line in drawn[1:]], expected.astype(str))
    assert "MAF(layers=1, hidden=(8,)) -> Standardise" in succeeds("info", "m.npz", cwd=tmp_path)
    succeeds("plot", "m.npz", "--data", data, "--out", "m.png", cwd=tmp_path)
    for arguments, option in ((("sample", "m.npz", "-n", 1, "--given", "age=3"), "--given"),
                              (("score", "m.npz", data, "--errors"), "--errors"),
                              (("quantile", "m.npz", "--column", "age"), "MODEL")):
        done = nfref_command(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr == (f"nfref: error: {option}: expected the density of a table, got "
                               "m.npz, a flow that nfref.fit has fitted\n")


def test_quiet_prints_the_table_alone(folder):
    done = nfref_command("fit", "people.csv", "--flow", "nice", *SMALL, "--quiet", cwd=folder)
    assert done.stdout.startswith("test nats per row") and done.stderr == ""


def test_float32_end_to_end(folder):
    succeeds("fit", "people.csv", *SMALL, "--dtype", "float32", "--out", "half.npz", cwd=folder)
    assert "float32" in succeeds("info", "half.npz", cwd=folder)
    assert "mean log-likelihood" in succeeds("score", "half.npz", "people.csv", cwd=folder)
    assert len(succeeds("sample", "half.npz", "-n", "1", cwd=folder).splitlines()) == 2
    member = load_model(folder / "half.npz").density.pool.members[0]
    assert trees.dtype_of(member.params) == np.float32
    x = people(5).astype(np.float32)
    assert member.log_prob(x.astype(np.float64)).dtype == np.float32


def test_bounded_columns(folder, tmp_path):
    rng = np.random.default_rng(0)
    rows = np.stack([rng.beta(0.5, 0.5, 100), rng.standard_normal(100)], axis=1)
    write_people(tmp_path / "t.csv", rows=rows, header=("share", "gain"))
    succeeds("fit", "t.csv", *SMALL, "--column", "share=0:1", "--out", "m.npz", cwd=tmp_path)
    succeeds("sample", "m.npz", "-n", "2000", "--out", "new.csv", cwd=tmp_path)
    shares = read_table(tmp_path / "new.csv").values[:, 0]
    assert np.all((shares > 0) & (shares < 1))

    write_people(tmp_path / "out.csv", rows=np.array([[0.5, 0.0], [1.5, 0.0]]),
                 header=("share", "gain"))
    done = nfref_command("score", "m.npz", "out.csv", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.splitlines()[1:] == [
        "-inf", "mean log-likelihood: -inf nats"]
    assert done.stderr.startswith("nfref: note: 1 rows") and done.stderr.count("\n") == 1


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
        scored = nfref_command("score", "m.npz", "new.csv", cwd=tmp_path)
        assert scored.stderr == "" and "inf" not in scored.stdout


def test_nan_is_told_from_minus_infinity(tmp_path):
    density = nfref.Density(nfref.Chain([nfref.Linear(3), nfref.Linear(3),
                                         nfref.Logit((None, None, 0), (None, None, 1))]))
    params = density.init(np.random.default_rng(0))
    params["flow"][0]["weight"] = np.array([[1.0, 1, 0], [0, 1, 0], [0, 0, 1]])
    params["flow"][1]["weight"] = np.diag([1e-300, 1e-300, 1])
    save_model(tmp_path / "m.npz", density, params)
    # The second row comes to a difference of infinities, the third lies outside.
    (tmp_path / "t.csv").write_text("x1,x2,x3\n0,0,.5\n1e300,1e300,.5\n0,0,2\n")
    done = nfref_command("score", "m.npz", "t.csv", cwd=tmp_path)
    assert done.stdout.splitlines()[1:3] == ["nan", "-inf"]
    assert np.isfinite(float(done.stdout.splitlines()[0]))
    assert "note: 1 rows lie where" in done.stderr and "note: 1 rows have" in done.stderr


def test_ties_collapse_the_mixture_and_are_said_to(tmp_path):
    rng = np.random.default_rng(0)
    write_people(tmp_path / "t.csv", rows=rng.integers(0, 10, (2000, 2)).astype(float) * 1.5,
                 header=("a", "b"))
    output = succeeds("fit", "t.csv", *SMALL, cwd=tmp_path)
    assert "(collapsed)" in output
    assert "the mixture's" in output and "shrunk onto repeated values" in output


def test_a_flow_far_below_the_gaussian_is_said_to_be(tmp_path):
    mixing = np.array([[1, 2, 0], [0, 1e-4, 1], [1, 0, 0]])
    write_people(tmp_path / "t.csv", rows=people(400) @ mixing)
    output = succeeds("fit", "t.csv", "--flow", "planar", "--layers", "1", "--epochs", "1",
                      "--lr", "1e-12", cwd=tmp_path)
    assert "note: it is worse than the Gaussian by" in output


@pytest.mark.parametrize("data", ["numbers.csv", "years.csv"])
def test_numbers_for_names_survive_fit_sample_and_score(tmp_path, data):
    rows = people(100)
    header = {"numbers.csv": "0,1,2", "years.csv": "2019,2020,2021"}[data]
    np.savetxt(tmp_path / data, rows, delimiter=",", header=header, comments="")
    done = nfref_command("fit", data, *SMALL, "--out", "m.npz", cwd=tmp_path)
    assert "100 rows, 3 columns" in done.stdout
    assert f"nfref: warning: {data}: line 1 is taken as names" in done.stderr
    succeeds("sample", "m.npz", "-n", 9, "--out", "new.csv", cwd=tmp_path)
    scored = nfref_command("score", "m.npz", "new.csv", cwd=tmp_path)
    assert scored.stdout.count("\n") == 10 and scored.stderr == ""
    named = nfref_command("fit", data, *SMALL, "--header", "no", cwd=tmp_path)
    assert "101 rows, 3 columns" in named.stdout and "warning" not in named.stderr


def test_control_characters_are_escaped_when_printed(folder):
    bare_flow(folder / "odd.npz", columns=("a\x1b[31m", "b\nc", "d"),
              info={"note\r": "\x07", "fit": [1]})
    output = succeeds("info", "odd.npz", cwd=folder)
    assert "a\\x1b[31m, b\\nc, d" in output and "\\x07" in output
    assert not set(output) & set("\x1b\r\x07")
    succeeds("sample", "odd.npz", "-n", 3, "--out", "odd.csv", cwd=folder)
    assert nfref_command("score", "odd.npz", "odd.csv", cwd=folder).stderr == ""


def test_samples_are_utf8_whatever_the_terminal_is(folder):
    bare_flow(folder / "utf8.npz", columns=("größe", "重", "a"))
    done = subprocess.run([COMMAND, "sample", "utf8.npz", "-n", "2"], cwd=folder,
                          capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.stdout.decode().startswith("größe,重,a\n")
    done = subprocess.run([COMMAND, "info", "utf8.npz"], cwd=folder, capture_output=True,
                          env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and b"gr\\xf6\\xdfe" in done.stdout


def test_a_pipe_is_read_and_stdin_is_refused(folder):
    os.mkfifo(folder / "pipe.csv")
    writer = subprocess.Popen(["cp", "people.csv", "pipe.csv"], cwd=folder)
    through = succeeds("score", "people.npz", "pipe.csv", cwd=folder)
    assert writer.wait() == 0 and through == succeeds("score", "people.npz", "people.csv",
                                                      cwd=folder)
    os.remove(folder / "pipe.csv")
    done = nfref_command("score", "people.npz", "/dev/stdin", cwd=folder)
    assert done.returncode == 2 and done.stderr.startswith("nfref: error: /dev/stdin: expected a")


def test_out_of_memory_is_one_line(folder):
    import resource
    np.lib.format.open_memmap(folder / "sparse.npy", "w+", np.float32, (10 ** 8, 3))
    done = nfref_command("plot", "people.npz", "--data", "sparse.npy", "--out", "x.png",
                         cwd=folder, preexec_fn=lambda: resource.setrlimit(
                             resource.RLIMIT_DATA, (2 ** 30, 2 ** 30)))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("nfref: error: out of memory: Unable to allocate")


def test_a_sample_larger_than_the_disk_is_refused_at_once(folder):
    done = nfref_command("sample", "people.npz", "-n", 10 ** 14, "--out", "big.csv", cwd=folder)
    assert done.returncode == 2 and "-n: expected rows that fit into the" in done.stderr
    assert not (folder / "big.csv").exists()


def test_duplicates_are_noticed_and_dropped(tmp_path):
    write_people(tmp_path / "t.csv", rows=np.concatenate([people(50), people(50)[:7]]))
    noticed = succeeds("fit", "t.csv", *SMALL, cwd=tmp_path)
    assert "57 rows" in noticed and "7 rows equal to an earlier one" in noticed
    dropped = succeeds("fit", "t.csv", *SMALL, "--drop-duplicates", cwd=tmp_path)
    assert "50 rows" in dropped and "dropped 7 rows" in dropped


def test_a_value_that_repeats_is_noticed(tmp_path):
    rows = people(60)
    rows[:30, 2] = 7.5
    write_people(tmp_path / "t.csv", rows=rows)
    assert "'age' is 7.5 in 50% of the rows" in succeeds("fit", "t.csv", *SMALL, cwd=tmp_path)


def test_linearly_dependent_columns_are_refused_by_name(tmp_path):
    rows = people(60)
    write_people(tmp_path / "t.csv", rows=np.concatenate([rows, rows[:, :1] + rows[:, 2:]], axis=1),
                 header=(*COLUMNS, "sum"))
    done = nfref_command("fit", "t.csv", *SMALL, cwd=tmp_path)
    assert done.returncode == 2 and "--without sum leaves it out" in done.stderr


def test_one_column(tmp_path):
    write_people(tmp_path / "t.csv", rows=people()[:, :1], header=("height",))
    output = succeeds("fit", "t.csv", "--layers", "2", "--epochs", "2", "--out", "m.npz",
                      "--plot", "m.png", cwd=tmp_path)
    assert "maf" in output and "NSF" in succeeds("info", "m.npz", cwd=tmp_path)
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    assert "maf" in succeeds("fit", "t.csv", "--flow", "maf", *SMALL, cwd=tmp_path)


def test_built_in_data_and_the_floor(tmp_path):
    listed = succeeds("datasets", cwd=tmp_path)
    for name in ("wine", *nfref.datasets.TOYS):
        assert any(line.split()[0] == name for line in listed.splitlines())
    output = succeeds("fit", "eight-gaussians", "--flow", "planar", "--layers", "1", "--epochs",
                      "1", cwd=tmp_path)
    mean, error = table_of(output)["true density"]
    assert abs(mean + nfref.datasets.eight_gaussians.entropy) < 4 * error


def test_a_file_comes_before_a_built_in_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load("two-moons").values.shape == (5000, 2)
    np.testing.assert_array_equal(load("two_moons").values, load("two-moons").values)
    (tmp_path / "wine").mkdir()
    done = nfref_command("fit", "wine", cwd=tmp_path)
    assert done.returncode == 2 and "got no extension" in done.stderr


@pytest.mark.parametrize("name", ["planar", "nice", "maf", "iaf"])
def test_the_other_flows(folder, name):
    hidden = () if name == "planar" else ("--hidden", "4")
    output = succeeds("fit", "people.csv", "--flow", name, "--layers", "2", *hidden, "--epochs",
                      "1", "--batch", "50", "--lr", "0.01", "--seed", "5", cwd=folder)
    assert next(iter(table_of(output))) == name


# Pictures and descriptions ----------------------------------------------------------------


def test_plots(folder, tmp_path):
    model = folder / "people.npz"
    succeeds("plot", model, "--data", folder / "people.csv", "--out", "corner.png", cwd=tmp_path)
    succeeds("fit", "two-moons", *SMALL, "--plot", "moons.pdf", cwd=tmp_path)
    assert (tmp_path / "corner.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "moons.pdf").read_bytes().startswith(b"%PDF")


def test_info(folder):
    output = succeeds("info", "people.npz", cwd=folder)
    for part in ("RealNVP(layers=1, hidden=(8,))", "3: height, body weight, age", "1 member",
                 "144 rows to train", "float64", "seed 0", f"nfref {nfref.__version__}"):
        assert part in output


def test_info_about_the_system(tmp_path):
    numba = pytest.importorskip("numba")
    lines = dict(line.split(": ", 1) for line in succeeds("info", "--system",
                                                          cwd=tmp_path).splitlines())
    lines = {name: text.strip() for name, text in lines.items()}
    assert list(lines) == ["nfref", "python", "numpy", "numba", "processor", "threads", "backend",
                           "cuda", "cache"]
    assert lines["nfref"] == nfref.__version__ and lines["numpy"] == np.__version__
    assert lines["numba"] == numba.__version__
    for arguments in ((), ("people.npz", "--system")):
        done = nfref_command("info", *arguments, cwd=tmp_path)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_version_and_help(tmp_path):
    assert succeeds("--version", cwd=tmp_path) == f"nfref {nfref.__version__}\n"
    assert "commands:" in succeeds("--help", cwd=tmp_path)


@pytest.mark.parametrize("command", ["fit", "score", "sample", "plot", "info", "datasets"])
def test_every_command_has_an_example(capsys, command):
    from nfref.cli import main
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0 and f"example:\n  nfref {command}" in capsys.readouterr().out


def test_help_imports_no_more_than_it_needs(tmp_path):
    """Every command waits for what is imported; SciPy and matplotlib take most of a second."""
    code = ("import sys, nfref_command\n"
            "try:\n    nfref_command.main()\n"
            "finally:\n    print({'numba', 'matplotlib', 'scipy'} & set(sys.modules))")
    done = subprocess.run([sys.executable, "-c", code, "fit", "--help"], cwd=tmp_path,
                          capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("usage: ") and done.stdout.endswith("\nset()\n")


def test_python_m_nfref(tmp_path):
    done = subprocess.run([sys.executable, "-m", "nfref", "--version"], cwd=tmp_path,
                          capture_output=True, text=True, timeout=60)
    assert done.stdout == f"nfref {nfref.__version__}\n"


# Bad input --------------------------------------------------------------------------------


@pytest.fixture
def bad_files(folder, tmp_path):
    """A folder of bad files, beside a good table and a good model."""
    shutil.copy(folder / "people.npz", tmp_path / "model.npz")
    write_people(tmp_path / "good.csv")
    rows = people(30)
    write_people(tmp_path / "still.csv", rows=np.where([True, True, False], rows, 7.5))
    write_people(tmp_path / "few.csv", rows=rows[:3])
    write_people(tmp_path / "narrow.csv", rows=rows[:, :1], header=("height",))
    write_people(tmp_path / "other.csv", header=("height", "body weight", "ages"))
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("a,b\n")
    (tmp_path / "text.csv").write_text("a,b\n1,2\n3,tall\n")
    (tmp_path / "ragged.csv").write_text("a,b\n1,2\n3\n")
    (tmp_path / "nan.csv").write_text("a,b\n1,2\n3,nan\n")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "model.npz").read_bytes()[:-30])
    np.savez(tmp_path / "kind.npz", x=rows)
    np.savez(tmp_path / "pickle.npz", header=np.array([{"a": 1}], object))
    (tmp_path / "kept.npz").write_text("kept")
    (tmp_path / "folder").mkdir()
    return tmp_path


def content_of(folder):
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}


OUT = ("--out", "kept.npz")


@pytest.mark.parametrize("arguments, message", [
    (("fit", "missing.csv", *OUT), "missing.csv: expected a file, found none there"),
    (("fit", "nothing", *OUT), "nothing: expected a file or the name of built-in data"),
    (("fit", "folder", *OUT), "folder: expected a file named .csv"),
    (("fit", "empty.csv", *OUT), "empty.csv: expected a table, got an empty file"),
    (("fit", "header.csv", *OUT), "header.csv: expected rows below the header, got none"),
    (("fit", "text.csv", *OUT), "text.csv: row 2 (line 3), column 'b': expected a number, "
                                "got 'tall'"),
    (("fit", "ragged.csv", *OUT), "ragged.csv: row 2 (line 3): expected 2 columns, got 1"),
    (("fit", "nan.csv", "--flow", "maf", *OUT), "nan.csv: expected at least 5 rows that differ"),
    (("fit", "still.csv", *OUT), "still.csv: column 'age': expected values that differ, got 7.5"),
    (("fit", "few.csv", *OUT), "few.csv: expected at least 5 rows that differ, got 3"),
    (("fit", "few.csv", "--flow", "maf", *OUT), "few.csv: expected at least 5 rows that differ"),
    (("fit", "narrow.csv", "--flow", "realnvp", *OUT), "--flow realnvp: RealNVP: expected dim of "
                                                       "at least 2"),
    (("fit", "narrow.csv", "--flow", "nice", *OUT), "--flow nice: NICE: expected dim of"),
    (("fit", "good.csv", "--layers", "0", *OUT), "--layers: expected at least 1, got 0"),
    (("fit", "good.csv", "--layers", "2.5", *OUT), "--layers: expected a whole number, got '2.5'"),
    (("fit", "good.csv", "--epochs", "0", *OUT), "--epochs: expected at least 1, got 0"),
    (("fit", "good.csv", "--batch", "0", *OUT), "--batch: expected at least 1, got 0"),
    (("fit", "good.csv", "--lr", "-0.1", *OUT), "--lr: expected a finite number above 0, got -0.1"),
    (("fit", "good.csv", "--lr", "nan", *OUT), "--lr: expected a finite number above 0, got nan"),
    (("fit", "good.csv", "--lr", "fast", *OUT), "--lr: expected a number, got 'fast'"),
    (("fit", "good.csv", "--seed", "-1", *OUT), "--seed: expected at least 0, got -1"),
    (("fit", "good.csv", "--hidden", "64,", *OUT), "--hidden: expected a whole number, got ''"),
    (("fit", "good.csv", "--hidden", "1", *OUT), "--flow maf: hidden: expected at least 2 units"),
    (("fit", "good.csv", "--flow", "planar", "--hidden", "8", *OUT), "--hidden: expected none"),
    (("fit", "good.csv", "--flow", "magic", *OUT), "--flow: invalid choice: 'magic'"),
    (("fit", "good.csv", "--column", "height", *OUT), "--column: expected NAME=SUPPORT"),
    (("fit", "good.csv", "--column", "width=0:1", *OUT), "--column: expected a column of"),
    (("fit", "good.csv", "--column", "height=0:1", *OUT),
     "good.csv: column 'height': expected values strictly between 0 and 1, got 1.7125"),
    (("fit", "good.csv", "--column", "height=0:1", "--flow", "maf", *OUT),
     "good.csv: column 'height': expected values strictly between 0 and 1, got 1.7125"),
    (("fit", "good.csv", "--magic", *OUT), "unrecognized arguments: --magic"),
    (("fit", "good.csv", "--out", "no/such/model.npz"), "no/such/model.npz: expected a folder"),
    (("fit", "good.csv", "--out", "folder"), "folder: expected a file to write, got a folder"),
    (("fit", "good.csv", "--out", "good.csv"), "--out: expected a file of its own"),
    (("fit", "good.csv", "--plot", "a.png", "--out", "a.png"), "--plot: expected a file of its"),
    (("fit", "good.csv", "--plot", "a.xyz", *OUT), "--plot: expected a file named .png"),
    (("fit", *OUT), "the following arguments are required: DATA"),
    ((), "expected a command such as fit, got none"),
    (("magic",), "COMMAND: invalid choice: 'magic'"),
    (("score", "model.npz", "narrow.csv"), "narrow.csv: expected the model's 3 columns 'height', "
                                           "'body weight', 'age', got 1: 'height' (missing: "),
    (("score", "model.npz", "other.csv"), "(missing: 'age'; extra: 'ages')"),
    (("score", "missing.npz", "good.csv"), "missing.npz: expected a model file, found none there"),
    (("score", "good.csv", "good.csv"), "good.csv: expected an nfref model file, got something"),
    (("score", "cut.npz", "good.csv"), "cut.npz: expected a complete model file, got a truncated"),
    (("score", "kind.npz", "good.csv"), "kind.npz: expected a model file that nfref wrote"),
    (("score", "pickle.npz", "good.csv"), "pickle.npz: expected plain arrays, got pickled"),
    (("score", "model.npz", "good.csv", "--out", "good.csv"), "--out: expected a file of its own"),
    (("sample", "model.npz", "-n", "-1"), "-n: expected at least 0, got -1"),
    (("sample", "model.npz"), "-n: expected how many rows, got none"),
    (("sample", "model.npz", "-n", "1", "--out", "model.npz"), "--out: expected a file of its"),
    (("plot", "model.npz", "--data", "narrow.csv", "--out", "a.png"), "narrow.csv: expected the"),
    (("plot", "model.npz", "--out", "picture"), "--out: expected a file named .png, .pdf or .svg"),
    (("info", "kind.npz"), "kind.npz: expected a model file that nfref wrote"),
])
def test_bad_input(bad_files, arguments, message, monkeypatch, capsys):
    """In this process, to save the start of sixty; the tests below go through the command."""
    monkeypatch.chdir(bad_files)
    before = content_of(bad_files)
    assert main(list(map(str, arguments))) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("nfref: error: ") and message in printed.err
    assert printed.err.count("\n") == 1
    assert content_of(bad_files) == before


def test_a_newer_model_file(bad_files):
    import json
    with np.load(bad_files / "model.npz") as archive:
        arrays = dict(archive)
    header = {**json.loads(arrays["header"].tobytes()), "version": 99}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(bad_files / "newer.npz", **arrays)
    done = nfref_command("info", "newer.npz", cwd=bad_files)
    assert done.returncode == 2
    assert f"expected format version {VERSION}, got 99" in done.stderr


@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write anywhere")
def test_a_write_protected_file(bad_files):
    (bad_files / "kept.npz").chmod(0o444)
    done = nfref_command("fit", "good.csv", *SMALL, *OUT, cwd=bad_files)
    assert done.returncode == 2 and "kept.npz: expected a file that can be written" in done.stderr


# Interruptions ----------------------------------------------------------------------------


def started(*arguments, cwd):
    """A command that Ctrl-C reaches, also where the tests themselves run in the background.

    A shell has its background jobs ignore SIGINT, and what they start inherits that.
    """
    with warnings.catch_warnings():     # Python 3.12 warns of forks where there are threads
        warnings.simplefilter("ignore", DeprecationWarning)
        return subprocess.Popen([COMMAND, *arguments], cwd=cwd, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True,
                                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def test_ctrl_c_in_training_keeps_the_best_so_far(folder, tmp_path):
    process = started("fit", str(folder / "people.csv"), "--flow", "realnvp", "--layers", "1",
                      "--hidden", "8", "--epochs", "1000000", "--lr", "1e-12", "--out", "m.npz",
                      cwd=tmp_path)
    try:
        shown = ""
        while "validation" not in shown:        # the bar shows it after the first epoch
            character = process.stderr.read(1)
            assert character, "training ended by itself"
            shown += character
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0 and "Traceback" not in errors
    assert "interrupted in epoch" in output
    assert len(table_of(output)) == 4
    model = load_model(tmp_path / "m.npz")
    assert "interrupted in epoch" in model.info["fit"]["candidates"][0]["message"]
    assert model.columns == COLUMNS
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.npz"]


def test_ctrl_c_outside_of_training(capsys, monkeypatch):
    from nfref import cli

    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.use, "loaded_model", interrupted)
    assert cli.main(["info", "model.npz"]) == 130
    assert capsys.readouterr().err == "nfref: interrupted\n"


def test_a_closed_pipe_is_no_error(folder):
    process = started("sample", "people.npz", "-n", "50000", cwd=folder)
    assert process.stdout.readline() == "height,body weight,age\n"
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141 and errors == ""


def test_a_backend_that_is_not_there(capsys, monkeypatch):
    from nfref.cli import main
    monkeypatch.setenv("NFREF_BACKEND", "abacus")
    assert main(["datasets"]) == 2
    output, errors = capsys.readouterr()
    assert output == "" and errors.startswith("nfref: error: NFREF_BACKEND: expected one of")
    assert errors.count("\n") == 1
