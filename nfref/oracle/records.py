"""Reports as files, with the library that they are about, and badges of their verdicts."""

import datetime
import json
import re
from pathlib import Path

from nfref.oracle.report import FAILED, FORMAT, INCONCLUSIVE, OK, Report
from nfref.runtime.annotations import Any, Iterable, PathLike, Sequence

COLOURS = {OK: "brightgreen", FAILED: "red", INCONCLUSIVE: "yellow"}


def today() -> str:
    """Return the date in UTC in ISO 8601 format."""
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()


def record(
    report: Report, *, library: str, version: str | None, flow: str, dtype: str
) -> dict[str, Any]:
    """Return a report as JSON-ready data, with the subject and the date.

    Parameters
    ----------
    report : Report
    library : str
    version : str or None
    flow : str
    dtype : str

    Returns
    -------
    dict
    """
    return {
        **report.as_dict(),
        "library": library,
        "version": version,
        "flow": flow,
        "dtype": str(dtype),
        "date": today(),
    }


def path_of(folder: PathLike, library: str, flow: str, dtype: str) -> Path:
    """Return the file of a report in a folder; its name says what the report is about."""
    return Path(folder) / (re.sub(r"[^\w.]+", "-", f"{library} {flow} {dtype}") + ".json")


def write(folder: PathLike, report: Report, **about: Any) -> Path:
    """Write the record of a report into a folder and return its path."""
    path = path_of(folder, about["library"], about["flow"], about["dtype"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record(report, **about), indent=1) + "\n", encoding="utf-8")
    return path


def read(paths: Iterable[PathLike]) -> list[dict[str, Any]]:
    """Return the records of files and of folders of files, sorted by library, flow and dtype.

    Raises
    ------
    ValueError
        If a file holds no report.
    """
    files = []
    for path in map(Path, paths):
        files += sorted(path.rglob("*.json")) if path.is_dir() else [path]
    records = []
    for path in files:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: cannot be read: {error}") from None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise ValueError(f"{path}: expected a report of nfref check --json, got another file")
        records.append(
            {
                "library": None,
                "version": None,
                "flow": found["subject"],
                "dtype": "",
                "date": None,
                **found,
            }
        )
    return sorted(
        records, key=lambda one: (str(one["library"]).lower(), one["flow"].lower(), one["dtype"])
    )


def badge(records: Sequence[dict[str, Any]], label: str = "flow oracle") -> dict[str, Any]:
    """Return a badge for one or several reports, in the endpoint format of shields.io.

    Parameters
    ----------
    records : sequence of dict
    label : str

    Returns
    -------
    dict
        ``schemaVersion``, ``label``, ``message`` and ``color``. One report shows its verdict,
        several how many are ok; the colour is that of the worst.
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
