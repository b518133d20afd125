"""The oracle pointed at the public transforms and densities of releases, nfref's own among them.

``python -m tests.oracle.survey --reports FOLDER --page docs/scoreboard.rst`` asks every subject in
both dtypes, prints a line for each and the properties that failed, and makes the scoreboard of the
reports.
``--match TEXT`` and ``--minutes M`` do it in pieces, as what is in the folder stays.
It needs the libraries; what is not installed is named and left out. ``docs/peers.rst`` says what
came of it.
"""

from tests.oracle.survey import jax_subjects, torch_subjects  # noqa: F401 (fill the table)
from tests.oracle.survey.density_subjects import DENSITIES
from tests.oracle.survey.own_subjects import OWN
from tests.oracle.survey.subjects import SUBJECTS, Subject, run

__all__ = ["DENSITIES", "OWN", "SUBJECTS", "Subject", "run"]
