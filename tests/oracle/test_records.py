"""Records of reports, and badges."""

import json
import os
import sys

import pytest

from nfref.cli import main
from nfref.oracle import records
from nfref.oracle.report import Report, failed, inconclusive, not_applicable, passed


def report(*rows):
    return Report("a flow", rows)


GOOD = report(passed("answers_forward", "why"), not_applicable("monotone_forward", "D = 2"))
BAD = report(
    passed("answers_forward", "why"),
    failed("log_det_forward", "why"),
    failed("log_det_inverse", "why"),
    failed("history_inverse", "why"),
)
OPEN = report(passed("answers_forward", "why"), inconclusive("normalised", "no inverse"))


@pytest.mark.parametrize(
    "reports, message, color",
    [
        ([GOOD], "ok", "brightgreen"),
        ([BAD], "failed", "red"),
        ([OPEN], "inconclusive", "yellow"),
        ([GOOD, GOOD], "2 of 2 ok", "brightgreen"),
        ([GOOD, OPEN], "1 of 2 ok", "yellow"),
        ([OPEN, BAD, GOOD], "1 of 3 ok", "red"),
    ],
)
def test_badges(reports, message, color):
    badge = records.badge([one.as_dict() for one in reports], label="peer")
    assert badge == {"schemaVersion": 1, "label": "peer", "message": message, "color": color}


@pytest.mark.thorough
def test_check_writes_a_record_and_a_badge(tmp_path, monkeypatch, capsys):
    jsonschema = pytest.importorskip("jsonschema")
    from tests.oracle.test_adoption import schema

    (tmp_path / "flows_for_a_badge.py").write_text(
        "import numpy as np\n"
        "model = (lambda z: (2 * z, np.full(len(z), 2 * np.log(2))),\n"
        "         lambda x: (x / 2, np.full(len(x), -2 * np.log(2))))\n"
    )
    monkeypatch.chdir(tmp_path)
    command = ["check", "flows_for_a_badge:model", "--dim", "2", "--json", "--badge", "badge.json"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    found = json.loads(printed)
    jsonschema.validate(found, schema())
    assert (found["library"], found["version"]) == ("flows_for_a_badge", None)
    assert json.loads((tmp_path / "badge.json").read_text())["message"] == "ok"
    assert (
        main(["check", "flows_for_a_badge:model", "--dim", "2", "--badge", "no_folder/badge.json"])
        == 2
    )
    missing = f"folder {os.path.realpath('no_folder')} does not exist"
    assert capsys.readouterr().err == f"nfref: error: no_folder/badge.json: {missing}\n"
    sys.modules.pop("flows_for_a_badge")
