"""A flow as programs: chains of instructions that the kernels run in one call.

A flow is split into its members, see :meth:`nfref.flow.Flow.members`. Consecutive members with
twins become one :class:`Program`. A member without a twin stays itself, and its formula runs it.
The result is a list of pieces in the order of execution.
"""

import math
from contextlib import nullcontext, suppress

import numpy as np

from nfref.kernels.chain.block import ADDRESSES, KINDS, VALUES, Chain, types_for
from nfref.kernels.chain.instructions import instruction_of
from nfref.kernels.jit import address
from nfref.kernels.numba_internals import config
from nfref.kernels.simd.matmul import ROWS, ensure_compiled
from nfref.kernels.thread_pool import aligned, share
from nfref.runtime import blas
from nfref.runtime.backends import threads
from nfref.runtime.frozen_params import is_frozen, once
from nfref.runtime.params import at_path

MOST_SUMS = 16  # of gradients, over some blocks of rows each
MANY = 1 << 17  # numbers in theta from which on sums of two blocks each are faster
LONG = 1 << 20  # numbers in theta from which on threads pack it, an instruction each


class Program:
    """Instructions that run one after the other.

    Parameters
    ----------
    members : list of (flow, direction, path)
        In the order of execution; ``path`` leads from the parameters to its own.
    instructions : list of Instruction
        Those of the members.

    Attributes
    ----------
    calls : dict
        (kind, kernel) -> places in the code for the address of that kernel.
    chains : dict
        (dtype, whether derivatives are compiled) -> Chain, see :meth:`linked`.
    workspace : Workspace
    longest, tape, scratch : int
        How many numbers the tape of any one instruction has, that of all, and what scratch the
        derivative of any one needs.
    size : int
        How many numbers theta has.
    structure : Structure
        That of the parameters, where theta is nothing but their arrays, joined; None elsewhere.
    packing : callable
        Makes the context that instructions pack and unpack in.
    parts : (B + 2,) array
        Where the parts start that a whole batch goes through, as B batch norms cut them, and the
        end; with none of these rows do not depend on each other.
    in_one_call : int
        How many steps of training the next call makes.
    """

    def __init__(self, members, instructions):
        self.members = members
        self.calls: dict = {}
        self.chains: dict = {}
        paths = [path for _, _, path in members]
        self.paths = set(paths)
        self.above = {path[:k] for path in paths for k in range(len(path))}
        # theta is in the order of the parameters, in both directions.
        self.instructions = sorted(zip(paths, instructions), key=lambda pair: pair[0])
        ends = np.cumsum([instruction.size for _, instruction in self.instructions]).tolist()
        self.spans = list(zip([0] + ends[:-1], ends))
        self.size = ends[-1]
        starts = {path: start for (path, _), (start, _) in zip(self.instructions, self.spans)}
        code: list[int] = []
        reals: list[float] = []
        begin, tape = [], 0
        for path, instruction in zip(paths, instructions):
            for kind, place, kernel in zip(KINDS, ADDRESSES, instruction.kernels):
                self.calls.setdefault((kind, kernel), []).append(len(code) + place)
            begin.append(len(code))
            code += [0, 0, instruction.direction, tape, starts[path], len(reals)]
            code += map(int, instruction.operands)
            reals += instruction.reals
            tape += instruction.tape * ROWS
        self.unlinked = Chain(
            np.array(code, object if config.DISABLE_JIT else np.int64),
            np.array(begin, np.int64),
            np.array(reals, np.float64),
            all(instruction.skips_columns for instruction in instructions),
        )
        self.longest, self.scratch = (
            max(getattr(instruction, name) for instruction in instructions) * ROWS
            for name in ("tape", "scratch")
        )
        self.workspace, self.tape, self.in_one_call = Workspace(), tape, 1
        cuts = [k for k, one in enumerate(instructions) if not one.kernels]
        self.parts = np.array([0, *cuts, len(instructions)])
        self.structure = None
        factorises = any(instruction.factorises for instruction in instructions)
        self.packing = blas.one_thread if factorises else nullcontext

    @property
    def couples_rows(self):
        """True when rows depend on each other."""
        return len(self.parts) > 2

    def linked(self, dtype, gradient=True):
        """Return what the kernels read, once all that they call for a dtype is compiled.

        What is in the cache on disk is read from there.
        """
        found = self.chains.get((dtype, gradient))
        if found is None:
            ensure_compiled(dtype, gradient)
            code, types = self.unlinked.code.copy(), types_for(dtype)
            for (kind, kernel), places in self.calls.items():
                if gradient or kind in VALUES:
                    code[places] = address(kernel, types[kind])
            found = self.chains[dtype, gradient] = self.unlinked._replace(code=code)
        return found

    def join_arrays_of(self, flow):
        """Pack by joining all arrays of a flow, if its instructions do nothing else."""
        plain = all(instruction.plain for _, instruction in self.instructions)
        if plain and flow._structure.known:  # otherwise parameters would be sampled to find it
            self.structure = flow._structure

    def formula(self, params, rows, context):
        """Compute the result of the program by the formulas of its members."""
        total = np.zeros(len(rows), dtype=rows.dtype)
        for flow, direction, path in self.members:
            rows, log_det = flow._apply(direction, at_path(params, path), rows, context)
            total = total + log_det
        return rows, total

    def own(self, params, path=()):
        """Return the same structure with only the parameters of the members.

        Autograd spends time on every argument of a program, in every program of a flow.
        """
        if path in self.paths:
            return params
        if path not in self.above:
            return []
        if isinstance(params, dict):
            return {key: self.own(value, (*path, key)) for key, value in params.items()}
        return [self.own(value, (*path, k)) for k, value in enumerate(params)]

    def pack(self, params, dtype):
        """Return one vector of all numbers that the kernels read; :meth:`give_back` takes it."""
        return once(params, (self, dtype), lambda: self._pack(params, dtype))

    def _pack(self, params, dtype):
        if self.structure is not None:
            return joined(self.structure.arrays(params), dtype)
        theta = self.workspace.take((self.size,), dtype)

        def pack(k):
            (path, instruction), (at, _) = self.instructions[k], self.spans[k]
            # One by one, so that a large array takes the memory of the one before.
            for array in instruction.pack(at_path(params, path), dtype):
                theta[at : at + array.size] = array.ravel()
                at += array.size

        self._for_each_instruction(pack)
        return theta

    def _for_each_instruction(self, task):
        with self.packing():
            share(task, len(self.instructions), threads() if self.size >= LONG else 1)

    def give_back(self, theta, params=None):
        """Take back the result of :meth:`pack`, unless frozen parameters keep it."""
        if self.structure is None and not is_frozen(params):
            self.workspace.give_back(theta)

    def unpack(self, params, cotangent):
        """Return path -> cotangent shaped like the parameters there, of every instruction."""
        found = {}

        def unpack(k):
            (path, instruction), (start, end) = self.instructions[k], self.spans[k]
            found[path] = instruction.unpack(at_path(params, path), cotangent[start:end])

        self._for_each_instruction(unpack)
        return found

    def partial_sums(self, n):
        """Return the number of blocks in one partial sum, and the number of sums for n rows.

        Gradients are summed inside a partial sum, block by block, and then one by one. The split
        depends on sizes alone, so the result does not depend on the number of threads.
        """
        blocks = -(-n // ROWS)
        share = max(2 if self.size >= MANY and blocks > 3 else 1, -(-blocks // MOST_SUMS))
        return share, -(-blocks // share)


def joined(arrays, dtype):
    """Return the numbers of some arrays, one after the other; joining bytes halves the time."""
    if {array.dtype for array in arrays} == {dtype}:
        with suppress(TypeError, ValueError):  # not in C order; no bytes at all
            return np.frombuffer(bytearray().join(arrays), dtype)
    return np.concatenate([np.zeros(0, dtype), *(array.ravel() for array in arrays)], dtype=dtype)


class Workspace:
    """Working arrays that are used again, because the first touch of fresh memory is slow."""

    LARGEST = 1 << 26  # bytes that are worth keeping

    def __init__(self):
        self.free = {}

    def take(self, shape, dtype):
        """Return an array of a shape, with arbitrary contents."""
        try:
            return self.free[shape, dtype].pop()
        except (KeyError, IndexError):
            return aligned(math.prod(shape), dtype).reshape(shape)

    def give_back(self, *arrays):
        """Take arrays back; nobody may use them afterwards."""
        for array in arrays:
            if array.nbytes <= self.LARGEST:
                self.free.setdefault((array.shape, array.dtype), []).append(array)


def pieces_of(flow, direction):
    """Return the pieces in order of execution: programs, and members that have no twin."""
    pieces, some, instructions = [], [], []
    for member in [*flow.members(direction), None]:
        instruction = None if member is None else instruction_of(*member[:2])
        if instruction is not None:
            some.append(member)
            instructions.append(instruction)
            continue
        pieces += [Program(some, instructions)] if some else []
        pieces += [] if member is None else [member]
        some, instructions = [], []
    if len(pieces) == 1 and isinstance(pieces[0], Program):
        pieces[0].join_arrays_of(flow)
    return pieces
