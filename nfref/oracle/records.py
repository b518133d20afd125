"""Reports with the library that they are about, and badges of their verdicts."""

import datetime
import json
from pathlib import Path

from nfref.oracle.report import FAILED, INCONCLUSIVE, OK, Report
from nfref.runtime.annotations import Any, PathLike, Sequence

COLOURS = {OK: "brightgreen", FAILED: "red", INCONCLUSIVE: "yellow"}


def record(
    report: Report, *, library: str, version: str | None, flow: str, dtype: str
) -> dict[str, Any]:
    """Return a report as JSON-ready data, with the subject and the date."""
    subject = {"library": library, "version": version, "flow": flow, "dtype": str(dtype)}
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    return {**report.as_dict(), **subject, "date": date}


def badge(records: Sequence[dict[str, Any]], label: str = "flow oracle") -> dict[str, Any]:
    """Return a badge in the endpoint format of shields.io.

    One report shows its verdict, several how many are ok; the colour is that of the worst.
    """
    verdicts = [one["verdict"] for one in records]
    worst = next((one for one in (FAILED, INCONCLUSIVE) if one in verdicts), OK)
    message = worst if len(verdicts) == 1 else f"{verdicts.count(OK)} of {len(verdicts)} ok"
    return {"schemaVersion": 1, "label": label, "message": message, "color": COLOURS[worst]}


def write_badge(
    path: PathLike, records: Sequence[dict[str, Any]], label: str = "flow oracle"
) -> None:
    """Write :func:`badge` into a file."""
    Path(path).write_text(json.dumps(badge(records, label)) + "\n", encoding="utf-8")
