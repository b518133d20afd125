"""The fast room: twins of the formulas, compiled by Numba.

The grain of a twin is a whole layer (its network, its map and the log-determinant of each
row) or, where layers with twins follow each other, the whole chain: one primitive to
autograd, whose derivative is one kernel too. Small primitives would cost more in autograd's
tape than in arithmetic. A step of training under maximum likelihood goes further and needs no
tape at all (``training``).

Nothing here is imported before it is used, nothing here checks arguments, and no formula
is defined here: every twin is proven against the formula whose name it carries.

``jit``       how functions are compiled and cached on disk
``products``, ``tiles``   matrix products inside compiled code, and what they are made of
``blocks``, ``linear``, ``planar``   layers on a block of rows: values and derivatives
``network``, ``masked``   the conditioner networks on a block of rows
``elementary``   e^x, tanh and their kin, many numbers at once
``chain``     a whole chain of layers on a block of rows
``activations``, ``dynamics``   the right-hand side of a continuous flow, its derivative, steps
``layers``, ``program``   a flow written down as the records that ``chain`` runs
``rows``      rows cut into blocks and shared among threads
``run``       programs at work, on all processors
``runge_kutta``, ``continuous``   solves of continuous flows, and what they call
``small_matrices``, ``unrolled``, ``lanes``   many small matrices, as many at once as a register
              holds
``dispatch``, ``training``, ``adam``   what the rest of the package calls
``tracing``   what autograd is doing with a value
``cuda``      twins on a CUDA device
"""
