"""Atoms: values of a real column that many rows share, such as the zeros of amounts.

A density has no share of rows at a single value. So a column with atoms has a code, which says
"continuous" or which atom, and codes are modelled as a category:

    log p(row) = log P(d, a) + log p(u | d, a) + sum_j log du_j/dx_j        (continuous values)

a are the codes of the columns with atoms. Rows pass as follows:

    find_columns    finds the atoms of each column that is not given
    Continuous      u and units of the values beside the atoms; a noise u at an atom
    TableDensity    the code is one of the discrete columns, and context of the pool
    samples         the code decides whether x is the atom, or comes from u

At an atom nothing is left to say about the column, so u is standard normal noise there, which the
pool learns, and its log-density is taken off the row's. As rounded values, atoms are spread over a
cell. The cell is so narrow that no other value is in it; the place in it decides the noise:

    x = atom + h (2 Phi(u) - 1)        log of mass over density: (u^2 + log 2 pi) / 2

The score of a row at an atom is therefore the log of a probability, times the density of the
continuous columns; no size of a cell enters.
"""

import numpy as np

from nfref.runtime.annotations import Any, Array
from nfref.tables.schema.distinct_rows import as_counts

FEWEST = 10  # fewest rows of an atom
SHARE = 0.01  # smallest share of the rows
TIMES = 5.0  # how much more often than any other value an atom comes
OTHERS = 10  # fewest distinct values beside atoms: fewer are a discrete column
MOST = 3  # most atoms of a column
DIGITS = 2.0**20  # floats in half of a cell


def find_atoms(values: Array, weight: Array | None = None) -> tuple[float, ...]:
    """Return the atoms of a column, ascending.

    An atom is ``TIMES`` as frequent as every value that is none. So the frequent values of a
    rounded column are not atoms: its next ones are nearly as frequent.

    Parameters
    ----------
    values : (N,) array
        Finite numbers.
    weight : (N,) array, optional
    """
    distinct, place = np.unique(values, return_inverse=True)
    mass = np.bincount(place.reshape(-1), as_counts(weight))
    order = np.argsort(-mass, kind="stable")
    for count in range(min(MOST, len(distinct) - OTHERS), 0, -1):
        least, next_one = mass[order[count - 1]], mass[order[count]]
        if least >= max(FEWEST, SHARE * np.sum(mass)) and least >= TIMES * next_one:
            return tuple(np.sort(distinct[order[:count]]).tolist())
    return ()


# The cell of an atom ----------------------------------------------------------------------


def cell_of(atom: Any) -> Any:
    """Return half the size of the cell of an atom."""
    return DIGITS * np.spacing(np.maximum(np.abs(atom), 1e-200))


def atom_numbers(x: Array, atoms: Array) -> Array:
    """Return the number of the atom whose cell holds each value, from 1 on; 0 for none. (N,)."""
    found = np.zeros(len(x), np.int64)
    for number, atom in enumerate(atoms, 1):
        found[np.abs(x - atom) <= cell_of(atom)] = number
    return found


def from_noise(atom: Array, part: Array) -> Array:
    """Return x in the cell of an atom, at a ``part`` of the cell, in [0, 1]."""
    return atom + cell_of(atom) * (2 * np.asarray(part) - 1)


def to_noise(x: Array, atom: float) -> tuple[Array, Array]:
    """Return (u, log of mass over density of u), (N,) each, of values in the cell of an atom."""
    from scipy.special import ndtri

    part = 0.5 + 0.5 * (x - atom) / cell_of(atom)
    u = ndtri(np.clip(part, 0.5 / DIGITS, 1 - 0.5 / DIGITS))
    return u, 0.5 * (u**2 + np.log(2 * np.pi))
