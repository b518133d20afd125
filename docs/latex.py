"""LaTeX that docutils can translate to MathML, for the site and the slides."""

import re

# docutils has other names for these; MathML sets the size of fractions by itself.
SAME = {r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\stackrel": r"\overset", r"\texttt": r"\mathtt"}
# TeX reads \frac12 digit by digit, docutils as a number.
TWO_DIGITS = re.compile(r"\\frac\s*(\d)\s*(\d)")


def for_docutils(latex):
    """Return the same formula, or text with formulas, by the commands that docutils knows."""
    for command, known in SAME.items():
        latex = latex.replace(command, known)
    return TWO_DIGITS.sub(r"\\frac{\1}{\2}", latex)
