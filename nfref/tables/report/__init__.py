"""A page about a fitted model: one HTML file that needs nothing else.

- :mod:`~nfref.tables.report.data`: the numbers, each by a function of the library;
- :mod:`~nfref.tables.report.layers`: samples on their way through the layers of a flow;
- :mod:`~nfref.tables.report.charts`: charts of them, SVG by Matplotlib;
- :mod:`~nfref.tables.report.page`: both in ``page.html.j2``, by Jinja2 (extra ``report``).

Only the slider of the layers moves, which takes forty lines of script. Every number is text that a
screen reader or a parser finds.
"""
