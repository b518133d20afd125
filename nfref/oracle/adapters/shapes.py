"""Shapes: events that are no vectors, log-determinants that are one number for all rows."""

import math

from nfref.runtime.annotations import Any


def summed(log_det):
    """One number a row, where a transform of single numbers gives a derivative a coordinate."""
    return log_det.sum(-1) if getattr(log_det, "ndim", 0) == 2 else log_det


def for_all_rows(log_det, rows):
    """One number a row, where a library gives one for all: maps of constant Jacobian may.

    To be used where the library documents that. The dtype stays what it was, to be judged.
    """
    if not hasattr(log_det, "ndim"):
        return log_det * (0 * rows[:, 0] + 1)
    if log_det.ndim == 0 or (log_det.ndim == 1 and len(log_det) == 1 != len(rows)):
        if hasattr(log_det, "expand"):                          # torch
            return log_det.reshape(1).expand(len(rows))
        return log_det.reshape(1).repeat(len(rows))             # JAX
    return log_det


def with_event_shape(functions: dict[str, Any], event_shape: tuple[int, ...]) -> dict[str, Any]:
    """Functions of ``(N, *event_shape)`` as functions of rows (N, D), D the product of the shape.

    Parameters
    ----------
    functions : dict
        Arguments of ``check_flow`` or ``check_density``, whose callables take and return events
        of that shape: images (C, H, W) for instance.
    event_shape : tuple of int

    Returns
    -------
    dict
        The same arguments for rows.
    """
    event_shape = tuple(event_shape)
    size = math.prod(event_shape)

    def to_events(rows):
        return rows.reshape(len(rows), *event_shape)

    def to_rows(values):
        shape = getattr(values, "shape", None)
        if shape is not None and len(shape) > 1 and math.prod(shape[1:]) == size:
            return values.reshape(len(values), size)
        return values

    def flow(function):
        def call(rows, *context):
            answer = function(to_events(rows), *context)
            if isinstance(answer, (tuple, list)):
                return (to_rows(answer[0]), *answer[1:])
            return to_rows(answer)
        return call

    def gradient(function):
        def call(rows, *context):
            answer = function(to_events(rows), *context)
            return ((to_rows(answer[0]), *answer[1:]) if isinstance(answer, tuple)
                    else to_rows(answer))
        return None if function is None else call

    shaped = dict(functions)
    for name in ("forward", "inverse"):
        if shaped.get(name) is not None:
            shaped[name] = flow(functions[name])
    if "log_prob" in shaped:
        shaped["log_prob"] = lambda rows, *context: functions["log_prob"](to_events(rows), *context)
    if shaped.get("sample") is not None:
        shaped["sample"] = lambda rng, n, *context: to_rows(functions["sample"](rng, n, *context))
    if isinstance(shaped.get("gradient"), tuple):
        shaped["gradient"] = tuple(gradient(part) for part in functions["gradient"])
    elif shaped.get("gradient") is not None:
        shaped["gradient"] = gradient(functions["gradient"])
    return shaped
