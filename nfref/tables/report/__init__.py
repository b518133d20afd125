"""A page about a fitted model: one HTML file that holds all it shows and asks for nothing else.

- :mod:`~nfref.tables.report.data`: the numbers, each by a function of the library;
- :mod:`~nfref.tables.report.svg`: charts of them, as text;
- :mod:`~nfref.tables.report.page`: the two in ``page.html.j2``, by Jinja2 (extra ``report``).

Charts are plain SVG. A page of Plotly carries megabytes of script or fetches it from a network;
here only the slider moves, which takes forty lines, and every number stays text that a screen
reader or a parser finds.
"""
