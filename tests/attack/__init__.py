"""Attacks on what comes from outside: tables, arrays, options, model files, kills, full disks.

    python -m tests.attack [--seed S] [--times T]

Each kind of attack is a module with ``cases(rng, number)``: a generator of cases drawn from a
seed. A case has one of three good outcomes, *success*, *refused* (exit 2, or an error of the
library, in one line) and *interrupted* (the best so far is kept), and fails with anything
else: a traceback, more than twenty seconds, an old file changed, a stray file, a number that
silently differs. The suite runs a sample of every kind.
"""

from tests.attack import arrays, disks, kills, model_files, options, text

# Kind of attack -> (module, cases in a full run, cases in the suite).
KINDS = {"text": (text, 5000, 250), "arrays": (arrays, 2000, 150),
         "options": (options, 1000, 25), "model files": (model_files, 2600, 150),
         "kills": (kills, 60, 2), "disks": (disks, 60, 2)}
