"""The fast room: twins of the formulas, compiled by Numba.

Nothing here is imported before it is used, nothing here checks arguments, and no formula
is defined here: every twin is proven against the formula whose name it carries.

``jit``       how functions are compiled and cached on disk
``blas``      matrix products inside compiled code
``scalars``   bodies of one number, shared by the CPU and CUDA kernels
``blocks``    layers on a block of rows: values and derivatives
``network``, ``masked``   the conditioner networks on a block of rows
``chain``     a whole chain of layers on a block of rows
``program``   a flow written down as the list of layers that ``chain`` runs
``rows``      rows cut into blocks and shared among threads
``cpu``, ``cuda``   the twins as they are called
"""
