"""Fit the density of a table: plan, folds, candidates, flow search."""
