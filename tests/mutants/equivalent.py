"""Changes that no black box can see, each with the reason.

A key is the beginning of a mutant's name.
"""

EQUIVALENT = {}
