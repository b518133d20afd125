"""Grading gives one line about an answer, for any input."""

import numpy as np
import pytest

import nfref


def check_3(answer):
    if np.shape(answer) == (2,):
        raise AssertionError("one number, not two")  # pytest adds to what ``assert`` says
    value = answer(1.0) if callable(answer) else answer - 0.5
    if abs(value - 1.5) > 1e-9:
        raise AssertionError("it is larger")


@pytest.mark.parametrize(
    "answer, said",
    [
        (..., "type your answer in place of the three dots"),
        (2.0, "right"),
        (1.0, "not yet: it is larger"),
        ((1, 2), "not yet: one number, not two"),
        ("abc", "not yet: the answer can't be read: got 'abc'"),
        (np.array(["a"] * 999), "not yet: the answer can't be read: got array(["),
        (lambda x: 1.5 * x, "right"),
        (lambda x: 1 / (x - 1), "not yet: the answer can't be read: ZeroDivisionError: "),
    ],
)
def test_one_line_says_how_it_went(answer, said, capsys):
    passed = nfref.exercises.grade(check_3, answer)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"exercise 3: {said}") and len(line) < 120
    assert passed is (said == "right")
