"""What to ask of a density that was fitted: whether its probabilities are those of the data."""

from nfref.diagnostics.calibration import Uniformity, pit, rank_uniformity, ranks, uniformity

__all__ = ["Uniformity", "pit", "rank_uniformity", "ranks", "uniformity"]
