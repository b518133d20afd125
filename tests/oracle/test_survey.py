"""What ``python -m tests.oracle.survey`` looks at can be made with the releases at hand."""

import numpy as np
import pytest

from tests.oracle.survey import SUBJECTS

pytestmark = pytest.mark.peers


@pytest.mark.filterwarnings("ignore")  # as the survey does
@pytest.mark.parametrize("library", sorted({subject.library for subject in SUBJECTS}))
def test_every_object_of_a_library_can_be_made(library):
    for subject in SUBJECTS:
        if subject.library == library:
            rng, options = np.random.default_rng(0), {}
            if subject.features:
                options["context"] = rng.standard_normal((8, subject.features))
            made = subject.moved(subject.construct(rng, np.dtype(float)), rng)
            assert callable(subject.adapt(made, np.dtype(float), **options)["forward"])
