"""Diagnostics of a fitted density and its flow.

Calibration: are its probabilities those of the data? Typicality and detection: does a batch belong
to it? Stability: does the inverse survive rounding? Evidence: what is the normaliser of a target,
and can its estimate be believed? Chains: how much are correlated draws worth?
"""

from nfref.diagnostics.calibration import Uniformity, pit, rank_uniformity, ranks, uniformity
from nfref.diagnostics.chains import blocks, effective_size
from nfref.diagnostics.detection import Auroc, auroc
from nfref.diagnostics.evidence import Evidence, bridge_sampling, harmonic_mean, importance_sampling
from nfref.diagnostics.pareto import pareto_k
from nfref.diagnostics.stability import BiLipschitz, bi_lipschitz, reconstruction_error
from nfref.diagnostics.typicality import TypicalityTest, typicality_gap, typicality_test

__all__ = [
    "Auroc",
    "BiLipschitz",
    "Evidence",
    "TypicalityTest",
    "Uniformity",
    "auroc",
    "bi_lipschitz",
    "blocks",
    "bridge_sampling",
    "effective_size",
    "harmonic_mean",
    "importance_sampling",
    "pareto_k",
    "pit",
    "rank_uniformity",
    "ranks",
    "reconstruction_error",
    "typicality_gap",
    "typicality_test",
    "uniformity",
]
