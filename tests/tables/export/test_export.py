"""One Python file of a density: the same numbers as nfref, and names that stay data."""

import ast
import base64
import hashlib
import importlib.util
import io
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ks_2samp

import nfref
from nfref.tables.densities.pool import Pool
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.densities.wide import Wide
from nfref.tables.files.model_file import Model
from nfref.tables.queries.scoring import AsDensity, log_prob, sample_like
from nfref.tables.schema.columns import Category, Continuous, Count
from tests.tables.export.families import REAL, families, limited, random_flow, rows_for, table

FAMILIES = families()


def imported(path):
    """Import an exported file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exported(density, path, **options):
    """Export a density and import the file."""
    nfref.export(Model(density, None), path, **options)
    return imported(path)


@pytest.fixture(scope="module")
def densities():
    """Return name -> density of all families."""
    return limited(FAMILIES)


@pytest.fixture(scope="module")
def modules(densities, tmp_path_factory):
    """Return name -> imported file of all families."""
    folder = tmp_path_factory.mktemp("exported")
    return {
        name: exported(density, folder / f"{name.replace(' ', '_')}.py")
        for name, density in densities.items()
    }


def errors(found, expected):
    """Return errors as parts of a score above 1; no score and no density must be the same."""
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        apart = np.abs(found - expected) / np.maximum(np.abs(expected), 1)
    return np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))


def scores_of(density, rows):
    """Score rows of numbers by nfref's formulas in float64."""
    with nfref.backend("numpy"):
        blocks = [rows[start : start + 4096] for start in range(0, len(rows), 4096)]
        return np.concatenate([AsDensity(density).log_prob(None, block) for block in blocks])


@pytest.mark.parametrize("n", [2000, pytest.param(100_000, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("name", [*FAMILIES, "limit"])
def test_scores_are_those_of_nfref(densities, modules, name, n):
    rows = rows_for(densities[name], np.random.default_rng(1), n)
    expected = scores_of(densities[name], rows)
    assert np.mean(np.isfinite(expected)) > 0.3
    worst = errors(modules[name].log_prob(rows), expected)
    k = np.argmax(worst)
    assert worst[k] < 1e-12, (rows[k], expected[k])
    assert modules[name].test() == 0


@pytest.mark.parametrize(
    "name", [name for name in (*FAMILIES, "limit") if name != "label given others"]
)
def test_samples_have_the_distribution_of_nfref(densities, modules, name):
    """Columns and scores of rows made of uniform noise are distributed as nfref's samples."""
    density, module, rng, n = densities[name], modules[name], np.random.default_rng(2), 4000
    one = np.repeat(rows_for(replace(density, limit=None), rng, 1), n, axis=0)
    given = one[:, [module.COLUMNS.index(column) for column in module.GIVEN]]
    found = module.sample(rng.random((n, module.NOISE)), given if module.GIVEN else None)
    found = found[~np.isnan(found[:, 0])]
    assert len(found) > (0.3 if density.limit else 0.999) * n
    cells = [
        column.decode(values) if column.kind == "category" else values
        for column, values in zip(density.columns, one.T)
    ]
    expected = AsDensity(density).numbers(sample_like(density, cells, rng, n))
    for column, ours, theirs in zip(module.COLUMNS, found.T, expected.T):
        assert ks_2samp(ours, theirs, method="asymp").pvalue > 1e-4, column
        if column in module.GIVEN:
            assert np.all(ours == theirs)
    scores = [module.log_prob(rows) for rows in (found, expected)]
    assert np.all(np.isfinite(scores[0]))
    assert ks_2samp(*scores).pvalue > 1e-4


def test_samples_of_a_label_follow_its_probabilities(modules):
    module, rng = modules["label given others"], np.random.default_rng(2)
    rows = np.repeat(rows_for(FAMILIES["label given others"], rng, 1), 3, axis=0)
    rows[:, 0] = np.arange(3)
    given = np.repeat(rows[:1, 1:], 3000, axis=0)
    labels = module.sample(rng.random((3000, module.NOISE)), given)[:, 0]
    shares = np.bincount(labels.astype(int), minlength=3) / 3000
    assert np.max(np.abs(shares - np.exp(module.log_prob(rows)))) < 0.04


@pytest.mark.parametrize("name", ["maf", "nsf", "nsf coupling", "realnvp", "nice", "gaussian"])
def test_a_latent_leads_to_the_density_and_back(modules, name):
    module, rng = modules[name], np.random.default_rng(0)
    noise = rng.uniform(0.01, 0.99, (500, module.NOISE))
    density = replace(FAMILIES[name], columns=tuple(replace(c, step=None) for c in REAL))
    module = imported_again(module, density)
    rows = module.sample(noise)
    z, log_det = module.inverse(rows)
    assert np.allclose(z, module.normal_quantile(noise[:, 3:]), atol=1e-7)
    normal = -0.5 * np.sum(z**2 + np.log(2 * np.pi), axis=1)
    assert np.max(errors(normal + log_det, module.log_prob(rows))) < 1e-12


def imported_again(module, density):
    """Export a density over the file of another one."""
    from pathlib import Path

    return exported(density, Path(module.__file__).with_name("again.py"))


def test_inverse_names_members_that_have_a_latent(modules):
    module = modules["pool"]
    rows = rows_for(FAMILIES["pool"], np.random.default_rng(0), 50)
    flow = FAMILIES["pool"].pool.members[3]
    codes, u, log_slope = FAMILIES["pool"].encode(list(rows.T))
    z, log_det = module.inverse(rows, "member 3")
    normal = -0.5 * np.sum(z**2 + np.log(2 * np.pi), axis=1)
    with nfref.backend("numpy"):
        expected = flow.log_prob(u) + log_slope
    assert np.max(errors(normal + log_det, expected)) < 1e-12
    assert np.array_equal(module.inverse(rows, 3)[0], z)
    for member in ("member 0", 1, 7, "nsf"):
        with pytest.raises(ValueError, match="latent, .'member 2', 'member 3'., got"):
            module.inverse(rows, member)


# What is exported ---------------------------------------------------------------------------


def test_a_flow_alone(tmp_path):
    """Standardised columns, bounds next to the data, float32 parameters."""
    rng = np.random.default_rng(0)
    x = np.abs(rng.standard_normal((300, 3))) * [1, 10, 0.1] + [0, 5, 0]
    for k, bounds in enumerate([{}, {"lower": [0, None, 0], "upper": [9, None, 2]}]):
        flow = nfref.in_units_of(nfref.MAF(3, layers=2, hidden=(8,)), x, **bounds)
        density = nfref.Density(flow)
        params = random_flow(rng, flow).params
        path = tmp_path / f"flow{k}.py"
        nfref.export(Model(density, params, ("a", "b", "c")), path)
        module = imported(path)
        rows = np.concatenate([x, [[-1.0, 6.0, 3.0]]])
        with nfref.backend("numpy"):
            expected = log_prob(density, params, rows)
        assert np.max(errors(module.log_prob(rows), expected)) < 1e-12
        assert np.isfinite(expected[-1]) == (k == 0)
        assert module.COLUMNS == ("a", "b", "c") and module.test() == 0
        assert module.sample(rng.random((5, module.NOISE))).shape == (5, 3)


def test_models_come_as_files_and_estimators(tmp_path):
    density = FAMILIES["gaussian"]
    nfref.save_model(tmp_path / "model.npz", density)
    estimator = nfref.FlowDensity()
    estimator.density_ = density
    for k, model in enumerate([tmp_path / "model.npz", str(tmp_path / "model.npz"), estimator]):
        nfref.export(model, tmp_path / f"{k}.py")
    texts = [(tmp_path / f"{k}.py").read_text() for k in range(2)]
    assert texts[0] == texts[1]
    with pytest.raises(TypeError, match="model: expected a model, the path of its file"):
        nfref.export(3, tmp_path / "no.py")
    before = (tmp_path / "model.npz").read_bytes()
    with pytest.raises(ValueError, match="path: expected a file of its own, got .*model.npz"):
        nfref.export(tmp_path / "model.npz", tmp_path / "model.npz")
    assert (tmp_path / "model.npz").read_bytes() == before


def test_a_posterior(tmp_path):
    rng = np.random.default_rng(0)
    theta = rng.random((80, 2))
    x = theta + 0.1 * rng.standard_normal((80, 2))
    posterior = nfref.Posterior.from_simulations(theta, x, bounds=[(0, 1)] * 2, flow="mixture")
    nfref.export(posterior, tmp_path / "posterior.py")
    module, rows = imported(tmp_path / "posterior.py"), np.concatenate([theta, x], axis=1)
    assert module.GIVEN == ("x1", "x2")
    expected = posterior.given(x[0]).logpdf(theta[0])
    assert module.log_prob(rows)[0] == pytest.approx(expected, rel=1e-12)


def refused():
    """Yield (a pool's member, the name that its refusal must have)."""
    rng = np.random.default_rng(0)
    base = nfref.Density(nfref.MAF(3, hidden=(4,)), nfref.StudentT(3))
    for flow, name in [
        (nfref.NAF(3, hidden=(4, 4)), "DeepSigmoid"),
        (nfref.IAF(3, layers=1, hidden=(4,)), "Invert"),
        (nfref.MAF(3, hidden=(4,), batch_norm=True), "BatchNorm"),
        (nfref.MAF(3, hidden=(4,), transformer=nfref.Affine("gate")), "gate"),
        (nfref.MAF(3, hidden=(4,), transformer=nfref.DeepSigmoid()), "DeepSigmoid"),
        (nfref.MADE(3, (4,), nfref.RationalQuadratic(tails="circular")), "circular"),
        (nfref.MAF(3, hidden=(4,), periodic=(0,)), "periodic"),
        (nfref.Planar(3, layers=1), "Planar"),
    ]:
        yield random_flow(rng, flow), name
    yield replace(random_flow(rng, base.flow), density=base, params=base.init(rng)), "StudentT"
    yield Wide(3, freedom=4.0), "freedom=4"


@pytest.mark.parametrize("member, name", list(refused()), ids=lambda value: str(value)[:12])
def test_what_cannot_be_exported_is_named_and_nothing_is_written(tmp_path, member, name):
    density = TableDensity(REAL, None, Pool((member,), np.ones(1), ("own",)))
    (tmp_path / "no.py").write_text("before")
    with pytest.raises(ValueError, match=f"^member 'own'.*: expected .*{name}") as found:
        nfref.export(Model(density, None), tmp_path / "no.py", weights="beside")
    assert "\n" not in str(found.value)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_a_subclass_is_refused(tmp_path):
    class Other(nfref.MADE):
        pass

    density = nfref.Density(nfref.Chain(Other(2, (4,))))
    with pytest.raises(ValueError, match="flow: expected .*MADE.*, got Other"):
        nfref.export(Model(density, density.init(np.random.default_rng(0))), tmp_path / "no.py")


def test_members_without_weight_are_left_out(tmp_path):
    rng = np.random.default_rng(0)
    pool = FAMILIES["pool"].pool
    members = (random_flow(rng, nfref.Planar(3, layers=1)), *pool.members)
    density = replace(
        FAMILIES["pool"], pool=Pool(members, np.append(0.0, pool.weights), ("planar", *pool.names))
    )
    assert len(exported(density, tmp_path / "some.py").MEMBERS) == 4


# The text -----------------------------------------------------------------------------------

TEXTS = ("DESCRIPTION", "WEIGHTS")
HOSTILE = (
    '"""',
    '\\"""',
    '"""\n__import__("os").abort()\nr"""',
    "\\",
    "a\\",
    "'''",
    "line\nbreak\r\x0b\x85\u2028",
    "\N{GREEK SMALL LETTER ALPHA}\N{PILE OF POO}\u202e",
    "{x}%s",
    "#",
)


def test_hostile_names_never_become_code(tmp_path):
    """The syntax trees of two files differ only in two texts, whatever the names are."""

    def code(path):
        text = path.read_bytes().decode("ascii")
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in TEXTS:
                assert isinstance(node.value, ast.Constant)
                node.value.value = ""
        return ast.dump(tree)

    rng = np.random.default_rng(0)

    def made(names):
        columns = (
            *(Category(name, tuple(names)) for name in names),
            *(Count(name + "n", 0.0) for name in names),
            *(Continuous(name + "x") for name in names),
        )
        density = table(
            rng,
            columns,
            lambda dim, width: [random_flow(rng, nfref.MAF(dim, 1, (50,), context_dim=width))],
        )
        pool = replace(density.pool, names=(names[2],))
        return replace(density, pool=pool)

    one = exported(made(HOSTILE), tmp_path / "one.py")
    exported(made([f"name{k}" for k in range(len(HOSTILE))]), tmp_path / "other.py")
    assert one.COLUMNS[: len(HOSTILE)] == HOSTILE
    assert one.LABELS[HOSTILE[0]] == list(HOSTILE)
    assert one.MEMBERS[0][0] == HOSTILE[2]
    assert code(tmp_path / "one.py") == code(tmp_path / "other.py")


def run(path, *arguments, cwd=None):
    """Run a file where nothing but NumPy can be imported; return (status, stdout, stderr)."""
    code = (
        "import sys, runpy; blocked = ['nfref', 'scipy', 'numba', 'autograd', 'sklearn'];"
        "sys.modules.update(dict.fromkeys(blocked)); sys.argv = sys.argv[1:];"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    found = subprocess.run(
        [sys.executable, "-I", "-c", code, path, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )
    return found.returncode, found.stdout, found.stderr


@pytest.mark.parametrize("weights", ["inside", "beside"])
def test_a_file_tests_itself_without_nfref(tmp_path, weights):
    path = tmp_path / "density.py"
    nfref.export(Model(FAMILIES["context of a flow"], None), path, weights=weights)
    assert (tmp_path / "density.weights.npz").exists() == (weights == "beside")
    status, output, error = run(path, "--test")
    assert status == 0 and not error
    assert output.startswith("20 rows: worst error ") and output.count("\n") == 1
    assert run(path)[0] == 2 and run(path, "--tets")[2] == "usage: python density.py --test\n"


def changed(path, honest):
    """Change one weight in the text; an honest one changes the checksum too."""
    text = path.read_text()
    before, _, rest = text.partition('\nWEIGHTS = """')
    old, _, after = rest.partition('"""')
    with np.load(io.BytesIO(base64.b64decode(old))) as arrays:
        arrays = dict(arrays)
    name = next(name for name in arrays if name.endswith("weight"))
    arrays[name] = arrays[name].copy()
    arrays[name].flat[np.flatnonzero(arrays[name])[0]] += 0.01
    file = io.BytesIO()
    np.savez(file, **arrays)
    data = file.getvalue()
    if honest:
        checksum = json.loads(before.partition('r"""')[2].partition('"""')[0])["checksum"]
        before = before.replace(checksum, hashlib.sha256(data).hexdigest())
    path.write_text(f'{before}\nWEIGHTS = """{base64.b64encode(data).decode()}"""{after}')


def test_a_changed_weight_is_found(tmp_path):
    path = tmp_path / "density.py"
    nfref.export(Model(FAMILIES["maf"], None), path)
    original = path.read_text()
    changed(path, honest=True)
    status, output, error = run(path, "--test")
    assert status == 1 and not error and output.startswith("20 rows: worst error 0.")
    path.write_text(original)
    changed(path, honest=False)
    status, output, error = run(path, "--test")
    assert status == 1 and not output
    assert error.startswith("density.py: WEIGHTS: expected the checksum ")
    assert error.count("\n") == 1


def test_weights_beside_must_be_there_and_the_same(tmp_path):
    path = tmp_path / "density.py"
    module = exported(FAMILIES["maf"], path, weights="beside")
    beside = tmp_path / "density.weights.npz"
    assert path.stat().st_size < 50_000 and module.test() == 0
    data = beside.read_bytes()
    beside.write_bytes(data[:-1])
    with pytest.raises(ValueError, match=r"^density\.weights\.npz: expected the checksum .*, got"):
        imported(path)
    beside.unlink()
    message = "density.weights.npz: expected the weights, got No such file or directory"
    with pytest.raises(ValueError, match=f"^{message}$"):
        imported(path)
    assert run(path, "--test") == (1, "", f"density.py: {message}\n")


# Bad input ----------------------------------------------------------------------------------


def test_bad_input_is_one_line(modules):
    module = modules["given"]
    rows = rows_for(FAMILIES["given"], np.random.default_rng(0), 3)
    noise = np.full((2, module.NOISE), 0.5)
    holed = rows.copy()
    holed[1, 2] = np.nan
    for call, message in [
        (lambda: module.log_prob(rows[:, 1:]), r"rows: expected shape \(N, 7\), got \(3, 6\)"),
        (lambda: module.log_prob(rows[0]), r"rows: expected shape \(N, 7\), got \(7,\)"),
        (lambda: module.log_prob(holed), "rows: expected finite numbers, got nan in row 1, column"),
        (lambda: module.inverse(holed), "rows: expected finite numbers"),
        (lambda: module.sample(noise), r"given: expected shape \(N, 2\), got \(\)"),
        (lambda: module.sample(noise, rows[:, :2]), "given: expected 2 rows, got 3"),
        (lambda: module.sample(noise[:, 1:], rows[:2, :2]), r"noise: expected shape"),
        (lambda: module.encode({"label": ["x"]}), "table: expected column 'count', got none"),
        (
            lambda: module.encode({"label": ["x", "w"]}),
            "column 'label': expected one of 3 labels, got 'w'",
        ),
        (lambda: module.log_prob([["x"] * 7]), "rows: expected numbers, got others"),
        (
            lambda: module.encode({"label": ["x"], "count": ["two"]}),
            "column 'count': expected numbers, got others",
        ),
    ]:
        with pytest.raises(ValueError, match=f"^{message}"):
            call()
    outside = rows.copy()
    outside[:, module.COLUMNS.index("c")] = 9.0  # given, and outside of its support
    assert np.all(np.isnan(module.log_prob(outside)))
    assert len(module.log_prob(rows[:0])) == 0


def test_labels_become_places_and_come_back(modules):
    module = modules["labels"]
    data = {"label": ["z", "x"], "count": [3, 0], "whole": [-2, 5], "answer": [1, 5]}
    rows = module.encode(data)
    assert rows.tolist() == [[2, 3, -2, 1], [0, 0, 5, 5]]
    assert {name: list(values) for name, values in module.decode(rows).items()} == data
    assert module.UNITS == "nats: log of a probability of 4 columns"
    strange = [[3.0, 0, 0, 1], [0.5, 0, 0, 1], [0, -1, 0, 1], [0, 0.5, 0, 1], [0, 0, 0.5, 1]]
    strange += [[0, 0, 0, 0], [0, 0, 0, 6]]
    assert np.all(module.log_prob(np.array(strange)) == -np.inf)
