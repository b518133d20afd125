"""Samples and normalisers of densities known by their energy, along a path from a known density.

``markov_kernels``  Metropolis and Langevin steps, and their work
``annealing``       weighted samples of a target: importance sampling along a path, with flows
``fitting``         its flows: stochastic normalizing flows, annealed flow transport, CRAFT
"""

from nfref.sampling.annealing import AnnealedSampler
from nfref.sampling.fitting import fit_annealed
from nfref.sampling.markov_kernels import Langevin, Metropolis

__all__ = ["AnnealedSampler", "Langevin", "Metropolis", "fit_annealed"]
