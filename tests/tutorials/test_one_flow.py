"""The flow of tutorials/one_flow.py is nfref's, to the last bit, in forty lines of code."""

from pathlib import Path

import numpy as np
import pytest

import nfref

PATH = Path(__file__).parents[2] / "tutorials" / "one_flow.py"
FLOW, _, FIT = PATH.read_text(encoding="utf-8").partition("# %%\n# **The fit.**")
one_flow = {}
exec(compile(FLOW, str(PATH), "exec"), one_flow)  # the flow alone: the fit takes seconds


def lines_of_code(text):
    return [line for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]


@pytest.mark.parametrize("dim", [2, 3, 5])
def test_it_is_the_flow_of_nfref(dim):
    rng = np.random.default_rng(0)
    mask = tuple(k < dim // 2 for k in range(dim))
    coupling = nfref.Coupling(mask, nfref.Affine("exp"), hidden=(8,))
    turn = nfref.Permutation(tuple(reversed(range(dim))))
    flow = nfref.Chain([coupling, turn] * 3)
    params = nfref.params.tree_map(lambda a: a + 0.3 * rng.standard_normal(a.shape), flow.init(rng))
    its = [[[layer["weight"], layer["bias"]] for layer in own["net"]] for own in params[::2]]
    rows = 1.5 * rng.standard_normal((200, dim))
    for direction in ("forward", "inverse"):
        with nfref.backend("numpy"):
            expected = getattr(flow, direction)(params, rows)
        for one, other in zip(expected, one_flow[direction](its, rows)):
            np.testing.assert_array_equal(one, other)
    with nfref.backend("numpy"):
        expected = nfref.Density(flow).log_prob({"base": {}, "flow": params}, rows)
    np.testing.assert_allclose(one_flow["log_prob"](its, rows), expected, rtol=1e-14)


def test_flow_and_fit_have_forty_lines():
    code = FLOW.split('"""')[2] + FIT.partition("# The figure")[0]
    assert len(lines_of_code(code)) <= 40
    assert "nfref" not in "".join(lines_of_code(code))
