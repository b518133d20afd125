"""A table with columns of all kinds, and the command in this process."""

import numpy as np
import pandas as pd

from nfref.cli import main

QUICK = ("--effort", "quick")


def people(n=500, seed=0):
    rng = np.random.default_rng(seed)
    town = rng.choice(["Rome", "New York", "Oslo"], n)
    age = rng.gamma(4, 10, n) + 1
    return pd.DataFrame(
        {
            "age": age,
            "share": rng.beta(2, 3, n),
            "town": town,
            "children": rng.poisson(1 + (town == "Rome")),
            "w": rng.integers(1, 4, n),
        }
    )


COLUMNS = (
    "--column",
    "age=positive",
    "--column",
    "share=0:1",
    "--column",
    "town=category",
    "--column",
    "children=count",
)


def run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    output, errors = capsys.readouterr()
    assert status == 0, errors
    return output
