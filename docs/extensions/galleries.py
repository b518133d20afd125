"""The pages of tutorials/: lessons run when the site is built, the others show what was committed.

sphinx-gallery takes a folder for a gallery and each of its subfolders for a section of the same
page. Lessons and methods are pages of their own, so their scripts are first copied to a folder
a gallery; the text above a gallery's pictures stands in ``docs/galleries/``. A gallery whose
scripts are not there is left out.
"""

import re
import shutil

from PIL import Image

FIRST = "flows_in_one_file.py"
SCRIPTS = {"lessons": (FIRST, "[0-9]*.py"), "methods": ("methods/[!_]*.py",),
           "truths": ("truths/[!_]*.py",), "applications": ("applications/[!_]*.py",)}
THUMBNAIL = (400, 280)


def is_page(script):
    """A page begins with a title in its docstring; other scripts are tools."""
    return re.match(r'r?"""\n.+\n=+\n', script.read_text(encoding="utf-8"))


def reading_order(script):
    """The one file to begin with, then the others by name."""
    return script != FIRST, script


def staged(docs, tutorials):
    """Copy the scripts; sphinx-gallery's folders to read and to write."""
    shutil.rmtree(docs / "_galleries", ignore_errors=True)
    names = []
    for name, patterns in SCRIPTS.items():
        scripts = [script for pattern in patterns for script in tutorials.glob(pattern)
                   if is_page(script)]
        for page in (docs / name).glob("*.rst"):    # what an earlier build made of scripts now gone
            if page.stem not in ("index", *(script.stem for script in scripts)):
                page.unlink()
        if scripts:
            names.append(name)
            folder = docs / "_galleries" / name
            folder.mkdir(parents=True)
            shutil.copy2(docs / "galleries" / f"{name}.rst", folder / "GALLERY_HEADER.rst")
            for script in scripts:
                shutil.copy2(script, folder)
    return {"examples_dirs": [f"_galleries/{name}" for name in names], "gallery_dirs": names}


def committed_figure(app, docname):
    """The path of the committed figure of a page of a gallery, or None."""
    gallery, _, stem = docname.partition("/")
    figure = app.srcdir.parent / "figures" / f"{stem}.png"
    return figure if gallery in SCRIPTS and figure.exists() else None


def show_committed_figure(app, docname, content):
    """A page that drew nothing while the site was built shows its figure, before its first code."""
    figure = committed_figure(app, docname)
    if figure and "image-sg::" not in content[0]:
        image = f".. image:: /../figures/{figure.name}\n   :alt: The figure of this page.\n\n"
        content[0] = re.sub(r"^(?=\.\. code-block:: Python$)", lambda _: image, content[0], count=1,
                            flags=re.MULTILINE)


def leave_out_absent(app, docname, content):
    """Galleries without scripts are in no table of contents."""
    for name in set(SCRIPTS) - set(app.config.sphinx_gallery_conf["gallery_dirs"]):
        content[0] = content[0].replace(f"   {name}/index\n", "")


def committed_thumbnails(app):
    """The small pictures of pages that drew nothing; runs after sphinx-gallery."""
    for name in app.config.sphinx_gallery_conf["gallery_dirs"]:
        for page in (app.srcdir / name).glob("*.rst"):
            figure = committed_figure(app, f"{name}/{page.stem}")
            if figure and "image-sg::" not in page.read_text(encoding="utf-8"):
                with Image.open(figure) as picture:
                    picture.thumbnail(THUMBNAIL)
                    picture.save(page.parent / "images" / "thumb"
                                 / f"sphx_glr_{page.stem}_thumb.png")


def setup(app):
    app.connect("builder-inited", committed_thumbnails, priority=900)
    app.connect("source-read", show_committed_figure)
    app.connect("source-read", leave_out_absent)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
