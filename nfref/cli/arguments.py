"""Parse the command line: errors of one line, and types of options.

``nfref --help`` imports no more than this module, so slow imports stand where they are used.
"""

import contextlib
import math
import os
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

SHOWN = 40  # most characters of a wrong value in a message


class UsageError(Exception):
    """A mistake in what was asked for; the message is one line."""


@contextlib.contextmanager
def blamed(name: str) -> Iterator[None]:
    """Turn a ValueError of the block into a UsageError whose message begins with ``name``."""
    try:
        yield
    except ValueError as error:
        raise UsageError(f"{name}{error}") from None


class Parser(ArgumentParser):
    """An argument parser that raises a UsageError instead of printing the usage.

    ``text`` is the help around the options: what the command does, and an example.
    """

    def __init__(self, prog, text, **options):
        description, mark, example = text.partition("example:\n")
        super().__init__(
            prog,
            description=description,
            epilog=mark + example,
            allow_abbrev=False,
            formatter_class=RawDescriptionHelpFormatter,
            **options,
        )

    def parse_args(self, arguments: Any = None, namespace: Any = None) -> Any:
        """Parse arguments, and refuse a value that argparse would drop."""
        arguments = sys.argv[1:] if arguments is None else arguments
        for argument in arguments:  # argparse would take "--" for the end of the options
            if argument.startswith("-") and argument.endswith("=--"):
                raise UsageError(f"{argument[:-3]}: expected a value, got '--'")
        try:
            return super().parse_args(arguments, namespace)
        except UsageError as error:
            for path in filter(os.path.exists, arguments):
                if path.startswith("-"):
                    raise UsageError(f"{error}; ./{path} names the file {path}") from None
            raise

    def _print_message(self, message, file=None):
        """Print the help or the version; an error is not ignored as by argparse."""
        print(message, end="", flush=True)

    def error(self, message: str) -> NoReturn:
        """Raise a UsageError."""
        raise UsageError(message.removeprefix("argument "))


# Types of options -------------------------------------------------------------------------


def table_path(text: str) -> str:
    """Read the name of a table; - is standard input."""
    return "/dev/stdin" if text == "-" else text


def floats(text: str, separator: str) -> tuple[float, ...]:
    """Return the numbers of a text, or none if a part of it is not a number."""
    try:
        return tuple(map(float, text.split(separator)))
    except ValueError:
        return ()


def count(minimum: int, maximum: int = 10**15) -> Callable[[str], int]:
    """Return a type of option: a whole number from ``minimum`` to ``maximum``."""

    def read(text):
        found = int(text) if re.fullmatch(r"-?\d{1,99}", text) else minimum - 1
        if not minimum <= found <= maximum:
            words = f"expected a whole number from {minimum} to {maximum:.2g}"
            raise ArgumentTypeError(f"{words}, got {text[:SHOWN]!r}")
        return found

    return read


def above_zero(limit: float) -> Callable[[str], float]:
    """Return a type of option: a number above 0 and below ``limit``."""

    def read(text: str) -> float:
        found = floats(text, ",")
        if len(found) != 1 or not 0 < found[0] < limit:
            raise ArgumentTypeError(f"expected a number above 0 and below {limit:g}, got {text!r}")
        return found[0]

    return read


positive, share = above_zero(math.inf), above_zero(1)


def names(text: str) -> tuple[str, ...]:
    """Read names of columns, as in x1,x2."""
    return tuple(name.strip() for name in text.split(","))


def conditions(text: str) -> tuple[tuple[str, str], ...]:
    """Read NAME=VALUE,NAME=VALUE as ((name, text of the value), ...).

    A comma belongs to the value before it unless NAME=VALUE follows.
    """
    found: list[Any] = []
    for part in text.split(","):
        name, equals, value = part.rpartition("=")
        if found and not equals:
            found[-1] = found[-1][0], f"{found[-1][1]},{part}"
        else:
            found.append((name.strip(), value))
    if not all(name and value for name, value in found):
        raise ArgumentTypeError(
            f"expected NAME=VALUE, as in age=40 or age=40,town=Oslo; got {text!r}"
        )
    return tuple(found)


# Options of several commands --------------------------------------------------------------

DATA: dict[str, Any] = dict(metavar="DATA", type=table_path)
MODEL: dict[str, Any] = dict(metavar="MODEL", help="a model file")
NAMES: dict[str, Any] = dict(metavar="NAME,NAME", type=names, action="extend", default=[])
GIVEN: dict[str, Any] = dict(
    metavar="NAME=VALUE,NAME=VALUE", type=conditions, action="extend", default=[]
)
SEED: dict[str, Any] = dict(metavar="S", type=count(0, 2**128), default=0)
HEADER: dict[str, Any] = dict(
    choices=("auto", "yes", "no"),
    default="auto",
    help="whether the first line of a text file holds names (default: auto, with a warning "
    "if that is a guess)",
)
OUT: dict[str, Any] = dict(metavar="FILE", help="write here, not to standard output")
