"""Find twins by name, so that kernels need not know the classes that have them."""

from nfref.runtime.annotations import Any


def twin_of(thing: object) -> Any:
    """Return the name of the twin of a flow, a base or a transformer; None without one.

    The class itself must name it: a subclass may compute something else.
    """
    return type(thing).__dict__.get("_twin")
