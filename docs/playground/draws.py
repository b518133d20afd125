"""Write draws.js: samples of the base, which the playground maps through a layer.

python docs/playground/draws.py
"""

import json
from pathlib import Path

import numpy as np

import nfref


def draws(n=1000):
    """The file's text: rows of nfref's standard normal, to three decimals."""
    rows = nfref.StandardNormal(2).sample({}, np.random.default_rng(0), n)
    return f"// Made by draws.py.\nconst DRAWS = {json.dumps(rows.round(3).tolist())};\n"


if __name__ == "__main__":
    Path(__file__).with_name("draws.js").write_text(draws(), encoding="utf-8")
