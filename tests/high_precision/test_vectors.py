"""Golden vectors: rewritten to the byte, and reproduced by the float64 formulas and their twins."""

import json
import shutil
import subprocess
from pathlib import Path

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad

import nfref
from nfref.oracle import golden_vectors
from nfref.runtime import params as trees
from tests.high_precision.configurations import configurations
from tests.high_precision.maps import CONFIGURATIONS
from tests.high_precision.write_vectors import text_of, vector

FOLDER, SHIPPED = golden_vectors.FOLDER, golden_vectors.shipped()


def test_every_configuration_ships():
    assert SHIPPED == sorted(CONFIGURATIONS)


def accuracy(flow):
    """Return the allowed error of a flow of a few layers: a few ulp, or its solver's tolerance."""
    return 1e-10 if hasattr(flow, "rtol") else 1e-13


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("name", SHIPPED)
def test_formulas_and_twins_meet_the_golden_values(name, backend):
    golden = golden_vectors.load(name)
    flow, params, context = golden["flow"], golden["params"], golden["context"]
    density = nfref.Density(flow)
    with nfref.backend(backend):
        x, log_det = flow.forward(params, golden["z"], context)
        z, log_det_inverse = flow.inverse(params, golden["x"], context)
        log_prob = density.log_prob({"base": {}, "flow": params}, golden["x"], context)

    close = dict(rtol=accuracy(flow), atol=accuracy(flow))
    np.testing.assert_allclose(x, golden["x"], **close)
    np.testing.assert_allclose(log_det, golden["log_det_forward"], **close)
    # The inverse loses more by the factor of the map's steepness.
    close = dict(rtol=100 * accuracy(flow), atol=100 * accuracy(flow))
    np.testing.assert_allclose(z, golden["z"], **close)
    np.testing.assert_allclose(log_det_inverse, golden["log_det_inverse"], **close)
    np.testing.assert_allclose(log_prob, golden["log_prob"], **close)


@pytest.mark.parametrize("name", SHIPPED)
def test_autograd_of_the_formulas_meets_the_golden_gradients(name):
    golden = golden_vectors.load(name)
    flow, context = golden["flow"], golden["context"]
    density = nfref.Density(flow)
    if not trees.count(golden["params"]):
        assert golden["gradient"] == golden["params"]
        return

    def mean_log_prob(params):
        return anp.mean(density.log_prob({"base": {}, "flow": params}, golden["x"], context))

    slopes = grad(mean_log_prob)(golden["params"])
    largest = max(np.max(np.abs(leaf)) for leaf in trees.leaves(golden["gradient"]))
    close = dict(rtol=1e3 * accuracy(flow), atol=100 * accuracy(flow) * largest)
    for ours, theirs in zip(trees.leaves(slopes), trees.leaves(golden["gradient"])):
        np.testing.assert_allclose(ours, theirs, **close)


QUICK = (
    "scale",
    "logit",
    "batch_norm",
    "planar_layer",
    "additive_coupling",
    "affine_coupling_context",
)


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in CONFIGURATIONS
    ],
)
def test_made_again_to_the_byte(name):
    made = text_of(vector(name, configurations()[name]))
    assert made.encode() == (FOLDER / f"{name}.json").read_bytes()


@pytest.mark.parametrize("name", SHIPPED)
def test_hex_is_the_nearest_float_of_the_decimals_and_inputs_are_exact(name):
    golden = json.loads((FOLDER / f"{name}.json").read_text())

    def leaves(node):
        if golden_vectors.is_leaf(node):
            yield node
        elif isinstance(node, (dict, list)):
            for child in node.values() if isinstance(node, dict) else node:
                yield from leaves(child)

    for leaf in leaves(golden):
        assert [float(text) for text in leaf["decimal"]] == [float.fromhex(h) for h in leaf["hex"]]
        assert len(leaf["hex"]) == np.prod(leaf["shape"], dtype=int)
    made = configurations()[name]
    read = golden_vectors.load(name)["params"]
    for ours, theirs in zip(trees.leaves(made.params), trees.leaves(read)):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_a_javascript_program_reads_the_files_and_agrees():
    script = Path(__file__).with_name("read_vectors.js")
    result = subprocess.run(["node", script, FOLDER], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.splitlines()[-1].split()[0]) >= 13


def test_a_javascript_program_sees_a_wrong_log_det(tmp_path):
    if shutil.which("node") is None:
        pytest.skip("needs Node.js")
    golden = json.loads((FOLDER / "planar_layer.json").read_text())
    golden["log_det_forward"] = golden["log_det_inverse"]
    (tmp_path / "wrong.json").write_text(json.dumps(golden))
    script = Path(__file__).with_name("read_vectors.js")
    result = subprocess.run(["node", script, tmp_path], capture_output=True, text=True)
    assert result.returncode == 1 and "wrong.json: row 0" in result.stderr


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "expected JSON"),
        ("[]", "expected a golden vector"),
        ('{"kind": "nfref golden vector", "schema": 2}', "expected schema 1, got 2"),
    ],
)
def test_load_says_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        golden_vectors.load(path)


def test_copy_says_which_names_there_are(tmp_path):
    with pytest.raises(ValueError, match="expected some of actnorm, .*; got glow_of_mars"):
        list(golden_vectors.copy(tmp_path, ["glow_of_mars"]))
    assert not list(tmp_path.iterdir())


def test_copies_are_what_ships(tmp_path):
    assert len(list(golden_vectors.copy(tmp_path))) == len(SHIPPED)
    for name in SHIPPED:
        assert (tmp_path / f"{name}.json").read_bytes() == (FOLDER / f"{name}.json").read_bytes()
    assert [path.name for path in golden_vectors.copy(tmp_path / "one", ["scale"])] == [
        "scale.json"
    ]
