"""A sampler as a function of a generator and a number."""

from functools import partial

import numpy as np

from nfref.oracle.instruments.guarded_calls import NO_ANSWER, CallFailed, Timer, no_answer, refused
from nfref.oracle.instruments.importance import SIGMAS
from nfref.oracle.instruments.probes import Box
from nfref.oracle.report import PASS, Row, failed, held, passed, show
from nfref.runtime.annotations import Any, Array, Callable, Generator, Iterator

SAMPLES, SECONDS = 20000, 4.0  # samples of one call, and about the time that they may take
FIRST = 16  # samples that show how long one takes
UNSURE = 0.1  # share of the time of a call by which that of two calls may differ by chance
CALLS, EACH, OF_CALLS = 40, 50, 1.0  # calls that are compared, samples of each, most seconds
COLUMNS = 100  # most columns of which samples at any distance are compared


def affordable(draw: Callable[[int], object]) -> int:
    """Return how many samples a function of their number gives in SECONDS, SAMPLES at most.

    A call may cost nearly as much for few samples as for many, so what a further sample costs is
    measured between calls of growing size, as long as the next one promises to be cheap.
    """
    count, spent = FIRST, _quicker(draw, FIRST)
    each = spent / count
    for factor in (2, 8, 8, 8):
        more = factor * count
        if spent + each * (more - count) > SECONDS / 2:
            break
        before, spent = spent, _quicker(draw, more)
        each = max(spent - before, UNSURE * spent) / (more - count)
        count = more
    return int(np.clip(count + (SECONDS - spent) / each, FIRST, SAMPLES))


def _quicker(draw, count):
    """Return the seconds of the faster one of two calls, since the first may compile."""
    seconds = []
    for _ in range(2):
        timer = Timer()
        draw(count)
        seconds.append(timer())
    return max(min(seconds), 1e-9)


class Sampler:
    """``sample(rng, n)`` with checks; the first row of the context is the default."""

    def __init__(self, function, dim, context, dtype, domain, stopwatch):
        self.function, self.dim, self.context, self.dtype = function, dim, context, dtype
        self.domain, self.stopwatch = domain, stopwatch

    def draw(self, rng: Generator, n: int, context_row: Array | None = None) -> Array:
        """Return n samples as an array, or raise `CallFailed` or `TimedOut`."""
        arguments = [rng, n]
        if self.context is not None:
            context_row = np.zeros(n, dtype=int) if context_row is None else context_row
            arguments.append(self.context[context_row])
        about = f": no answer within {self.stopwatch.seconds:g} s for n = {n}"
        answer = self.stopwatch.call("sample", self.function, arguments, lambda: about)
        try:
            x = np.asarray(answer)
        except Exception as error:
            raise CallFailed(f"sample returned no array: {type(error).__name__}") from None
        if x.shape != (n, self.dim) or x.dtype.kind not in "fiu":
            kind, expected = type(answer).__name__, (n, self.dim)
            raise CallFailed(f"sample returned {kind} of shape {x.shape}, expected {expected}")
        return x

    def rows(self, rng: Generator) -> Any:
        """Yield rows about the sampler; return samples as float64."""
        self.stopwatch.restart()
        seed = int(rng.integers(2**32))
        try:
            count = affordable(partial(self.draw, np.random.default_rng(seed)))
            x = self.draw(np.random.default_rng(seed), count)
        except NO_ANSWER as error:
            yield no_answer("sample_shape", "no usable samples", error)
            return np.zeros((0, self.dim))
        yield self.shape(x)
        yield self.empty()
        yield from self.generator(x, seed)
        x = x.astype(np.float64)
        x = x[np.isfinite(x).all(axis=1)]
        row = independent("sample_independent", x)
        yield self.of_calls(row, x, seed) if row.verdict == PASS else row
        return x

    def of_calls(self, row: Row, x: Array, seed: int) -> Row:
        """Return the row, or a failed one if the samples of a call have something in common.

        The sums of their signs about the median of all samples then differ more from call to call
        than those of independent samples do.
        """
        if len(x) < 1000:
            return row
        median, rng = np.median(x, axis=0), np.random.default_rng(seed + 2)
        sums: list[Array] = []
        signs = np.sign(x - median)
        spread = np.std(signs, axis=0)
        self.stopwatch.restart()
        try:
            self.draw(rng, EACH)  # a first call of a size may compile
            timer = Timer()
            while len(sums) < CALLS:
                drawn = np.sign(self.draw(rng, EACH).astype(np.float64) - median)
                sums.append(np.sum(drawn - np.mean(signs, axis=0), axis=0))
                if timer() * CALLS > OF_CALLS * len(sums):
                    return row
        except NO_ANSWER:
            return row
        with np.errstate(all="ignore"):
            excess = np.sum(np.square(sums) / (EACH * spread**2), axis=0)
        column = int(np.argmax(np.where(spread > 0, excess, 0)))
        # By Chernoff's bound, a sum of squares of CALLS normal numbers exceeds the limit with
        # probability exp(-surprise) at most.
        surprise = 0.5 * SIGMAS**2 + np.log(x.shape[1])
        limit = CALLS + 2 * np.sqrt(CALLS * surprise) + 2 * surprise
        if not excess[column] > limit:
            return row
        times = np.sqrt(excess[column] / CALLS)
        where = f"samples of one call have something in common: column {column} differs "
        where += f"{times:.2g} times as much from call to call as it should"
        why = f"{CALLS} calls of {EACH} samples"
        return failed(row.name, why, where, float(excess[column]), limit)

    def shape(self, x: Array) -> Row:
        """Check that samples are finite, of the dtype, and inside the domain."""
        trouble = ""
        if x.dtype != self.dtype:
            trouble = f"dtype {x.dtype}, expected {self.dtype}"
        bad = np.flatnonzero(~np.all(np.isfinite(x), axis=1))
        if len(bad):
            trouble = f"sample {bad[0]} is {show(x[bad[0]])}"
        elif isinstance(self.domain, Box):  # samples may lie on an end of their interval
            outside = np.flatnonzero(~self.domain.contains_closed(x.astype(np.float64)))
            if len(outside):
                trouble = f"sample {outside[0]} {show(x[outside[0]])} is outside the domain"
        return held("sample_shape", f"{len(x)} samples", trouble)

    def empty(self) -> Row:
        """Check that n = 0 gives an array of no rows."""
        try:
            self.draw(np.random.default_rng(0), 0)
        except NO_ANSWER as error:
            return refused("sample_empty", "n = 0 should give no samples", error, "n = 0")
        return passed("sample_empty", "n = 0 gives shape (0, D)")

    def generator(self, x: Array, seed: int) -> Iterator[Row]:
        """Check that equal generators give equal samples, and others give others."""
        name, why = "sample_repeatable", "two equal generators, then one of them again"
        self.stopwatch.restart()
        n = min(len(x), 2000)
        try:
            generator = np.random.default_rng(seed)
            again, more = self.draw(generator, n), self.draw(generator, n)
            other = self.draw(np.random.default_rng(seed + 1), n)
            same = x if n == len(x) else self.draw(np.random.default_rng(seed), n)
        except NO_ANSWER as error:
            yield no_answer(name, "a second draw got no answer", error)
            return
        equal = np.array_equal(same, again, equal_nan=True)
        yield held(name, why, "" if equal else "equal generators give different samples")
        name, why = "sample_generator", "a generator that was used, and one of another seed"
        # If a sampler fills one array after another, n rows are not the first of more rows.
        found = [
            words
            for first, second, words in (
                (more, other, "different generators give equal samples"),
                (same, other, "different seeds give equal samples"),
                (same, more, "two calls with one generator give equal samples"),
            )
            if n and np.array_equal(first, second)
        ]
        yield held(name, why, *found[:1])


def independent(name: str, x: Array) -> Row:
    """Check that samples are independent: correlations of columns at a few lags, and repeats.

    The correlations are those of signs about the median, so that heavy tails do not matter. Those
    of a column with itself are looked at for all lags, and for all pairs of one sum of numbers,
    such as first and last.
    """
    n = len(x)
    if n < 1000:
        return passed(name, "too few samples to say")
    signs = np.sign(x - np.median(x, axis=0))
    # Independent signs with mean zero: sums of products have variance n.
    worst, where = 0.0, ""
    for lag in (1, 2, 3, 4, 8, 16, 64, 100, 128, 256, 1000, n // 2):
        z = np.abs(signs[lag:].T @ signs[:-lag]) / np.sqrt(n - lag)
        i, j = np.unravel_index(np.argmax(z), z.shape)
        if z[i, j] > worst:
            worst = float(z[i, j])
            where = f"column {i} depends on column {j} of the sample {lag} before it"
            if np.mean(x[lag:] == x[:-lag]) > 0.99:
                where = f"samples repeat every {lag}"
    limit = SIGMAS + np.sqrt(2 * np.log(max(x.shape[1], 1)))
    why = f"z-scores of sign correlations at 12 lags, {n} samples"
    if worst > limit:
        return failed(name, why, where, worst, limit)
    farthest, where = _at_any_distance(signs)
    beyond = limit + np.sqrt(2 * np.log(3 * n))
    if farthest > beyond:
        return failed(name, f"z-scores of sign correlations, {n} samples", where, farthest, beyond)
    unique = len(np.unique(x, axis=0))
    # Densities with atoms or few digits repeat themselves a little.
    if unique < 0.5 * n:
        return failed(name, why, f"only {unique} of {n} samples are different")
    return passed(name, why, worst, limit)


def _at_any_distance(signs):
    """Return the largest z-score of a column with itself, and its place in words."""
    n, most, where = len(signs), 0.0, ""
    lags, sums = np.arange(1, n), np.arange(1, 2 * n - 2)
    # Of numbers i < j with i + j = k. A product of spectra counts each pair twice, and i = j.
    pairs = np.minimum(sums + 1, 2 * n - 1 - sums) // 2
    for k, column in enumerate(signs[:, :COLUMNS].T):
        spectrum = np.fft.rfft(column, 2 * n)
        lagged = np.fft.irfft(np.abs(spectrum) ** 2)[1:n] / np.sqrt(n - lags)
        twice = np.fft.irfft(spectrum**2)[1 : 2 * n - 2]
        twice[1::2] -= column[1:-1] ** 2
        for z, words in (
            (lagged, "in the sample {} before it"),
            (twice / 2 / np.sqrt(pairs), "in pairs of samples whose numbers sum to {}"),
        ):
            at = int(np.argmax(np.abs(z)))
            if abs(z[at]) > most:
                most = float(abs(z[at]))
                where = f"column {k} depends on itself {words.format(at + 1)}"
    return most, where
