"""Twins are found by name, so that kernels need not know the classes that have them."""


def twin_of(thing):
    """The name of the twin that a flow, a base or a transformer says it has; None without one.

    It must stand in the very class: a subclass may compute something else.
    """
    return type(thing).__dict__.get("_twin")
