"""The density of anybody's table.

:class:`nfref.FlowDensity` is the face; below it, each knowing only those that stand before it:

- :mod:`~nfref.tables.reading`: tables in files, and writing them;
- :mod:`~nfref.tables.columns`: what values a column can take, and real rows made of it;
- :mod:`~nfref.tables.frames`: DataFrames of any library, missing cells, rows that repeat;
- :mod:`~nfref.tables.closed_form`: a Gaussian, a mixture, a wide density;
- :mod:`~nfref.tables.discrete`: probabilities of categories and counts;
- :mod:`~nfref.tables.pool`: a weighted sum of densities;
- :mod:`~nfref.tables.regression`: a mixture's columns given others;
- :mod:`~nfref.tables.vines`: a vine copula with kernel margins;
- :mod:`~nfref.tables.flows`: the flows that can be fitted, by name;
- :mod:`~nfref.tables.plan`: what is asked for, and how far a fit has come;
- :mod:`~nfref.tables.members`: the simple densities, and the weights of all;
- :mod:`~nfref.tables.search`: flows beside them, or alone;
- :mod:`~nfref.tables.density`, :mod:`~nfref.tables.fit`: all of it together, with neither
  scikit-learn nor DataFrames;
- :mod:`~nfref.tables.marginals`: the closed forms when only some columns are known;
- :mod:`~nfref.tables.conditional`: rows with empty cells, columns given others;
- :mod:`~nfref.tables.missing`: training on rows with empty cells;
- :mod:`~nfref.tables.split`, :mod:`~nfref.tables.comparison`: rows to test by, and what they say;
- :mod:`~nfref.tables.scoring`: rows of any model, scored and drawn;
- :mod:`~nfref.tables.model_file`, :mod:`~nfref.tables.checkpoints`: densities and fits in files;
- :mod:`~nfref.tables.estimator_rows`, :mod:`~nfref.tables.predictions`: what an estimator takes and
  gives, and says of one column;
- :mod:`~nfref.tables.flow_density`, :mod:`~nfref.tables.outliers`: scikit-learn's estimators;
- :mod:`~nfref.tables.report`: a page about a fitted model.
"""
