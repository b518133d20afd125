"""A draft of a report to the maintainers of a library: what ``docs/peers.rst`` says of its defects.

    python -m tests.oracle.survey.drafts zuko

prints it as reStructuredText.
"""

import re
import sys
from pathlib import Path

PEERS = Path(__file__).parents[3] / "docs" / "peers.rst"


def defects():
    """(heading, what follows it) of every defect on the page."""
    section = re.search(
        r"^Defects\n-+\n(.*?)^[^\n]+\n-{3,}\n",
        PEERS.read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )[1]
    section = re.sub(r"^\.\. _proof-.*:\n\n", "", section, flags=re.MULTILINE)
    parts = re.split(r"^\*\*(.+?)\*\*", section, flags=re.DOTALL | re.MULTILINE)[1:]
    return [
        (" ".join(heading.split()).rstrip("."), text.lstrip(" ,").strip())
        for heading, text in zip(parts[::2], parts[1::2])
    ]


def draft(library):
    """The report, or None where the page knows no defect of ``library``."""
    found = [(heading, text) for heading, text in defects() if f"{library} " in heading]
    if not found:
        return None
    title = f"Draft of a report to the maintainers of {library}"
    lines = [
        title,
        "=" * len(title),
        "",
        "Facts and reproductions. The property named is that of ``nfref check``.",
    ]
    for heading, text in found:
        lines += ["", heading, "-" * len(heading), "", text]
    return "\n".join(lines) + "\n"


def main():
    for library in sys.argv[1:]:
        print(draft(library) or f"{PEERS.name}: no defect of {library}\n", end="")


if __name__ == "__main__":
    main()
