"""Questions to a fitted density: marginals, missing cells, quantiles, scores."""
