"""Additions to Numba's simulator: exchanges between the lanes of a warp, and speed.

The threads of a block are threads of Python. The simulator lets all of them run and polls for those
that wait at a barrier, which takes most of the time. Here one thread runs at a time.
"""

import threading

import numpy as np
from numba.cuda.simulator import kernel
from numba.cuda.simulator.kernelapi import FakeCUDAModule


def shfl_xor_sync(mask, value, offset):
    """Return the value of the lane whose number differs by the bits of ``offset``."""
    thread = threading.current_thread()
    # Two boards alternate: a thread that writes on one again has seen all threads leave it.
    thread.turn = not getattr(thread, "turn", False)
    board = thread._manager.__dict__.setdefault("boards", ({}, {}))[thread.turn]
    board[thread.thread_id] = value
    thread.syncthreads()
    return board[thread.thread_id ^ offset]


def syncwarp(mask=0xFFFFFFFF):
    """Wait for the whole block, which includes each of its warps."""
    thread = threading.current_thread()
    thread.syncthreads()


class Thread(kernel.BlockThread):
    """A thread that runs on request, up to the next barrier or its end."""

    ended = False

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.may_run, self.has_run = threading.Lock(), threading.Lock()
        self.may_run.acquire()
        self.has_run.acquire()
        self.start()  # and wait for the first turn

    def run(self):
        self.may_run.acquire()
        if not self.abort:
            super().run()
        self.ended = True
        self.has_run.release()

    def syncthreads(self):
        self.has_run.release()
        self.may_run.acquire()
        if self.abort:
            raise RuntimeError("another thread of the block failed")

    def take_turn(self):
        self.may_run.release()
        self.has_run.acquire()


class Block(kernel.BlockManager):
    """The threads of a block, one after the other from barrier to barrier."""

    def run(self, grid_point, *arguments):
        threads = [
            Thread(lambda: self._f(*arguments), self, grid_point, place, self._debug)
            for place in np.ndindex(*self._block_dim)
        ]
        failed = None
        while threads:
            for thread in threads:
                thread.abort = failed is not None
                thread.take_turn()
                failed = failed or thread.exception
            threads = [thread for thread in threads if not thread.ended]
        if failed:
            raise failed[0].with_traceback(failed[1])


def complete_simulator():
    """Install the additions."""
    for function in (shfl_xor_sync, syncwarp):
        if not hasattr(FakeCUDAModule, function.__name__):
            setattr(FakeCUDAModule, function.__name__, staticmethod(function))
    kernel.BlockManager = Block
