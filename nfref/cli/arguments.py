"""Reading the command line: one-line errors, and what the options accept."""

import argparse
import math


class UsageError(Exception):
    """Something is wrong with what was asked for; the message is one line."""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises a UsageError where argparse prints the usage and exits."""

    def __init__(self, prog, description=None, example=None, **options):
        super().__init__(prog, description=description, epilog=example, allow_abbrev=False,
                         formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message):
        raise UsageError(message.removeprefix("argument "))


def count(minimum):
    """A type of option: a whole number of at least ``minimum``."""
    def read(text):
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None
        if number < minimum:
            raise argparse.ArgumentTypeError(f"expected at least {minimum}, got {number}")
        return number
    return read


def positive(text):
    """A type of option: a finite number above zero."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a finite number above 0, got {text}")
    return number


def widths(text):
    """A type of option: widths such as 64,64."""
    return tuple(count(1)(part) for part in text.split(","))


def bound(text):
    """A type of option: NAME=LOW:HIGH as (name, low, high)."""
    name, equals, ends = text.rpartition("=")
    low, colon, high = ends.partition(":")
    try:
        low, high = float(low), float(high)
    except ValueError:
        colon = ""
    if not (name and equals and colon and -math.inf < low < high < math.inf):
        raise argparse.ArgumentTypeError("expected NAME=LOW:HIGH with finite numbers "
                                         f"LOW < HIGH, got {text!r}")
    return name, low, high
