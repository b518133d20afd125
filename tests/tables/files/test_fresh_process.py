"""A process that has imported nothing else loads every kind of model file."""

import subprocess
import sys

from tests.tables.files.test_golden_models import FOLDER, MODELS

SCRIPT = """
import sys
import nfref

for path in sys.argv[1:]:
    try:
        nfref.load_model(path)
    except ValueError as error:
        print(error)
"""


def test_every_class_in_a_golden_file_is_known_without_an_import():
    paths = [FOLDER / f"{name}.npz" for name in MODELS]
    command = [sys.executable, "-c", SCRIPT, *map(str, paths)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    wrong = [line for line in found if "expected one of nfref that files hold" in line]
    assert not wrong, wrong[0]
