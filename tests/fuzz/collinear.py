"""Columns that nearly follow from others: the highest likelihood, or a refusal by name."""

import warnings

import numpy as np

import nfref
from nfref.tables.schema.columns import ColumnError
from tests.fuzz.case import Case, refused, require

LEAST = 1e-10  # noise, in deviations of the column, from which a fit has to succeed


def cases(rng, number):
    """Yield tables in which some columns are linear functions of others and a little noise."""
    for _ in range(number):
        one = np.random.default_rng(rng.integers(2**63))
        eps = float(10 ** one.uniform(-15, -1)) if one.random() < 0.9 else 0.0
        dim, more = int(one.integers(1, 7)), int(one.integers(1, 4))
        flow = "mixture" if one.random() < 0.1 else "gaussian"
        given = bool(one.random() < 0.2)
        yield Case(
            f"collinear: {flow}, {dim} columns and {more} with noise {eps:.1e}, given {given}",
            lambda folder, one=one, eps=eps, dim=dim, more=more, flow=flow, given=given: fit(
                one, eps, dim, more, flow, given
            ),
        )


def fit(rng, eps, dim, more, flow, given):
    rows = int(rng.integers(30, 400)) * (dim + more)
    x = rng.standard_normal((rows, dim))
    slopes = rng.standard_normal((dim, more))
    y = x @ slopes + eps * np.linalg.norm(slopes, axis=0) * rng.standard_normal((rows, more))
    x = np.concatenate([x, y], axis=1)
    if rng.random() < 0.5:  # units, and a middle that costs no more than two digits
        x = (x + rng.uniform(-50, 50, dim + more)) * 10.0 ** rng.integers(-6, 7, dim + more)
        eps /= 100
    names = [f"x{k + 1}" for k in range(dim)] if given else []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = nfref.FlowDensity(flow, given=names or None, random_state=0).fit(x)
    except ColumnError as error:
        require(eps < LEAST, f"noise of {eps:.1e} was refused: {error}")
        require("values that other columns do not determine" in str(error), str(error))
        return refused(error)
    if eps < LEAST:  # as near as this, rounding decides
        return "success"
    scores = model.score_samples(x)
    best = highest(x) - (highest(x[:, :dim]) if given else 0)
    # a wide density has a weight of one row, and rows beyond five deviations are drawn in
    near = np.all(np.abs(x - np.median(x, axis=0)) < 3.5 * np.std(x, axis=0), axis=1)
    lost = (
        best - np.mean(scores)
        if np.all(near)
        else best_of(x, near, dim, given) - np.mean(scores[near])
    )
    # A support that is chosen because it has no impossible samples may cost a little.
    real = all(column.kind == "real" and column.soft is None for column in model.columns_)
    most = 0.05 if real else 0.25
    require(lost < most, f"{lost:.3f} nats below the highest likelihood, {rows} rows")
    return "success"


def normal(x):
    """The log-density of rows under their own Gaussian, and its parameters by QR."""
    centred = x - np.mean(x, axis=0)
    upper = np.linalg.qr(centred / np.sqrt(len(x)), mode="r")
    z = np.linalg.solve(upper.T, centred.T)
    constant = np.sum(np.log(np.abs(np.diag(upper)))) + x.shape[1] / 2 * np.log(2 * np.pi)
    return -0.5 * np.sum(z**2, axis=0) - constant


def highest(x):
    return np.mean(normal(x))


def best_of(x, near, dim, given):
    best = normal(x) - (normal(x[:, :dim]) if given else 0)
    return np.mean(best[near])
