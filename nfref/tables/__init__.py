"""The density of anybody's table.

:class:`nfref.FlowDensity` is the face; below it, each knowing only those that stand before it:

- :mod:`~nfref.tables.reading`: tables in files, and writing them;
- :mod:`~nfref.tables.schema.columns`: what values a column can take, and real rows made of it;
- :mod:`~nfref.tables.schema.dataframes`: DataFrames of any library, missing cells, rows that
  repeat;
- :mod:`~nfref.tables.densities.gaussian`: a Gaussian, a mixture, a wide density;
- :mod:`~nfref.tables.densities.latent_classes`: probabilities of categories and counts;
- :mod:`~nfref.tables.densities.pool`: a weighted sum of densities;
- :mod:`~nfref.tables.densities.regression`: a mixture's columns given others;
- :mod:`~nfref.tables.densities.vine`: a vine copula with kernel margins;
- :mod:`~nfref.tables.fitting.flow_kinds`: the flows that can be fitted, by name;
- :mod:`~nfref.tables.fitting.plan`: what is asked for, and how far a fit has come;
- :mod:`~nfref.tables.fitting.candidates`: the simple densities, and the weights of all;
- :mod:`~nfref.tables.fitting.flow_search`: flows beside them, or alone;
- :mod:`~nfref.tables.densities.table_density`, :mod:`~nfref.tables.fitting.fit`: all of it
  together, with neither scikit-learn nor DataFrames;
- :mod:`~nfref.tables.queries.marginals`: the closed forms when only some columns are known;
- :mod:`~nfref.tables.queries.missing_cells`: rows with empty cells, columns given others;
- :mod:`~nfref.tables.fitting.gaps`: training on rows with empty cells;
- :mod:`~nfref.cli.split`, :mod:`~nfref.cli.test_table`: rows to test by, and what they say;
- :mod:`~nfref.tables.queries.scoring`: rows of any model, scored and drawn;
- :mod:`~nfref.tables.files.model_file`, :mod:`~nfref.tables.files.checkpoints`: densities and fits
  in files;
- :mod:`~nfref.tables.estimators.validation`, :mod:`~nfref.tables.estimators.predictions`: what an
  estimator takes and gives, and says of one column;
- :mod:`~nfref.tables.estimators.flow_density`, :mod:`~nfref.tables.estimators.outlier_detector`:
  scikit-learn's estimators;
- :mod:`~nfref.tables.report`: a page about a fitted model.
"""
