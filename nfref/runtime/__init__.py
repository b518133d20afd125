"""What stands between a user's call and a formula; a reader of the formulas need not open it.

Checks of arguments, nested parameters and the shapes they have to have, blocks of rows, the choice
between a formula and its compiled twin, threads, files that are written whole or not at all.
"""
