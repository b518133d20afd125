"""``python -m nfref`` is the command ``nfref``."""

import sys

from nfref.cli import main

if __name__ == "__main__":
    sys.exit(main())
