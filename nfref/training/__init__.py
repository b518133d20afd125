"""Fitting: the loops, the optimiser, and the gradient of one batch."""

from nfref.training.dual_ascent import Ascent, DualAscent
from nfref.training.fitting import fit
from nfref.training.loop import FitResult
from nfref.training.total_correlation import Information, information
from nfref.training.variational import fit_reverse_kl

__all__ = [
    "Ascent",
    "DualAscent",
    "FitResult",
    "Information",
    "fit",
    "fit_reverse_kl",
    "information",
]
