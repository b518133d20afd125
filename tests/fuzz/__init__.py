"""Attack what comes from outside: tables, arrays, options, models, caches, clusters, kills.

    python -m tests.fuzz [--seed S] [--times T] [--kind KIND]

Each kind of attack is a function ``cases(rng, number)``: a generator of random cases from a seed. A
case has one of three good outcomes: *success*, *refused* (exit 2, or an error of the library, in
one line) and *interrupted* (the best so far is kept). Anything else is a failure: a traceback, more
than twenty seconds, an old file changed, a stray file, a number that silently differs. The suite
runs a sample of every kind.
"""

from tests.fuzz import (
    answers,
    arrays,
    backends,
    cache,
    cluster,
    collinear,
    disks,
    environment,
    formats,
    frames,
    kills,
    model_files,
    names,
    options,
    text,
    weights,
    wide,
)

# Kind of attack -> (cases, how many in a full run, how many in the suite).
KINDS = {
    "text": (text.cases, 8500, 250),
    "arrays": (arrays.cases, 3000, 150),
    "options": (options.cases, 1000, 25),
    "answers": (answers.cases, 600, 25),
    "model files": (model_files.cases, 2600, 150),
    "frames": (frames.cases, 1500, 25),
    "weights": (weights.cases, 1500, 25),
    "names": (names.cases, 1500, 25),
    "kill -9": (kills.cases, 60, 1),
    "searches": (kills.searches, 60, 1),
    "signals": (kills.interruptions, 40, 2),
    "disks": (disks.cases, 60, 2),
    "backends": (backends.cases, 1500, 25),
    "cache": (cache.cases, 60, 2),
    "cluster": (cluster.cases, 60, 2),
    "environment": (environment.cases, 120, 3),
    "formats": (formats.cases, 2000, 40),
    "collinear": (collinear.cases, 1500, 40),
    "wide": (wide.cases, 60, 2),
}
