"""The objectives of fits, and targets of variational fits.

``dequantisation``  maximum likelihood for whole numbers and categories
``discrete_flow_matching``  prediction of masked categories
``divergences``     forward and reverse KL, importance sampling
``flow_matching``   regression of a continuous flow's velocity
``forward_regression``  least squares on pairs of noise and data, for any flow
``free_form``       likelihood without a determinant, for an encoder and a decoder of any form
``injective``       likelihood on a surface, and the distance to it
``mean_flow``       regression of the mean velocity, for maps in one step
``objective``       what the classes have in common: a batch is checked before its loss
``path_penalties``  maximum likelihood with the penalties of RNODE
``rectified_flow``  flow matching on straight lines, repeated with the flow's own pairs
``potentials``      the unnormalised densities U1-U4
``targets``         calls of a user's unnormalised density, and their errors
"""

from nfref.objectives.dequantisation import argmax_bound, dequantised_likelihood
from nfref.objectives.discrete_flow_matching import discrete_flow_matching
from nfref.objectives.divergences import (
    ImportanceEstimate,
    importance_estimate,
    negative_log_likelihood,
    reverse_kl,
)
from nfref.objectives.flow_matching import FlowMatching
from nfref.objectives.forward_regression import ForwardRegression
from nfref.objectives.free_form import FreeFormLikelihood
from nfref.objectives.injective import InjectiveLikelihood
from nfref.objectives.mean_flow import MeanFlow
from nfref.objectives.path_penalties import PathLikelihood
from nfref.objectives.rectified_flow import RectifiedFlow

__all__ = [
    "FlowMatching",
    "ForwardRegression",
    "FreeFormLikelihood",
    "ImportanceEstimate",
    "InjectiveLikelihood",
    "MeanFlow",
    "PathLikelihood",
    "RectifiedFlow",
    "argmax_bound",
    "dequantised_likelihood",
    "discrete_flow_matching",
    "importance_estimate",
    "negative_log_likelihood",
    "reverse_kl",
]
