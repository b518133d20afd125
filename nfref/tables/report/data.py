"""The numbers of a report.

Data and samples of the model are compared by ranks, which works for any density that can be
sampled, whatever its columns. If the model is right, data and samples follow one distribution.

Source: Talts et al. 2018, arXiv:1804.06788, for calibration (:mod:`nfref.diagnostics.calibration`
has it for each row given a context).
"""

from dataclasses import dataclass

import numpy as np

from nfref.flows.composition import Invert
from nfref.runtime.annotations import Any, Array, Generator, Sequence
from nfref.runtime.params import at_path
from nfref.tables.densities.pool import mean_and_error
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.files.model_file import Model
from nfref.tables.queries.scoring import log_prob, sample_like, sample_rows, stacked
from nfref.tables.schema.columns import Continuous
from nfref.tables.schema.distinct_rows import as_counts, effective_rows

SAMPLES = 5000  # samples of the model
ROWS = 20_000  # most rows of the data, evenly spaced
WORST = 10
BINS = 20
POINTS = 400  # samples that are followed through the layers
STAGES = 24  # most stages that are shown
LEVELS = np.linspace(0.05, 0.95, 19)


@dataclass(frozen=True)
class Column:
    """One column of data beside samples of the model.

    Attributes
    ----------
    name, kind : str
    edges : (B + 1,) array or None
        Edges of the bins; None for a category.
    labels : tuple of str
        Labels of the bins of a category; otherwise empty.
    data, samples : (B,) array
        Shares of the data and of the samples in the bins.
    pit : (20,) array
        Shares of the data's ranks among the samples; 1/20 each if the model is right.
    distance, pvalue : float
        The largest distance of the two distribution functions, and the probability of one so large
        if the model is right (Kolmogorov and Smirnov, two samples).
    """

    name: str
    kind: str
    edges: np.ndarray | None
    labels: tuple
    data: np.ndarray
    samples: np.ndarray
    pit: np.ndarray
    distance: float
    pvalue: float


@dataclass(frozen=True)
class Worst:
    """A row of low likelihood.

    Attributes
    ----------
    row : int
        Its number in the data, from 1.
    log_prob : float
    cells : tuple of str
    extreme : int
        The column whose value is furthest in the tail of the samples.
    """

    row: int
    log_prob: float
    cells: tuple
    extreme: int


@dataclass(frozen=True)
class Layers:
    """Samples of the base on their way through a flow.

    Attributes
    ----------
    name : str
        Name of the flow.
    columns : tuple of str
    stages : tuple of str
        The base, and each layer.
    points : (S, N, D) array
        After each stage.
    quadrant : (N,) array of int
        Quadrant of the base's first two columns, 0 to 3.
    left_out : int
        The number of layers that are not shown.
    """

    name: str
    columns: tuple
    stages: tuple
    points: np.ndarray
    quadrant: np.ndarray
    left_out: int


@dataclass(frozen=True)
class Report:
    """All that a page shows.

    Attributes
    ----------
    rows, used : int
        The number of rows of the data, and of those that are compared with samples.
    names : tuple of str
        Names of all columns.
    given : tuple of str
        The given columns; samples take their values from the data.
    columns : tuple of Column
        All other columns.
    mean, error : float
        Nats per row of the data that the model was not fitted to, as far as is known, and the
        standard error.
    own : int
        The number of these rows.
    fitted_mean : float or None
        Nats per row of the other rows; None without any.
    log_prob, sample_log_prob : array
        Log-densities of the data that is compared, and of the samples.
    impossible : int
        Rows whose likelihood is not a finite number.
    coverage : (L,) array
        Shares of the data in the highest-density regions of probability ``LEVELS``.
    coverage_pvalue : float
    worst : tuple of Worst
    candidates : list of dict
        From the model file.
    curves : dict
        name -> {"train": ..., "validation": ...}, nats per row and epoch.
    layers : Layers or None
    about : dict
        Text by name: what the model file says about the fit.
    """

    rows: int
    used: int
    names: tuple
    given: tuple
    columns: tuple
    mean: float
    error: float
    own: int
    fitted_mean: float | None
    log_prob: np.ndarray
    sample_log_prob: np.ndarray
    impossible: int
    coverage: np.ndarray
    coverage_pvalue: float
    worst: tuple
    candidates: list
    curves: dict
    layers: Layers | None
    about: dict


def gather(
    model: Model,
    names: Sequence[str],
    rows: Array,
    rng: Generator,
    about: dict[str, Any],
    weight: Array | None,
    tested: Array | None,
) -> Report:
    """Compute the numbers of a report.

    Parameters
    ----------
    model : nfref.tables.files.model_file.Model
    names : sequence of str
        Names of its D columns.
    rows : (N, D) array
        Data, at least one row; of dtype object if some cells are text.
    rng : numpy.random.Generator
    about : dict
        Text by name, to be shown.
    weight : (N,) array or None
        Weight of each row. Then rows that are sampled by their weights are compared with samples.
    tested : (N,) array of bool or None
        Rows that the model was not fitted to, if it was fitted to the others: only these are
        compared with samples and count in the mean.

    Returns
    -------
    Report
    """
    density, weight = model.density, as_counts(weight)
    of_table = isinstance(density, TableDensity)
    scores = np.asarray(log_prob(density, model.params, rows), np.float64)
    if of_table:
        samples = stacked(sample_like(density, list(rows.T), rng, SAMPLES))
    else:
        samples = sample_rows(density, model.params, rng, SAMPLES)
    sample_scores = np.asarray(log_prob(density, model.params, samples), np.float64)
    own = np.arange(len(rows)) if tested is None else np.flatnonzero(tested)
    of_own = None if weight is None else weight[own]
    if of_own is None:
        kept = own[np.linspace(0, len(own) - 1, min(len(own), ROWS)).astype(int)]
    else:
        count = max(1, min(int(effective_rows(of_own, len(own))), ROWS))
        kept = own[np.sort(rng.choice(len(own), count, p=of_own / np.sum(of_own)))]
    fitted = np.setdiff1d(np.arange(len(rows)), own)
    fitted_mean = None
    if tested is not None and len(fitted):
        of_fitted = None if weight is None else weight[fitted]
        fitted_mean = mean_and_error(scores[fitted], of_fitted)[0]
    own_columns = density.columns if of_table else [None] * len(names)
    kinds = ["real" if column is None else column.kind for column in own_columns]
    coded = [
        _numbers(kind, _wrapped(column, values), drawn)
        for kind, column, values, drawn in zip(kinds, own_columns, rows.T, samples.T)
    ]
    ranks = [_ranks(data, samples, rng) for data, samples, _ in coded]
    known = getattr(density, "given", ())
    columns = tuple(
        _column(name, kind, data[kept], samples, labels, u[kept], rng)
        for name, kind, (data, samples, labels), u in zip(names, kinds, coded, ranks)
        if name not in known
    )
    extreme = np.argmax(
        [np.zeros(len(u)) if name in known else np.abs(u - 0.5) for name, u in zip(names, ranks)],
        axis=0,
    )
    order = np.argsort(np.where(np.isnan(scores), -np.inf, scores), kind="stable")[:WORST]
    worst = tuple(
        Worst(int(k) + 1, float(scores[k]), tuple(map(_text, rows[k])), int(extreme[k]))
        for k in order
    )
    fit = model.info.get("fit")
    candidates, curves = _training(fit if isinstance(fit, dict) else {})
    coverage, pvalue = covered(scores[kept], sample_scores)
    return Report(
        len(rows),
        len(kept),
        tuple(names),
        known,
        columns,
        *mean_and_error(scores[own], of_own),
        len(own),
        fitted_mean,
        scores[kept],
        sample_scores,
        int(np.sum(~np.isfinite(scores))),
        coverage,
        pvalue,
        worst,
        candidates,
        curves,
        _layers(model, names, rng),
        about,
    )


def covered(scores: Array, sample_scores: Array) -> tuple[Array, float]:
    """Return shares of data in the highest-density regions of ``LEVELS``, and a p-value.

    The region of probability a holds the share a of all samples with the highest log p. If the
    model is right, log p of data and of samples follow one distribution; the p-value tests that.
    """
    from scipy.stats import ks_2samp  # slow to import

    scores = np.where(np.isnan(scores), -np.inf, scores)
    sample_scores = sample_scores[~np.isnan(sample_scores)]
    thresholds = np.quantile(sample_scores, 1 - LEVELS)
    pvalue = float(ks_2samp(scores, sample_scores).pvalue)
    return np.mean(scores[:, None] >= thresholds, axis=0), pvalue


# Columns ----------------------------------------------------------------------------------


def _wrapped(column, values):
    """Return the values of a column; on a circle moved to the turn of the samples."""
    return column.wrapped(values.astype(float)) if isinstance(column, Continuous) else values


def _numbers(kind, data, samples):
    """Return (data, samples, labels) as numbers: labels as their places."""
    if kind != "category":
        return data.astype(np.float64), samples.astype(np.float64), ()
    labels = sorted({*data.tolist(), *samples.tolist()})
    place = {label: k for k, label in enumerate(labels)}
    data, samples = (
        np.array([place[value] for value in values.tolist()], np.float64)
        for values in (data, samples)
    )
    return data, samples, tuple(_text(label) for label in labels)


def _ranks(data, samples, rng):
    """Return the share of samples below each value, in (0, 1), with ties broken at random.

    u = (#{samples < x} + U (1 + #{samples = x})) / (L + 1) is uniform for a row of the same
    distribution.
    """
    samples = np.sort(samples[~np.isnan(samples)])
    below, upto = np.searchsorted(samples, data), np.searchsorted(samples, data, side="right")
    return (below + rng.random(len(data)) * (1 + upto - below)) / (len(samples) + 1)


def _column(name, kind, data, samples, labels, u, rng):
    from scipy.stats import ks_2samp  # slow to import

    samples = samples[np.isfinite(samples)]
    if labels:
        edges, inner = None, np.arange(len(labels) + 1) - 0.5
    else:
        inner = edges = _edges(data, samples, kind)
    seen, drawn = (np.histogram(values, inner)[0] / len(values) for values in (data, samples))
    apart = [data, samples]
    if kind in ("category", "count"):  # whole numbers are moved apart, so that there are no ties
        apart = [values + rng.random(len(values)) for values in apart]
    test = ks_2samp(*apart)
    pit = np.histogram(u, BINS, (0, 1))[0] / len(u)
    return Column(
        name, kind, edges, labels, seen, drawn, pit, float(test.statistic), float(test.pvalue)
    )


def _edges(data, samples, kind):
    """Return bins around all but the outermost 0.5 % of data and samples."""
    low, high = (
        pick([np.quantile(part, at) for part in (data, samples)])
        for pick, at in ((min, 0.005), (max, 0.995))
    )
    if kind == "count":
        low, high = np.floor(low), np.floor(high)
        step = max(1.0, np.ceil((high - low + 1) / 30))
        return np.arange(low, high + step + 0.5, step) - 0.5
    if not high > low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, 31)


def _text(cell):
    return cell if isinstance(cell, str) else f"{float(cell):.6g}"


# Training ---------------------------------------------------------------------------------


def _training(fit):
    """Return (candidates, curves) from the notes of a fit, as far as they are well-formed."""
    candidates = [
        one
        for one in _list(fit.get("candidates"))
        if isinstance(one, dict)
        and isinstance(one.get("name"), str)
        and isinstance(one.get("validation"), dict)
        and all(_is_number(value) for value in (one.get("weight"), one["validation"].get("mean")))
    ]
    histories = {one["name"]: one.get("history") for one in candidates}
    if "history" in fit:
        histories[str(fit.get("flow", "flow"))] = fit["history"]
    curves = {}
    for name, history in histories.items():
        parts = {
            part: values
            for part in ("train", "validation")
            if isinstance(history, dict)
            and (values := _list(history.get(part)))
            and all(_is_number(value) for value in values)
        }
        if parts:
            curves[name] = parts
    return candidates, curves


def _list(value):
    return value if isinstance(value, list) else []


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# Layers -----------------------------------------------------------------------------------


def _layers(model, names, rng):
    """Return the layers of the flow, or of the pool's flow with the largest weight, or None."""
    density, params, context, name = model.density, model.params, None, ""
    if isinstance(density, TableDensity):
        table, pool = density, density.pool
        if pool is None or not pool.flows:
            return None
        flows = pool.flows
        best = max(flows, key=lambda k: pool.weights[k])
        name = f"{pool.names[best]}, {pool.weights[best]:.3f} of the pool's weight"
        density, params = pool.members[best].density, pool.members[best].params
        names = [table.columns[k].name for k in table.places[1]]
        context = table.context(table.pilot(rng, POINTS))
    return followed(density, params, names, rng, context, name)


def followed(
    density: Any,
    params: dict[str, Any],
    names: Sequence[str],
    rng: Generator,
    context: Array | None = None,
    name: str = "",
) -> Layers:
    """Return samples of a density's base after each layer of its flow."""
    z = density.base.sample(params["base"], rng, POINTS)
    second = z[:, min(1, density.dim - 1)]
    quadrant = 2 * (second > np.median(second)) + (z[:, 0] > np.median(z[:, 0]))
    stages, points = [f"base: {type(density.base).__name__}"], [z]
    steps = density.flow.members()
    for k, (flow, direction, path) in enumerate(steps, start=1):
        flow = flow if direction == 1 else Invert(flow)
        given = context if flow.context_dim else None
        with np.errstate(all="ignore"):
            z, _ = flow.forward(at_path(params["flow"], path), z, given)
        inner = flow.flow if direction != 1 else flow
        inverted = "" if direction == 1 else ", inverted"
        stages.append(f"layer {k} of {len(steps)}: {type(inner).__name__}{inverted}")
        points.append(z)
    shown = np.linspace(0, len(stages) - 1, min(STAGES, len(stages))).round().astype(int)
    kept = tuple(stages[k] for k in shown)
    places = np.stack([points[k] for k in shown])
    return Layers(name, tuple(names), kept, places, quadrant, len(stages) - len(shown))
