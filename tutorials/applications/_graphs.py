"""Molecular graphs that grow atom by atom and bond by bond, many at once.

Atoms other than hydrogen are nodes, bonds are edges of order 1, 2 or 3 (aromatic rings in Kekule's
form); hydrogens fill the free valency of each atom. Atoms come in the order of a breadth-first
search, so an atom has bonds only with the last few before it.
"""

from dataclasses import dataclass

import fetch
import numpy as np

try:
    from rdkit import Chem, RDLogger
except ModuleNotFoundError:
    raise fetch.DataMissing(
        "molecules: expected RDKit and data, got no RDKit; bring them by: pip "
        "install nfref[applications] && python tutorials/applications/fetch.py "
        "molecules"
    ) from None

ATOMS = ("C", "N", "O", "S", "F", "Cl", "Br")
VALENCY = np.array([4, 3, 2, 6, 1, 1, 1])
BONDS = (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)
STOP = len(ATOMS)  # the type that ends a molecule
LARGEST, WINDOW = 16, 10  # atoms of a molecule; how far back a bond may reach
FAR = 8  # larger distances count as this one

RDLogger.DisableLog("rdApp.*")  # our own errors name unreadable SMILES


# Molecules and graphs -----------------------------------------------------------------------


def parsed(smiles):
    """Return RDKit's molecule of a line of text; raise an error that names invalid text."""
    molecule = Chem.MolFromSmiles(smiles) if smiles else None
    if molecule is None:
        raise ValueError(f"smiles: expected a molecule, got {smiles!r}, which does not parse")
    return molecule


def to_graph(molecule):
    """Return (types (n,), bonds (n, n)) in breadth-first order.

    Return None for a molecule that these graphs cannot hold: too large, of several parts, with a
    charge, an explicit hydrogen or another element, or whose bonds reach too far back.
    """
    atoms = list(molecule.GetAtoms())
    if not 0 < len(atoms) <= LARGEST or any(
        atom.GetSymbol() not in ATOMS or atom.GetFormalCharge() or atom.GetNumRadicalElectrons()
        for atom in atoms
    ):
        return None
    Chem.Kekulize(molecule, clearAromaticFlags=True)
    bonds = np.zeros((len(atoms), len(atoms)), dtype=int)
    for bond in molecule.GetBonds():
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        bonds[i, j] = bonds[j, i] = 1 + BONDS.index(bond.GetBondType())
    order = breadth_first(bonds)
    types = np.array([ATOMS.index(atoms[k].GetSymbol()) for k in order])
    bonds = bonds[np.ix_(order, order)]
    reach = max([i - j for i, j in np.argwhere(bonds)], default=0)
    fits = len(order) == len(atoms) and reach <= WINDOW
    return (types, bonds) if fits and (bonds.sum(axis=1) <= VALENCY[types]).all() else None


def breadth_first(bonds):
    """The nodes that can be reached from node 0, nearest first."""
    order = [0]
    for node in order:
        order += [k for k in np.flatnonzero(bonds[node]) if k not in order]
    return order


def to_molecule(types, bonds):
    """RDKit's molecule of a graph, or None if RDKit rejects it."""
    molecule = Chem.RWMol()
    for kind in types:
        molecule.AddAtom(Chem.Atom(ATOMS[kind]))
    for i, j in np.argwhere(np.tril(bonds)):
        molecule.AddBond(int(i), int(j), BONDS[bonds[i, j] - 1])
    molecule = molecule.GetMol()
    return None if Chem.SanitizeMol(molecule, catchErrors=True) else molecule


# Growth -------------------------------------------------------------------------------------


def one_hot(labels, count):
    """Rows of the identity, and zeros for the label -1."""
    return np.concatenate([np.eye(count), np.zeros((1, count))])[labels]


class Growing:
    """M graphs that grow in step, and what is known of each before its next step.

    Attributes
    ----------
    types : (M, LARGEST) int array
        -1 where there is no atom.
    bonds : (M, LARGEST, LARGEST) int array
        The order of each bond, 0 for none.
    distance : (M, LARGEST, LARGEST) int array
        The number of bonds between two finished atoms, at most ``FAR``. An atom is finished when it
        has all its bonds with earlier atoms.
    """

    def __init__(self, count):
        self.types = np.full((count, LARGEST), -1)
        self.bonds = np.zeros((count, LARGEST, LARGEST), dtype=int)
        self.distance = np.full((count, LARGEST, LARGEST), FAR)
        self.distance[:, range(LARGEST), range(LARGEST)] = 0

    def bind(self, i, j, orders):
        self.bonds[:, i, j] = self.bonds[:, j, i] = orders

    def finish(self, i):
        """Update distances when atom i is finished: shortest paths may pass through it."""
        steps = np.where(self.bonds[:, i] > 0, 1, FAR)
        own = np.minimum((steps[:, :, None] + self.distance).min(axis=1), FAR)
        own[:, i] = 0
        self.distance = np.minimum(self.distance, own[:, :, None] + own[:, None, :])

    def left(self):
        """Return the free valency of each atom, (M, LARGEST)."""
        return np.where(self.types < 0, 0, VALENCY[self.types] - self.bonds.sum(axis=2))

    def messages(self):
        """Return features of each atom and sums over its neighbours, (M, LARGEST, 45).

        They are the atom's type; sums of this over its neighbours, by order of the bond; and sums
        of these sums over its neighbours.
        """
        own = np.concatenate(
            [one_hot(self.types, STOP), self.left()[..., None] / 4, (self.types >= 0)[..., None]],
            axis=2,
        )
        nearest = np.concatenate([(self.bonds == 1) @ own, (self.bonds > 1) @ own], axis=2)
        return np.concatenate([own, nearest, (self.bonds > 0) @ nearest], axis=2)

    def whole(self, i):
        """Describe the graph before atom i: counts of atoms, bonds and rings, and i, (M, 29)."""
        atoms = one_hot(self.types[:, :i], STOP).sum(axis=1)
        orders = (
            np.stack([(self.bonds[:, :i, :i] == k).sum(axis=(1, 2)) for k in (1, 2, 3)], axis=1) / 2
        )
        rings = orders.sum(axis=1, keepdims=True) - i + 1
        place = np.tile(np.eye(LARGEST + 2)[i], (len(atoms), 1))
        return np.concatenate([atoms / 8, orders / 8, rings / 2, place], axis=1)

    def before_atom(self, i, messages):
        """Return the context for choosing atom i, (M, A): the graph and the last three atoms."""
        last = [messages[:, k] if k >= 0 else 0 * messages[:, 0] for k in range(i - 3, i)]
        ends = [(self.left()[:, :i] > 0).sum(axis=1, keepdims=True) / 8]
        return np.concatenate([self.whole(i), *ends, *last], axis=1).astype(np.float32)

    def before_bond(self, i, j, messages):
        """Return the context for the choice of the bond of atoms i and j < i, (M, B).

        The bonds of atom i with atoms before j are there. The most informative inputs are the first
        of these atoms, i's parent in the search, and the distance from j to the nearest of them.
        This distance gives the size of the ring that a bond would close.
        """
        rows = np.arange(len(self.types))
        bound = self.bonds[:, i, :j] > 0
        parent = np.where(bound.any(axis=1), bound.argmax(axis=1) if j else 0, -1)
        ring = np.where(bound, self.distance[:, j, :j], FAR).min(axis=1, initial=FAR)
        ring = np.where(parent < 0, -1, ring)
        chances = (self.left()[:, j:i] > 0).sum(axis=1)
        return np.concatenate(
            [
                self.whole(i)[:, : STOP + 4],
                one_hot(self.types[:, i], STOP),
                one_hot(i - j - 1 + 0 * rows, WINDOW),
                one_hot(ring, FAR + 1),
                np.stack(
                    [
                        self.left()[:, i] / 4,
                        self.left()[:, j] / 4,
                        bound.sum(axis=1) / 2,
                        chances / 8,
                        parent < 0,
                    ],
                    axis=1,
                ),
                messages[:, j],
                np.where(parent[:, None] < 0, 0, messages[rows, parent]),
            ],
            axis=1,
        ).astype(np.float32)

    def allows(self, i, j, orders):
        """Return whether atoms i and j have that much free valency, (M,)."""
        left = self.left()
        return orders <= np.minimum(left[:, i], left[:, j])


def steps_back(i):
    """Return the earlier atoms that atom i may bond with, in the order of the choices."""
    return range(max(0, i - WINDOW), i)


def replayed(graphs):
    """Return the steps by which graphs grow: of atoms, and of bonds.

    Each is (contexts, choices, places). The place is the number of the step: i for atoms, and for
    bonds one number for every pair of i and i - j.
    """
    growing = Growing(len(graphs))
    sizes = np.array([len(types) for types, _ in graphs])
    atoms, bonds = [], []
    for i in range(min(LARGEST, sizes.max() + 1)):
        alive = sizes >= i  # one step more than atoms: the stop is a step too
        messages = growing.messages()
        chosen = np.array([types[i] if i < len(types) else STOP for types, _ in graphs])
        atoms.append(
            (growing.before_atom(i, messages)[alive], chosen[alive], np.full(alive.sum(), i))
        )
        growing.types[:, i] = np.where(chosen == STOP, -1, chosen)
        alive = sizes > i
        for j in steps_back(i):
            orders = np.array([bound[i, j] if i < len(bound) else 0 for _, bound in graphs])
            bonds.append(
                (
                    growing.before_bond(i, j, messages)[alive],
                    orders[alive],
                    np.full(alive.sum(), place_of_bond(i, j)),
                )
            )
            growing.bind(i, j, orders)
        growing.finish(i)
    return tuple(tuple(np.concatenate(part) for part in zip(*steps)) for steps in (atoms, bonds))


def place_of_bond(i, j):
    return i * WINDOW + i - j - 1


def grown(count, atom, bond, rng, check, tries=30, growing=None):
    """Sample graphs, atom by atom and bond by bond.

    Parameters
    ----------
    count : int
    atom, bond : callable
        (contexts, place, rng) -> choices, one for each row of the contexts.
    rng : numpy.random.Generator
    check : bool
        Sample a bond again if it takes more valency than its atoms have left; after ``tries``
        attempts there is no bond.
    tries : int
    growing : Growing, optional
        That many graphs without an atom, which give the contexts of each step.

    Returns
    -------
    graphs : list of (types, bonds)
        A graph ends at the stop, or where a new atom has no bond; that atom is left out.
    redrawn : float
        The share of bonds that were sampled again.
    """
    growing = Growing(count) if growing is None else growing
    sizes, alive = np.zeros(count, int), np.ones(count, bool)
    redrawn = asked = 0
    for i in range(LARGEST):
        messages = growing.messages()
        rows = np.flatnonzero(alive)
        if not len(rows):
            break
        contexts = growing.before_atom(i, messages)
        kinds = np.full(count, STOP)
        kinds[rows] = atom(contexts[rows], i, rng)
        while i == 0 and (kinds == STOP).any():  # a molecule has at least one atom
            again = np.flatnonzero(kinds == STOP)
            kinds[again] = atom(contexts[again], i, rng)
        alive = alive & (kinds != STOP)
        growing.types[:, i] = np.where(alive, kinds, -1)
        for j in steps_back(i):
            contexts, orders = growing.before_bond(i, j, messages), np.zeros(count, int)
            rows = np.flatnonzero(alive)
            asked += len(rows)
            for trial in range(tries if check else 1):
                orders[rows] = bond(contexts[rows], place_of_bond(i, j), rng) if len(rows) else 0
                if check:
                    rows = rows[~growing.allows(i, j, orders)[rows]]
                    redrawn += len(rows) if trial == 0 else 0
            if check:
                orders[rows] = 0
            growing.bind(i, j, orders)
        if i:
            lost = alive & (growing.bonds[:, i].sum(axis=1) == 0)
            growing.types[lost, i] = -1
            alive = alive & ~lost
        sizes[alive] = i + 1
        growing.finish(i)
    return [
        (growing.types[k, :n], growing.bonds[k, :n, :n]) for k, n in enumerate(sizes)
    ], redrawn / max(asked, 1)


# The baseline -------------------------------------------------------------------------------

KINDS, ORDERS = STOP + 1, 4  # choices of an atom and of a bond, with stop and none


@dataclass(frozen=True)
class Frequencies:
    shares: np.ndarray  # (places, K)

    @classmethod
    def counted(cls, count, steps):
        _, choices, places = steps
        shares = np.full((LARGEST * WINDOW, count), 0.01)
        np.add.at(shares, (places, choices), 1)
        return cls(shares / shares.sum(axis=1, keepdims=True))

    def drawn(self, contexts, place, rng):
        return rng.choice(len(self.shares[place]), len(contexts), p=self.shares[place])

    def nats(self, steps, rng):
        _, choices, places = steps
        return -np.log(self.shares[places, choices]).sum()
