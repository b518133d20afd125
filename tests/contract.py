"""The contract: what every flow promises, as plain functions that measure how well it is kept.

A :class:`Subject` is a flow at given parameters and rows. Each check takes a subject and
returns a :class:`Finding`: the largest error it met and the tolerance at that place.
``examine`` runs them all. Nothing here knows how any flow works.

``python -m tests.contract`` prints the largest errors per flow as a table; so does
``pytest -s tests/test_contract.py -k table``.

Tolerances are measured, not chosen. ``numerics.blur`` says how far one rounding error in
everything that goes in moves a result; a computation that rounds at every step may be off by
``ROUNDING`` times that. Differences that have an error estimate of their own are allowed that
estimate (times ``DOUBT``). How wide a tolerance may become is limited too, by ``BLIND``: a
check that would accept anything fails.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import autograd.numpy as anp
import numpy as np
from autograd import grad, make_vjp

import nfref
from nfref import params as trees
from tests import flow_table, numerics
from tests.numerics import EPS

ROUNDING = 16.0     # rounding errors on the way, in units of the measured response to one
DOUBT = 4.0         # how far an extrapolation's own error estimate is trusted
BLIND = 1e-4        # no float64 comparison may have a larger tolerance, relative to the value
DIRECTIONS = ("forward", "inverse")


@dataclass(frozen=True)
class Finding:
    """What a check measured: ``error`` against ``tolerance`` at the worst place."""

    check: str
    error: float
    tolerance: float
    detail: str = ""

    @property
    def ok(self):
        return bool(self.error <= self.tolerance)       # False for NaN

    @property
    def share(self):
        """Error in units of the tolerance; infinite for a broken promise."""
        if not self.ok:
            return np.inf
        return self.error / self.tolerance if self.error else 0.0

    def __str__(self):
        verdict = "ok" if self.ok else "BROKEN"
        return (f"{self.check}: {verdict}, error {self.error:.3g}, tolerance {self.tolerance:.3g}"
                f"{', ' if self.detail else ''}{self.detail}")


@dataclass(frozen=True)
class Subject:
    """A flow at given parameters and rows, with what is known about it beforehand."""

    flow: nfref.Flow
    params: object
    z: np.ndarray
    x: np.ndarray
    context: np.ndarray = None
    log_det: str = "varies"
    pattern: np.ndarray = None
    deaf: np.ndarray = None
    precision: float = EPS
    reach: float = 1e3
    seed: int = 0

    def rows(self, direction):
        return self.z if direction == "forward" else self.x

    def run(self, direction, rows=None, params=None, context=None):
        rows = self.rows(direction) if rows is None else rows
        params = self.params if params is None else params
        context = self.context if context is None else context
        return getattr(self.flow, direction)(params, rows, context)

    def repeated(self, direction, part):
        """The function (rows, repeats) -> (M, E) that ``numerical_jacobian`` wants."""
        def function(rows, repeats):
            context = None if self.context is None else np.repeat(self.context, repeats, axis=0)
            return getattr(self.flow, direction)(self.params, rows, context)[part]
        return function

    @cached_property
    def _blurs(self):
        return {}

    def blur(self, direction):
        """Measured rounding of (value, log_det) at this subject's rows."""
        if direction not in self._blurs:
            def function(params, rows, context):
                return getattr(self.flow, direction)(params, rows, context)
            self._blurs[direction] = numerics.blur(function, self.params, self.rows(direction),
                                                   self.context, self.precision)
        return self._blurs[direction]

    def slope(self, direction):
        """Gradient (N, D) of each row's log-determinant with respect to that row."""
        def total(rows):        # 0 * rows keeps a constant log-det differentiable
            return anp.sum(self.run(direction, rows)[1]) + anp.sum(0 * rows)
        return grad(total)(self.rows(direction))

    def jacobian(self, direction, rows=None):
        rows = self.rows(direction) if rows is None else rows
        return numerics.autograd_jacobian(lambda r: self.run(direction, r)[0], rows)


def worst(check, error, tolerance, detail="", where="row"):
    """The finding at the place where error / tolerance is largest; NaN counts as worst."""
    error, tolerance = np.broadcast_arrays(np.asarray(error, float), np.asarray(tolerance, float))
    if error.size == 0:
        return Finding(check, 0.0, 0.0, detail)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error == 0, 0.0, error / tolerance)
    place = np.unravel_index(np.argmax(np.where(np.isnan(ratio), np.inf, ratio)), ratio.shape)
    at = f"{where} {place[0] if len(place) == 1 else tuple(map(int, place))}" if place else ""
    return Finding(check, float(error[place]), float(tolerance[place]),
                   f"{detail} {at}".strip())


def gravest(findings):
    """Of several findings of one check, the one that is nearest to, or beyond, its limit."""
    return max(findings, key=lambda finding: finding.share)


def facts(check, statements):
    """A finding from (true or false, what it would mean) pairs: nothing to measure."""
    broken = [text for holds, text in statements if not holds]
    return Finding(check, float(len(broken)), 0.0, "; ".join(broken[:3]))


# Shapes, dtypes, arguments --------------------------------------------------------------------


def shapes_and_dtypes(subject):
    """(N, D) and (N,) for N = 0, 1, 7; the dtype of the rows, whatever that of the parameters."""
    statements = []
    for direction in DIRECTIONS:
        for dtype in (np.float64, np.float32):
            for params_dtype in (np.float64, np.float32):
                for n in (0, 1, 7):
                    rows = subject.rows(direction)[:n].astype(dtype)
                    context = None if subject.context is None else subject.context[:n]
                    value, log_det = getattr(subject.flow, direction)(
                        trees.cast(subject.params, np.dtype(params_dtype)), rows, context)
                    what = f"{direction}, {np.dtype(dtype)}, N={n}: got "
                    statements += [
                        (np.shape(value) == rows.shape, f"{what}value {np.shape(value)}"),
                        (np.shape(log_det) == (n,), f"{what}log_det {np.shape(log_det)}"),
                        (value.dtype == dtype, f"{what}value {value.dtype}"),
                        (log_det.dtype == dtype, f"{what}log_det {log_det.dtype}"),
                        (np.all(np.isfinite(value)), f"{what}values that are not finite"),
                        (np.all(np.isfinite(log_det)), f"{what}log_det that is not finite")]
    return facts("shapes and dtypes", statements)


def array_kinds(subject):
    """Integers, float16, Fortran order, strides, read-only and DataFrames act like plain float64.

    Bit for bit: the door makes the same float64 array of all of them.
    """
    import pandas
    statements = []
    for direction in DIRECTIONS:
        inside = subject.rows(direction)
        half = inside.astype(np.float16)
        strided = np.zeros((2 * len(inside), 3 * inside.shape[1]))
        strided[::2, ::3] = inside
        frozen = inside.copy()
        frozen.flags.writeable = False
        kinds = {"float16": (half, half.astype(float)), "strided": (strided[::2, ::3], inside),
                 "Fortran order": (np.asfortranarray(inside), inside),
                 "read-only": (frozen, inside), "list": (inside.tolist(), inside),
                 "reversed": (inside[::-1][::-1], inside),
                 "DataFrame": (pandas.DataFrame(inside), inside)}
        whole = np.rint(inside).astype(int)
        if direction == "forward":      # integers may lie outside of a bounded domain
            kinds["integer"] = (whole, whole.astype(float))
            kinds["bool"] = (whole > 0, (whole > 0).astype(float))
        for kind, (given, plain) in kinds.items():
            context = subject.context
            if context is not None and kind != "list":
                context = np.asfortranarray(context)
            got = getattr(subject.flow, direction)(subject.params, given, context)
            expected = subject.run(direction, plain)
            statements += [(np.array_equal(a, b) and a.dtype == b.dtype,
                            f"{direction}: {kind} differs by {np.max(np.abs(a - b))}")
                           for a, b in zip(got, expected)]
    return facts("array kinds", statements)


def door_errors(subject):
    """Wrong shapes, text, ragged rows and a wrong context are one-line errors with the name."""
    flow, params, dim = subject.flow, subject.params, subject.flow.dim
    statements = []

    def expect(kind, name, call, *arguments):
        try:
            call(*arguments)
        except kind as error:
            text = str(error)
            statements.append((text.startswith(f"{name}: expected") and "\n" not in text
                               and ", got" in text.replace("; got", ", got"),
                               f"message {text!r}"))
        except Exception as error:  # noqa: BLE001 any other type is what is looked for
            statements.append((False, f"{type(error).__name__} instead of {kind.__name__}"))
        else:
            statements.append((False, f"no {kind.__name__} for {name}"))

    for direction, name in (("forward", "z"), ("inverse", "x")):
        call, rows, context = getattr(flow, direction), subject.rows(direction), subject.context
        expect(ValueError, name, call, params, rows[0], context)
        expect(ValueError, name, call, params, rows[:, :, None], context)
        expect(ValueError, name, call, params, np.zeros((len(rows), dim + 1)), context)
        expect(ValueError, name, call, params, [[0.0] * dim, [0.0] * (dim + 1)], context)
        expect(TypeError, name, call, params, np.full(rows.shape, "a"), context)
        expect(TypeError, name, call, params, np.full(rows.shape, call), context)
        if context is None:
            expect(ValueError, "context", call, params, rows, np.zeros((len(rows), 1)))
        else:
            expect(ValueError, "context", call, params, rows, None)
            expect(ValueError, "context", call, params, rows, context[:-1])
            expect(ValueError, "context", call, params, rows, context[:, :-1])
            expect(TypeError, "context", call, params, rows, np.full(context.shape, "a"))
    expect(TypeError, "rng", flow.init, 0)
    return facts("errors of the door", statements)


def purity(subject):
    """Nothing that goes in is changed, and the same call gives the same bits again.

    Arguments are made read-only, so that a write raises. Another call with other rows and
    parameters comes in between, so that anything remembered shows.
    """
    def frozen(array):
        array = np.array(array)
        array.flags.writeable = False
        return array

    statements = []
    params = trees.tree_map(frozen, subject.params)
    context = None if subject.context is None else frozen(subject.context)
    others = trees.tree_map(lambda leaf: leaf * 1.25, subject.params)
    for direction in DIRECTIONS:
        rows = frozen(subject.rows(direction))
        call = getattr(subject.flow, direction)
        first = [np.array(part) for part in call(params, rows, context)]
        subject.run(direction, rows[::-1], others)
        subject.run("inverse" if direction == "forward" else "forward")
        again = call(params, rows, context)
        statements += [(np.array_equal(a, b), f"{direction}: a second call gave other bits")
                       for a, b in zip(first, again)]
        statements.append((not np.shares_memory(again[0], rows) or trees.count(params) == 0,
                           f"{direction}: the result shares memory with the argument"))
        statements.append((np.array_equal(rows, subject.rows(direction)), "rows were changed"))
    same = all(np.array_equal(a, b) for a, b in zip(trees.leaves(params),
                                                    trees.leaves(subject.params)))
    statements.append((same, "parameters were changed"))
    return facts("nothing mutated", statements)


# Maps -----------------------------------------------------------------------------------------


def round_trip(subject, direction="forward"):
    """inverse(forward(z)) = z and the other way round, as far as rounding lets it.

    The first map's value is off by its blur; the second map's Jacobian carries that error
    back, and the second adds a blur of its own: |second - z| <= C (|J2| blur1 + blur2).
    """
    back = "inverse" if direction == "forward" else "forward"
    findings = []
    for start, other in ((direction, back), (back, direction)):
        rows = subject.rows(start)
        value, _ = subject.run(start)
        returned, _ = subject.run(other, value)
        there = subject.blur(start)[0]
        turned = replace(subject, **{"x" if start == "forward" else "z": value})
        jacobian = turned.jacobian(other)
        tolerance = ROUNDING * (np.einsum("nij,nj->ni", np.abs(jacobian), there)
                                + turned.blur(other)[0])
        findings.append(worst("round trip", np.abs(returned - rows), tolerance,
                              f"{start} and back"))
        findings.append(not_blind("round trip", tolerance, rows))
    return gravest(findings)


def not_blind(check, tolerance, value):
    """A tolerance above BLIND (relative to 1 + |value|) would let errors pass."""
    limit = BLIND * (1 + np.abs(value))
    return worst(check, np.where(tolerance <= limit, 0.0, tolerance), limit,
                 "the tolerance is too wide to mean anything,")


def log_det_against_differences(subject):
    """Both log-determinants against log|det| of Jacobians by Richardson's extrapolation."""
    findings = []
    for direction in DIRECTIONS:
        value_blur, log_det_blur = subject.blur(direction)
        # Differences are taken within one batch, where even a solver's error is smooth: only
        # rounding is noise.
        jacobian, error = numerics.numerical_jacobian(
            subject.repeated(direction, 0), subject.rows(direction),
            value_blur * (EPS / subject.precision))
        _, log_det = subject.run(direction)
        tolerance = (DOUBT * numerics.log_det_slack(jacobian, error) + ROUNDING * log_det_blur)
        findings.append(worst("log-det, differences",
                              np.abs(log_det - numerics.log_abs_det(jacobian)), tolerance,
                              direction))
        findings.append(not_blind("log-det, differences", tolerance, log_det))
    return gravest(findings)


def log_det_against_autograd(subject):
    """Both log-determinants against slogdet of the Jacobian by automatic differentiation."""
    findings = []
    for direction in DIRECTIONS:
        jacobian = subject.jacobian(direction)
        _, log_det = subject.run(direction)
        blur = jacobian_blur(subject, direction, jacobian)
        tolerance = ROUNDING * (numerics.log_det_slack(jacobian, blur)
                                + subject.blur(direction)[1])
        findings.append(worst("log-det, autograd",
                              np.abs(log_det - numerics.log_abs_det(jacobian)), tolerance,
                              direction))
        findings.append(not_blind("log-det, autograd", tolerance, log_det))
    return gravest(findings)


def jacobian_blur(subject, direction, jacobian):
    """One rounding error in everything, as it shows in the Jacobian's entries."""
    def function(params, rows, context):
        moved = replace(subject, params=params, context=context)
        return (moved.jacobian(direction, rows),)
    return numerics.blur(function, subject.params, subject.rows(direction), subject.context,
                         subject.precision, draws=2)[0]


def log_dets_cancel(subject):
    """log|det dx/dz| + log|det dz/dx| = 0 at both ends of a trip.

    The second log-determinant is taken at a point that is off by the first map's blur, which
    its gradient turns into an error: C (blur1 + blur2 + |grad| blur of the point).
    """
    findings = []
    for start, other in (DIRECTIONS, DIRECTIONS[::-1]):
        value, there = subject.run(start)
        _, back = subject.run(other, value)
        turned = replace(subject, **{"x" if start == "forward" else "z": value})
        point_blur, blur_there = subject.blur(start)
        tolerance = ROUNDING * (blur_there + turned.blur(other)[1]
                                + np.sum(np.abs(turned.slope(other)) * point_blur, axis=1))
        findings.append(worst("log-dets cancel", np.abs(there + back), tolerance,
                              f"{start} and back"))
    return gravest(findings)


def single_precision(subject):
    """Float32 gives the float64 result at the same numbers, up to float32 rounding."""
    findings = []
    single = np.dtype(np.float32)
    params = trees.cast(subject.params, single)
    context = None if subject.context is None else subject.context.astype(single)
    for direction in DIRECTIONS:
        rows = subject.rows(direction).astype(single)
        got = subject.run(direction, rows, params, context)
        exact = replace(subject, params=trees.cast(params, np.dtype(float)),
                        context=None if context is None else context.astype(float),
                        precision=max(subject.precision, float(np.finfo(single).eps)),
                        **{"z" if direction == "forward" else "x": rows.astype(float)})
        for part, a, b, blur in zip(("value", "log_det"), got, exact.run(direction),
                                    exact.blur(direction)):
            findings.append(worst("float32", np.abs(a - b), ROUNDING * blur,
                                  f"{direction} {part}"))
    return gravest(findings)


def extreme_inputs(subject):
    """The origin, and rows as far out as the flow reaches: finite, and they come back."""
    rng = np.random.default_rng(subject.seed + 1)
    n, dim = subject.z.shape
    signs = rng.choice((-1.0, 1.0), (n, dim))
    z = signs * subject.reach * np.linspace(0, 1, n)[:, None] ** 2
    with np.errstate(all="raise", under="ignore"):
        x, log_det = subject.run("forward", z)
    far = replace(subject, z=z, x=x)
    finite = facts("extreme inputs", [(np.all(np.isfinite(part)), f"not finite at |z| <= "
                                      f"{subject.reach}") for part in (x, log_det)])
    if not finite.ok:
        return finite
    returned, back = far.run("inverse", x)
    jacobian = far.jacobian("inverse")
    point_blur, log_det_blur = far.blur("forward")
    there, there_log_det = far.blur("inverse")
    tolerance = ROUNDING * (np.einsum("nij,nj->ni", np.abs(jacobian), point_blur) + there)
    cancels = ROUNDING * (log_det_blur + there_log_det
                          + np.sum(np.abs(far.slope("inverse")) * point_blur, axis=1))
    return gravest([worst("extreme inputs", np.abs(returned - z), tolerance, "round trip"),
                    worst("extreme inputs", np.abs(log_det + back), cancels, "log-dets")])


# Structure ------------------------------------------------------------------------------------


def sparsity(subject):
    """Zeros of the Jacobian are exact zeros, and nothing else is zero (in either direction)."""
    if subject.pattern is None:
        return Finding("Jacobian sparsity", 0.0, 0.0, "none claimed")
    findings = []
    for direction in DIRECTIONS:
        rows = subject.rows(direction)
        jacobian = subject.jacobian(direction)
        exact = np.zeros((len(rows), subject.flow.dim))
        numeric, _ = numerics.numerical_jacobian(subject.repeated(direction, 0), rows, exact,
                                                 count=2)
        for how, matrix in (("autograd", jacobian), ("differences", numeric)):
            outside = np.max(np.abs(matrix * ~subject.pattern), initial=0.0)
            findings.append(Finding("Jacobian sparsity", float(outside), 0.0,
                                    f"{direction}, {how}: an entry that has to be zero"))
            silent = subject.pattern & np.all(matrix == 0, axis=0)
            findings.append(Finding("Jacobian sparsity", float(np.sum(silent)), 0.0,
                                    f"{direction}, {how}: entries that never respond"))
    return gravest(findings)


def rows_independent(subject):
    """A row's result depends on that row (and its context) alone.

    Bit for bit when the other rows are exchanged, since a batch of the same shape is computed
    by the same operations. Alone or in another place a row may meet another BLAS kernel
    (matrix-vector instead of matrix-matrix), which adds in another order; there it is equal
    up to rounding.
    """
    findings = []
    for direction in DIRECTIONS:
        rows, context = subject.rows(direction), subject.context
        whole = subject.run(direction)
        blur = subject.blur(direction)
        n = len(rows)
        exact = subject.precision == EPS
        for i in range(n):
            mixed = np.roll(rows, 1, axis=0)
            mixed[i] = rows[i]
            other = subject.run(direction, mixed)
            single = getattr(subject.flow, direction)(
                subject.params, rows[i:i + 1], None if context is None else context[i:i + 1])
            for part in (0, 1):
                findings.append(worst("rows independent",
                                      np.abs(other[part][i] - whole[part][i]),
                                      0.0 if exact else ROUNDING * blur[part][i],
                                      f"{direction}: row {i} when others change"))
                findings.append(worst("rows independent",
                                      np.abs(single[part][0] - whole[part][i]),
                                      ROUNDING * blur[part][i], f"{direction}: row {i} alone"))
    return gravest(findings)


def context_matters(subject):
    """Every context feature moves every coordinate of its own row, and no other row."""
    if subject.context is None:
        return Finding("context", 0.0, 0.0, "none")
    statements = []
    varies = subject.log_det == "varies"
    deaf = np.zeros(subject.flow.dim, bool) if subject.deaf is None else subject.deaf
    for direction in DIRECTIONS:
        whole = subject.run(direction)
        for feature in range(subject.context.shape[1]):
            reached = np.zeros(subject.flow.dim, bool)
            for i in range(len(subject.context)):
                context = subject.context.copy()
                context[i, feature] += 0.5
                moved = subject.run(direction, context=context)
                others = np.arange(len(context)) != i
                same = [np.allclose(a[others], b[others], rtol=0, atol=ROUNDING * np.max(blur))
                        if subject.precision > EPS else np.array_equal(a[others], b[others])
                        for a, b, blur in zip(whole, moved, subject.blur(direction))]
                what = f"{direction}: context[{i}, {feature}]"
                statements += [
                    (np.any(whole[0][i] != moved[0][i]), f"{what} has no effect"),
                    (not varies or abs(whole[1][i] - moved[1][i]) > 1e-10,
                     f"{what} has no effect on the log-det"),
                    (all(same), f"{what} moves other rows")]
                reached |= whole[0][i] != moved[0][i]
            statements.append((np.array_equal(reached, ~deaf),
                               f"{direction}: feature {feature} moves coordinates "
                               f"{np.flatnonzero(reached)}"))
    return facts("context", statements)


def log_det_kind(subject):
    """The log-determinant is exactly zero where it must be, and well away from it elsewhere.

    Every other check of log-determinants would be empty at zero, so this one guards them.
    """
    statements = []
    for direction in DIRECTIONS:
        _, log_det = subject.run(direction)
        size, spread = np.max(np.abs(log_det)), np.ptp(log_det)
        if subject.log_det == "zero":
            statements.append((size == 0, f"{direction}: {size} where zero is exact"))
            continue
        statements.append((size > 0.1, f"{direction}: at most {size:.3g}, too near zero"))
        if subject.log_det == "varies":
            statements.append((spread > 0.05, f"{direction}: spread over rows of {spread:.3g}"))
    return facts("log-det not zero", statements)


# Gradients ------------------------------------------------------------------------------------


def gradients(subject, rows=2):
    """Every parameter's gradient: of mean log_prob, of both log-dets alone, of both values.

    The values and log-determinants are weighed by fixed random numbers, so that no error can
    cancel between rows.
    """
    vector, unflatten = trees.flatten(subject.params)
    if not len(vector):
        return Finding("parameter gradients", 0.0, 0.0, "no parameters")
    context = None if subject.context is None else subject.context[:rows]
    base = nfref.StandardNormal(subject.flow.dim)
    weights = np.random.default_rng(subject.seed + 2).uniform(0.5, 1.5, (rows, subject.flow.dim))

    def quantities(vector):
        params = unflatten(vector)
        x, there = subject.flow.forward(params, subject.z[:rows], context)
        z, back = subject.flow.inverse(params, subject.x[:rows], context)
        log_prob = anp.mean(base.log_prob({}, z) + back)
        return anp.stack([log_prob, anp.sum(weights[:, 0] * there),
                          anp.sum(weights[:, 0] * back), anp.sum(weights * x),
                          anp.sum(weights * z)])

    names = ("mean log_prob", "log-det of forward", "log-det of inverse", "x", "z")
    numeric, error = numerics.numerical_gradient(lambda v: quantities(v), vector)
    vjp, _ = make_vjp(quantities)(vector)
    findings = []
    for k, name in enumerate(names):
        analytic = vjp(np.eye(len(names))[k])
        tolerance = DOUBT * error[k] + 1e2 * subject.precision * (1 + np.abs(analytic))
        findings.append(worst("parameter gradients", np.abs(analytic - numeric[k]), tolerance,
                              name, "parameter"))
        findings.append(not_blind("parameter gradients", tolerance, analytic))
    return gravest(findings)


# Everything -----------------------------------------------------------------------------------

CHECKS = (shapes_and_dtypes, array_kinds, door_errors, purity, round_trip,
          log_det_against_differences, log_det_against_autograd, log_dets_cancel,
          single_precision, extreme_inputs, sparsity, rows_independent, context_matters,
          log_det_kind, gradients)


def measure(check, subject):
    """The check's finding; an exception is a finding too."""
    try:
        return check(subject)
    except Exception as error:  # noqa: BLE001 a broken flow may raise anything
        name = check.__doc__.split("\n")[0]
        return Finding(check.__name__, np.inf, 0.0, f"{type(error).__name__}: {error} ({name})")


def examine(subject, checks=CHECKS):
    """All findings on a subject, in the order of ``CHECKS``."""
    return [measure(check, subject) for check in checks]


def subject_of(flow, seed=0, n=7, entry=None, size=1.0):
    """A flow at random parameters (of this size) and rows; ``entry`` says what is known of it."""
    rng = np.random.default_rng(seed)
    entry = entry or flow_table.Entry(None)
    draw = entry.data_rows or (lambda rng, n, dim: 1.5 * rng.standard_normal((n, dim)))
    z = 1.5 * rng.standard_normal((n, flow.dim))
    x = draw(rng, n, flow.dim)
    context = rng.standard_normal((n, flow.context_dim)) if flow.context_dim else None
    for _ in range(20):
        subject = Subject(flow, flow_table.random_params(flow, rng, size), z, x, context,
                          entry.kind(flow.dim, flow.context_dim),
                          None if entry.pattern is None else entry.pattern(flow),
                          None if entry.deaf is None else entry.deaf(flow),
                          entry.precision, entry.reach, seed)
        # Log-determinants that happen to be near zero prove little: draw again.
        if measure(log_det_kind, subject).ok:
            break
    return subject


@lru_cache(maxsize=None)
def from_table(name, dim, context_dim=0, seed=0, size=1.0):
    """The subject of one line of the table of flows; made once, so that what it measures is too."""
    entry = flow_table.FLOWS[name]
    return subject_of(entry.make(dim, context_dim), seed, entry=entry, size=size)


def error_table(dims=None, seeds=(0,)):
    """The largest errors per flow, as text: error, and error / tolerance in brackets."""
    columns = (round_trip, log_det_against_differences, log_det_against_autograd,
               log_dets_cancel, single_precision, rows_independent)
    heads = ("round trip", "log-det FD", "log-det AD", "cancel", "float32", "row alone")
    lines = [f"{'largest contract errors':<24}" + "".join(f"{head:>17}" for head in heads)]
    for name in flow_table.FLOWS:
        subjects = [from_table(*case, seed=seed) for seed in seeds
                    for case in flow_table.cases([name], dims)]
        cells = []
        for check in columns if subjects else ():
            finding = gravest([measure(check, subject) for subject in subjects])
            cells.append(f"{finding.error:>10.1e} ({finding.share:.2f})")
        if cells:
            lines.append(f"{name:<24}" + "".join(cells))
    return "\n".join(lines)


if __name__ == "__main__":
    print(error_table())
