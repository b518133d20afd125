"""The parts of continuous flows: dynamics and traces, solving, gradients.

The flow itself, :class:`nfref.CNF`, is in ``nfref/flows/continuous.py``. Read next
``dynamics.py`` (the network and the trace of its Jacobian), ``solve.py`` (the solvers and
their bounds) and ``adjoint.py`` (gradients). ``nfref/objectives/`` has the objectives besides the
likelihood: flow matching, rectified flow, path penalties.
"""
