"""Twins of the formulas, compiled by Numba.

A twin is a whole layer (its network, its map and the log-determinant of each row). If layers with
twins follow each other, it is the whole chain: one primitive to autograd, whose derivative is one
kernel too. Small primitives would cost more in autograd's tape than in arithmetic. A step of
training under maximum likelihood needs no tape at all (``chain/training.py``).

Nothing here is imported before it is used, nothing here checks arguments, and no formula is defined
here: every twin is tested against the formula whose name it carries. Kernels know names of formulas
and plain sizes, no class of a flow; ``nfref/runtime/dispatch.py`` calls them.

``simd``                    many numbers at once: matrix products, elementary functions, matrices
``chain``                   a chain of layers on blocks of rows, run by a small interpreter
``continuous``              the right-hand side of a continuous flow, its derivative, whole solves
``cuda``                    twins on a CUDA device
``adam``                    one step of the optimiser
``jit``                     the compilation of functions
``compiler_pipeline``       its steps
``cache``                   compiled functions on disk
``compile_notice``          a message while something is compiled
``thread_pool``             rows cut into blocks and shared among threads
``phase_barrier``           barriers between threads inside of kernels
``numba_internals``         parts of Numba that are not documented and may change
"""
