"""Hypothesis looks for a model file that ends in anything but a model or one line."""

import copy
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nfref.tables.archives import write_archive
from nfref.tables.model_file import described_classes
from tests.attack.model_files import FLOWS, outcome, places, whole

FIELDS = sorted({name for kind in described_classes().values()
                 for name in getattr(kind, "__dataclass_fields__", ())} | {"class"})
NUMBERS = st.one_of(st.integers(), st.integers(-3, 9), st.floats(), st.booleans(), st.none(),
                    st.sampled_from([10 ** 5, 10 ** 9, 2 ** 53, 10 ** 400]))
TEXTS = st.one_of(st.text(max_size=8), st.sampled_from(sorted(described_classes())))
VALUES = st.recursive(
    st.one_of(NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4),
                            st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)),
    max_leaves=8)
# What is drawn is small, so it is the program that is slow where an example is.
FUZZ = settings(deadline=None, derandomize=True, max_examples=60,
                suppress_health_check=list(HealthCheck))


def tried(header, arrays):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.npz"
        write_archive(path, header, arrays)
        outcome(path, arrays, same=False)


@FUZZ
@given(st.integers(0, len(FLOWS) - 1), st.data())
def test_values_in_the_header(which, data):
    _, header, arrays = whole(which)
    header = copy.deepcopy(header)
    container, key = data.draw(st.sampled_from(places(header)))
    container[key] = data.draw(VALUES)
    tried(header, arrays)


@FUZZ
@given(st.integers(0, len(FLOWS) - 1), VALUES)
def test_descriptions_of_anything(which, flow):
    _, header, arrays = whole(which)
    density = {"class": "Density", "flow": flow, "base": {"class": "StandardNormal", "dim": 2}}
    tried({**header, "density": density}, arrays)


@FUZZ
@given(st.sampled_from(sorted(described_classes())), st.data())
def test_classes_with_fields_of_their_own(name, data):
    kind = described_classes()[name]
    description = {"class": name, **{field: data.draw(VALUES)
                                     for field in kind.__dataclass_fields__}}
    _, header, arrays = whole(0)
    density = {"class": "Density", "flow": description,
               "base": {"class": "StandardNormal", "dim": 2}}
    tried({**header, "density": density}, arrays)


@FUZZ
@given(st.integers(0, len(FLOWS) - 1), st.binary(max_size=300), st.integers(0, 10_000),
       st.booleans())
def test_bytes(which, inserted, place, cut):
    content, _, arrays = whole(which)
    place %= len(content)
    content = content[:place] + inserted + content[place + (len(inserted) if cut else 0):]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.npz"
        path.write_bytes(content)
        outcome(path, arrays, same=True)
