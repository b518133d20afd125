"""Densities of a table: simple ones, latent classes, label models, their pool."""
