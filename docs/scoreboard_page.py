"""A page and badges from reports: which flow of which library has which property.

    python -m docs.scoreboard_page REPORTS... --out scoreboard.rst [--badges FOLDER]

The command reads the files that ``nfref check --json`` and :func:`write` make (in folders, all
``*.json``). It writes a page in reStructuredText and, for every library, a badge as
static JSON in the endpoint format of shields.io. On the page verdicts have colours and rows can be
filtered. With ``--proofs FILE`` failures are links to their proofs (:func:`read_proofs`).
"""

import argparse
import json
import re
import sys
import textwrap
from collections import defaultdict
from fnmatch import fnmatchcase
from pathlib import Path

from nfref.oracle.records import record, write_badge
from nfref.oracle.report import FAILED, FORMAT, INCONCLUSIVE, OK, Report, without_direction
from nfref.runtime.annotations import Any, Iterable, PathLike, Sequence

# Columns of the page, and the prefixes of the properties in each. The longest prefix decides. Some
# are names of properties of older reports.
GROUPS = {
    "answers": ("answers", "shapes", "stays_inside", "empty_batch"),
    "log_det": (
        "log_det_",
        "log_dets_",
        "complex_step",
        "orientation",
        "monotone",
        "knots",
        "continuity",
    ),
    "round trip": ("round_trip",),
    "tails and digits": ("finite", "precision", "sweep", "reference", "dtypes"),
    "as used": (
        "row_independence",
        "permutation",
        "repeatable",
        "no_memory",
        "answers_stay",
        "batch_sizes",
        "memory_layout",
        "threads",
        "history",
        "first_",
        "input_unchanged",
        "parameters_unchanged",
    ),
    "own gradient": ("gradient", "entries", "directions", "structure"),
    "context": ("context_",),
    "mass and samples": ("normalised", "panels", "sample"),
    "table": (
        "rows_of_table",
        "higher_at_rows",
        "far_out",
        "categories",
        "chain_rule",
        "marginal",
        "pickled",
        "units",
        "weights",
    ),
}
PASSES, UNDECIDED, NOTHING = "yes", "?", "–"

# Roles are for the colours; a browser without scripts shows all rows.
TOP = """.. role:: ok
.. role:: failed
.. role:: inconclusive

.. |yes| replace:: :ok:`yes`
.. |ok| replace:: :ok:`ok`
.. |failed| replace:: :failed:`failed`
.. |inconclusive| replace:: :inconclusive:`inconclusive`

.. raw:: html

   <style>
     .ok { color: #1a7f37 } .failed, .failed a { color: #cf222e } .inconclusive { color: #9a6700 }
   </style>
   <p><label>Show rows with <input id="rows-with" type="search"></label>
   <label><select id="rows-of"><option value="">all verdicts</option><option>ok</option>
   <option>failed</option><option>inconclusive</option></select></label></p>
   <script>
     addEventListener("DOMContentLoaded", () => {
       const asked = [document.getElementById("rows-with"), document.getElementById("rows-of")];
       const show = () => document.querySelectorAll("table tbody tr").forEach(row => {
         const of = row.closest("section"), verdict = row.cells[2].textContent.trim();
         const text = (of ? of.querySelector("h1, h2").textContent : "") + " " + row.textContent;
         row.hidden = row.cells.length > 7 && (
           !text.toLowerCase().includes(asked[0].value.toLowerCase())
           || (asked[1].value !== "" && verdict !== asked[1].value));
       });
       asked.forEach(field => field.addEventListener("input", show));
     });
   </script>
"""

INTRODUCTION = f"""\
The tables show the verdicts of the oracle on each flow, one column for each group of properties:
*yes* if every property that applies was judged and passed; else the names of those that failed,
and, after a question mark, of those that could not be judged; {NOTHING} if none applies. A property
that fails is a fact about these parameters and this dtype. You judge whether it is a defect, a
limit or a convention. A name that is a link leads to two proofs and a script; any other name has
only the oracle's verdict.
"""


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


def group_of(name: str) -> str | None:
    """Return the column of a property; None for a property of a later version."""
    starts = [
        (len(start), group)
        for group, all_of_them in GROUPS.items()
        for start in all_of_them
        if name.startswith(start)
    ]
    return max(starts)[1] if starts else None


def cell(record: dict[str, Any], group: str, proofs: Sequence[Sequence[str]] = ()) -> str:
    """Return the text of one column for one flow.

    That is the names of the properties that failed, as links to their proofs, and of those that
    were not judged; otherwise a yes.
    """
    rows = [row for row in record["rows"] if group_of(row["name"]) == group]
    failed, undecided = (
        _shortened([row["name"] for row in rows if row["verdict"] == verdict])
        for verdict in ("fail", "inconclusive")
    )
    words = [_linked(name, record, proofs) for name in failed]
    words += [f":inconclusive:`{UNDECIDED} {name}`" for name in undecided]
    if words:
        return ", ".join(words)
    return f"|{PASSES}|" if any(row["verdict"] == "pass" for row in rows) else NOTHING


def _linked(name, record, proofs):
    link = next(
        (
            link
            for library, flow, what, link in proofs
            if library == record["library"]
            and fnmatchcase(record["flow"], flow)
            and fnmatchcase(name, what)
        ),
        None,
    )
    return f"`{name} <{link}>`__" if link else f":failed:`{name}`"


def read_proofs(path: PathLike) -> list[list[str]]:
    """Return (library, pattern of the flow, pattern of the property, link) of each line of a file.

    Bars separate the fields. Lines that start with # are comments.

    Raises
    ------
    ValueError
        If a line has other fields.
    """
    proofs = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            fields = [field.strip() for field in line.split("|")]
            if len(fields) != 4:
                raise ValueError(
                    f"{path}, line {number}: expected library | flow | property | "
                    f"link, got {line!r}"
                )
            proofs.append(fields)
    return proofs


def _shortened(names):
    """Return the names, with one name where both directions of a property are there."""
    short = defaultdict(list)
    for name in names:
        short[without_direction(name)].append(name)
    return [stem if len(whole) > 1 else whole[0] for stem, whole in short.items()]


def page(
    records: Sequence[dict[str, Any]],
    title: str = "Scoreboard",
    proofs: Sequence[Sequence[str]] = (),
) -> str:
    """Return the page: one table of libraries, and for each library one table of its flows.

    Parameters
    ----------
    records : sequence of dict
        From :func:`read`.
    title : str
    proofs : sequence
        From :func:`read_proofs`.

    Returns
    -------
    str
        reStructuredText.
    """
    libraries = defaultdict(list)
    for one in records:
        libraries[one["library"] or "(no library named)"].append(one)
    head = ["library", "version", "date", "reports", OK, FAILED, INCONCLUSIVE]
    body = [
        [
            library,
            _several(ours, "version"),
            _several(ours, "date"),
            str(len(ours)),
            *(
                str(sum(one["verdict"] == verdict for one in ours))
                for verdict in (OK, FAILED, INCONCLUSIVE)
            ),
        ]
        for library, ours in libraries.items()
    ]
    lines = [
        title,
        "=" * len(title),
        "",
        *TOP.splitlines(),
        "",
        *INTRODUCTION.splitlines(),
        "",
        *_table(head, body),
    ]
    for library, ours in libraries.items():
        heading = f"{library} {_several(ours, 'version')}".strip()
        groups = [group for group in GROUPS if any(cell(one, group) != NOTHING for one in ours)]
        rows = [
            [
                one["flow"],
                one["dtype"],
                f"|{one['verdict']}|",
                *(cell(one, group, proofs) for group in groups),
            ]
            for one in ours
        ]
        lines += [
            "",
            heading,
            "-" * len(heading),
            "",
            *_table(["flow", "dtype", "verdict", *groups], rows),
        ]
    return "\n".join(lines) + "\n"


def _several(records, name):
    return ", ".join(sorted({str(one[name]) for one in records if one[name]}))


def _table(head, rows):
    lines = [".. csv-table::", "   :header-rows: 1", ""]
    for row in [head, *rows]:
        # Every blank stands between quotes, where a row of CSV may be broken.
        fields = [
            '"' + field.replace('"', '""') + '"' if set(field) & set(' ,"') else field
            for field in row
        ]
        lines += textwrap.wrap(
            ",".join(fields),
            width=100,
            initial_indent="   ",
            subsequent_indent="   ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m docs.scoreboard_page", description="A page and badges from reports."
    )
    parser.add_argument(
        "reports",
        nargs="+",
        metavar="REPORTS",
        help="files of nfref check --json, or folders of them",
    )
    parser.add_argument("--out", type=Path, help="the page; printed if left out")
    parser.add_argument("--badges", type=Path, help="folder for one badge a library")
    parser.add_argument("--proofs", type=Path, help="file of links to proofs")
    options = parser.parse_args(arguments)
    try:
        records = read(options.reports)
        proofs = [] if options.proofs is None else read_proofs(options.proofs)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if not records:
        parser.error(f"{', '.join(options.reports)}: expected reports, found none")
    text = page(records, proofs=proofs)
    if options.out is None:
        print(text, end="")
    else:
        options.out.write_text(text, encoding="utf-8")
    if options.badges is not None:
        options.badges.mkdir(parents=True, exist_ok=True)
        for library in sorted({one["library"] or "flows" for one in records}):
            ours = [one for one in records if (one["library"] or "flows") == library]
            write_badge(options.badges / f"{library}.json", ours, label=library)
    return 0


if __name__ == "__main__":
    sys.exit(main())
