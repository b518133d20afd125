"""What the system allows a process; told before NumPy is there, so no import of it."""


def address_space():
    """Bytes of address space that this process may take (``ulimit -v``)."""
    try:
        from resource import RLIM_INFINITY, RLIMIT_AS, getrlimit
    except ImportError:  # Windows
        return float("inf")
    limit = getrlimit(RLIMIT_AS)[0]
    return float("inf") if limit == RLIM_INFINITY else limit
