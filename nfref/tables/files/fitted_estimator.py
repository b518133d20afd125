"""An estimator in a model file: all that it knows besides its density."""

from dataclasses import dataclass

from nfref.runtime.checks import require
from nfref.runtime.configuration import Configuration
from nfref.tables.fitting.results import CandidateResult
from nfref.tables.queries.outlier_measures import OutlierMeasures
from nfref.tables.schema.frame_schema import FrameSchema


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
