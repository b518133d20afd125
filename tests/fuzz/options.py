"""The command line with options good, odd and absurd."""

import numpy as np

from nfref.tables.files.model_file import load_model
from nfref.tables.reading.read import read_quietly
from tests.fuzz.case import command, command_lines, contents, require

NUMBERS = (
    "1",
    "2",
    "0",
    "-1",
    "1.5",
    "nan",
    "inf",
    "1e400",
    "1_0",
    "",
    " ",
    "x",
    "--",
    "9" * 30,
    "9" * 5000,
    "0x2",
    "1e-300",
)
POOLS = {
    "--flow": ("auto", "planar", "nice", "realnvp", "maf", "iaf", "magic", ""),
    "--seed": ("1", "2", *NUMBERS),
    "--header": ("auto", "yes", "no", "maybe"),
    "--plot": ("p.png", "p.pgf", "p", "no/p.png", ".png", "old.txt"),
    "--out": ("m.npz", "old.txt", "no/m.npz", ".", "", "n" * 300, "t.csv", "ü.npz", "-"),
    "--resume": ("c.npz", "t.csv", "model.npz"),
    "--given": ("a", "a,b", "a,b,c", "z", ",", "a,a", "a=0.5", "z=1", "a=x", "=", ""),
    "--weights": ("a", "z", ""),
    "--column": (
        "a=real",
        "a=positive",
        "a=0:1",
        "b=-1e300:1e300",
        "a=nan:1",
        "=",
        "a=1:0",
        "a=count",
        "a=category",
        "z=real",
        "a",
    ),
    "-n": ("0", "3", "100000000000000", *NUMBERS),
}
FLAGS = ("--help", "--magic")
DATA = (
    "t.csv",
    "t.csv",
    "t.csv",
    "numbers.csv",
    "missing.csv",
    "old.txt",
    ".",
    "",
    "model.npz",
    "t.npy",
    "two-moons2",
)
MODELS = ("model.npz", "model.npz", "model.npz", "t.csv", "missing.npz", ".", "")
TAKES = {
    "fit": (
        "--flow",
        "--seed",
        "--header",
        "--given",
        "--weights",
        "--column",
        "--plot",
        "--out",
        "--resume",
    ),
    "score": ("--header", "--out"),
    "sample": ("-n", "--seed", "--given", "--out"),
    "plot": ("--header", "--out"),
    "info": (),
}
MAY_WRITE = ("--out", "--plot", "--resume")


def cases(rng, number):
    """Command lines of one command with some options, each from its pool."""
    return command_lines("options", line, run, rng, number)


def line(rng):
    def one_of(pool):
        return str(pool[rng.integers(len(pool))])

    name = one_of(("fit", "fit", "fit", *TAKES))
    arguments = [name]
    if name in ("score", "sample", "plot", "info"):
        arguments.append(one_of(MODELS))
    if name in ("fit", "score"):
        arguments.append(one_of(DATA))
    given = {}
    if name == "fit":  # small
        given = {"--flow": "realnvp" if rng.random() < 0.7 else "mixture"}
    if name == "sample":
        given = {"-n": "3"}
    if name == "plot":
        given = {"--out": "p.png"}
    for _ in range(rng.integers(3)):
        if TAKES[name]:
            option = one_of(TAKES[name])
            given[option] = one_of(POOLS[option])
    for option, value in given.items():
        arguments += [f"{option}={value}"] if rng.random() < 0.3 else [option, value]
    if rng.random() < 0.15:
        arguments.append(one_of(FLAGS))
    return arguments


_MODEL = []


def prepare(folder):
    rng = np.random.default_rng(0)
    values = rng.uniform(0.1, 0.9, (60, 3))
    np.savetxt(folder / "t.csv", values, delimiter=",", header="a,b,c", comments="")
    np.savetxt(folder / "numbers.csv", values, delimiter=",", header="0,1,2", comments="")
    np.save(folder / "t.npy", values)
    (folder / "old.txt").write_text("old")
    if not _MODEL:
        fit = ("fit", "t.csv", "--flow", "realnvp", "--out", "model.npz")
        status, _, errors = command(folder, *fit)
        require(status == 0, errors)
        _MODEL.append((folder / "model.npz").read_bytes())
    (folder / "model.npz").write_bytes(_MODEL[0])


def run(folder, arguments):
    prepare(folder)
    before = contents(folder)
    status, output, errors = command(folder, *arguments)
    after = contents(folder)
    named = {value for option in MAY_WRITE for value in values_of(arguments, option)}
    changed = {name for name in before if after.get(name) != before[name]}
    new = set(after) - set(before)
    if status == 2 and not named & {"p.png", ".png", "m.npz", "c.npz", "old.txt", "ü.npz"}:
        require(not changed and not new, f"wrote {changed | new} and failed: {errors}")
    require((changed | new) <= named, f"wrote {changed | new}, asked for {named}")
    require(not any(name.endswith(".part") for name in after), "a stray part")
    if "m.npz" in new and "m.npz" in values_of(arguments, "--out") and arguments[0] == "fit":
        load_model(folder / "m.npz")
    if arguments[0] == "sample" and "m.npz" not in named and status == 0:
        for name in new & {"ü.npz", "-"}:
            require(after[name].startswith(b"a,b,c\n"), f"got {after[name][:40]}")
    if arguments[0] == "score" and status == 0 and "--help" not in arguments:
        rows = len(
            read_quietly(
                str(folder / arguments[2]), (values_of(arguments, "--header") or ["auto"])[-1]
            ).values
        )
        if not values_of(arguments, "--out"):
            lines = output.count("\n")  # the mean too
            require(lines == rows + 1, f"{rows} rows, {lines} lines")
    return "success" if status == 0 else "refused"


def values_of(arguments, option):
    found = [
        argument.partition("=")[2] for argument in arguments if argument.startswith(option + "=")
    ]
    return found + [
        arguments[k + 1] for k, argument in enumerate(arguments[:-1]) if argument == option
    ]
