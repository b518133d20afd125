"""The density of anybody's table.

:class:`nfref.FlowDensity` is the face; below it, each knowing only those that stand before it:

- :mod:`~nfref.tables.reading`: tables in files, and writing them;
- :mod:`~nfref.tables.columns`: what values a column can take, and real rows made of it;
- :mod:`~nfref.tables.frames`: DataFrames of any library, missing cells, rows that repeat;
- :mod:`~nfref.tables.closed_form`: a Gaussian, a mixture, a wide density;
- :mod:`~nfref.tables.discrete`: probabilities of categories and counts;
- :mod:`~nfref.tables.pool`: a weighted sum of densities;
- :mod:`~nfref.tables.regression`: a mixture's columns given others;
- :mod:`~nfref.tables.candidates`: what is tried, and in which size;
- :mod:`~nfref.tables.density`: all of it together, with neither scikit-learn nor DataFrames;
- :mod:`~nfref.tables.marginals`: the closed forms when only some columns are known;
- :mod:`~nfref.tables.conditional`: rows with gaps, columns given others;
- :mod:`~nfref.tables.gaps`: training on rows with gaps;
- :mod:`~nfref.tables.model_file`: densities in files;
- :mod:`~nfref.tables.flow_density`, :mod:`~nfref.tables.outliers`: scikit-learn's estimators;
- :mod:`~nfref.tables.report`: a page about a fitted model.
"""
