"""The manifest of the golden vectors: the files, their digests, and the purpose of each.

``python -m tests.high_precision.write_vectors`` makes ``nfref/oracle/vectors_manifest.json`` from
the files that ship with the package. The files themselves follow
``nfref/oracle/golden_vector.schema.json``.
"""

import hashlib
import json

from nfref import __version__
from nfref.oracle.golden_vectors import FOLDER, shipped
from nfref.runtime.files import replacing

PATH = FOLDER.parent / "vectors_manifest.json"

# Semantic version of the files: patch for other numbers of the same meaning, minor for new keys
# or new flows, major when a reader of the old files would misread new ones. The major part is
# the "schema" of each file.
FORMAT_VERSION = "1.0.0"
# Relative to 1 + |truth|: the limit for a float64 implementation without avoidable losses.
TOLERANCE = {"CNF": 1e-6, "ProbabilityFlow": 1e-6, "EquivariantCNF": 1e-6, "Logit": 1e-9}
DEFAULT_TOLERANCE = 1e-11


def _reason(flow):
    """Return the purpose of a case: the class, and the options that set it apart."""
    options = [
        f"{key} {value}"
        for key, value in flow.items()
        if key not in ("class", "dim")
        and isinstance(value, (str, bool, int, float))
        and value not in (0, False)
    ]
    return f"{flow['class']}" + (f" with {', '.join(options)}" if options else "")


def manifest():
    """The manifest as JSON-ready data, made from the shipped files."""
    cases = []
    for name in shipped():
        content = (FOLDER / f"{name}.json").read_bytes()
        golden = json.loads(content)
        kind = golden["flow"]["class"]
        cases.append(
            {
                "file": f"{name}.json",
                "sha256": hashlib.sha256(content).hexdigest(),
                "flow": kind,
                "reason": _reason(golden["flow"]),
                "tolerance": TOLERANCE.get(kind, DEFAULT_TOLERANCE),
            }
        )
    return {
        "kind": "nfref golden vectors manifest",
        "format_version": FORMAT_VERSION,
        "nfref": __version__,
        "cases": cases,
    }


def read():
    """The manifest that ships with the package."""
    return json.loads(PATH.read_text())


def write():
    with replacing(PATH) as file:
        file.write((json.dumps(manifest(), indent=1) + "\n").encode())
