"""The meaning of each property: the vocabulary of the reports."""

_EACH_DIRECTION = {
    "answers": "rows from the middle of the domain get an answer",
    "answers_far": "rows in the tails, at the edges and at the origin get an answer",
    "log_det": "log_det is log |det| of the numerical Jacobian of the same direction",
    "finite": "no nan and no inf, except where the true value overflows the dtype",
    "precision": "answers vary as smoothly with rows and context as float64 allows",
    "orientation": "det J has one sign, unless the map is in pieces and its round trips hold",
    "stays_inside": "values lie in the codomain that was named",
    "row_independence": "a row's answer does not depend on the other rows, their number or order",
    "repeatable": "the same call twice gives the same answer, a batch moved by 1e-9 another",
    "answers_stay": "arrays once returned are not overwritten by a later call",
    "empty_batch": "a batch of no rows gives arrays of no rows",
    "gradient": "the library's own derivative of log_det by rows is that of log_det, on knots too",
    "knots": "exactly on a knot log_det is that of one of its sides",
    "batch_sizes": "batches of any size, at any place in them, give a row the same answer",
    "memory_layout": "strided, Fortran-ordered and read-only input gets the same answers",
    "threads": "two threads at once get the answers of one",
    "history": "answers stay the same during and after many calls, of both directions",
    "first_row": "a new flow gives its first batch of one row the same answer twice",
    "first_batch": "a new flow gives its first batch of many rows the same answer twice",
    "context_read": "every feature of the context moves something",
    "context_memory": "another context in between changes nothing",
    "context_gradient": "the library's own derivative by the context agrees with differences",
    "shapes": "values are (N, D) and log_det is (N,), in every call",
    "dtypes": "the dtype that goes in comes out, for values and log_det",
    "input_unchanged": "no call writes into its arguments",
}

FLOW_PROPERTIES = {
    **{
        f"{name}_{direction}": meaning
        for name, meaning in _EACH_DIRECTION.items()
        for direction in ("forward", "inverse")
    },
    "round_trip_z": "thousands of z go to x and back, and the log-determinants cancel",
    "round_trip_x": "thousands of x go to z and back, and the log-determinants cancel",
    "normalised": "the density that the inverse gives to x integrates to one",
    "parameters_unchanged": "the parameters are, byte by byte, what they were before",
}

DENSITY_PROPERTIES = {
    **{
        name: _EACH_DIRECTION[name]
        for name in (
            "answers answers_far row_independence repeatable answers_stay empty_batch batch_sizes "
            "memory_layout threads history context_read context_memory context_gradient dtypes "
            "input_unchanged precision"
        ).split()
    },
    "finite": "no nan and no inf inside the domain",
    "shapes": "log-densities are (N,), in every call",
    "gradient": "the library's own derivative by x is that of log_prob, on knots too",
    "normalised": "the density integrates to one",
    "parameters_unchanged": "the parameters are, byte by byte, what they were before",
    "sample_shape": "samples are (n, D), finite, of the dtype, inside the domain",
    "sample_empty": "n = 0 gives an array of no rows",
    "sample_repeatable": "equal generators give equal samples",
    "sample_generator": "another generator, or one that was used, gives other samples",
    "sample_independent": "successive samples are independent of each other",
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
