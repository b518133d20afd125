"""The command ``nfref`` from its first line on.

It stands outside of the package because importing the package takes a while, and Ctrl-C in
that while should end the command without a word, not with a traceback.
"""

import os
import signal
import sys
import threading

# Address space below which OpenBLAS, Numba and LLVM end the process or try again without end. With
# two threads, ``fit`` was aborted at 717 MB and went through at 819, ``quantile`` at 300.
LEAST_SPACE = 800_000_000


def main():
    """Import the command and run it; returns the exit status."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:  # not where the caller ignores it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from nfref.runtime.memory_limit import address_space

    space = address_space()
    if space < LEAST_SPACE:
        print(
            f"nfref: error: address space (ulimit -v): expected {LEAST_SPACE / 1e6:.0f} MB or "
            f"more, got a limit of {space / 1e6:.0f} MB",
            file=sys.stderr,
        )
        return 2
    try:
        from nfref.cli import load
        from nfref.cli import main as run

        load(sys.argv[1:])
    except (ImportError, MemoryError) as error:  # as where memory is too little for a library
        reason = f"{error}".strip().splitlines() or ["out of memory"]
        print(f"nfref: error: what nfref stands on cannot be loaded: {reason[-1]}", file=sys.stderr)
        return 2
    if handler is not signal.default_int_handler:
        return _ended(run())
    signal.signal(signal.SIGINT, handler)
    try:
        return _ended(run())
    finally:  # nor is anything said while Python ends
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _ended(status):
    """The status. Torch aborts a Python that ends while a call of it, out of time, still runs."""
    if any(thread.name == "judged no more" for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
