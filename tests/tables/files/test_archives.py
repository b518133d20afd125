"""Densities of tables in model files: the same bits back, and every kind of damage refused."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

import nfref
from nfref.tables.files.archives import write_archive
from nfref.tables.files.model_file import ModelError, load_model, save_model

WEIGHTS = "density/pool/weights"


def frame(n=400, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "size": rng.lognormal(0, 1, n),
            "share": rng.beta(2, 2, n),
            "hour": rng.random(n) * 24,
            "visits": rng.poisson(3, n),
            "color": rng.choice(["blue", "red"], n),
            "good": rng.random(n) < 0.3,
        }
    )


@pytest.fixture(scope="module")
def fitted():
    supports = {"size": "positive", "share": "0:1", "hour": "period 24"}
    return nfref.FlowDensity(
        members=1, epochs=2, columns=supports, effort="quick", random_state=0
    ).fit(frame())


@pytest.fixture
def saved(fitted, tmp_path):
    path = tmp_path / "m.npz"
    save_model(path, fitted.density_, columns=list(fitted.feature_names_in_), info={"a": 1})
    return path


def test_the_same_bits_back(fitted, saved, tmp_path):
    model = load_model(saved)
    table = [frame()[name].to_numpy() for name in frame().columns]
    np.testing.assert_array_equal(model.density.log_prob(table), fitted.density_.log_prob(table))
    for one, other in zip(
        model.density.sample(np.random.default_rng(1), 50),
        fitted.density_.sample(np.random.default_rng(1), 50),
    ):
        np.testing.assert_array_equal(one, other)
    assert model.columns == tuple(frame().columns) and model.info["a"] == 1
    save_model(tmp_path / "again.npz", model.density, columns=model.columns, info={"a": 1})
    assert (tmp_path / "again.npz").read_bytes() == saved.read_bytes()


def test_without_discrete_columns_and_without_any_other(tmp_path):
    for data in (frame()[["size", "share"]], frame()[["color", "visits"]]):
        one = nfref.FlowDensity("mixture", random_state=0).fit(data)
        save_model(tmp_path / "m.npz", one.density_)
        table = [data[name].to_numpy() for name in data.columns]
        np.testing.assert_array_equal(
            load_model(tmp_path / "m.npz").density.log_prob(table), one.score_samples(data)
        )


def test_estimators_are_saved_and_loaded(fitted, tmp_path):
    fitted.save(tmp_path / "m.npz")
    again = nfref.FlowDensity.load(tmp_path / "m.npz")
    np.testing.assert_array_equal(again.score_samples(frame()), fitted.score_samples(frame()))
    assert again.weights_ == fitted.weights_ and list(again.feature_names_in_) == list(
        fitted.feature_names_in_
    )
    density = nfref.Density(nfref.Scale(2))
    save_model(tmp_path / "d.npz", density, density.init(np.random.default_rng(0)))
    with pytest.raises(ModelError, match="expected the density of a table"):
        nfref.FlowDensity.load(tmp_path / "d.npz")


def contents(path):
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files if name != "digest"}
    header = json.loads(arrays.pop("header").tobytes())
    return header, arrays


def column(k, **fields):
    return lambda h, a: h["density"]["columns"][k].update(fields)


def scaled(name, factor):
    return lambda h, a: a.update({name: a[name] * factor})


SIZE, SHARE, HOUR, VISITS, COLOR = range(5)


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda h, a: h["density"]["columns"].pop(), "TableDensity: expected"),
        (column(SIZE, scale=-1), "expected a support and units"),
        (column(SIZE, low={"float": "nan"}), "expected a support and units"),
        (column(HOUR, first={"float": "inf"}), "expected a support and units"),
        (column(SIZE, name=5), "Continuous: expected fields that describe one, got name: expected"),
        (column(COLOR, labels=["red", "red"]), "expected labels that differ"),
        (column(COLOR, labels=["red", None]), "expected labels that differ, of text or numbers"),
        (column(COLOR, labels=["a", "b", "c"]), "discrete: expected a part for each column"),
        (column(VISITS, low={"float": "inf"}), "expected a least number"),
        (column(VISITS, low=1), "discrete: expected a part for each column"),
        (column(SIZE, **{"class": "odd"}), "class: expected one of"),
        (column(SIZE, name="share"), "expected names that differ"),
        (
            lambda h, a: h["density"]["columns"].append({"class": "Scale", "dim": 1}),
            "columns: expected columns, got others",
        ),
        (lambda h, a: h["density"].update(given="size"), "given: expected names"),
        (lambda h, a: h["density"].update(given=["siz"]), "given: expected columns among"),
        (lambda h, a: h["density"].update(given=["size"]), "expected a part for each column"),
        (lambda h, a: h["density"].update(centre=None), "centre: expected an array"),
        (lambda h, a: h["density"].update(pool=None), "pool: expected members of 3 columns"),
        (
            lambda h, a: h["density"]["pool"]["members"][0].update({"class": "Pool"}),
            "Pool: expected",
        ),
        (lambda h, a: h["density"]["pool"]["members"].pop(), "weights: expected shape"),
        (lambda h, a: h["density"]["pool"]["names"].pop(), "names: expected one for each member"),
        (lambda h, a: h["density"]["pool"].update(members=7), "Pool: expected fields"),
        (
            lambda h, a: h["density"]["discrete"]["parts"].reverse(),
            "expected a part for each column",
        ),
        (
            lambda h, a: h["density"]["discrete"].update(given=[0]),
            "expected a part for each column",
        ),
        (lambda h, a: h.update(density=7), "expected no such array, got one"),
        (lambda h, a: h.update(columns=["a"]), "columns: expected those of the table"),
        (lambda h, a: h.update(params={}), "params: expected none"),
        (lambda h, a: a.update({WEIGHTS: a[WEIGHTS][1:]}), "weights: expected shape"),
        (
            lambda h, a: a.update({WEIGHTS: a[WEIGHTS].astype(np.int64)}),
            "expected an array of floats",
        ),
        (lambda h, a: a.pop(WEIGHTS), f"'{WEIGHTS}': expected an array of that name, got none"),
        (scaled(WEIGHTS, -1), "weights: expected numbers of at least 0 with sum 1"),
        (scaled(WEIGHTS, 2), "weights: expected numbers of at least 0 with sum 1"),
        (scaled(WEIGHTS, np.nan), "weights: expected finite numbers, got nan"),
        (scaled("density/scale", -1), "scale: expected numbers above 0"),
        (scaled("density/discrete/parts/0/seen", -1), "expected numbers in order"),
        (scaled("density/discrete/parts/0/table", 9), "expected numbers in order, shares"),
        (column(COLOR, labels=["red", {"float": "nan"}]), "expected labels that differ, of text"),
        (
            lambda h, a: a["density/discrete/parts/0/middle"].fill(-1e300),
            "middle: expected numbers not far below low",
        ),
        (
            lambda h, a: a.update({f"more/{k}": a[WEIGHTS] for k in range(2000)}),
            "expected the arrays that the header names, got 2,",
        ),
        (scaled("density/discrete/log_weights", np.nan), "log_weights: expected finite numbers"),
        (
            scaled("density/discrete/parts/1/log_prob", 2),
            "log_prob: expected logarithms of numbers",
        ),
        (
            scaled("density/discrete/parts/0/log_prob", 2),
            "log_prob: expected logarithms of numbers",
        ),
        (
            scaled("density/pool/members/0/density/cholesky", -1),
            "cholesky: expected a lower triangle",
        ),
        (scaled("density/pool/members/0/slopes", np.inf), "slopes: expected finite numbers"),
    ],
)
def test_damage_is_one_line(saved, tmp_path, damage, message):
    header, arrays = contents(saved)
    damage(header, arrays)
    write_archive(tmp_path / "bad.npz", header, arrays)
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path / "bad.npz")
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"density": "wide"}, {"slopes": np.zeros((2, 9))}, {"slopes": np.zeros(3)}]
)
def test_members_have_to_be_of_the_pools_columns(fitted, tmp_path, wrong):
    """A candidate that does not fit the pool is refused before writing, too."""
    members = list(fitted.density_.pool.members)
    members[0] = dataclasses.replace(members[0], **wrong)
    pool = dataclasses.replace(fitted.density_.pool, members=tuple(members))
    with pytest.raises(ModelError, match="Regressed: expected|pool: expected members"):
        save_model(tmp_path / "m.npz", dataclasses.replace(fitted.density_, pool=pool))
    assert not list(tmp_path.iterdir())


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
    arrays[WEIGHTS] = np.roll(arrays[WEIGHTS], 1)
    with np.load(saved) as archive:
        np.savez(
            tmp_path / "bad.npz", **{**{name: archive[name] for name in archive.files}, **arrays}
        )
    with pytest.raises(ModelError, match="digest: expected that of header and arrays"):
        load_model(tmp_path / "bad.npz")
