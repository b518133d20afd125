"""A relational graph network, and all stages of a growing molecule in one pass of it.

An atom without bonds sends no message. So all atoms of a molecule may be in the graph from the
start. A molecule with t bonds then has t + 1 stages: its graphs with the first 0 to t bonds. The
context of a step comes from one stage, from the atoms up to the current one.
"""

from dataclasses import dataclass, replace

import numpy as np
from _graphs import LARGEST, STOP, WINDOW, Growing, one_hot, steps_back
from autograd import numpy as anp

from nfref.networks.activations import relu

ORDERS_OF_BONDS = (1, 2, 3)
SHARE = 1 / 8  # of each atom in the sum over all, which keeps the sum near one


# The network --------------------------------------------------------------------------------


def init_network(rng, widths):
    """Return weights (4 in, out) of each layer, from the kinds of atoms to ``widths``."""
    return [
        rng.standard_normal((4 * fan_in, fan_out)) * (2 * fan_in) ** -0.5
        for fan_in, fan_out in zip((STOP, *widths), widths)
    ]


def embedded(params, types, bonds):
    """Return the network's embedding of each atom: H <- relu([H, A_1 H, A_2 H, A_3 H] W).

    A_r is the adjacency of bonds of order r. W stacks the matrices of an atom itself and of each
    order. The last layer has no relu. Shapes: types (M, N), -1 where there is no atom; bonds (M, N,
    N). Returns (M, N, C).
    """
    own = one_hot(types, STOP).astype(params[0].dtype)
    related = [(bonds == order).astype(own.dtype) for order in ORDERS_OF_BONDS]
    for k, weight in enumerate(params):
        heard = anp.concatenate([own, *(anp.matmul(near, own) for near in related)], axis=2)
        own = anp.reshape(anp.reshape(heard, (-1, len(weight))) @ weight, (*types.shape, -1))
        if k < len(params) - 1:
            own = relu(own)
    return own


def seen_before_atom(own, graphs, i):
    """Return contexts (n, C + 18) for choosing atom i in some of the graphs: a sum, and i."""
    return anp.concatenate([picked(summed(own), graphs, i), places(i, LARGEST + 2, own)], axis=1)


def seen_before_bond(own, graphs, i, j):
    """Return contexts (n, 3 C + 10) for the bond of atoms i and j: both, a sum, and i - j."""
    return anp.concatenate(
        [
            picked(own, graphs, i),
            picked(own, graphs, j),
            picked(summed(own), graphs, i + 1),
            places(i - j - 1, WINDOW, own),
        ],
        axis=1,
    )


def summed(own):
    """Return the sum over the atoms before each, and at the end over all, (M, N + 1, C)."""
    return SHARE * anp.concatenate([0 * own[:, :1], anp.cumsum(own, axis=1)], axis=1)


def picked(own, graphs, atoms):
    return anp.reshape(own, (-1, own.shape[2]))[graphs * own.shape[1] + atoms]


def places(labels, count, own):
    return one_hot(labels, count).astype(own.dtype)


# Learning -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Replay:
    """All steps by which molecules grew.

    Attributes
    ----------
    types, bonds : (G, LARGEST), (G, LARGEST, LARGEST) int array
        Graphs, each with the first of a molecule's bonds.
    atoms : (n, 3) int array
        For each choice of an atom: its graph, the number i of the atom, the choice.
    pairs : (m, 4) int array
        For each choice of a bond: its graph, i, j and the choice.
    """

    types: np.ndarray
    bonds: np.ndarray
    atoms: np.ndarray
    pairs: np.ndarray

    @classmethod
    def of(cls, types, bonds):
        n = len(types)
        pairs = np.array(
            [(0, i, j, bonds[i, j]) for i in range(n) for j in steps_back(i)], dtype=int
        ).reshape(-1, 4)
        bound = pairs[pairs[:, 3] > 0]
        pairs[:, 0] = np.cumsum(pairs[:, 3] > 0) - (pairs[:, 3] > 0)
        graphs = np.zeros((len(bound) + 1, LARGEST, LARGEST), dtype=np.int8)
        for t, (_, i, j, order) in enumerate(bound):
            graphs[t + 1 :, i, j] = graphs[t + 1 :, j, i] = order
        atoms = [
            ((bound[:, 1] < i).sum(), i, types[i] if i < n else STOP)
            for i in range(min(n + 1, LARGEST))
        ]
        padded = np.full((len(graphs), LARGEST), -1, dtype=np.int8)
        padded[:, :n] = types
        return cls(padded, graphs, np.array(atoms), pairs)

    def thinned(self, rng, share):
        """Keep a share of the pairs without a bond; return also the weight of each pair."""
        came = self.pairs[:, 3] > 0
        kept = came | (rng.random(len(came)) < share)
        return (
            replace(self, pairs=self.pairs[kept]),
            np.where(came, 1, 1 / share)[kept].astype(np.float32),
        )

    @classmethod
    def joined(cls, replays):
        """Return the steps of several molecules as one."""
        first = np.cumsum([0, *(len(replay.types) for replay in replays)])
        atoms, pairs = (
            [rows + [start, *[0] * (rows.shape[1] - 1)] for start, rows in zip(first, part)]
            for part in zip(*((replay.atoms, replay.pairs) for replay in replays))
        )
        return cls(
            *(
                np.concatenate(part)
                for part in (
                    [replay.types for replay in replays],
                    [replay.bonds for replay in replays],
                    atoms,
                    pairs,
                )
            )
        )


# Growth -------------------------------------------------------------------------------------


class Seen(Growing):
    """Growing graphs, as the network sees them."""

    def __init__(self, count, params):
        super().__init__(count)
        self.params = params

    def messages(self):
        """Do nothing: the network reads the current graph before each step instead."""

    def before_atom(self, i, messages):
        own = embedded(self.params, self.types[:, : i + 1], self.bonds[:, : i + 1, : i + 1])
        rows = np.arange(len(own))
        return seen_before_atom(own, rows, np.full(len(own), i))

    def before_bond(self, i, j, messages):
        own = embedded(self.params, self.types[:, : i + 1], self.bonds[:, : i + 1, : i + 1])
        rows = np.arange(len(own))
        return seen_before_bond(own, rows, np.full(len(own), i), np.full(len(own), j))
