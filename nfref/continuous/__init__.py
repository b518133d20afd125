"""What continuous flows are made of: dynamics and traces, solving, gradients, objectives.

The flow itself, :class:`nfref.CNF`, is in ``nfref/flows/continuous.py``. Read next
``dynamics.py`` (the network and the trace of its Jacobian), ``solve.py`` (the solvers and
their bounds), ``adjoint.py`` (gradients), and then ``regularised.py``, ``flow_matching.py``
and ``augmented.py`` as needed.
"""
