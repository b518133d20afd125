"""The numbers of a report.

Data and samples of the model are compared by ranks, which works for any density that can be
sampled, whatever its columns. If the model is right, data and samples follow one distribution.

Source: Talts et al. 2018, arXiv:1804.06788, for calibration (:mod:`nfref.diagnostics.calibration`
has it for each row given a context).
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Any, Array, Generator, Sequence
from nfref.tables.densities.pool import mean_and_error
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.files.model_file import Model
from nfref.tables.queries.scoring import log_prob, sample_like, sample_rows, stacked
from nfref.tables.report.layers import Layers, layers_of
from nfref.tables.schema.columns import Continuous
from nfref.tables.schema.distinct_rows import as_counts, effective_rows

SAMPLES = 5000  # samples of the model
ROWS = 20_000  # most rows of the data, evenly spaced
WORST = 10
BINS = 20
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
class Report:
    """All that a page shows.

    Attributes
    ----------
    rows, used : int
        How many rows the data has, and how many are compared with samples.
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
    given = getattr(density, "given", ())
    scores = _scores(model, rows)
    if isinstance(density, TableDensity):
        samples = stacked(sample_like(density, list(rows.T), rng, SAMPLES))
    else:
        samples = sample_rows(density, model.params, rng, SAMPLES)
    sample_scores = _scores(model, samples)
    unseen = np.ones(len(rows), bool) if tested is None else tested
    own = np.flatnonzero(unseen)
    kept = _to_compare(own, weight, rng)
    mean, error = _mean_and_error(scores, weight, unseen)
    columns, extreme = _columns(density, names, given, rows, samples, kept, rng)
    coverage, coverage_pvalue = covered(scores[kept], sample_scores)
    candidates, curves = _training(model.info.get("fit"))
    return Report(
        rows=len(rows),
        used=len(kept),
        names=tuple(names),
        given=given,
        columns=columns,
        mean=mean,
        error=error,
        own=len(own),
        fitted_mean=None if np.all(unseen) else _mean_and_error(scores, weight, ~unseen)[0],
        log_prob=scores[kept],
        sample_log_prob=sample_scores,
        impossible=int(np.sum(~np.isfinite(scores))),
        coverage=coverage,
        coverage_pvalue=coverage_pvalue,
        worst=_worst(scores, rows, extreme),
        candidates=candidates,
        curves=curves,
        layers=layers_of(model, names, rng),
        about=about,
    )


def _scores(model, rows):
    return np.asarray(log_prob(model.density, model.params, rows), np.float64)


def _mean_and_error(scores, weight, some):
    """Return the mean of some of the scores, and its standard error."""
    return mean_and_error(scores[some], None if weight is None else weight[some])


def _to_compare(own, weight, rng):
    """Return at most ``ROWS`` of the places: evenly spaced, or sampled by their weights."""
    if weight is None:
        return own[np.linspace(0, len(own) - 1, min(len(own), ROWS)).astype(int)]
    weight = weight[own]
    count = max(1, min(int(effective_rows(weight, len(own))), ROWS))
    return own[np.sort(rng.choice(len(own), count, p=weight / np.sum(weight)))]


def _worst(scores, rows, extreme):
    """Return the rows of the lowest scores."""
    order = np.argsort(np.where(np.isnan(scores), -np.inf, scores), kind="stable")[:WORST]
    return tuple(
        Worst(int(k) + 1, float(scores[k]), tuple(map(_text, rows[k])), int(extreme[k]))
        for k in order
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


def _columns(density, names, given, rows, samples, kept, rng):
    """Return each Column that is not given, and the most extreme column of each row, (N,)."""
    own = density.columns if isinstance(density, TableDensity) else [None] * len(names)
    kinds = ["real" if column is None else column.kind for column in own]
    coded = [
        _numbers(kind, _wrapped(column, values), drawn)
        for kind, column, values, drawn in zip(kinds, own, rows.T, samples.T)
    ]
    ranks = [_ranks(data, drawn, rng) for data, drawn, _ in coded]
    columns = tuple(
        _column(name, kind, data[kept], drawn, labels, u[kept], rng)
        for name, kind, (data, drawn, labels), u in zip(names, kinds, coded, ranks)
        if name not in given
    )
    apart = [
        np.zeros(len(u)) if name in given else np.abs(u - 0.5) for name, u in zip(names, ranks)
    ]
    return columns, np.argmax(apart, axis=0)


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
    fit = fit if isinstance(fit, dict) else {}
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
