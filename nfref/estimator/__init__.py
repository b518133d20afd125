"""Densities of tables: what a flow has to beat."""
