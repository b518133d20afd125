"""What each property means: the vocabulary of the reports."""

_EACH_DIRECTION = {
    "answers": "rows from the middle of the domain get an answer",
    "answers_far": "rows in the tails, at the edges and at the origin get an answer",
    "log_det": "log_det is log |det| of the numerical Jacobian of the same direction",
    "complex_step": "and of the Jacobian by the complex step, where complex numbers are taken",
    "finite": "no nan and no inf, except where the true value overflows the dtype",
    "precision": "values vary as smoothly as float64 allows",
    "orientation": "det J has one sign, unless the map is in pieces and its round trips hold",
    "monotone": "D = 1: the map of the line never turns back",
    "stays_inside": "values lie in the codomain that was named",
    "row_independence": "a row's answer does not depend on the other rows or their number",
    "permutation": "permuted rows get permuted answers",
    "repeatable": "the same call twice gives the same answer",
    "no_memory": "calls of either direction in between change nothing",
    "answers_stay": "arrays once returned are not overwritten by a later call",
    "empty_batch": "a batch of no rows gives arrays of no rows",
    "knots": "exactly on a knot log_det is that of one of its sides",
    "continuity": "how far log_det jumps across kinks; reported, never failed",
    "shapes": "values are (N, D) and log_det is (N,), in every call",
    "dtypes": "the dtype that goes in comes out, for values and log_det",
    "input_unchanged": "no call writes into its arguments",
}

FLOW_PROPERTIES = {
    **{f"{name}_{direction}": meaning for name, meaning in _EACH_DIRECTION.items()
       for direction in ("forward", "inverse")},
    "round_trip_z": "inverse undoes forward",
    "round_trip_x": "forward undoes inverse",
    "log_dets_cancel_z": "log_det of forward at z and of inverse at its image add up to zero",
    "log_dets_cancel_x": "log_det of inverse at x and of forward at its image add up to zero",
    "samples": "samples of a base density, pushed forward and pulled back, still follow it",
    "normalised": "the density that the inverse gives to x integrates to one",
}

DENSITY_PROPERTIES = {
    **{name: _EACH_DIRECTION[name] for name in
       ("answers", "answers_far", "row_independence", "permutation", "repeatable",
        "answers_stay", "empty_batch", "dtypes", "input_unchanged")},
    "finite": "no nan and no inf inside the domain",
    "shapes": "log-densities are (N,), in every call",
    "normalised": "the density integrates to one",
    "sample_shape": "samples are (n, D), finite, of the dtype, inside the domain, for n = 0 too",
    "sample_repeatable": "equal generators give equal samples, and a used one gives others",
    "sample_follows": "samples follow the density that log_prob describes",
}

GRADIENT_PROPERTIES = {
    "answers": "loss and gradient answer, the loss with one number",
    "structure": "the gradient has the structure, shapes and dtype of the parameters",
    "finite": "no nan and no inf",
    "repeatable": "the same call twice gives the same answer",
    "input_unchanged": "no call writes into the parameters",
    "entries": "single entries agree with numerical differentiation",
    "directions": "derivatives along random directions agree with numerical differentiation",
}
