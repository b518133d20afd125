"""Parse the command line: errors of one line, and types of options.

``nfref --help`` imports no more than this module, so slow imports stand where they are used.
"""

import contextlib
import math
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, NoReturn


class UsageError(Exception):
    """A mistake in what was asked for; the message is one line."""


@contextlib.contextmanager
def blamed(name: str) -> Iterator[None]:
    """Turn a ValueError of the block into a UsageError whose message begins with ``name``."""
    try:
        yield
    except ValueError as error:
        raise UsageError(f"{name}{error}") from None


@dataclass(frozen=True)
class Options:
    """Options of a command, or of a part of it: one field an option.

    :func:`option` and :func:`positional` make the fields; they hold what argparse needs.
    """

    @classmethod
    def add_to(cls, parser: ArgumentParser) -> None:
        """Add the options to a parser."""
        for one in fields(cls):
            parser.add_argument(
                one.metadata["prefix"] + one.name.replace("_", "-"), **one.metadata["about"]
            )

    @classmethod
    def of(cls, namespace: Namespace) -> Any:
        """Return the options that argparse found."""
        return cls(**{one.name: getattr(namespace, one.name) for one in fields(cls)})


def option(help: str, metavar: str = "", type: Any = None, prefix: str = "--", **about: Any) -> Any:
    """Return a field for an option with a name; ``about`` goes to argparse.

    The help ends with the default, unless that is empty or the help names it already.
    """
    if about.get("default") not in (None, "", []) and "(default: " not in help:
        help += " (default: %(default)s)"
    given = {"help": help, "metavar": metavar, "type": type}  # a switch takes neither of the last
    about |= {name: value for name, value in given.items() if value}
    return field(metadata={"prefix": prefix, "about": about})


def positional(metavar: str, help: str, **about: Any) -> Any:
    """Return a field for an argument without a name."""
    return option(help, metavar, prefix="", **about)


def several(help: str, metavar: str, type: Callable[[str], Any]) -> Any:
    """Return an option that takes several values; it may be repeated, and they add up."""
    return option(help, metavar, type, action="extend", default=[])


def seed(help: str) -> Any:
    """Return the field of --seed."""
    return option(help, "S", count(0, 2**128), default=0)


def header() -> Any:
    """Return the field of --header, for commands that read DATA."""
    from nfref.tables.reading.read import HEADERS

    return option(
        "whether the first line of a text file holds names (default: %(default)s, which "
        "decides, and warns if it has to guess)",
        choices=HEADERS,
        default="auto",
    )


def spreadsheet() -> Any:
    """Return the field of --spreadsheet, for commands that write text from elsewhere."""
    return option(
        "write an apostrophe before text that begins with = + - or @, so that a "
        "spreadsheet does not take it for a formula",
        action="store_true",
    )


def quiet() -> Any:
    """Return the field of --quiet, for commands that print while they work."""
    return option("print results, warnings and errors alone", action="store_true")


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


def table_path(text: str) -> str:
    """Read the name of a table; - is standard input."""
    return "/dev/stdin" if text == "-" else text


def count(minimum: int, maximum: int = 10**15) -> Callable[[str], int]:
    """Return a type of option: a whole number from ``minimum`` to ``maximum``."""

    def read(text):
        try:
            number = int(text)
        except ValueError:
            from nfref.runtime.checks import shortened

            raise ArgumentTypeError(f"expected a whole number, got {shortened(text)}") from None
        if number < minimum:
            raise ArgumentTypeError(f"expected at least {minimum}, got {number}")
        if number > maximum:
            raise ArgumentTypeError(f"expected at most {maximum}, got {number}")
        return number

    return read


def positive(text: str) -> float:
    """Read a finite number above zero."""
    try:
        number = float(text)
    except ValueError:
        raise ArgumentTypeError(f"expected a number, got {text!r}") from None
    if not 0 < number < math.inf:
        raise ArgumentTypeError(f"expected a finite number above 0, got {text}")
    return number


def widths(text: str) -> tuple[int, ...]:
    """Read widths such as 64,64."""
    return tuple(count(1)(part) for part in text.split(","))


def support(text: str) -> tuple[str, str]:
    """Read NAME=SUPPORT as (name, support)."""
    from nfref.tables.schema.column_inference import asked_support
    from nfref.tables.schema.columns import ColumnError

    name, equals, kind = text.rpartition("=")
    if not (name and kind):
        raise ArgumentTypeError(
            f"expected NAME=SUPPORT, as in age=positive or share=0:1, got {text!r}"
        )
    try:
        asked_support(name, kind)
    except ColumnError as error:
        raise ArgumentTypeError(error.what) from None
    return name, kind


def names(text: str) -> tuple[str, ...]:
    """Read names of columns, as in x1,x2."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found):
        raise ArgumentTypeError(f"expected names of columns, as in x1,x2; got {text!r}")
    return found


def floats(text: str, separator: str) -> tuple[float, ...]:
    """Return the numbers of a text, or none if a part of it is not a number."""
    try:
        return tuple(map(float, text.split(separator)))
    except ValueError:
        return ()


def share(text: str) -> float:
    """Read a number above 0 and below 1."""
    found = floats(text, ",")
    if len(found) != 1 or not 0 < found[0] < 1:
        raise ArgumentTypeError(f"expected a number above 0 and below 1, got {text!r}")
    return found[0]


def shares(text: str) -> tuple[float, ...]:
    """Read numbers above 0 and below 1, as in 0.05,0.5,0.95."""
    return tuple(share(part) for part in text.split(","))


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
