"""nfref: normalizing flows as formulas, with explicit log-determinants."""

from importlib import import_module as _import_module
from types import ModuleType as _ModuleType

from nfref.bases.absolute_value import GenerativeAbs, InferenceAbs
from nfref.bases.laplace import Laplace
from nfref.bases.logistic import Logistic
from nfref.bases.normal import DiagonalNormal, FullNormal
from nfref.bases.normal_mixture import NormalMixture
from nfref.bases.product import Product
from nfref.bases.standard_normal import StandardNormal
from nfref.bases.student_t import StudentT
from nfref.bases.uniform import Uniform
from nfref.bases.von_mises import VonMises
from nfref.density import Density
from nfref.flow import Flow
from nfref.flows.amortized import Amortized
from nfref.flows.autoregressive import IAF, MADE, MAF, random_orders
from nfref.flows.batch_norm import BatchNorm
from nfref.flows.composition import Chain, Composition, Invert
from nfref.flows.continuous import CNF
from nfref.flows.convex_potential import ConvexPotentialFlow
from nfref.flows.coupling import (NICE, Coupling, RealNVP, alternating_mask, channel_mask,
                                  checkerboard_mask)
from nfref.flows.dequantisation import VariationalDequantisation, bits_per_dim, dequantised
from nfref.flows.elementwise import ElementwiseAffine, Logit, Scale, Standardise
from nfref.flows.hinge import Hinge
from nfref.flows.images.glow import Glow, OnFirst
from nfref.flows.images.layers import (ActNorm, ChannelAffine, ChannelCoupling, InvertibleConv,
                                       SplitPrior, Squeeze, TopPrior)
from nfref.flows.images.real_nvp import ImageCoupling, RealNVPImage
from nfref.flows.images.tarflow import TarFlow, TarFlowBlock
from nfref.flows.linear import FixedLinear, Linear, LULinear, Permutation, random_pivots
from nfref.flows.neural_autoregressive import NAF, UMNN
from nfref.flows.neural_spline import NSF
from nfref.flows.planar import Planar, PlanarLayer
from nfref.flows.probability_flow import ProbabilityFlow
from nfref.flows.radial import Radial, RadialLayer
from nfref.flows.radial_expansion import RadialExpansion
from nfref.flows.residual import ResidualBlock, ResidualFlow
from nfref.flows.statistics import adapt, in_training
from nfref.flows.sylvester import Sylvester, SylvesterLayer
from nfref.flows.units import in_units_of
from nfref.networks.masked import random_degrees
from nfref.runtime import params
from nfref.runtime.backends import backend
from nfref.training import Ascent, DualAscent, FitResult, fit, fit_reverse_kl
from nfref.transformers.additive import Additive
from nfref.transformers.affine import Affine
from nfref.transformers.by_coordinate import ByCoordinate
from nfref.transformers.deep_sigmoid import DeepSigmoid
from nfref.transformers.logistic_mixture import LogisticMixture
from nfref.transformers.moebius import MoebiusCircle
from nfref.transformers.monotone_integral import MonotoneIntegral
from nfref.transformers.rational_quadratic import RationalQuadratic
from nfref.transformers.transformer import Transformer

__version__ = "0.1.0"

# Modules that cost time to import are imported on first use: ``nfref.plots`` brings matplotlib.
_LAZY = {"datasets": "nfref.datasets", "diagnostics": "nfref.diagnostics",
         "exercises": "nfref.datasets.exercises", "objectives": "nfref.objectives",
         "oracle": "nfref.oracle", "plots": "nfref.plots",
         "small_matrices": "nfref.runtime.small_matrices", "tables": "nfref.tables"}
# Names in such modules likewise: name -> module. Estimators need scikit-learn (extra "sklearn").
_LAZY_NAMES = {"FlowDensity": "nfref.tables.flow_density",
               "FlowOutlierDetector": "nfref.tables.outliers",
               "load_model": "nfref.tables.model_file", "save_model": "nfref.tables.model_file"}

# What is imported above is what nfref offers; a flow is listed nowhere else.
__all__ = sorted([name for name, value in globals().items()
                  if not name.startswith("_") and not isinstance(value, _ModuleType)]
                 + [*_LAZY, *_LAZY_NAMES])


def __getattr__(name):
    if name in _LAZY:
        return _import_module(_LAZY[name])
    if name in _LAZY_NAMES:
        try:
            return getattr(_import_module(_LAZY_NAMES[name]), name)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"nfref.{name} needs {error.name}, which is not installed: "
                                      "pip install nfref[sklearn]") from None
    raise AttributeError(f"module 'nfref' has no attribute {name!r}")


def __dir__():
    return __all__
