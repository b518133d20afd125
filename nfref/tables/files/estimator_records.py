"""Estimators and posteriors in a model file: all that they know besides their density."""

from dataclasses import dataclass

import numpy as np

from nfref.diagnostics.chains import blocks
from nfref.runtime.annotations import Any, Array
from nfref.runtime.checks import check_floats, require
from nfref.runtime.configuration import Configuration
from nfref.tables.fitting.results import CandidateResult
from nfref.tables.queries.outlier_measures import OutlierMeasures
from nfref.tables.schema.frame_schema import FrameSchema

BLOCKS = 20  # stretches of the chains; some are held out in turn


@dataclass(frozen=True)
class FittedEstimator(Configuration):
    """The parameters and fitted attributes of a FlowDensity or a FlowOutlierDetector.

    Parameters
    ----------
    parameters : dict
        As ``get_params`` gives them; ``columns`` is a list of pairs, and a generator in place of
        ``random_state`` is None.
    candidates : tuple of CandidateResult
    attributes : dict
        Other attributes by name, numbers or arrays.
    frame : FrameSchema or None
        Columns of the DataFrame that it was fitted to.
    outliers : OutlierMeasures or None
        None for a FlowDensity.
    """

    parameters: dict
    candidates: tuple
    attributes: dict
    frame: FrameSchema | None
    outliers: OutlierMeasures | None

    def _check(self):
        for name, kind in (("parameters", dict), ("attributes", dict), ("candidates", tuple)):
            require(isinstance(getattr(self, name), kind), f"{name}: expected others")
        require(
            all(isinstance(one, CandidateResult) for one in self.candidates),
            "candidates: expected CandidateResults",
        )
        for name, one in (("frame", FrameSchema), ("outliers", OutlierMeasures)):
            require(
                isinstance(getattr(self, name), (one, type(None))),
                f"{name}: expected {one.__name__} or null",
            )


@dataclass(frozen=True)
class PosteriorRecord(Configuration):
    """The samples or simulations of a :class:`nfref.Posterior`, and its observation.

    Parameters
    ----------
    options : dict
        Arguments of the fit, for later fits to parts or marginals.
    samples : (N, D) array or None
        The samples that the density was fitted to; None for simulations.
    weights : (N,) array or None
        Weights of the samples.
    chains : int
        The number of chains of equal length that the samples are; 0 if they are independent.
    effective : float
        The effective size of the samples, or the number of simulations.
    seen : (3, C) array or None
        Lowest and highest simulated value and interquartile range of each observed column.
    observed : (C,) array or None
        The observation that the density is given.
    candidates : tuple of CandidateResult
    """

    options: dict
    samples: Any = None
    weights: np.ndarray | None = None
    chains: int = 0
    effective: float = 0.0
    seen: np.ndarray | None = None
    observed: np.ndarray | None = None
    candidates: tuple = ()

    @property
    def block(self) -> Array | None:
        """The block (N,) of the chains that each sample belongs to; None without chains.

        A block is a stretch of the chains, because a sample resembles its neighbours.
        """
        if not self.chains:
            return None
        rows = len(self.samples)
        label = np.repeat(np.arange(self.chains), rows // self.chains)
        found = np.empty(rows, np.int64)
        for number, places in enumerate(blocks(rows, min(BLOCKS, rows // self.chains), label)):
            found[places] = number
        return found

    @property
    def summary(self) -> str:
        """The samples or simulations behind it, in a few words."""
        if self.samples is not None:
            return f"from {len(self.samples):,} samples of effective size {self.effective:,.0f}"
        given = "" if self.observed is None else ", given an observation"
        return f"from {self.effective:,.0f} simulations{given}"

    def _check(self):
        rows = None if self.samples is None else len(self.samples)
        width = None if self.seen is None else self.seen.shape[-1]
        for name, shape in (
            ("samples", (rows, None)),
            ("weights", (rows,)),
            ("seen", (3, width)),
            ("observed", (width,)),
        ):
            if getattr(self, name) is not None:
                check_floats(name, getattr(self, name), *shape)
        require(
            isinstance(self.options, dict)
            and isinstance(self.chains, int)
            and 0 <= self.chains <= (rows or 0)
            and isinstance(self.effective, float)
            and (rows is not None or self.weights is None)
            and all(isinstance(one, CandidateResult) for one in self.candidates),
            "expected the record of a posterior, got another",
        )
