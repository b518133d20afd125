"""The density of anybody's table.

:class:`nfref.FlowDensity` is the face; below it, each knowing only those that stand before it:

- :mod:`~nfref.estimator.closed_form`: a Gaussian, a mixture, a wide density;
- :mod:`~nfref.estimator.columns`: what values a column can take, and real rows made of it;
- :mod:`~nfref.estimator.discrete`: probabilities of categories and counts;
- :mod:`~nfref.estimator.pool`: a weighted sum of densities;
- :mod:`~nfref.estimator.regression`: a mixture's columns given others;
- :mod:`~nfref.estimator.candidates`: what is tried, and in which size;
- :mod:`~nfref.estimator.density`: all of it together, with neither scikit-learn nor DataFrames;
- :mod:`~nfref.estimator.marginals`: the closed forms when only some columns are known;
- :mod:`~nfref.estimator.conditional`: rows with gaps, columns given others;
- :mod:`~nfref.estimator.gaps`: training on rows with gaps;
- :mod:`~nfref.estimator.flow_density`, :mod:`~nfref.estimator.outliers`: scikit-learn's estimators.
"""
