"""The density of a table, in the order in which its rows pass.

- :mod:`~nfref.tables.reading`: tables in files;
- :mod:`~nfref.tables.schema`: kinds of columns, DataFrames, rounding, equal rows;
- :mod:`~nfref.tables.densities`: simple densities, latent classes, label models, their pool, and
  the density of a table;
- :mod:`~nfref.tables.queries`: marginals, missing cells, quantiles and scores of that density;
- :mod:`~nfref.tables.fitting`: plan, folds, candidates, search for flows, gaps;
- :mod:`~nfref.tables.files`: model files and checkpoints;
- :mod:`~nfref.tables.estimators`: :class:`nfref.FlowDensity` and
  :class:`nfref.FlowOutlierDetector`.
"""
