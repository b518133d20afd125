"""The pages on molecules: graphs there and back, growth by steps, valency, a graph network."""

import sys
from pathlib import Path

import numpy as np
import pytest

Chem = pytest.importorskip("rdkit.Chem", reason="needs RDKit: pip install nfref[applications]")

PAGE = Path(__file__).parents[2] / "tutorials" / "applications" / "molecules.py"
sys.path.insert(0, str(PAGE.parent))
import _graphs  # noqa: E402
import _relational  # noqa: E402

SMILES = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "CN1CCCC1c1cccnc1",
    "C#CCBr",
    "CS(=O)(=O)c1ccc(F)cc1",
    "C",
    "c1ccc2ccccc2c1",
    "ClC1CC2CC1CO2",
]


def graphs():
    return [_graphs.to_graph(_graphs.parsed(smiles)) for smiles in SMILES]


@pytest.mark.parametrize("smiles", SMILES)
def test_there_and_back(smiles):
    molecule = _graphs.parsed(smiles)
    name = Chem.MolToSmiles(molecule)
    types, bonds = _graphs.to_graph(molecule)
    assert Chem.MolToSmiles(_graphs.to_molecule(types, bonds)) == name
    assert all(bonds[i, :i].any() for i in range(1, len(types)))  # breadth first: all are bound


@pytest.mark.parametrize("smiles", ["C[N+](=O)[O-]", "[Na]Cl", "C.C", "C" * 17, "[CH2]C"])
def test_what_has_no_place_is_left_out(smiles):
    assert _graphs.to_graph(_graphs.parsed(smiles)) is None


@pytest.mark.parametrize("smiles", ["", "C1CC", "not a molecule", "c1cccc1", "C(C)(C)(C)(C)C"])
def test_smiles_that_do_not_parse_are_named(smiles, capfd):
    with pytest.raises(ValueError, match="smiles: expected a molecule, got") as error:
        _graphs.parsed(smiles)
    assert repr(smiles) in str(error.value) and "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


def test_distances_are_rdkits():
    """Shortest ways, kept up to date atom by atom."""
    growing = _graphs.Growing(len(SMILES))
    for k, (types, bonds) in enumerate(graphs()):
        growing.types[k, : len(types)] = types
    for i in range(_graphs.LARGEST):
        for k, (_, bonds) in enumerate(graphs()):
            if i < len(bonds):
                growing.bonds[k, i, :i] = growing.bonds[k, :i, i] = bonds[i, :i]
        growing.finish(i)
    for k, graph in enumerate(graphs()):
        expected = Chem.GetDistanceMatrix(_graphs.to_molecule(*graph))
        count = len(graph[0])
        assert np.array_equal(
            growing.distance[k, :count, :count], np.minimum(expected, _graphs.FAR)
        )


def test_replayed_steps_are_those_by_which_graphs_grow():
    """Growth with prescribed choices gives the graph and the contexts of training."""
    graph = graphs()[0]
    (atoms, kinds, _), (bonds, orders, _) = _graphs.replayed([graph])
    seen = [], []

    def told(contexts, choices, seen):
        queue = iter(choices)

        def draw(rows, place, rng):
            seen.append(rows[0])
            return np.array([next(queue)])

        return draw

    rng = np.random.default_rng(0)
    (grown, *_), redrawn = _graphs.grown(
        1, told(atoms, kinds, seen[0]), told(bonds, orders, seen[1]), rng, check=True
    )
    assert all(map(np.array_equal, grown, graph)) and redrawn == 0
    assert np.array_equal(seen[0], atoms) and np.array_equal(seen[1], bonds)


def test_what_comes_later_is_not_known():
    """Contexts before atom 5 are the same for any later atoms."""
    types, bonds = graphs()[1]
    whole = _graphs.replayed([(types, bonds)])
    part = _graphs.replayed([(types[:5], bonds[:5, :5])])
    steps_of_atoms, steps_of_bonds = 6, sum(len(_graphs.steps_back(i)) for i in range(5))
    assert np.array_equal(whole[0][0][:steps_of_atoms], part[0][0])
    assert np.array_equal(whole[1][0][:steps_of_bonds], part[1][0])


@pytest.mark.parametrize("check", [True, False])
def test_the_valency_check_makes_all_valid(check):
    def draw(count):
        return lambda rows, place, rng: rng.integers(0, count, len(rows))

    found, redrawn = _graphs.grown(60, draw(_graphs.STOP), draw(4), np.random.default_rng(0), check)
    valid = [_graphs.to_molecule(*graph) is not None for graph in found]
    assert all(len(types) for types, _ in found)
    assert (all(valid) and redrawn > 0.1) if check else np.mean(valid) < 0.5


def test_frequencies_are_a_distribution():
    steps, _ = _graphs.replayed(graphs())
    baseline = _graphs.Frequencies.counted(_graphs.KINDS, steps)
    assert baseline.shares.sum(axis=1) == pytest.approx(1)
    assert baseline.shares[0].argmax() == 0 and baseline.nats(steps, None) > 0


# The graph network ----------------------------------------------------------------------------


def network(channels=5):
    return _relational.init_network(np.random.default_rng(0), (channels,) * 3)


def test_the_network_is_the_sum_over_relations():
    """Compare with loops over atoms; renaming atoms makes no difference."""
    params, (types, bonds) = network(), graphs()[0]
    own = np.eye(_graphs.STOP)[types]
    for k, weight in enumerate(params):
        itself, *others = np.split(weight, 4)
        new = own @ itself
        for i, j in np.argwhere(bonds):
            new[i] += own[j] @ others[bonds[i, j] - 1]
        own = new if k == 2 else np.maximum(new, 0)
    found = _relational.embedded(params, types[None], bonds[None])[0]
    assert found == pytest.approx(own, rel=1e-12)
    order = np.random.default_rng(1).permutation(len(types))
    turned = _relational.embedded(params, types[order][None], bonds[np.ix_(order, order)][None])[0]
    assert turned == pytest.approx(own[order], rel=1e-12)


def test_what_is_replayed_is_what_the_network_saw_while_graphs_grew():
    """All steps of several molecules at once equal one step at a time, with the atoms so far."""
    params, choices, seen = network(), {"atom": [], "bond": []}, {"atom": [], "bond": []}
    chosen = graphs()
    replay = _relational.Replay.joined([_relational.Replay.of(*graph) for graph in chosen])
    own = _relational.embedded(params, replay.types, replay.bonds)
    of_atoms = _relational.seen_before_atom(own, *replay.atoms.T[:2])
    of_bonds = _relational.seen_before_bond(own, *replay.pairs.T[:3])

    def told(name):
        def draw(rows, place, rng):
            seen[name].append(rows)
            return np.array([choices[name].pop(0)])

        return draw

    for graph in chosen:
        one = _relational.Replay.of(*graph)
        choices |= {"atom": [*one.atoms[:, 2]], "bond": [*one.pairs[:, 3]]}
        (grown, *_), redrawn = _graphs.grown(
            1,
            told("atom"),
            told("bond"),
            np.random.default_rng(0),
            check=True,
            growing=_relational.Seen(1, params),
        )
        assert all(map(np.array_equal, grown, graph)) and redrawn == 0
    assert np.concatenate(seen["atom"]) == pytest.approx(of_atoms, rel=1e-12)
    assert np.concatenate(seen["bond"]) == pytest.approx(of_bonds, rel=1e-12)
