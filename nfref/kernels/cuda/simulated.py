"""What kernels use and Numba's simulator lacks: exchanges between the lanes of a warp."""

import threading

from numba.cuda.simulator.kernelapi import FakeCUDAModule


def shfl_xor_sync(mask, value, offset):
    """The value of the lane whose number differs by the bits of ``offset``."""
    thread = threading.current_thread()
    # Two boards in turn: whoever writes on one again has seen all threads leave it.
    thread.turn = not getattr(thread, "turn", False)
    board = thread._manager.__dict__.setdefault("boards", ({}, {}))[thread.turn]
    board[thread.thread_id] = value
    thread.syncthreads()
    return board[thread.thread_id ^ offset]


def syncwarp(mask=0xffffffff):
    """A barrier for the whole block is one for each of its warps."""
    threading.current_thread().syncthreads()


def complete_simulator():
    """Give kernels in the simulator what it lacks."""
    for function in (shfl_xor_sync, syncwarp):
        if not hasattr(FakeCUDAModule, function.__name__):
            setattr(FakeCUDAModule, function.__name__, staticmethod(function))
