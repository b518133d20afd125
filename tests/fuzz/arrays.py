"""Arrays of odd kinds: passed to densities, and in files."""

import numpy as np

import nfref
from nfref.tables.reading import TableError
from nfref.tables.reading.read import read_quietly
from tests.fuzz.case import Case, refused, require

FLOWS = (
    nfref.Planar(3, layers=1),
    nfref.RealNVP(3, 1, (4,)),
    nfref.MAF(3, 1, (4,)),
    nfref.IAF(3, 1, (4,)),
    nfref.LULinear(3),
    nfref.Scale(3),
    nfref.Logit((0.0, None, -1.0), (1.0, None, 1.0)),
)
KINDS = (
    "plain",
    "fortran",
    "strided",
    "reversed",
    "read-only",
    "big-endian",
    "float16",
    "longdouble",
    "int",
    "bool",
    "list",
    "empty",
    "object",
    "none",
    "None inside",
    "masked",
    "strings",
    "complex",
    "1-d",
    "0-d",
    "3-d",
    "wide",
    "narrow",
    "ragged",
    "nan",
    "inf",
    "huge",
    "tiny",
    "dict",
    "set",
    "dates",
)
SAME = KINDS[:5] + ("big-endian", "list", "object")  # these hold the numbers of "plain"
FILES = ("npy", "npz", "parquet")


def cases(rng, number):
    """Calls with odd arrays, and files of them, whole and cut."""
    for k in range(number):
        one = np.random.default_rng(rng.integers(2**63))
        kind = str(one.choice(KINDS))
        if k % 3:
            flow = FLOWS[one.integers(len(FLOWS))]
            yield Case(
                f"arrays: {kind}, {type(flow).__name__}",
                lambda folder, one=one, kind=kind, flow=flow: call(one, kind, flow),
            )
        else:
            extension = str(one.choice(FILES))
            yield Case(
                f"arrays: {kind} in .{extension}",
                lambda folder, one=one, kind=kind, extension=extension: from_file(
                    folder, one, kind, extension
                ),
            )


def odd(plain, kind):
    """Turn an (N, 3) array into something odd."""
    spread = np.zeros((2 * len(plain), 6))
    spread[::2, ::2] = plain
    read_only = plain.copy()
    read_only.flags.writeable = False
    spoilt = plain.copy()
    spoilt[0, 1] = {"nan": np.nan, "inf": -np.inf, "huge": 1e308, "tiny": 5e-324}.get(kind, 0)
    return {
        "plain": plain,
        "fortran": np.asfortranarray(plain),
        "strided": spread[::2, ::2],
        "reversed": plain[::-1][::-1],
        "read-only": read_only,
        "big-endian": plain.astype(">f8"),
        "float16": plain.astype(np.float16),
        "longdouble": plain.astype(np.longdouble),
        "int": plain.astype(int),
        "bool": plain > 0,
        "list": plain.tolist(),
        "empty": plain[:0],
        "object": plain.astype(object),
        "none": None,
        "None inside": [[None, 1.0, 2.0], [1.0, 2.0, 3.0]],
        "masked": np.ma.masked_greater(np.abs(plain) + 1, 1),
        "strings": plain.astype(str),
        "complex": plain + 1j,
        "1-d": plain[0],
        "0-d": 1.5,
        "3-d": plain[None],
        "wide": np.concatenate([plain, plain], axis=1),
        "narrow": plain[:, :2],
        "ragged": [[1.0, 2.0, 3.0], [1.0]],
        "nan": spoilt,
        "inf": spoilt,
        "huge": spoilt,
        "tiny": spoilt,
        "dict": {"a": plain},
        "set": {1.0, 2.0},
        "dates": plain.astype("datetime64[s]"),
    }[kind]


def call(rng, kind, flow):
    density = nfref.Density(flow)
    params = density.init(rng)
    plain = rng.uniform(0.1, 0.9, (int(rng.integers(1, 9)), 3))
    given = odd(plain, kind)
    kept = given.copy() if isinstance(given, np.ndarray) else None
    try:
        with np.errstate(all="ignore"):
            found = density.log_prob(params, given)
    except (TypeError, ValueError) as error:
        require(kind not in SAME, f"refused: {error}")
        return refused(error)
    expected = density.log_prob(params, plain)
    require(found.shape == (len(given),), f"shape {found.shape}")
    if kept is not None and kept.dtype != object:
        require(np.array_equal(kept, given, equal_nan=kept.dtype.kind in "fc"), "input changed")
    if kind in SAME:
        require(np.array_equal(found, expected), "other numbers")
    elif kind in ("nan", "inf"):
        require(np.array_equal(found[1:], expected[1:]), "other rows changed")
        require(np.isnan(found[0]) if kind == "nan" else found[0] == -np.inf, f"got {found[0]}")
    elif kind in ("none", "None inside", "masked", "strings", "wide", "narrow", "dates"):
        require(False, f"expected an error, got {found}")
    return "success"


def from_file(folder, rng, kind, extension):
    plain = rng.standard_normal((int(rng.integers(1, 9)), 3))
    array = odd(plain, kind)
    path = folder / f"t.{extension}"
    try:
        array = np.asarray(array)
        if extension == "parquet" and array.ndim == 1:
            array = array[:, None]  # pandas takes one column
        if extension == "npy":
            np.save(path, array)
        elif extension == "npz":
            np.savez(path, array)
        else:
            import pandas

            pandas.DataFrame(array).rename(columns=str).to_parquet(path)
    except Exception:  # some kinds cannot be written
        return "refused"
    whole = rng.random() < 0.6
    if not whole:
        content = bytearray(path.read_bytes())
        if rng.random() < 0.5:
            content = content[: rng.integers(len(content))]
        else:
            content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
    try:
        table = read_quietly(path)
    except TableError as error:
        require(str(error).startswith(str(path)), f"no name in {error}")
        require(
            not whole or kind not in ("plain", "fortran", "big-endian", "int", "bool", "list"),
            f"refused: {error}",
        )
        return refused(error)
    if whole:
        require(np.array_equal(table.values, array.astype(float)), "other numbers")
    return "success"
