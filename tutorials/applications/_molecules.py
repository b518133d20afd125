"""Small molecules to learn from, RDKit's verdict on sampled ones, and their picture."""

import gzip
import re

import fetch
import numpy as np
from _graphs import LARGEST, parsed, to_graph, to_molecule
from rdkit import Chem
from rdkit.Chem import Draw


def molecules(part, count):
    """Return the first small molecules of "train" or "test": their graphs and canonical SMILES."""
    path = next(path for path in fetch.files("molecules") if path.name == f"{part}.csv.gz")
    graphs, names = [], []
    with gzip.open(path, "rt") as lines:
        next(lines)  # the header
        for line in lines:
            smiles = line.split(",")[0].strip()
            if len(re.findall("Cl|Br|[CNOSFcnos]", smiles)) > LARGEST:
                continue
            molecule = parsed(smiles)
            name = Chem.MolToSmiles(molecule)
            graph = to_graph(molecule)
            if graph is not None:
                graphs.append(graph)
                names.append(name)
            if len(graphs) == count:
                break
    return graphs, names


def judged(graphs, known):
    """Return the molecules among graphs, and which share is valid, unique and novel.

    The unique ones are a share of the valid, the novel ones of the unique.

    Parameters
    ----------
    graphs : list of (types, bonds)
    known : set of str
        Canonical SMILES of the training molecules.

    Returns
    -------
    molecules : list
        RDKit's, of the graphs that it accepts.
    shares : dict of str to float
    """
    found = [
        molecule for molecule in (to_molecule(*graph) for graph in graphs) if molecule is not None
    ]
    names = [Chem.MolToSmiles(molecule) for molecule in found]
    return found, {
        "valid": len(found) / len(graphs),
        "unique": len(set(names)) / len(names),
        "novel": len(set(names) - known) / len(set(names)),
    }


def usual_rings(found):
    """The share of molecules whose rings are all of five or six atoms."""
    return np.mean(
        [
            all(len(ring) in (5, 6) for ring in molecule.GetRingInfo().AtomRings())
            for molecule in found
        ]
    )


def strip(found, count=5):
    """A drawing of some molecules side by side: the first that have at least eight atoms."""
    large = [molecule for molecule in found if molecule.GetNumAtoms() >= 8] or found
    image = Draw.MolsToGridImage(
        large[:count], molsPerRow=count, subImgSize=(260, 190), returnPNG=False
    )  # pixels, in notebooks too
    return np.asarray(image)
