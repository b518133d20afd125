"""Answers that the exercises of the lessons have to reject: (lesson, exercise): expressions.

They are evaluated among the names of the lesson, as a reader would type them.
"""

WRONG_ANSWERS = {
}
