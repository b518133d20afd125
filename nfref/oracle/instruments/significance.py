"""The level of every statistical test: a correct subject is not rejected by chance."""

LEVEL = 1e-9
SIGMAS = 6.1  # two-sided
