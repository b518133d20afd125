"""Read the golden vectors with the standard library only.

python read_vectors.py FOLDER     prints name, rows and the largest log-determinant of each file.
"""

import json
import sys
from pathlib import Path


def numbers(node):
    """Every {shape, decimal, hex} of nested lists and objects as (shape, list of floats)."""
    if isinstance(node, dict) and set(node) == {"shape", "decimal", "hex"}:
        return tuple(node["shape"]), [float.fromhex(text) for text in node["hex"]]
    if isinstance(node, dict):
        return {key: numbers(value) for key, value in node.items()}
    return [numbers(value) for value in node] if isinstance(node, list) else node


if __name__ == "__main__":
    for path in sorted(Path(sys.argv[1]).glob("*.json")):
        golden = numbers(json.loads(path.read_text()))
        assert golden["kind"] == "nfref golden vector" and golden["schema"] == 1, path
        print(golden["name"], golden["z"][0][0], max(map(abs, golden["log_det_forward"][1])))
