"""Render formulas as MathML, which browsers show without script, font or network.

docutils translates LaTeX; it knows nearly all of the extension amsmath. A formula that it cannot
read gives a warning, which fails the build.
"""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

from docs.latex import for_docutils

logger = logging.getLogger(__name__)
# Put a thin space between "log" and its argument, unless a bracket follows.
APPLIED = re.compile(r"<mo>&ApplyFunction;</mo>(?!\s*<mo[^>]*>[(\[])")
SPACED = '<mo lspace="0" rspace="0.167em">&ApplyFunction;</mo>'


def translated(node, as_block):
    """Return the MathML of a node's LaTeX; keep unreadable LaTeX as it is, with a warning."""
    latex = node.astext()
    try:
        return APPLIED.sub(SPACED, tex2mathml(for_docutils(latex), as_block=as_block))
    except MathError as error:
        logger.warning("math: %s in %r", error, latex, location=node)
        return f"<code>{nodes.Text(latex)}</code>"


def inline(writer, node):
    writer.body.append(translated(node, False))
    raise nodes.SkipNode


def block(writer, node):
    writer.body.append(f'<div class="formula">{translated(node, True)}</div>\n')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
