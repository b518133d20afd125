"""Run ``python -m docs.instructor``."""

from docs.instructor import main

main()
