"""A flow is declared once, in ``nfref/__init__.pyi``; what else it needs is asked for here."""

import nfref
from nfref.oracle import golden_vectors
from tests import flow_table
from tests.high_precision import maps

# What other flows are made of, and no map of its own.
ABSTRACT = {nfref.Flow, nfref.Composition}


def exported():
    """Every concrete flow that nfref offers, by name."""
    return {
        name: kind
        for name in nfref.__all__
        if isinstance(kind := getattr(nfref, name), type)
        and issubclass(kind, nfref.Flow)
        and kind not in ABSTRACT
    }


def kinds_within(flow):
    """The classes of a flow and of the flows inside of it."""
    inside = getattr(flow, "flows", (getattr(flow, "flow", None),))
    return {type(flow)}.union(*(kinds_within(member) for member in inside if member is not None))


def made(entry):
    return entry.make(entry.dims[-1], 0)


def test_every_flow_has_all_that_proves_it():
    examined = set().union(*(kinds_within(made(entry)) for entry in flow_table.flows().values()))
    published = set().union(*(kinds_within(flow) for flow in maps.CONFIGURATIONS.values()))
    shipped = set(golden_vectors.shipped())
    missing = []
    for name, kind in exported().items():
        family = kind.__module__.rpartition(".")[2]
        if kind not in examined:
            missing.append(f"tests/flows/test_{family}.py: no entry of CONTRACT makes a {name}")
        if kind not in maps.MAPS:
            missing.append(f"tests/high_precision/maps/{family}.py: no {name} in MAPS")
        if kind not in published:
            missing.append(f"tests/high_precision/maps/{family}.py: no {name} in CONFIGURATIONS")
    missing += [
        f"nfref/oracle/vectors/{name}.json: python -m tests.high_precision.write_vectors {name}"
        for name in maps.CONFIGURATIONS
        if name not in shipped
    ]
    assert not missing, "\n".join(missing)
