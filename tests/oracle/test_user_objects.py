"""One's own modules and objects, calls of the wrong check, float32 by its float64 twin."""

import numpy as np
import pytest
from scipy import stats

import nfref
from nfref.oracle import adapters, check_density, check_flow
from nfref.oracle.report import Report, inconclusive, passed
from tests.cli.commands import nfref_command
from tests.oracle import own_flows
from tests.oracle.test_adoption import run_pytest


def scale(factor=2.0):
    return (
        lambda z: (factor * z, np.full(len(z), 2 * np.log(factor))),
        lambda x: (x / factor, np.full(len(x), -2 * np.log(factor))),
    )


@pytest.mark.peers
def test_a_module_of_torch():
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    module = own_flows.torch_flow()
    before = next(module.parameters()).dtype
    assert check_flow(
        **adapters.of(module, rng=rng),
        dim=3,
        rng=rng,
        skip=("empty_batch_forward", "empty_batch_inverse"),
    ).ok
    assert next(module.parameters()).dtype == before
    functions = adapters.of(module, rng=rng, dtype=np.float32)
    assert functions["forward"](np.zeros((2, 3), np.float32))[0].dtype == np.float32
    assert functions["twin"]["forward"](np.zeros((2, 3)))[0].dtype == np.float64


@pytest.mark.peers
def test_a_density_of_torch():
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    assert check_density(**adapters.of(own_flows.torch_density(), rng=rng), dim=2, rng=rng).ok
    wrong = check_density(
        **adapters.of(own_flows.torch_density(wrong=True), rng=rng), dim=2, rng=rng
    )
    assert [row.name for row in wrong.failures] == ["normalised"]
    shaped = adapters.of(own_flows.torch_density(shaped=True), rng=rng)
    assert shaped["sample"](rng, 5).shape == (5, 2)


@pytest.mark.peers
def test_a_report_says_that_dropout_was_switched_off():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)

    class Dropped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout = torch.nn.Dropout(0.5)

        def forward(self, z):
            return z + self.dropout(torch.ones_like(z)), z.new_zeros(len(z))

        def inverse(self, x):
            return x - self.dropout(torch.ones_like(x)), x.new_zeros(len(x))

    report = check_flow(**adapters.of(Dropped(), rng=rng), dim=2, rng=rng)
    assert report.ok and report.as_dict()["note"] == report.note
    assert str(report).splitlines()[1].startswith("checked in evaluation mode; ")
    assert not check_flow(**adapters.of(Dropped().eval(), rng=rng), dim=2, rng=rng).note
    report = check_flow(**adapters.of(Dropped(), rng=rng, train=True), dim=2, rng=rng)
    assert report.failures and not report.note


@pytest.mark.peers
def test_a_context_of_labels_that_an_embedding_takes():
    torch = pytest.importorskip("torch")

    class Embedded(torch.nn.Module):
        """Scales that a label chooses; there are no labels but 0 to 5."""

        def __init__(self):
            super().__init__()
            self.log_scales = torch.nn.Embedding(6, 2)

        def scaled(self, rows, context, sign):
            log_scale = sign * self.log_scales(context[:, 0].long())
            # Column 0 has the same scale for all labels.
            log_scale = torch.cat([torch.zeros_like(log_scale[:, :1]), log_scale[:, 1:]], 1)
            return rows * torch.exp(log_scale), log_scale.sum(1)

        def forward(self, z, context):
            return self.scaled(z, context, 1)

        def inverse(self, x, context):
            return self.scaled(x, context, -1)

    rng = np.random.default_rng(0)
    labels = np.arange(6.0)[:, None]
    report = check_flow(**adapters.of(Embedded(), rng=rng, context=labels), dim=2, rng=rng)
    assert report.ok, report


@pytest.mark.peers
def test_torch_names_the_domains_unless_the_caller_does():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    # zuko turns this off for every distribution, once it is imported.
    distribution = torch.distributions.Weibull(3.0, 6.0, validate_args=True)
    weibull = adapters.of(distribution, rng=rng)
    assert check_density(**weibull, dim=1, rng=rng).ok
    outside = check_density(**weibull, dim=1, rng=rng, domain=(-1, 1))
    assert outside.lead.name == "answers"
    power = adapters.of(torch.distributions.PowerTransform(torch.tensor(3.0)), rng=rng)
    assert power["own"] == {"domain": (0.0, np.inf), "codomain": (0.0, np.inf)}
    assert check_flow(**power, dim=2, rng=rng).ok
    low = torch.tensor([-1.0, 0.0])
    uniform = torch.distributions.Independent(torch.distributions.Uniform(low, low + 1), 1)
    lower, upper = adapters.of(uniform, rng=rng)["own"]["domain"]
    assert lower.tolist() == [-1, 0] and upper.tolist() == [0, 1]


@pytest.mark.peers
def test_a_module_of_torch_without_an_inverse():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)

    class Twice(torch.nn.Module):
        def forward(self, z):
            return 2 * z, torch.full((len(z),), 2 * np.log(2), dtype=z.dtype)

    report = check_flow(**adapters.of(Twice(), rng=rng), dim=2, rng=rng)
    assert not report.failures and [row.name for row in report.undecided] == ["normalised"]


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")  # torch deprecates torch.jit.script
def test_a_scripted_module_of_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)

    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.log_scale = torch.nn.Parameter(torch.tensor([0.3, -0.4]))

        def forward(self, z):
            return z * self.log_scale.exp(), self.log_scale.sum().expand(z.shape[0])

        @torch.jit.export
        def inverse(self, x):
            return x / self.log_scale.exp(), -self.log_scale.sum().expand(x.shape[0])

    report = check_flow(**adapters.of(torch.jit.script(Scaled()), rng=rng), dim=2, rng=rng)
    assert report.ok, report


@pytest.mark.peers
def test_functions_of_jax_are_compiled():
    pytest.importorskip("jax")
    rng = np.random.default_rng(0)
    functions = adapters.of(own_flows.jax_flow(), rng=rng)
    assert functions["gradient"][0] is not None
    assert check_flow(**functions, dim=2, rng=rng, skip=("round_trip_z", "round_trip_x")).ok


@pytest.mark.peers
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_functions_that_use_a_library_may_take_arrays(library):
    pytest.importorskip(library)
    rng = np.random.default_rng(0)
    pair, density = own_flows.of_arrays(library)
    report = check_flow(**adapters.of(pair, rng=rng), dim=2, rng=rng)
    assert report.ok and report["gradient_inverse"].verdict == "not applicable", report
    report = check_density(**adapters.of(density, rng=rng), dim=2, rng=rng)
    assert report.ok and report["gradient"].verdict == "not applicable", report


@pytest.mark.peers
@pytest.mark.parametrize("kind", ["module", "functions", "object"])
def test_an_answer_that_is_cut_off_from_its_tensors_has_a_wrong_gradient(kind):
    """It is an array of NumPy, of a subject that takes tensors alone."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)

    def flow(x):
        return torch.sinh(x), torch.sum(torch.log(torch.cosh(x)), 1).detach().numpy()

    class Module(torch.nn.Module):
        def forward(self, x):
            return flow(x)

    class Density:
        def log_prob(self, x):
            total = -0.5 * torch.square(x) - 0.5 * np.log(2 * np.pi)
            return torch.sum(total, 1).detach().numpy()

    subject = {"module": Module(), "functions": (flow, None), "object": Density()}[kind]
    judge = check_density if kind == "object" else check_flow
    report = judge(**adapters.of(subject, rng=rng), dim=2, rng=rng)
    end = "" if kind == "object" else "_forward"
    assert report[f"gradient{end}"].verdict == "fail", report


@pytest.mark.peers
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_the_library_of_an_object_is_that_of_its_parts(library):
    pytest.importorskip(library)
    rng = np.random.default_rng(0)
    report = check_flow(**adapters.of(own_flows.chain_of_layers(library), rng=rng), dim=2, rng=rng)
    assert report.ok and report["gradient_inverse"].verdict == "pass", report


SLOW = """
import torch


class Slow(torch.nn.Module):
    def forward(self, z):
        torch.linalg.matrix_power(torch.zeros(3000, 3000), 2 ** 40 - 1)
        return z, torch.zeros(len(z), dtype=z.dtype)


module = Slow()
"""


@pytest.mark.peers
def test_a_call_of_torch_that_outlives_the_check_leaves_its_status(tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "slow_module.py").write_text(SLOW)
    ended = nfref_command(
        "check", "slow_module:module", "--dim", "2", "--seconds", "0.5", cwd=tmp_path
    )
    assert ended.returncode == 3 and ended.stdout.startswith("inconclusive"), ended.stderr


@pytest.mark.peers
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_objects_written_with_jax_draw_by_a_key(dtype):
    pytest.importorskip("jax")
    for thing in own_flows.jax_densities():
        rng = np.random.default_rng(0)
        drawn = adapters.of(thing, rng=rng, dtype=dtype)["sample"](rng, 5)
        assert drawn.shape == (5, 2) and drawn.dtype == dtype


@pytest.mark.peers
def test_what_computes_in_float32_names_the_dtype():
    torch = pytest.importorskip("torch")
    weight = torch.eye(2)
    forward = adapters.of(
        (lambda z: (torch.mm(z, weight), torch.zeros(len(z))), None), rng=np.random.default_rng(0)
    )["forward"]
    with pytest.raises(RuntimeError, match="--dtype float32"):
        forward(np.zeros((2, 2)))


def test_an_object_with_log_prob_and_sample():
    rng = np.random.default_rng(0)
    report = check_density(**adapters.of(own_flows.NumpyDensity(), rng=rng), dim=2, rng=rng)
    assert report.ok, report


def test_the_wrong_check_names_the_right_one():
    rng = np.random.default_rng(0)
    with pytest.raises(TypeError, match="check_estimator_density .--density TABLE. takes it"):
        adapters.of(stats.norm(3, 2), rng=rng)
    flow = adapters.of(scale(), rng=rng)
    density = adapters.of(own_flows.NumpyDensity(), rng=rng)
    with pytest.raises(TypeError, match="this is a flow; expected check_flow"):
        check_density(**flow, dim=2, rng=rng)
    with pytest.raises(TypeError, match="this is a density; expected check_density"):
        check_flow(**density, dim=2, rng=rng)
    with pytest.raises(TypeError, match="gradient: expected .forward, inverse."):
        check_flow(**{**flow, "gradient": np.sin}, dim=2, rng=rng)
    with pytest.raises(TypeError, match="gradient: expected one function"):
        check_density(**{**density, "gradient": (np.sin, None)}, dim=2, rng=rng)


def test_what_float32_hides_is_judged_by_the_twin(monkeypatch):
    """A map so steep at some places that float32 has too few digits of its derivative."""
    forward, inverse = scale()
    asked = []

    def check(forward, inverse, *, dtype=np.float32, **given):
        asked.append(np.dtype(dtype).name)
        row = (
            inconclusive("log_det_forward", "rough")
            if dtype == np.float32
            else passed("log_det_forward", "84 of 84 points")
        )
        return Report("flow", (row,))

    from nfref.oracle.checks.float64_fallback import of_flows

    twin = dict(forward=forward, inverse=inverse)
    report = of_flows(check)(
        forward=lambda z: (2 * z, np.full(len(z), 2 * np.log(2))),
        inverse=inverse,
        dim=2,
        dtype=np.float32,
        twin=twin,
    )
    assert report.ok and asked == ["float32", "float64"]
    assert "judged in float64; float32 differs by" in report.rows[0].why
    own = adapters.of(nfref.MAF(2, 1), rng=np.random.default_rng(0), dtype=np.float32)["twin"]
    assert own["forward"](np.zeros((3, 2)))[0].dtype == np.float64
    far = of_flows(check)(
        forward=lambda z: (3 * z, np.full(len(z), 2 * np.log(3))),
        inverse=inverse,
        dim=2,
        dtype=np.float32,
        twin=twin,
    )
    assert not far.ok


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_a_spline_in_float32_gets_a_verdict():
    zuko = pytest.importorskip("zuko")
    rng = np.random.default_rng(0)
    report = check_flow(
        **adapters.of(zuko.flows.NSF(3, transforms=3), rng=rng, dtype=np.float32),
        dim=3,
        rng=rng,
        dtype=np.float32,
        seconds=60,
        skip=("empty_batch_forward", "empty_batch_inverse"),
    )
    assert report.ok, report


TESTS = """
import numpy as np
from nfref.oracle.testing import density_tests


class Wrong:
    def log_prob(self, x):
        return -0.5 * np.sum(x ** 2, axis=1)

    def sample(self, n, rng):
        return rng.standard_normal((n, 2))


test_wrong = density_tests(Wrong, dim=2)
"""


@pytest.mark.thorough
def test_pytest_names_subject_and_cause_and_patterns_that_fit_nothing(tmp_path):
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nnfref_known = known.txt\n")
    (tmp_path / "known.txt").write_text("")
    status, printed = run_pytest(tmp_path)
    line = next(line for line in printed.splitlines() if line.startswith("FAILED"))
    assert status == 1 and "test_wrong[normalised]" in line and "Wrong: log_prob is off by" in line
    (tmp_path / "known.txt").write_text("test_wrong[normalized]  a reason\n")
    assert run_pytest(tmp_path)[0] == 4
    assert run_pytest(tmp_path, "-k", "answers")[0] == 4
