"""python -m docs.instructor ARCHIVE.zip: what a lecturer has and students do not.

The archive holds the key and the marks of the exam, the slides with their speaker's notes, and the
assignments with solutions and hidden tests, as source notebooks for nbgrader. The site has none of
it, nor has the sdist. The folded solutions of the lessons are for readers who learn alone, and stay
on their pages.
"""

import argparse
import tempfile
import zipfile
from pathlib import Path

from docs import assignments

KEY = Path(__file__).parent / "exam_key.rst"
EXAM = Path(__file__).parents[1] / "teach" / "exam.rst"
README = """The instructor's folder of nfref's course

exam.html, exam_key.html  the exam, and its answers with the marks of each step
slides/                   open a page in a browser; the key n shows the speaker's notes
source/                   assignments with solutions and hidden tests:
                          nbgrader generate_assignment PAGE --create
                          Activate nbgrader's environment first; it looks for programs in PATH.
"""


def write(archive, own=None):
    """Write the archive and return the names in it.

    A folder ``own`` may have an exam.rst and an exam_key.rst that take the place of ours.
    """
    from docs import slides  # needs the extra docs

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "README.txt").write_text(README, encoding="utf-8")
        for source in (EXAM, KEY):
            if own and (Path(own) / source.name).exists():
                source = Path(own) / source.name
            made = slides.as_page(source.stem, slides.as_html(source.read_text(encoding="utf-8")))
            (folder / f"{source.stem}.html").write_text(made, encoding="utf-8")
        slides.write(folder / "slides", pdf=False)
        assignments.write(folder)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
            for path in paths:
                made.write(path, path.relative_to(folder))
        return [path.relative_to(folder).as_posix() for path in paths]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive")
    parser.add_argument("--own", metavar="FOLDER", help="your exam.rst and exam_key.rst")
    options = parser.parse_args()
    print(f"{len(write(options.archive, options.own))} files")
