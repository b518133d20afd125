"""Twins of the formulas, compiled by Numba.

The granularity of a twin is a whole layer (its network, its map and the log-determinant of each
row) or, where layers with twins follow each other, the whole chain: one primitive to
autograd, whose derivative is one kernel too. Small primitives would cost more in autograd's
tape than in arithmetic. A step of training under maximum likelihood goes further and needs no
tape at all (``chain/training.py``).

Nothing here is imported before it is used, nothing here checks arguments, and no formula
is defined here: every twin is proven against the formula whose name it carries. Kernels know
names of formulas and plain sizes, no class of a flow; ``nfref/runtime/dispatch.py`` calls them.

``simd``       many numbers at once: matrix products, elementary functions, small matrices
``chain``      a chain of layers on blocks of rows, run by a small interpreter
``continuous`` the right-hand side of a continuous flow, its derivative, and whole solves
``cuda``       twins on a CUDA device
``adam``       one step of the optimiser
``jit``        how functions are compiled
``libraries``  in which steps, and how often
``cache``      where compiled functions are kept on disk
``ahead``      compiling what will be needed, while something else is done
``announce``   who is told that something is compiled
``names``      how the twin of a flow is found
``rows``       rows cut into blocks and shared among threads
``numba_internals``  what Numba does not document, and may change
``trial``      whether kernels can be had with the Numba at hand
``self_test``  whether they compute what they should, where that is not known
"""
