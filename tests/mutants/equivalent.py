"""Changes that no black box can see, each with the reason.

A key is the name of a mutant.
"""

EQUIVALENT = {}
