"""Densities of tables in model files: the same bits back, and whatever is wrong with a file."""

import json

import numpy as np
import pandas as pd
import pytest

import nfref
from nfref.tables.archives import write_archive
from nfref.tables.model_file import ModelError, load_model, save_model


def frame(n=400, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"size": rng.lognormal(0, 1, n), "share": rng.beta(2, 2, n),
                         "hour": rng.random(n) * 24, "visits": rng.poisson(3, n),
                         "color": rng.choice(["blue", "red"], n), "good": rng.random(n) < 0.3})


@pytest.fixture(scope="module")
def fitted():
    supports = {"size": "positive", "share": "0:1", "hour": "period 24"}
    return nfref.FlowDensity(members=1, epochs=2, columns=supports, random_state=0).fit(frame())


@pytest.fixture
def saved(fitted, tmp_path):
    path = tmp_path / "m.npz"
    save_model(path, fitted.density_, columns=list(fitted.feature_names_in_), info={"a": 1})
    return path


def test_the_same_bits_back(fitted, saved, tmp_path):
    model = load_model(saved)
    table = [frame()[name].to_numpy() for name in frame().columns]
    np.testing.assert_array_equal(model.density.log_prob(table), fitted.density_.log_prob(table))
    for one, other in zip(model.density.sample(np.random.default_rng(1), 50),
                          fitted.density_.sample(np.random.default_rng(1), 50)):
        np.testing.assert_array_equal(one, other)
    assert model.columns == tuple(frame().columns) and model.info["a"] == 1
    save_model(tmp_path / "again.npz", model.density, columns=model.columns, info={"a": 1})
    assert (tmp_path / "again.npz").read_bytes() == saved.read_bytes()


def test_without_discrete_columns_and_without_any_other(tmp_path):
    for data in (frame()[["size", "share"]], frame()[["color", "visits"]]):
        one = nfref.FlowDensity("mixture", random_state=0).fit(data)
        save_model(tmp_path / "m.npz", one.density_)
        table = [data[name].to_numpy() for name in data.columns]
        np.testing.assert_array_equal(load_model(tmp_path / "m.npz").density.log_prob(table),
                                      one.score_samples(data))


def test_estimators_are_saved_and_loaded(fitted, tmp_path):
    fitted.save(tmp_path / "m.npz")
    again = nfref.FlowDensity.load(tmp_path / "m.npz")
    np.testing.assert_array_equal(again.score_samples(frame()), fitted.score_samples(frame()))
    assert again.weights_ == fitted.weights_ and list(again.feature_names_in_) == list(
        fitted.feature_names_in_)
    with pytest.raises(ModelError, match="expected the density of a table"):
        density = nfref.Density(nfref.Scale(2))
        save_model(tmp_path / "d.npz", density, density.init(np.random.default_rng(0)))
        nfref.FlowDensity.load(tmp_path / "d.npz")


def contents(path):
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files if name != "digest"}
    header = json.loads(arrays.pop("header").tobytes())
    return header, arrays


@pytest.mark.parametrize("damage, message", [
    (lambda h, a: h["table"]["columns"].pop(), "table: expected"),
    (lambda h, a: h["table"]["columns"][0].update(scale=-1), "expected a support and units"),
    (lambda h, a: h["table"]["columns"][0].update(kind="odd"), "expected a known kind"),
    (lambda h, a: h["table"]["columns"][0].update(name="share"), "expected names that differ"),
    (lambda h, a: h["table"]["members"][0].update(kind="odd"), "expected a known kind"),
    (lambda h, a: h["table"]["members"].pop(), "table/weights: expected shape"),
    (lambda h, a: h["table"].update(classes=10 ** 12), "classes: expected"),
    (lambda h, a: h["table"].update(members=7), "members: expected at least one"),
    (lambda h, a: h.update(table=7), "table: expected the density of one"),
    (lambda h, a: h.update(columns=["a"]), "columns: expected 6 names"),
    (lambda h, a: a.update({"table/weights": -a["table/weights"]}), "weights: expected"),
    (lambda h, a: a.update({"table/weights": a["table/weights"][1:]}), "table/weights: expected"),
    (lambda h, a: a.update({"table/weights": a["table/weights"] * np.nan}), "expected finite"),
    (lambda h, a: a.pop("table/weights"), "table/weights: expected an array of shape"),
])
def test_damage_is_one_line(saved, tmp_path, damage, message):
    header, arrays = contents(saved)
    damage(header, arrays)
    write_archive(tmp_path / "bad.npz", header, arrays)
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path / "bad.npz")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_flipped_byte_is_found(saved, tmp_path):
    content = bytearray(saved.read_bytes())
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 40):
        content[place] ^= 1 << rng.integers(8)
        (tmp_path / "bad.npz").write_bytes(content)
        try:
            load_model(tmp_path / "bad.npz")
        except ModelError as error:
            assert "\n" not in str(error)
        content[place] = saved.read_bytes()[place]
    arrays = contents(saved)[1]
    arrays["table/weights"] = np.roll(arrays["table/weights"], 1)
    with np.load(saved) as archive:
        np.savez(tmp_path / "bad.npz", **{**{name: archive[name] for name in archive.files},
                                          **arrays})
    with pytest.raises(ModelError, match="digest: expected that of header and arrays"):
        load_model(tmp_path / "bad.npz")
