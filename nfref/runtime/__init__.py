"""The code between a user's call and a formula; you can read the formulas without it.

It checks arguments and the shapes of nested parameters, cuts rows into blocks, chooses between a
formula and its compiled twin, limits threads, and writes files whole or not at all.
"""
