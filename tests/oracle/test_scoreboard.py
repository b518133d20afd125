"""Records, badges and the page that is made of them."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from docs import scoreboard_page
from nfref.cli import main
from nfref.oracle import check_flow, records
from nfref.oracle.report import Report, failed, inconclusive, not_applicable, passed

ABOUT = dict(library="peer", version="1.2", flow="Scale, context", dtype="float64")


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


def test_cells_name_what_failed_and_what_was_not_judged():
    cells = {
        group: [scoreboard_page.cell(one.as_dict(), group) for one in (GOOD, BAD, OPEN)]
        for group in scoreboard_page.GROUPS
    }
    assert cells["answers"] == ["|yes|"] * 3
    assert cells["log_det"] == ["–", ":failed:`log_det`", "–"]
    assert cells["as used"] == ["–", ":failed:`history_inverse`", "–"]
    assert cells["mass and samples"] == ["–", "–", ":inconclusive:`? normalised`"]


def test_every_property_has_one_column():
    from nfref.oracle import (
        DENSITY_PROPERTIES,
        FLOW_PROPERTIES,
        GRADIENT_PROPERTIES,
        TABLE_PROPERTIES,
    )

    for name in {
        **FLOW_PROPERTIES,
        **DENSITY_PROPERTIES,
        **GRADIENT_PROPERTIES,
        **TABLE_PROPERTIES,
    }:
        assert scoreboard_page.group_of(name) in scoreboard_page.GROUPS, name
    assert scoreboard_page.group_of("answers_stay_forward") == "as used"
    assert scoreboard_page.group_of("of another version") is None


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


def test_from_reports_to_a_page(tmp_path, capsys):
    for one, flow in ((GOOD, "Scale, context"), (BAD, "Affine")):
        scoreboard_page.write(tmp_path / "reports", one, **{**ABOUT, "flow": flow})
    scoreboard_page.write(tmp_path / "reports", OPEN, **{**ABOUT, "library": "another"})
    page, badges = tmp_path / "page.rst", tmp_path / "badges"
    assert (
        scoreboard_page.main(
            [str(tmp_path / "reports"), "--out", str(page), "--badges", str(badges)]
        )
        == 0
    )
    text = page.read_text(encoding="utf-8")
    assert text.index("another 1.2\n-") < text.index("peer 1.2\n-")
    assert text.index("   Affine,") < text.rindex('"Scale, context",')
    assert json.loads((badges / "peer.json").read_text())["message"] == "1 of 2 ok"
    assert scoreboard_page.main([str(tmp_path / "reports")]) == 0
    assert capsys.readouterr().out == text
    docutils = pytest.importorskip("docutils.core")
    docutils.publish_string(text, settings_overrides={"halt_level": 2, "report_level": 2})


@pytest.mark.parametrize(
    "content, words",
    [
        ("{", "cannot be read"),
        ("[]", "expected a report"),
        ('{"format": "x"}', "expected a report"),
    ],
)
def test_what_is_no_report_is_named(tmp_path, capsys, content, words):
    (tmp_path / "wrong.json").write_text(content)
    with pytest.raises(SystemExit) as stopped:
        scoreboard_page.main([str(tmp_path)])
    assert stopped.value.code == 2 and words in capsys.readouterr().err
    (tmp_path / "wrong.json").unlink()
    with pytest.raises(SystemExit):
        scoreboard_page.main([str(tmp_path)])
    assert "found none" in capsys.readouterr().err


@pytest.mark.thorough
def test_check_writes_what_the_page_reads(tmp_path, monkeypatch, capsys):
    jsonschema = pytest.importorskip("jsonschema")
    from tests.oracle.test_adoption import schema

    (tmp_path / "flows_for_a_page.py").write_text(
        "import numpy as np\n"
        "model = (lambda z: (2 * z, np.full(len(z), 2 * np.log(2))),\n"
        "         lambda x: (x / 2, np.full(len(x), -2 * np.log(2))))\n"
    )
    monkeypatch.chdir(tmp_path)
    assert (
        main(
            [
                "check",
                "flows_for_a_page:model",
                "--dim",
                "2",
                "--json",
                "--badge",
                "badge.json",
                "--library",
                "numpy",
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    (tmp_path / "report.json").write_text(printed)
    (found,) = scoreboard_page.read([tmp_path / "report.json"])
    jsonschema.validate(json.loads(printed), schema())
    assert (found["library"], found["version"]) == ("numpy", np.__version__)
    assert json.loads((tmp_path / "badge.json").read_text())["message"] == "ok"
    assert (
        main(["check", "flows_for_a_page:model", "--dim", "2", "--badge", "no_folder/badge.json"])
        == 2
    )
    missing = f"folder {os.path.realpath('no_folder')} does not exist"
    assert capsys.readouterr().err == f"nfref: error: no_folder/badge.json: {missing}\n"
    sys.modules.pop("flows_for_a_page")


def test_a_report_that_says_nothing_of_a_library(tmp_path):
    plain = check_flow(
        lambda z: (2 * z, np.full(len(z), np.log(2))),
        dim=1,
        rng=np.random.default_rng(0),
        skip=("normalised",),
    ).as_dict()
    (tmp_path / "plain.json").write_text(json.dumps(plain))
    assert "(no library named)" in scoreboard_page.page(scoreboard_page.read([tmp_path]))


def test_every_link_of_the_proofs_leads_to_a_script():
    folder = Path(__file__).parents[2]
    peers = (folder / "docs" / "peers.rst").read_text(encoding="utf-8")
    proofs = scoreboard_page.read_proofs(folder / "tests" / "oracle" / "survey" / "proofs.txt")
    for target in {link for *_, link in proofs}:
        page, _, anchor = target.partition("#")
        assert page == "peers.html" and f".. _{anchor}:" in peers, target
