"""What continuous flows are made of: dynamics and traces, solving, gradients.

The flow itself, :class:`nfref.CNF`, is in ``nfref/flows/continuous.py``. Read next
``dynamics.py`` (the network and the trace of its Jacobian), ``solve.py`` (the solvers and
their bounds) and ``adjoint.py`` (gradients). What is minimised besides the likelihood stands in
``nfref/objectives/``: flow matching, rectified flow, penalties of paths.
"""
