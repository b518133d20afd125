"""``nfref check`` from the shell: exit status, one-line errors; and what adapters accept."""

import importlib
import subprocess
import sys

import numpy as np
import pytest

import nfref
from nfref.cli import main
from nfref.oracle import adapters, check_density, check_flow

MODULE = """
import numpy as np
import nfref

flow = nfref.RealNVP(2, layers=2, hidden=(4,))
pair = (lambda z: (2 * z, np.full(len(z), 2 * np.log(2))),
        lambda x: (x / 2, np.full(len(x), -2 * np.log(2))))
wrong = (lambda z: (2 * z, np.full(len(z), np.log(2))), pair[1])
bounded = {"forward": lambda z: (np.exp(z), np.sum(z, axis=1))}
density = {"log_prob": lambda x: -0.5 * np.sum(x ** 2, axis=1) - np.log(2 * np.pi),
           "sample": lambda rng, n: rng.standard_normal((n, 2))}
number = 3
prints = print


def leaves(z):
    raise SystemExit(1)


def needs_more(z, context):
    return z


def makes():
    return pair


class Box:
    inner = pair
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "things_to_check.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("things_to_check", None)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name, extra, status",
    [
        ("flow", [], 0),
        ("flow", ["--dtype", "float32"], 0),
        ("pair", [], 0),
        ("Box.inner", [], 0),
        ("wrong", [], 1),
        ("bounded", ["--codomain", "0:inf"], 3),
        ("bounded", ["--codomain", "0:inf", "--skip", "normalised"], 0),
        ("density", [], 0),
        ("wrong", ["--skip", "log_det_forward,round_trip_z,round_trip_x"], 0),
    ],
)
def test_exit_status(folder, capsys, monkeypatch, name, extra, status):
    # Where every call goes through the twins, the first on a machine would say so, to this
    # command or to one before it.
    monkeypatch.setattr("nfref.kernels.compile_notice.when_compiling", lambda tell: None)
    monkeypatch.setattr("nfref.kernels.compile_notice._TELL", [])
    assert main(["check", f"things_to_check:{name}", "--dim", "2", *extra]) == status
    printed = capsys.readouterr()
    assert f"things_to_check:{name}, D = 2" in printed.out and printed.err == ""
    assert status or len(printed.out.splitlines()) <= 5
    assert ("log_det_forward           fail" in printed.out) == (status == 1)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["things_to_check:nothing", "--dim", "2"], "expected an object 'nothing', found none"),
        (["no_such_module:x", "--dim", "2"], "cannot be imported"),
        (["things_to_check", "--dim", "2"], "expected package.module:object"),
        (["things_to_check:number", "--dim", "2"], "expected a flow, a transform"),
        (["things_to_check:pair", "--dim", "0"], "--dim: expected a whole number from 1 to"),
        (
            ["things_to_check:pair", "--dim", "2", "--skip", "nonsense"],
            "expected names of properties",
        ),
        (["things_to_check:pair", "--dim", "2", "--domain", "3:1"], "expected LOW:HIGH"),
        (["things_to_check:pair", "--dim", "2", "--badge", "none/b.json"], "none does not exist"),
    ],
)
def test_wrong_questions(folder, capsys, arguments, words):
    assert main(["check", *arguments]) == 2
    printed = capsys.readouterr()
    assert words in printed.err and printed.err.count("\n") == 1 and printed.out == ""


@pytest.mark.parametrize(
    "name, why",
    [
        ("json:dumps", "raised TypeError: Object of type ndarray is not JSON serializable"),
        ("things_to_check:makes", "raised TypeError: makes() takes 0 positional arguments but 1"),
        ("things_to_check:prints", "returned"),
        ("builtins:repr", "returned values of type str, expected an array of numbers"),
    ],
)
def test_what_is_no_flow_fails_with_its_reason(folder, capsys, name, why):
    assert main(["check", name, "--dim", "2", "--seconds", "2"]) == 1
    assert why in capsys.readouterr().out


def test_a_function_that_fails_is_judged(folder, capsys):
    """Errors other than of type may be the flow's own."""
    (folder / "failing.py").write_text("def flow(z):\n    raise ArithmeticError('no')\n")
    assert main(["check", "failing:flow", "--dim", "2"]) == 1
    assert "forward raised ArithmeticError: no" in capsys.readouterr().out


def test_adapters_import_nothing():
    code = (
        "import sys, nfref.oracle.adapters; heavy = {'torch', 'jax', 'scipy.stats', "
        "'pytest', 'numba', 'matplotlib'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.thorough
def test_nfref_adapters():
    rng = np.random.default_rng(0)
    flow = nfref.MAF(2, layers=1, hidden=(4,), context_dim=2)
    fresh = check_flow(**adapters.of(flow, rng=rng), dim=2, rng=rng)  # starts as the identity
    assert [row.name for row in fresh.undecided] == ["context_read_forward", "context_read_inverse"]
    params = nfref.params.tree_map(
        lambda leaf: leaf + 0.3 * rng.standard_normal(leaf.shape), flow.init(rng)
    )
    assert check_flow(
        **adapters.from_nfref(flow, params, rng.standard_normal((5, 2))), dim=2, rng=rng
    ).ok


def test_a_density_of_nfref_and_a_function():
    rng = np.random.default_rng(0)
    density = nfref.Density(nfref.ElementwiseAffine(2))
    assert check_density(**adapters.of(density, rng=rng), dim=2, rng=rng).ok
    assert adapters.of(np.sin, rng=rng)["forward"](np.ones(1)) == np.sin(1.0)


# Name: what it makes, D, further arguments of check_flow. Each takes the module it needs.
PEERS = {
    "torch.distributions.transforms": lambda m: (m.SigmoidTransform(), dict(codomain=(0, 1))),
    "nflows.transforms": lambda m: (m.MaskedAffineAutoregressiveTransform(2, 8), {}),
    "normflows.flows": lambda m: (m.LULinearPermute(2), {}),
    "FrEIA.modules": lambda m: (m.RNVPCouplingBlock([(2,)], subnet_constructor=linear), {}),
    "zuko.transforms": lambda m: (m.RotationTransform(tensor([[0.3, 1], [0.2, -1]])), {}),
    "flowjax.bijections": lambda m: (m.Tanh((2,)), dict(codomain=(-1, 1), seconds=200.0)),
    "distrax": lambda m: (m.Tanh(), dict(codomain=(-1, 1), seconds=200.0)),
    "numpyro.distributions.transforms": lambda m: (
        m.ExpTransform(),
        dict(codomain=(0, np.inf), seconds=200.0),
    ),
    "tensorflow_probability.substrates.jax": lambda m: (
        m.bijectors.Softplus(),
        dict(codomain=(0, np.inf), seconds=200.0),
    ),
}


def linear(inputs, outputs):
    import torch

    return torch.nn.Linear(inputs, outputs)


def tensor(numbers):
    import torch

    return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.peers
@pytest.mark.parametrize("name", PEERS)
@pytest.mark.filterwarnings("ignore")
def test_peers_are_turned_to_our_direction(name):
    thing, arguments = PEERS[name](importlib.import_module(name))
    rng = np.random.default_rng(0)
    report = check_flow(**adapters.of(thing, rng=rng), dim=2, rng=rng, **arguments)
    report.raise_if_failed()
    assert report["log_det_forward"].verdict == report["round_trip_x"].verdict == "pass"


def test_event_shapes_and_factories(tmp_path, monkeypatch, capsys):
    (tmp_path / "pictures.py").write_text(
        "import numpy as np\n"
        "def build():\n"
        "    def forward(z):\n        return 2 * z, np.full(len(z), z[0].size * np.log(2)) "
        "if len(z) else np.zeros(0)\n"
        "    def inverse(x):\n        return x / 2, np.full(len(x), -x[0].size * np.log(2)) "
        "if len(x) else np.zeros(0)\n"
        "    return forward, inverse\n"
        "model = build()\n"
        "known = dict(zip(('forward', 'inverse'), model), dim=3)\n"
    )
    monkeypatch.chdir(tmp_path)
    skip = ["--skip", "normalised"]
    assert main(["check", "pictures:build", "--make", "--event-shape", "1,2,2", *skip]) == 0
    assert "D = 4" in capsys.readouterr().out
    assert main(["check", "pictures:known", *skip]) == 0
    assert "D = 3" in capsys.readouterr().out
    for wrong, words in (
        (["pictures:model", "--event-shape", "1,2,2", "--dim", "3"], "--dim"),
        (["pictures:known", "--dim", "4"], "--dim: expected 3, as pictures:known"),
        (["pictures:model"], "--dim"),
        (["pictures:model", "--make", "--dim", "2"], "without arguments"),
    ):
        assert main(["check", *wrong]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    sys.modules.pop("pictures")
