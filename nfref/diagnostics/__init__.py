"""Diagnostics of a fitted density and its flow.

Calibration: are its probabilities those of the data? Typicality and detection: does a batch belong
to it? Stability: does the inverse survive rounding?
"""

from nfref.diagnostics.calibration import Uniformity, pit, rank_uniformity, ranks, uniformity
from nfref.diagnostics.detection import Auroc, auroc
from nfref.diagnostics.stability import BiLipschitz, bi_lipschitz, reconstruction_error
from nfref.diagnostics.typicality import TypicalityTest, typicality_gap, typicality_test

__all__ = [
    "Auroc",
    "BiLipschitz",
    "TypicalityTest",
    "Uniformity",
    "auroc",
    "bi_lipschitz",
    "pit",
    "rank_uniformity",
    "ranks",
    "reconstruction_error",
    "typicality_gap",
    "typicality_test",
    "uniformity",
]
