"""The fit of a posterior's density to rows of parameters, with observations or without."""

import warnings
from dataclasses import replace
from signal import SIGINT

import numpy as np

from nfref.runtime.annotations import Any, Array, Sequence
from nfref.runtime.checks import check_count
from nfref.runtime.interrupts import keeping
from nfref.tables.densities.pool import Pool, Regressed
from nfref.tables.densities.wide import Wide
from nfref.tables.estimators.posterior_rows import Bounds, supports_of
from nfref.tables.fitting.fit import fit_table
from nfref.tables.fitting.plan import TableFit, asked_plan
from nfref.tables.fitting.results import Fitted, Progress
from nfref.tables.schema.column_inference import find_columns

WIDE_SHARE = 0.05  # weight up to which the wide member is left out


def fit_options(
    names: Sequence[str], bounds: Bounds, random_state: int, **asked: Any
) -> dict[str, Any]:
    """Return the arguments of a fit, checked, as plain data; ``asked`` are those of its plan."""
    asked_plan(**asked)
    check_count("random_state", random_state, minimum=0)
    return {**asked, "random_state": random_state, "supports": supports_of(bounds, names)}


def fit_density(
    options: dict[str, Any],
    names: Sequence[str],
    rows: Array,
    *,
    weights: Array | None = None,
    block: Array | None = None,
    given: Sequence[str] = (),
    verbose: bool = False,
) -> Fitted:
    """Fit a density to rows of parameters, and of observations that are given.

    Parameters
    ----------
    options : dict
        From :func:`fit_options`.
    names : sequence of str
    rows : (N, D) array
    weights : (N,) array, optional
    block : (N,) array of int, optional
        Rows of one block are held out together.
    given : sequence of str
        Names of the columns of the observation.
    verbose : bool
    """
    table = list(rows.T)
    asked = {name: options[name] for name in ("flow", "members", "effort", "time_budget")}
    columns = find_columns(names, table, options["supports"], given=given, weight=weights)
    with keeping([SIGINT], twice=True) as signals:
        found = fit_table(
            TableFit(
                # a value that a chain repeats is a rejected step, not an atom
                [replace(column, atoms=()) for column in columns],
                table,
                asked_plan(**asked),
                options["random_state"],
                weights,
                progress=Progress.on_stderr(verbose),
                given=given,
                group=block,
            )
        )
    if signals.came:
        warnings.warn("Posterior: interrupted; the fit keeps the candidates so far", stacklevel=4)
    assert found.density.pool is not None
    # digits that a file kept are no property of a parameter
    exact = tuple(replace(one, step=None, offset=0.0) for one in found.density.columns)
    pool = without_wide(found.density.pool)
    return replace(found, density=replace(found.density, columns=exact, pool=pool))


def without_wide(pool: Pool) -> Pool:
    """Return a pool without its wide member, unless that has more than a small weight.

    Its tails fall like a power, so one sample in thousands would be far beyond all others, and a
    posterior would have no moments.
    """
    inner = [member.density if isinstance(member, Regressed) else member for member in pool.members]
    wide = np.array([isinstance(member, Wide) for member in inner])
    share = float(np.sum(pool.weights[wide]))
    if share > WIDE_SHARE:
        return pool.used
    return Pool(pool.members, np.where(wide, 0.0, pool.weights) / (1 - share), pool.names).used
