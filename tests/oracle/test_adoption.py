"""What other projects use: the JSON report, the pytest plugin, a light install."""

import json
import os
import subprocess
import sys
from importlib import resources

import numpy as np
import pytest

import nfref
from nfref.cli import main
from nfref.oracle import check_flow
from nfref_pytest import read_known

LIGHT = """
import sys
for name in ("numba", "llvmlite", "matplotlib", "tqdm", "threadpoolctl", "mpmath"):
    sys.modules[name] = None            # any import of them raises
"""


def schema():
    return json.loads((resources.files("nfref.oracle") / "oracle_report.schema.json").read_text())


@pytest.mark.thorough
def test_reports_follow_their_schema(tmp_path, monkeypatch, capsys):
    jsonschema = pytest.importorskip("jsonschema")
    (tmp_path / "flows_to_report.py").write_text(
        "import numpy as np\n"
        "good = (lambda z: (2 * z, np.full(len(z), 2 * np.log(2))),\n"
        "        lambda x: (x / 2, np.full(len(x), -2 * np.log(2))))\n"
        "wrong = (lambda z: (2 * z, np.full(len(z), np.nan)), good[1])\n"
        "half = good[0]\n"
        "given = (lambda z, c: (z + c[:, :1], np.zeros(len(z))),\n"
        "         lambda x, c: (x - c[:, :1], np.zeros(len(x))))\n"
        "def anywhere(x):\n    return np.ones(len(x), bool)\n"
    )
    monkeypatch.chdir(tmp_path)
    for name, options, status, verdict in (
        ("good", [], 0, "ok"),
        ("wrong", [], 1, "failed"),
        ("half", [], 3, "inconclusive"),
        ("half", ["--skip", "normalised"], 0, "ok"),
        ("given", ["--context", "1"], 0, "ok"),
        ("good", ["--support", "flows_to_report:anywhere"], 0, "ok"),
    ):
        assert (
            main(["check", f"flows_to_report:{name}", "--dim", "2", "--json", *options]) == status
        )
        report = json.loads(capsys.readouterr().out)
        jsonschema.validate(report, schema())
        assert report["verdict"] == verdict and report["nfref"] == nfref.__version__
        assert report["summary"].startswith(verdict)
        assert all("hint" in row for row in report["rows"])
    assert report["format_version"].startswith("1.")
    sys.modules.pop("flows_to_report")


def test_the_oracle_runs_without_the_heavy_dependencies():
    code = (
        LIGHT
        + """
import numpy as np
from nfref.oracle import check_density, check_flow
from nfref.cli import main
report = check_flow(lambda z: (2 * z, np.full(len(z), 2 * np.log(2))),
                    lambda x: (x / 2, np.full(len(x), -2 * np.log(2))), dim=2,
                    rng=np.random.default_rng(0), skip=("normalised",))
assert report.ok, report
density = check_density(lambda x: -0.5 * np.sum(x ** 2, axis=1) - 1.5 * np.log(2 * np.pi),
                        lambda g, n: g.standard_normal((n, 3)), dim=3,
                        rng=np.random.default_rng(0))
assert density.ok, density
assert main(["check", "nfref:NICE", "--dim", "0"]) == 2
"""
    )
    subprocess.run([sys.executable, "-c", code], check=True)


ADOPTER = """
import numpy as np
from nfref.oracle.testing import flow_tests


def make(scale=2.0):
    def forward(z):
        if not len(z):
            raise IndexError("no rows")
        return scale * z, np.full(len(z), 2 * np.log(scale))
    return forward, lambda x: (x / scale, np.full(len(x), -2 * np.log(scale)))


def broken():
    raise TypeError("no such option")


test_scale = flow_tests(make, dim=2)
test_broken = flow_tests(broken, dim=2)
"""


def run_pytest(folder, *options):
    """The counts of an adopter's suite, from its own folder and with no other configuration.

    An installed nfref has the plugin as the entry point ``nfref``, and it cannot be there twice.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:nfref",
            "-p",
            "nfref_pytest",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(folder),
            "-c",
            str(folder / "pytest.ini"),
            *options,
            str(folder),
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
    )
    return done.returncode, done.stdout


@pytest.mark.thorough
def test_plugin_in_a_repository_of_its_own(tmp_path):
    (tmp_path / "test_flows.py").write_text(ADOPTER)
    (tmp_path / "pytest.ini").write_text("[pytest]\nnfref_known = known.txt\n")
    (tmp_path / "known.txt").write_text(
        "# known\ntest_scale[empty_batch_forward] networks refuse a batch of no rows\n"
    )
    status, printed = run_pytest(tmp_path)
    assert status == 1 and " 1 failed" in printed.replace("\n", " ") and " 1 xfailed" in printed
    assert "FAILED" in printed and "test_broken[can_be_made]" in printed
    (tmp_path / "known.txt").write_text("test_broken[can_be_made]\n")
    status, printed = run_pytest(tmp_path)
    assert status == 4  # a usage error: no reason was given


def test_the_plugin_loads_neither_numpy_nor_the_package():
    code = (
        "import sys, pytest, nfref_pytest\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'nfref', 'numpy', 'scipy', 'autograd'}, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_plugin_runs_without_the_heavy_dependencies(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\nnfref_known = known.txt\n")
    (tmp_path / "test_flows.py").write_text(ADOPTER.replace("test_broken = ", "broken = "))
    (tmp_path / "known.txt").write_text("test_scale[empty_batch_forward] no rows\n")
    options = ["-q", "-p", "no:nfref", "-p", "nfref_pytest", "-p", "no:cacheprovider", "."]
    done = subprocess.run(
        [sys.executable, "-c", f"{LIGHT}\nimport pytest\nsys.exit(pytest.main({options}))"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0 and " 1 xfailed" in done.stdout, done.stdout


def test_known_failures_need_a_reason(tmp_path):
    path = tmp_path / "known.txt"
    path.write_text("# a comment\n\ntest_a[*]  because of this\n")
    assert read_known(path) == [("test_a[*]", "because of this")]
    path.write_text("test_a[*]\n")
    with pytest.raises(ValueError, match="line 1: expected a pattern and a reason"):
        read_known(path)


def test_a_report_says_first_what_was_not_judged():
    report = check_flow(
        lambda z: (2 * z, np.full(len(z), 2 * np.log(2))), dim=2, rng=np.random.default_rng(0)
    )
    assert str(report).splitlines()[0] == report.summary
    assert report.summary.startswith("inconclusive: ") and "normalised" in report.summary
    with pytest.raises(AssertionError, match="normalised"):
        report.raise_unless_ok()
    report.raise_if_failed()
