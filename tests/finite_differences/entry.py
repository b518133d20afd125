"""Checks of a call: shapes, dtypes, kinds of arrays, messages, and unchanged arguments."""

import numpy as np

from nfref.runtime import params as trees
from tests.finite_differences.case import DIRECTIONS, facts


def shapes_and_dtypes(subject):
    """Check that N = 0, 1 and 7 rows give (N, D) and (N,) in the dtype of the rows.

    The parameters may have another dtype.
    """
    statements = []
    for direction in DIRECTIONS:
        for dtype in (np.float64, np.float32):
            for params_dtype in (np.float64, np.float32):
                for n in (0, 1, 7):
                    rows = subject.rows(direction)[:n].astype(dtype)
                    context = None if subject.context is None else subject.context[:n]
                    value, log_det = getattr(subject.flow, direction)(
                        trees.cast(subject.params, np.dtype(params_dtype)), rows, context
                    )
                    what = f"{direction}, {np.dtype(dtype)}, N={n}: got "
                    statements += [
                        (np.shape(value) == rows.shape, f"{what}value {np.shape(value)}"),
                        (np.shape(log_det) == (n,), f"{what}log_det {np.shape(log_det)}"),
                        (value.dtype == dtype, f"{what}value {value.dtype}"),
                        (log_det.dtype == dtype, f"{what}log_det {log_det.dtype}"),
                        (np.all(np.isfinite(value)), f"{what}values that are not finite"),
                        (np.all(np.isfinite(log_det)), f"{what}log_det that is not finite"),
                    ]
    return facts("shapes and dtypes", statements)


def array_kinds(subject):
    """Check that integers, float16, other memory layouts and DataFrames act like plain float64.

    The results have the same bits, because the entry makes the same float64 array of all.
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
        kinds = {
            "float16": (half, half.astype(float)),
            "strided": (strided[::2, ::3], inside),
            "Fortran order": (np.asfortranarray(inside), inside),
            "read-only": (frozen, inside),
            "list": (inside.tolist(), inside),
            "reversed": (inside[::-1][::-1], inside),
            "DataFrame": (pandas.DataFrame(inside), inside),
        }
        whole = np.rint(inside).astype(int)
        if direction == "forward":  # a bounded domain may exclude integers
            kinds["integer"] = (whole, whole.astype(float))
            kinds["bool"] = (whole > 0, (whole > 0).astype(float))
        for kind, (given, plain) in kinds.items():
            context = subject.context
            if context is not None and kind != "list":
                context = np.asfortranarray(context)
            got = getattr(subject.flow, direction)(subject.params, given, context)
            expected = subject.run(direction, plain)
            statements += [
                (
                    np.array_equal(a, b) and a.dtype == b.dtype,
                    f"{direction}: {kind} differs by {np.max(np.abs(a - b))}",
                )
                for a, b in zip(got, expected)
            ]
    return facts("array kinds", statements)


def entry_errors(subject):
    """Check that wrong arguments raise an error of one line that begins with the name."""
    flow, params, dim = subject.flow, subject.params, subject.flow.dim
    statements = []

    def expect(kind, name, call, *arguments):
        try:
            call(*arguments)
        except kind as error:
            text = str(error)
            statements.append(
                (
                    text.startswith(f"{name}: expected")
                    and "\n" not in text
                    and ", got" in text.replace("; got", ", got"),
                    f"message {text!r}",
                )
            )
        except Exception as error:
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
    return facts("errors of the entry checks", statements)


def purity(subject):
    """Check that no argument changes, and that the same call gives the same bits again.

    The arguments are read-only, so that a write raises. A call with other rows and parameters
    comes between the two, so that hidden state shows.
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
        statements += [
            (np.array_equal(a, b), f"{direction}: a second call gave other bits")
            for a, b in zip(first, again)
        ]
        statements.append(
            (
                not np.shares_memory(again[0], rows) or trees.count(params) == 0,
                f"{direction}: the result shares memory with the argument",
            )
        )
        statements.append((np.array_equal(rows, subject.rows(direction)), "rows were changed"))
    same = all(
        np.array_equal(a, b) for a, b in zip(trees.leaves(params), trees.leaves(subject.params))
    )
    statements.append((same, "parameters were changed"))
    return facts("nothing mutated", statements)
