"""The table of what is looked at, and how one entry is checked."""

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from nfref.oracle import check_flow

SUBJECTS = []
INF = float("inf")
DISTRIBUTIONS = {"pyro": "pyro-ppl", "tensorflow-probability": "tfp-nightly"}


@dataclass(frozen=True)
class Subject:
    """One transform of a library.

    Attributes
    ----------
    library, name : str
    dim : int
    construct : callable
        (Generator, dtype) -> the object as its library makes it.
    moved : callable
        (object, Generator) -> the object away from the identity.
    adapt : callable
        The adapter, (object, dtype, **options) -> arguments of ``check_flow``.
    features : int
        Of the context; 0 for none.
    modes : bool
        Whether the adapter takes ``train=True``: the first calls are asked in that mode.
    arguments : dict
        Further ones of ``check_flow``.
    """

    library: str
    name: str
    dim: int
    construct: Callable
    moved: Callable
    adapt: Callable
    features: int = 0
    modes: bool = False
    arguments: dict = field(default_factory=dict)

    @property
    def version(self):
        """The version that is installed; None without one."""
        return version_of(self.library)

    def report(self, seed, dtype, seconds=20.0):
        """The report, or a string saying why there is none."""
        return run(self, seed, dtype, seconds)


def version_of(library):
    """The installed version of a library; None without one."""
    try:
        return importlib.metadata.version(DISTRIBUTIONS.get(library, library))
    except importlib.metadata.PackageNotFoundError:
        return None


def add(*fields, **named):
    """Enter a subject into the table."""
    SUBJECTS.append(Subject(*fields, **named))


def run(subject, seed, dtype, seconds=20.0, skip=()):
    """The report on one subject, or a string saying why there is none."""
    _seed_torch(seed)
    rng, dtype = np.random.default_rng(seed), np.dtype(dtype)
    options = {}
    try:
        made = subject.moved(subject.construct(rng, dtype), rng)
        if subject.features:
            options["context"] = rng.standard_normal((8, subject.features))
        functions = subject.adapt(made, dtype, **options)
    except ImportError as error:
        return f"not installed here: {error}"
    except Exception as error:
        return f"cannot be constructed: {type(error).__name__}: {str(error)[:120]}"
    if subject.modes:
        options["train"] = True

    def fresh():
        return subject.adapt(
            subject.construct(np.random.default_rng(seed), dtype), dtype, **options
        )

    return check_flow(
        **{**functions, **subject.arguments},
        make=fresh,
        dim=subject.dim,
        rng=rng,
        dtype=dtype,
        seconds=seconds,
        skip=skip,
        subject=f"{subject.library} {subject.name}",
    )


def _seed_torch(seed):
    """Torch draws initial parameters from its own generator."""
    try:
        import torch
    except ImportError:
        return
    torch.manual_seed(seed)
