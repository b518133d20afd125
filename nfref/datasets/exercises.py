"""Grading: an answer is held to a check of plain asserts, each with a hint.

An exercise of the lessons is a line ``answer_1 = ...`` with a place to type and, below it, a
function ``check_1(answer)``. ``nfref.exercises.grade(check_1, answer_1)`` says how it went. A page
runs as it is, with the three dots left open; the folded solution under each exercise is held to the
same check by the tests, and so are answers that are known to be wrong.
"""

from reprlib import repr

from nfref.runtime.annotations import Any, Callable


def grade(check: Callable[[Any], None], answer: Any) -> bool:
    """Say whether ``answer`` passes ``check``, with the hint of the check if it does not.

    Parameters
    ----------
    check : callable
        Takes the answer and asserts what is right about it; named ``check_`` and a number.
    answer : object
        Three dots stand for an answer that has not been typed yet.

    Returns
    -------
    bool
        True if it passes.
    """
    number = check.__name__.removeprefix("check_")
    if answer is ...:
        print(f"exercise {number}: type your answer in place of the three dots")
        return False
    try:
        check(answer)
    except AssertionError as hint:
        print(f"exercise {number}: not yet: {hint}")
    except Exception as error:  # of another shape or kind than the check can read
        why = f"{type(error).__name__}: {error}" if callable(answer) else f"got {repr(answer)}"
        print(f"exercise {number}: not yet: the answer can't be read: {why}")
    else:
        print(f"exercise {number}: right")
        return True
    return False
