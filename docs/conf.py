"""Configure Sphinx to build the site: ``python -m sphinx -W docs docs/_build``."""

import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = map(str, (ROOT, DOCS / "extensions", ROOT / "tutorials"))

import galleries  # noqa: E402

import nfref  # noqa: E402

project, author = "nfref", "The nfref developers"
release = version = nfref.__version__
copyright = author

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "docstring_template",
    "sphinx_gallery.gen_gallery",
    "sphinx_design",
    "sphinx_copybutton",
    "mathml",
    "plain_text",
    "galleries",
    "papers",
]
exclude_patterns = [
    "_build",
    "_galleries",
    "galleries",
    "instructor",
    "playground",
    "sg_execution_times.rst",
    "**/sg_execution_times.rst",
]
templates_path = ["templates"]
# The folder of a checkout may have a space in its name; no file below it does.
suppress_warnings = ["sphinx_gallery.space_in_filename"]
highlight_language = "none"  # a block that names no language is output, or of the shell

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    **galleries.staged(DOCS, ROOT / "tutorials"),
    "notebook_extensions": set(),  # docs/notebooks.py writes better ones
    "capture_repr": (),  # a page prints what it shows
    "reset_modules": (),  # by default it also resets seaborn, which nfref does not use
    "within_subsection_order": "galleries.reading_order",
    "download_all_examples": False,
    "remove_config_comments": True,
    "min_reported_time": 1e9,
    "show_signature": False,
    "copyfile_regex": r"",
}

html_theme = "furo"
html_title = "nfref"
html_static_path = ["static"]
html_css_files = ["nfref.css"]
html_js_files = ["nfref.js", "play.js"]
html_math_renderer = "mathml"
html_search_scorer = str(DOCS / "static" / "scorer.js")
html_copy_source = html_show_sourcelink = html_show_sphinx = False
html_theme_options = {
    # Paul Tol's bright scheme, as in the figures.
    "light_css_variables": {
        "color-brand-primary": "#36648f",
        "color-brand-content": "#36648f",
        "color-brand-visited": "#36648f",
    },
    "dark_css_variables": {
        "color-brand-primary": "#66CCEE",
        "color-brand-content": "#66CCEE",
        "color-brand-visited": "#66CCEE",
    },
}
linkcheck_anchors = False


MOVED = {"methods/rectified_flow": "lessons/10_straightness"}  # where an old address leads
LEAD_ON = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Moved</title>
<main><h1>Moved</h1><p>This page is now part of <a href="../{0}.html">{0}</a>.</p></main></html>
"""


def with_playground(app, error):
    """Copy the playground, a page with scripts of its own, and lead old addresses on."""
    if error is None and app.builder.format == "html":
        shutil.copytree(DOCS / "playground", app.outdir / "playground", dirs_exist_ok=True)
        for old, new in MOVED.items():
            page = Path(app.outdir, f"{old}.html")
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(LEAD_ON.format(new), encoding="utf-8")


def with_short_sidebar(app, pagename, templatename, context, doctree):
    """Let the sidebar show the sections, and the pages of the section that is open.

    Furo asks for all 400 pages. They were half of each page, and half of the time of a build.
    """
    if "toctree" in context:
        whole = context["toctree"]
        context["toctree"] = lambda collapse, **options: whole(collapse=True, **options)


def setup(app):
    app.connect("build-finished", with_playground)
    app.connect("html-page-context", with_short_sidebar, priority=400)  # before furo asks
