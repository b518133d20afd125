"""Attack what comes from outside: tables as text, and model files.

    python -m tests.fuzz [--seed S] [--times T] [--kind KIND]

Each kind of attack is a function ``cases(rng, number)``: a generator of random cases from a seed. A
case has one of two good outcomes: *success* and *refused* (exit 2, or an error of the library, in
one line). Anything else is a failure: a traceback, more than twenty seconds, an old file changed, a
stray file, a number that silently differs. The suite runs a sample of every kind.
"""

from tests.fuzz import model_files, text

# Kind of attack -> (cases, how many in a full run, how many in the suite).
KINDS = {"text": (text.cases, 8500, 250), "model files": (model_files.cases, 2600, 150)}
