"""A chain of layers on blocks of rows, run by a small interpreter."""
