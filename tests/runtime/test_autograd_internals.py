"""Autograd's internals, broken on purpose: an error follows, and no gradient is wrong."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import autograd.numpy as np
import pytest
from autograd import grad, make_jvp

import nfref
from nfref.runtime import autograd_internals


def test_what_is_traced_in_each_mode():
    seen = []

    def function(x):
        inside = {"a": [np.ones(2), x]}
        seen.append(
            (
                len(autograd_internals.boxes(inside)),
                autograd_internals.isbox(x),
                autograd_internals.is_forward_mode(x),
                autograd_internals.getval(x),
            )
        )
        return x * x

    assert autograd_internals.boxes([1.0, np.ones(2)]) == []
    grad(function)(3.0), grad(grad(function))(3.0), make_jvp(function)(3.0)(1.0)
    make_jvp(grad(function))(3.0)(1.0)
    assert seen == [(1, True, False, 3.0)] * 2 + [(1, True, True, 3.0)] * 2


def fails_in_one_line(message):
    return (
        message.startswith("autograd: expected version 1.7 to 1.9")
        and "\n" not in message
        and f"got {version('autograd')}; " in message
    )


@pytest.mark.parametrize(
    "name, other",
    [
        ("Box", type("Box", (), {})),
        ("VJPNode", type("VJPNode", (), {})),
        (
            "getval",
            lambda value: value._value if autograd_internals.isbox(value) else value,
        ),  # nested boxes
        ("getval", lambda value: value),
        ("trace_stack", SimpleNamespace(top=-1)),  # as if nothing were traced
    ],
)
def test_what_is_read_wrongly_is_not_used(monkeypatch, name, other):
    autograd_internals._try_boxes()
    monkeypatch.setattr(autograd_internals, name, other)
    with pytest.raises(ImportError) as error:
        autograd_internals._try_boxes()
    assert fails_in_one_line(str(error.value))


def test_what_is_gone_is_named():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import autograd.extend\ndel autograd.extend.SparseObject\nimport nfref\nnfref.Flow",
        ],
        text=True,
        capture_output=True,
        cwd=Path(nfref.__file__).parents[1],
    )
    kind, _, message = done.stderr.splitlines()[-1].partition(": ")
    assert kind == "ImportError" and "SparseObject" in message and fails_in_one_line(message)
