"""Grading the exercises of the lessons.

An exercise is a line ``answer_1 = ...`` with a place to type and, below it, a function
``check_1(answer)`` of plain asserts, each with a hint. The page runs as it is, with the three dots
left open; and the folded solution under it is held to the same check by the tests.
"""


def grade(check, answer):
    """Say whether ``answer`` passes ``check``, with the hint of the check if it does not."""
    number = check.__name__.removeprefix("check_")
    if answer is ...:
        print(f"exercise {number}: type your answer in place of the three dots")
        return
    try:
        check(answer)
    except AssertionError as hint:
        print(f"exercise {number}: not yet: {hint}")
    else:
        print(f"exercise {number}: right")
