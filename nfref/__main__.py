"""The command ``nfref``, as ``python -m nfref``.

Ctrl-C while ``python -m`` imports the package itself still shows a traceback. No code of nfref
runs before that, and importing a package should not set signal handlers.
"""

import sys

from nfref_command import main

if __name__ == "__main__":
    sys.exit(main())
