"""The golden vectors: flows evaluated to thirty digits, in JSON files that need no Python.

``python -m nfref.oracle.golden_vectors FOLDER`` copies them.

``docs/golden_vectors.rst`` describes the files in ``vectors/``. They come from maps written out of
the papers, in arithmetic of sixty digits (``tests/high_precision/``).
"""

import json
import sys
from importlib import resources
from pathlib import Path

import numpy as np

from nfref.runtime.annotations import Any, Array, Iterator, PathLike, Sequence
from nfref.runtime.files import replacing
from nfref.runtime.serialization import rebuild

SCHEMA = 1
FOLDER = resources.files("nfref.oracle") / "vectors"


def shipped() -> list[str]:
    """Return the names of the golden vectors that come with the package."""
    names = (item.name for item in FOLDER.iterdir())
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def copy(folder: PathLike, names: Sequence[str] | None = None) -> Iterator[Path]:
    """Copy some of :func:`shipped`, or all, into a folder; yield each path when it is complete."""
    known = shipped()
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise ValueError(f"names: expected some of {', '.join(known)}; got {', '.join(unknown)}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or known:
        path = folder / f"{name}.json"
        with replacing(path) as file:
            file.write((FOLDER / path.name).read_bytes())
        yield path


def load(source: PathLike) -> dict[str, Any]:
    """Read a golden vector: the name of one of :func:`shipped`, or a JSON file.

    The dictionary is that of the file, with every {shape, decimal, hex} turned into a float64 array
    and ``flow`` into the Flow.
    """
    file = FOLDER / f"{source}.json" if str(source) in shipped() else Path(source)
    try:
        golden = json.loads(
            file.read_text(encoding="utf-8"),
            object_hook=lambda node: array_of(node) if is_leaf(node) else node,
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"{source}: expected JSON, got an error at line {error.lineno}") from None
    if not isinstance(golden, dict) or golden.get("kind") != "nfref golden vector":
        raise ValueError(f"{source}: expected a golden vector, got another kind of JSON")
    if golden["schema"] != SCHEMA:
        raise ValueError(f"{source}: expected schema {SCHEMA}, got {golden['schema']}")
    return {**golden, "flow": rebuild(golden["flow"])}


def is_leaf(node: object) -> bool:
    """Check that a node of the JSON is an array."""
    return isinstance(node, dict) and set(node) == {"shape", "decimal", "hex"}


def array_of(node: dict[str, Any]) -> Array:
    """Return the float64 array of a leaf."""
    values = np.array([float.fromhex(text) for text in node["hex"]], dtype=np.float64)
    return values.reshape(node["shape"])


if __name__ == "__main__":
    print(*copy(*sys.argv[1:2], sys.argv[2:]), sep="\n")
