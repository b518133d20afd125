"""The map of a flow, looked up by its class."""

MAPS = {}  # filled by the package, from its modules


def forward(flow, params, z, context=()):
    """Return x = flow(z) for one row.

    Parameters
    ----------
    flow : Flow
        Of a class in ``MAPS``.
    params : nested dicts and lists of arrays
        Of floats, or of mpmath numbers (dtype object).
    z, context : list of mpmath numbers

    Returns
    -------
    list of mpmath numbers
    """
    return MAPS[type(flow)](flow, params, list(z), list(context))
