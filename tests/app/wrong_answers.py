"""Answers that the exercises of the lessons have to reject: (lesson, exercise): expressions.

They are evaluated among the names of the lesson, as a reader would type them.
"""

WRONG_ANSWERS = {
    ("05_autoregression", 1): ["[2.0, -np.exp(1 / 4) + 1 / 4 - 1]", "[1.0, -1.0]", "2.0"],
    ("05_autoregression", 2): [
        "([[1] * 4, [1, 0, 0, 1], [1, 0, 0, 1]], [[0, 1, 1]] * 4)",
        "([[1] * 4, [1, 0, 0, 1], [0] * 4], [[0] * 3] * 4)",
        "([[1] * 4, [0] * 4, [0] * 4], [[0, 0, 1], [0, 1, 1], [0, 1, 1], [0, 0, 1]])"],
    ("06_splines", 1): ["[-1.5, 0, 1.5]", "stats.norm.cdf([-1, 0, 1])", "[0.25, 0.5, 0.75]",
                        "[0, 0, 0]", "0.5"],
    ("06_splines", 2): ["(2, 1 / 2)", "(1, 1)", "(1 / 4, 4)"],
    ("07_contraction", 1): ["6", "131", "np.log(1e-6) / np.log(0.9)"],
    ("07_contraction", 2): ["lambda k: 1.0", "lambda k: 2.0 ** k", "lambda k: 0.5 ** (k - 1)"],
}
