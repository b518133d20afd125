"""Write the pages of golden vectors, one per class, when Sphinx starts."""

from pathlib import Path

from nfref.runtime.files import replacing
from tests.high_precision.pages import pages


def write(folder):
    """Write the pages; an unchanged page keeps its date, so Sphinx need not read it."""
    folder.mkdir(exist_ok=True)
    made = pages()
    for path in set(folder.glob("*.rst")) - {folder / name for name in made}:
        path.unlink()
    for name, text in made.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            with replacing(path) as file:
                file.write(text.encode())


def setup(app):
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "vectors"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
