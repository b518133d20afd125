"""``python -m nfref`` is the command ``nfref``.

Ctrl-C while ``python -m`` imports the package itself still shows a traceback, since nothing of
nfref runs before that, and a package that is imported should not set signal handlers.
"""

import sys

from nfref_command import main

if __name__ == "__main__":
    sys.exit(main())
