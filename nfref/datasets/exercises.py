"""Grading: test an answer by plain asserts, each with a hint.

An exercise of the lessons is a line ``answer_1 = ...`` to complete and, below it, a function
``check_1(answer)``. ``nfref.exercises.grade(check_1, answer_1)`` prints the result. A page also
runs with the three dots unchanged. The tests apply the same check to the folded solution under
each exercise, and to wrong answers.
"""

from reprlib import repr

from nfref.runtime.annotations import Any, Callable


def grade(check: Callable[[Any], None], answer: Any) -> bool:
    """Print whether ``answer`` passes ``check``, with the hint of the check if it does not.

    Parameters
    ----------
    check : callable
        Takes the answer and asserts that it is right; named ``check_`` and a number.
    answer : object
        Three dots mean that there is no answer yet.

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
    except Exception as error:  # the check cannot use an answer of this type or shape
        why = f"{type(error).__name__}: {error}" if callable(answer) else f"got {repr(answer)}"
        print(f"exercise {number}: not yet: the answer can't be read: {why}")
    else:
        print(f"exercise {number}: right")
        return True
    return False
