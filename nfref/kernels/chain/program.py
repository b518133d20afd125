"""A flow as programs: chains of layers that the kernels run in one go.

A flow is taken apart into its members, see :meth:`nfref.flow.Flow.members`. Those that follow each
other and have twins become one :class:`Program`; a member without a twin stays itself and is run
by its formula. What comes out is a list of pieces in the order of execution.
"""

import numpy as np

from nfref.kernels.chain.instructions import layer_of
from nfref.kernels.chain.interpreter import COUPLING, HEADER, LINEAR, MADE, PERMUTE, PLANAR
from nfref.kernels.simd.products import ROWS
from nfref.params import at_path

SUM_ROWS = 128         # rows whose gradients are summed together, in small networks
MANY = 1 << 17          # from so many parameters on, twice as many
MOST_SUMS = 16


class Program:
    """Layers that run one after the other.

    Parameters
    ----------
    members : list of (flow, direction, path)
        In the order of execution; ``path`` leads from the parameters to its own.
    layers : list of Layer
        Those of the members.

    Attributes
    ----------
    code, sizes, reals : arrays
        What the kernels read; ``reals`` by dtype.
    kinds : tuple
        Which kinds of layers there are, as the kernels take it.
    size : int
        How many numbers theta has.
    plain : bool
        Whether theta is nothing but the leaves of the parameters, joined.
    """

    def __init__(self, members, layers):
        self.members = members
        layers = [(path, layer) for (_, _, path), layer in zip(members, layers)]
        # In theta the layers stand in the order of the parameters, whatever the direction.
        self.layers = sorted(layers, key=lambda pair: pair[0])
        ends = np.cumsum([layer.size for _, layer in self.layers]).tolist()
        self.spans = list(zip([0] + ends[:-1], ends))
        self.size = ends[-1]
        self.plain = all(layer.plain for _, layer in layers)
        starts = {path: start for (path, _), (start, _) in zip(self.layers, self.spans)}
        records, tape = [], 0
        for k, (path, layer) in enumerate(layers):
            records += [layer.kind, layer.direction, HEADER + len(layer.fields), tape,
                        starts[path], k, *map(int, layer.fields)]
            tape += layer.tape * ROWS
        longest, spare = (max(getattr(layer, name) for _, layer in layers) * ROWS
                          for name in ("tape", "spare"))
        self.code = np.array(records, np.int64)
        self.sizes = np.array([longest, tape, spare, len(layers)], np.int64)
        kinds = {layer.kind for _, layer in layers}
        self.kinds = tuple(True if kinds & some else None for some in (
            {COUPLING}, {MADE}, {PLANAR, LINEAR, PERMUTE}))
        self.workspace = Workspace()
        self.reals = {np.dtype(dtype): np.array([layer.real for _, layer in layers], dtype)
                      for dtype in (np.float32, np.float64)}

    def formula(self, params, rows, context):
        """What the program computes, by the formulas of its members."""
        total = np.zeros(len(rows), dtype=rows.dtype)
        for flow, direction, path in self.members:
            rows, log_det = flow._apply(direction, at_path(params, path), rows, context)
            total = total + log_det
        return rows, total

    def pack(self, params, dtype):
        """One vector of all numbers that the kernels read."""
        arrays = [array for path, layer in self.layers
                  for array in layer.pack(at_path(params, path), dtype)]
        if not arrays:
            return np.zeros(0, dtype)
        return np.concatenate([array.ravel() for array in arrays], dtype=dtype)

    def unpack(self, params, cotangent):
        """(path, cotangent shaped like the parameters there) of every layer."""
        return [(path, layer.unpack(at_path(params, path), cotangent[start:end]))
                for (path, layer), (start, end) in zip(self.layers, self.spans)]

    def partial_sums(self, n):
        """How many blocks of rows share a partial sum, and how many sums that makes.

        Gradients are added up inside a partial sum, block by block, and then sum by sum. It
        depends on sizes alone, so the result does not depend on the number of threads.
        """
        blocks = -(-n // ROWS)
        share = max(SUM_ROWS // ROWS * (2 if self.size >= MANY else 1), -(-blocks // MOST_SUMS))
        return share, -(-blocks // share)


class Workspace:
    """Arrays to work in that are used again, because the first touch of fresh memory is slow."""

    LARGEST = 1 << 26       # bytes that are worth keeping

    def __init__(self):
        self.free = {}

    def take(self, shape, dtype):
        """An array of a shape, with anything in it."""
        try:
            return self.free[shape, dtype].pop()
        except (KeyError, IndexError):
            return np.empty(shape, dtype)

    def give_back(self, array):
        """Nobody may use the array afterwards."""
        if array.nbytes <= self.LARGEST:
            self.free.setdefault((array.shape, array.dtype), []).append(array)


def pieces_of(flow, direction):
    """The pieces in order of execution: programs, and members that have no twin."""
    pieces, some, layers = [], [], []
    for member in [*flow.members(direction), None]:
        layer = None if member is None else layer_of(*member[:2])
        if layer is not None:
            some.append(member)
            layers.append(layer)
            continue
        pieces += [Program(some, layers)] if some else []
        pieces += [] if member is None else [member]
        some, layers = [], []
    return pieces
