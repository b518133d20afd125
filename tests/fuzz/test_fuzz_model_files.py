"""Search with Hypothesis for a model file that gives neither a model nor one line."""

import copy
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nfref.runtime.serialization import described_classes
from nfref.tables.files.archives import write_archive
from tests.fuzz.model_files import (
    CHECKPOINT,
    FLOWS,
    NAMES,
    load_model,
    outcome,
    places,
    read_checkpoint,
    whole,
)

CLASSES = described_classes()
FIELDS = sorted(
    {name for kind in CLASSES.values() for name in kind.__dataclass_fields__}
    | {"class", "array", "float"}
)
NUMBERS = st.one_of(
    st.integers(),
    st.integers(-3, 9),
    st.floats(),
    st.booleans(),
    st.none(),
    st.sampled_from([10**5, 10**9, 2**53, 10**400]),
)
# Deferred, because it needs fitted models.
ARRAYS = st.deferred(
    lambda: st.sampled_from([name for k in range(len(NAMES)) for name in list(whole(k)[2])[:3]])
)
TEXTS = st.one_of(
    st.text(max_size=8), st.sampled_from(sorted(CLASSES)), ARRAYS, st.sampled_from(["inf", "nan"])
)
VALUES = st.recursive(
    st.one_of(NUMBERS, TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
    ),
    max_leaves=8,
)
# Examples are small, so a slow example means a slow program.
FUZZ = settings(
    deadline=None, derandomize=True, max_examples=60, suppress_health_check=list(HealthCheck)
)


def tried(header, arrays, reader=load_model):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.npz"
        write_archive(path, header, arrays)
        outcome(path, arrays, False, reader)


@pytest.mark.thorough
@FUZZ
@given(st.integers(0, len(NAMES) - 1), st.data())
def test_values_in_the_header(which, data):
    _, header, arrays = whole(which)
    header = copy.deepcopy(header)
    container, key = data.draw(st.sampled_from(places(header)))
    container[key] = data.draw(VALUES)
    tried(header, arrays, read_checkpoint if which == CHECKPOINT else load_model)


@pytest.mark.thorough
@FUZZ
@given(st.integers(0, len(FLOWS) - 1), VALUES)
def test_descriptions_of_anything(which, flow):
    _, header, arrays = whole(which)
    density = {"class": "Density", "flow": flow, "base": {"class": "StandardNormal", "dim": 2}}
    tried({**header, "density": density}, arrays)


@pytest.mark.thorough
@FUZZ
@given(st.sampled_from(sorted(CLASSES)), st.data())
def test_classes_with_fields_of_their_own(name, data):
    kind = CLASSES[name]
    description = {
        "class": name,
        **{field: data.draw(VALUES) for field in kind.__dataclass_fields__},
    }
    _, header, arrays = whole(0)
    density = {
        "class": "Density",
        "flow": description,
        "base": {"class": "StandardNormal", "dim": 2},
    }
    tried({**header, "density": density}, arrays)


@pytest.mark.thorough
@FUZZ
@given(st.integers(len(FLOWS), CHECKPOINT - 1), st.data())
def test_references_to_arrays(which, data):
    """Any array in the place of any other, or none of that name."""
    _, header, arrays = whole(which)
    header = copy.deepcopy(header)
    named = [container for container, key in places(header) if key == "array"]
    for container in data.draw(st.lists(st.sampled_from(named), min_size=1, max_size=3)):
        container["array"] = data.draw(st.one_of(st.sampled_from(sorted(arrays)), VALUES))
    tried(header, arrays)


@pytest.mark.thorough
@FUZZ
@given(st.integers(len(FLOWS), CHECKPOINT - 1), st.data())
def test_arrays_of_other_numbers(which, data):
    """Arrays have the right shapes; weights, spreads and factors in them are invalid."""
    _, header, arrays = whole(which)
    name = data.draw(st.sampled_from(sorted(arrays)))
    number = data.draw(st.one_of(st.floats(), st.sampled_from([0.0, -1.0, 1e300, 1e-300])))
    changed = np.array(arrays[name])
    changed.flat[data.draw(st.integers(0, changed.size - 1))] = number
    tried(header, {**arrays, name: changed})


# Each model of a table takes a fit.
@pytest.mark.parametrize(
    "files", [len(FLOWS), pytest.param(len(NAMES), marks=pytest.mark.thorough)]
)
@FUZZ
@given(
    st.integers(0, len(NAMES) - 1), st.binary(max_size=300), st.integers(0, 10_000), st.booleans()
)
def test_bytes(files, which, inserted, place, cut):
    which %= files
    content, _, arrays = whole(which)
    place %= len(content)
    content = content[:place] + inserted + content[place + (len(inserted) if cut else 0) :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.npz"
        path.write_bytes(content)
        outcome(path, arrays, True, read_checkpoint if which == CHECKPOINT else load_model)
