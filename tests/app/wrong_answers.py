"""Answers that the exercises of the lessons have to reject: (lesson, exercise): expressions.

They are evaluated among the names of the lesson, as a reader would type them.
"""

WRONG_ANSWERS = {
    ("01_stretching", 1): ["1.0", "np.exp(-0.5)", "np.exp(1)"],
    ("01_stretching", 2): ["lambda x: -np.arcsinh(x) ** 2 / 2 - 0.5 * np.log(2 * np.pi)",
                           "lambda x: -np.arcsinh(x) ** 2 / 2 + 0.5 * np.log1p(x ** 2)",
                           "lambda x: -0.5 * np.log(2 * np.pi) - x ** 2 / 2"],
    ("02_area_and_determinant", 1): ["np.array([-1.0, 0.0])", "np.array([-2.0, 0.0])",
                                     "np.array([-1 / np.tanh(1), 1.0])"],
    ("02_area_and_determinant", 2): ["np.log(2)", "4.0", "np.log(20)"],
    ("03_coupling", 1): ["np.array([7.0, -46.0, 9 / 128])", "np.array([1.0, 2.0, 3.0])",
                         "np.array([1.0, 2.0, 2.0])", "np.array([1.0, 4.0, 1.5])"],
    ("03_coupling", 2): ["np.log(2)", "0.0", "-2.0"],
}
