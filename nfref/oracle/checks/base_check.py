"""Parts that the checks of flows and of densities share."""

from dataclasses import replace
from functools import partial

import numpy as np

from nfref.oracle.adapters.estimator_protocol import parameters_of
from nfref.oracle.checks import (
    array_contract,
    batches,
    context,
    hidden_state,
    library_gradient,
    normalisation,
    precision,
)
from nfref.oracle.instruments.guarded_calls import (
    NO_ANSWER,
    Inapplicable,
    NotThere,
    Stopwatch,
    Subject,
    Undecided,
    no_answer,
)
from nfref.oracle.instruments.kinks import Kink
from nfref.oracle.instruments.measurement import Measurement
from nfref.oracle.instruments.probes import Box, Domain, Probes
from nfref.oracle.report import Report, Row, held, inconclusive, not_applicable, passed
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable, DTypeLike, Generator, Iterator, Sequence
from nfref.runtime.checks import check_callable, check_count, check_positive, check_rng


def checked_skip(skip: Sequence[str], properties: dict[str, str]) -> tuple[str, ...]:
    """Return the names of properties to leave out, as a tuple; an unknown one is an error."""
    names = (skip,) if isinstance(skip, str) else tuple(skip)
    for name in names:
        if name not in properties:
            raise ValueError(f"skip: expected names of properties, got {name!r}")
    return names


def check_callables(**functions: object) -> None:
    """Check that arguments are callable or None."""
    for name, function in functions.items():
        if function is not None:
            check_callable(name, function)


def bytes_of(parameters: Any) -> list[bytes] | None:
    """Return the bytes of every array of nested parameters, or of a function's result."""
    if parameters is None:
        return None
    tree = parameters() if callable(parameters) else parameters
    return [np.asarray(leaf).tobytes() for leaf in trees.leaves(tree)]


def checked_setting(
    dim: int, rng: Generator, seconds: float, dtype: DTypeLike, context: Array | None
) -> tuple[np.dtype[Any], Array | None]:
    """Return the dtype, and the context as an (M, C) array of it or None."""
    check_count("dim", dim)
    check_rng(rng)
    check_positive("seconds", seconds)
    dtype = np.dtype(dtype)
    if dtype not in (np.dtype(np.float64), np.dtype(np.float32)):
        raise ValueError(f"dtype: expected float64 or float32, got {dtype}")
    if context is not None:
        context = np.asarray(context, dtype=dtype)
        if context.ndim != 2 or not len(context):
            raise ValueError(f"context: expected shape (M, C), got {context.shape}")
    return dtype, context


def reported(
    subject: str, rows: Iterator[Row], skip: Sequence[str], stop_early: bool = False
) -> Report:
    """Return the Report of rows as they are made, without those that are skipped."""
    kept, skipped = [], []
    with np.errstate(all="ignore"):  # rows judge overflow; no warnings
        for row in rows:
            if row.name in skip:
                skipped.append(row.name)
                continue
            kept.append(row)
            if stop_early and row.failed:
                break
    return Report(subject, tuple(kept), tuple(skipped))


class Check:
    """One run of a check. ``end`` is the suffix of the names of a direction's rows."""

    def __init__(self, dim, rng, context, dtype, support, seconds, skip, properties):
        self.dtype, self.context = checked_setting(dim, rng, seconds, dtype, context)
        self.skip, self.support = checked_skip(skip, properties), support
        self.dim, self.rng, self.stopwatch = dim, rng, Stopwatch(seconds)
        self.contexts = 1 if self.context is None else len(self.context)

    def report(
        self, subject: str, rows: Iterator[Row], parameters: Any, stop_early: bool
    ) -> Report:
        """Return the Report of the rows and of a check that calls left the parameters unchanged."""
        before = bytes_of(parameters)

        def all_rows():
            yield from rows
            after = bytes_of(parameters)
            yield hidden_state.parameters_unchanged("parameters_unchanged", before, after)

        name = f"{subject}, D = {self.dim}, {self.dtype}"
        return reported(name, all_rows(), self.skip, stop_early)

    def timed(self, make: Callable, name: str, *arguments: Any) -> Any:
        """Return the row of a property, or a note if it is skipped."""
        if name in self.skip:
            return not_applicable(name, "skipped")
        return self.judged(make, name, *arguments)

    def judged(self, make: Callable, name: str, *arguments: Any) -> Any:
        """Return the row of a property with a fresh time budget; a property never raises."""
        self.stopwatch.restart()
        try:
            return make(name, *arguments)
        except NO_ANSWER as error:
            return no_answer(name, "no answer", error)
        except Undecided as error:
            return inconclusive(name, str(error))
        except Inapplicable as error:
            return not_applicable(name, str(error))

    def answered(self, subject: Subject, probes: Probes, end: str, domain: Domain) -> Any:
        """Yield rows on the answers in the bulk and far out; return the probes with an answer."""
        middle = probes.only(probes.bulk)
        self.stopwatch.restart()
        try:
            answer = subject(middle.rows, middle.context_row)
        except NO_ANSWER as error:
            subject.is_there = subject.dim is None or not isinstance(error, NotThere)
            row = no_answer(f"answers{end}", "no answer in the middle of its domain", error)
            yield row if subject.is_there else not_applicable(row.name, str(error))
            return None
        subject.has_log_det = answer[1] is not None
        without = subject.dim is not None and not subject.has_log_det
        note = "; values alone, no log_det" if without else ""
        yield passed(f"answers{end}", f"{len(middle)} rows{note}")
        self.stopwatch.restart()
        try:
            subject(probes.rows, probes.context_row)
        except NO_ANSWER as error:
            row = no_answer(f"answers_far{end}", "no answer in the tails or at the edges", error)
            # A distribution of torch raises outside of its support, which it may not name.
            hint = f"if its rows have bounds, name them (domain=, codomain=): {error}"
            yield replace(row, hint=hint) if row.failed and domain.is_everything else row
            return middle
        farthest = np.max(np.abs(probes.rows))
        yield passed(f"answers_far{end}", f"{len(probes)} rows, out to {farthest:.3g}")
        return probes

    def by_itself(self, measured: Measurement, end: str = "") -> Iterator[Row]:
        """Yield rows on an answer as a function of its row and context; others rely on these."""
        yield self.timed(hidden_state.repeatable, f"repeatable{end}", measured)
        yield self.timed(array_contract.answers_stay, f"answers_stay{end}", measured)
        if self.context is not None:
            yield self.timed(context.is_not_remembered, f"context_memory{end}", measured)
        yield self.timed(batches.row_independence, f"row_independence{end}", measured, self.rng)

    def of_its_values(
        self,
        measured: Measurement,
        gradient: Callable | None,
        kinks: Sequence[Kink],
        moves: Array | None = None,
        end: str = "",
    ) -> Iterator[Row]:
        """Yield rows on single answers, and those on the context, if there is one."""
        yield self.timed(array_contract.finite, f"finite{end}", measured)
        yield self.timed(precision.precise, f"precision{end}", measured)
        yield self.timed(library_gradient.by_rows, f"gradient{end}", measured, gradient, kinks)
        yield self.timed(array_contract.empty_batch, f"empty_batch{end}", measured, self.dim)
        if self.context is not None:
            yield self.timed(context.is_read, f"context_read{end}", measured, moves)
            judge = library_gradient.by_context
            yield self.timed(judge, f"context_gradient{end}", measured, gradient)

    def as_it_is_used(self, measured: Measurement, end: str = "") -> Iterator[Row]:
        """Yield rows on batches of all sizes, other memory layouts, and threads."""
        yield self.timed(batches.batch_sizes, f"batch_sizes{end}", measured, self.rng)
        yield self.timed(batches.memory_layout, f"memory_layout{end}", measured)
        yield self.timed(hidden_state.two_threads, f"threads{end}", measured, self.rng)

    def of_all_calls(self, subject: Subject, end: str = "") -> Iterator[Row]:
        """Yield the rows on faults that were recorded during all calls."""
        for name, why, faults in (
            ("shapes", "values (N, D), log_det (N,)", subject.shape_faults),
            ("dtypes", f"{subject.dtype} in, {subject.dtype} out", subject.dtype_faults),
            ("input_unchanged", "bytes compared before and after", subject.changed_inputs),
        ):
            yield held(f"{name}{end}", f"{why}, in every call", *faults[:1])

    # As a whole -----------------------------------------------------------------------------

    @property
    def floor(self) -> float:
        """The smallest tolerance of a mass, for every method."""
        return 1e-5 if self.dtype == np.float64 else 2e-3

    def supports(self, rows: Array, context_row: Array) -> Array:
        """Return (N,) bool: rows in the support, which may depend on the context."""
        if self.support is None:
            return np.ones(len(rows), dtype=bool)
        given = [rows]
        if self.context is not None and len(parameters_of(self.support)) > 1:
            given.append(self.context[context_row])
        return np.asarray(self.support(*given), dtype=bool)

    def contains(self, domain: Domain, rows: Array, context_row: int = 0) -> Array:
        """Return (N,) bool: rows that, rounded to the dtype, are in the domain and the support."""
        inside = domain.contains(rows.astype(self.dtype).astype(np.float64))
        some = rows[inside]
        inside[inside] = self.supports(some, np.full(len(some), context_row))
        return inside

    def whole(
        self,
        log_prob: Callable,
        domain: Domain,
        samples: Array,
        spread: float,
        context_row: int,
        **more: Any,
    ) -> normalisation.Whole:
        """Return a Whole; unless ``spread`` is 0, rows of that width stand in for samples."""
        box = domain if isinstance(domain, Box) else None
        lost = normalisation.share_at_an_end(domain, samples)
        samples = samples[np.isfinite(samples).all(axis=1)]
        inside = self.contains(domain, samples, context_row)
        within = inside if box is None else box.contains_closed(samples)
        left_out, samples = samples[~inside & within], samples[inside]
        pilot, tested = samples[: len(samples) // 5], samples[len(samples) // 5 :]
        if spread and len(pilot) < 100 and box is not None:
            pilot = box.from_line(spread * self.rng.standard_normal((2000, self.dim)))
            tested = samples[:0]
        contains = partial(self.contains, domain, context_row=context_row)
        given = log_prob, contains, box, pilot, tested, self.rng, lost
        return normalisation.Whole(*given, left_out=left_out, **more)
