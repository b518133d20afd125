"""The golden vectors as files for others: schema, manifest, readers without dependencies."""

import json
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from nfref.oracle import golden_vectors
from tests.high_precision import manifest

FOLDER = resources.files("nfref.oracle")
HERE = Path(__file__).parent


def test_every_file_follows_the_schema():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((FOLDER / "golden_vector.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    for name in golden_vectors.shipped():
        validator.validate(json.loads((FOLDER / "vectors" / f"{name}.json").read_text()))


def test_the_manifest_is_that_of_the_files():
    """``python -m tests.high_precision.write_vectors`` writes it again."""
    assert manifest.read() == manifest.manifest()
    assert [case["file"] for case in manifest.read()["cases"]] == [
        f"{name}.json" for name in golden_vectors.shipped()
    ]
    assert all(case["reason"] and 0 < case["tolerance"] < 1e-3 for case in manifest.read()["cases"])
    assert manifest.FORMAT_VERSION.split(".")[0] == str(golden_vectors.SCHEMA)


def test_the_reader_in_python_needs_no_package():
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(HERE / "read_vectors.py"), str(FOLDER / "vectors")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.splitlines()) == len(golden_vectors.shipped())


def test_the_reader_in_c_reads_every_number(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = tmp_path / "read_vectors"
    subprocess.run(
        [
            compiler,
            "-std=c99",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-o",
            str(program),
            str(HERE / "read_vectors.c"),
        ],
        check=True,
    )
    for name in golden_vectors.shipped()[::5]:
        golden = golden_vectors.load(name)
        for key in ("z", "x", "log_det_forward", "log_prob"):
            done = subprocess.run(
                [str(program), str(FOLDER / "vectors" / f"{name}.json"), key],
                capture_output=True,
                text=True,
                check=True,
            )
            np.testing.assert_array_equal(
                [float(line) for line in done.stdout.split()], golden[key].ravel()
            )
    done = subprocess.run(
        [str(program), str(FOLDER / "golden_vector.schema.json"), "z"], capture_output=True
    )
    assert done.returncode == 2


def test_public_log_abs_det_of_a_planar_map():
    import mpmath as mp

    from nfref.oracle import multiprecision

    golden = golden_vectors.load("planar_layer")
    u, w, b = (golden["params"][key].ravel() for key in ("u", "w", "b"))
    w_u = float(w @ u)
    u_hat = u + (np.log1p(np.exp(w_u)) - 1 - w_u) * w / (w @ w)

    def planar(z):
        a = mp.tanh(mp.fsum(float(k) * v for k, v in zip(w, z)) + float(b[0]))
        return [v + float(k) * a for k, v in zip(u_hat, z)]

    for row, log_det in zip(golden["z"], golden["log_det_forward"]):
        found = multiprecision.log_abs_det(planar, row, digits=30)
        assert abs(float(found) - log_det) < 1e-13  # u_hat was made in float64
