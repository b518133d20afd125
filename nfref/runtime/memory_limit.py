"""The system's memory limit for a process; read before NumPy is imported, so without it."""


def address_space() -> float:
    """Return the bytes of address space that this process may use (``ulimit -v``)."""
    try:
        from resource import RLIM_INFINITY, RLIMIT_AS, getrlimit
    except ImportError:  # Windows
        return float("inf")
    limit = getrlimit(RLIMIT_AS)[0]
    return float("inf") if limit == RLIM_INFINITY else limit
