"""The command ``nfref`` from its first line on.

It stands outside of the package because importing the package takes a while, and Ctrl-C in
that while should end the command without a word, not with a traceback.
"""

import signal
import sys


def main():
    """Import the command and run it; returns the exit status."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:       # not where the caller ignores it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from nfref.cli import main as run
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, handler)
    return run()


if __name__ == "__main__":
    sys.exit(main())
