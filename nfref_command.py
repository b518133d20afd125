"""The command ``nfref``.

It stands outside of the package because importing the package takes a while. Ctrl-C, SIGTERM and
SIGHUP in that while end the command with one line, not with a traceback.
"""

import atexit
import os
import signal
import sys

# Bytes of address space. Below it OpenBLAS, Numba and LLVM end the process or try again without
# end. With two threads, ``fit`` was aborted at 717 MB and passed at 819, ``quantile`` at 300.
LEAST_SPACE = 800_000_000


def main() -> int:
    """Import the command and run it; return the exit status."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows lacks the last
        number = getattr(signal, name, signal.SIGINT)
        if signal.getsignal(number) != signal.SIG_IGN:  # not where the caller ignores it
            signal.signal(number, _interrupted)
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
    except (ImportError, MemoryError) as error:  # memory may be too little for a library
        reason = f"{error}".strip().splitlines() or ["out of memory"]
        print(f"nfref: error: a dependency failed to import: {reason[-1]}", file=sys.stderr)
        return 2
    return _ended(run())


def _interrupted(number, frame):
    """End the process at once, before and after the command handles signals itself.

    A library that is being imported might catch an exception, and Python ends with a traceback.
    """
    os.write(2, b"nfref: interrupted\n")
    os._exit(130)


def _ended(status: int) -> int:
    """Return the status, or end the process with it if an abandoned call still runs.

    A thread cannot be stopped: LLVM would compile to the end, and a call of the oracle might never
    end. Torch aborts a Python that ends while a call of torch runs in a thread: the exit status
    would be that of SIGABRT, not the verdict's.
    """
    from nfref.runtime.abandonable import any_abandoned

    if any_abandoned():
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
