"""Twins on a CUDA device: couplings in both directions, and log |det| of small matrices.

``warp``            how the threads of a row or of a matrix talk to each other
``arrays``          arrays on their way to the device and back
``coupling``        additive, affine and spline coupling with the row log-determinant
``sigmoid_mixture`` the same of NAF's and Flow++'s transformers, with the root search
``small_matrices``  log |det| by LU decomposition
``flows``           the couplings of a flow on the device, the rest of it on the host

They need the package numba-cuda (``pip install 'nfref[cuda]'``). The tests also run them in Numba's
simulator, which they complete first. Work goes to the default stream.
"""
