"""Answers that the exercises of the pages have to reject: (page, exercise): expressions.

They are evaluated among the names of the page, as a reader would type them.
"""

WRONG_ANSWERS = {
    ("00_what_a_flow_is", 1): ["0.399", "3 * 0.399", "0.4", "0.399 / 9"],
    ("00_what_a_flow_is", 2): ["(2.0, np.log(3))", "(18.0, -np.log(3))", "(2.0, 0.0)", "2.0"],
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
    ("04_mixing", 1): ["[-1, -1, -1, -1]", "[-1, 1, -1, -1]", "[-1, 1, 1, 1]", "-1"],
    ("04_mixing", 2): ["3 * np.log(2)", "64 * np.log(2)", "0.0"],
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
    ("08_trace", 1): ["0.6", "np.log(0.4)", "np.log(np.abs(np.linalg.det(2 * A_1)))",
                      "-2 * np.trace(A_1)"],
    ("08_trace", 2): ["24", "2.0", "0"],
    ("09_flow_matching", 1): ["MEANS[1] - 1", "MEANS @ WEIGHTS", "0.0", "1 - MEANS @ WEIGHTS"],
    ("09_flow_matching", 2): ["lambda t, x: M + (S - 1) * x",
                              "lambda t, x: M + (S - 1) * (x - t * M) / (1 - t + t * S)",
                              "lambda t, x: (x - t * M) * (t * S**2 - (1 - t))"
                              " / ((t * S)**2 + (1 - t)**2)"],
    ("10_straightness", 1): ["lambda t, x: M + (S1 - 1) * x",
                             "lambda t, x: M + (S1 - 1) * (x - t * M)",
                             "lambda t, x: M + (x - t * M) * (t * S1**2 - (1 - t))"
                             " / ((t * S1)**2 + (1 - t)**2)"],
    ("11_topology", 1): [
        '{"logits": np.log([1 / 3, 2 / 3]), "means": np.array([[-3.0], [3.0]]), '
        '"log_scales": np.zeros((2, 1))}',
        '{"logits": np.array([1 / 3, 2 / 3]), "means": np.array([[-10.0], [5.0]]), '
        '"log_scales": np.zeros((2, 1))}',
        '{"logits": np.log([1 / 3, 2 / 3]), "means": np.array([[-10.0], [5.0]]), '
        '"log_scales": np.log([[0.4], [0.4]])}',
        '{"logits": np.zeros(2), "means": np.array([-10.0, 5.0]), "log_scales": np.zeros(2)}'],
    ("12_energies", 1): ["lambda log_w: len(log_w)", "lambda log_w: np.exp(log_w).sum()",
                         "lambda log_w: np.sum(np.exp(log_w)) ** 2 / np.sum(np.exp(log_w) ** 2)",
                         "lambda log_w: np.exp(log_w - log_w.max()).sum()"],
    ("13_units", 1): ["lambda L, D: L / (D * np.log(2))", "lambda L, D: L / (D * np.log(2)) - 8",
                      "lambda L, D: L / D + 8", "8"],
    ("13_units", 2): ["H", "H + np.log(1000)", "H / 1000"],
    ("14_given_x", 1): ["lambda x, y: stats.norm.cdf((y - middle(x)) / spread(x))",
                        "lambda x, y: stats.norm.cdf((y - middle(x)) / spread(x) / 0.4)",
                        "lambda x, y: np.log1p((y - middle(x)) / spread(x)) / 0.4", "0.5"],
    ("14_given_x", 2): ["0.5", "0.25", "0.68", "1.0"],
    ("15_likelihood_and_training", 1): ["1.0", "2.0", "-np.sqrt(2)", "0.5"],
    ("15_likelihood_and_training", 2): [
        "lambda losses, K: int(np.argmin(losses)) + K + 1",
        "lambda losses, K: min(int(np.argmin(losses)) + K + 1, len(losses))",
        "lambda losses, K: int(np.argmin(losses))",
        "lambda losses, K: next((k + 1 for k in range(K, len(losses))"
        " if losses[k] >= losses[k - K]), len(losses))"],
    ("16_wrong_log_determinants", 1): [
        "lambda forward, inverse: True",
        "lambda forward, inverse: np.allclose(forward(inverse(points)[0])[0], points)",
        "lambda forward, inverse: np.allclose(forward(points)[1],"
        " -inverse(forward(points)[0])[1])",
        "lambda forward, inverse: all(np.allclose(log_det_by_differences(f, 0.3 * points),"
        " f(0.3 * points)[1], atol=1e-4) for f in (forward, inverse))",
        "lambda forward, inverse: np.all(log_det_by_differences(forward, points)"
        " == forward(points)[1])"],
    ("16_wrong_log_determinants", 2): ["np.log(2)", "-3 * np.log(2)", "8"],
    ("augmented", 1): ["1", "10", "4"],
    ("ensembles", 1): ["0.0", "np.log(0.2) - np.log(0.25)", "0.25 - 0.2"],
    ("insured_weights", 1): ["lambda log_w, log_w_new: np.minimum(1, np.exp(log_w - log_w_new))",
                             "lambda log_w, log_w_new: np.exp(log_w_new - log_w)",
                             "lambda log_w, log_w_new: 1.0",
                             "lambda log_w, log_w_new: 1 / (1 + np.exp(log_w - log_w_new))"],
    ("conditionals", 1): ["1.645", "1.645 * 0.36", "0.9"],
    ("convex_potential", 1): ["9.0", "13.0", "14.0"],
    ("digits", 1): ["np.log2(17)", "64 * np.log(17)", "17 * 64"],
    ("dual_ascent", 1): ["1.5", "np.log(2)", "1.5 + np.log(2)"],
    ("free_form", 1): ["0.0", "1.0", "np.log(3)"],
    ("piecewise", 1): ["1.0", "1 - np.log(0.3)", "0.611"],
    ("posterior", 1): ["0.09", "9 / 99", "0.5"],
    ("probability_flow", 1): ["-5.0", "2.0", "-10.0"],
    ("rectified_flow", 1): ["0.0", "4 / 3", "1.0"],
    ("stochastic_interpolants", 1): ["0.5", "2.0", "np.cos(np.pi / 4)"],
    ("survae", 1): ["np.exp(-0.5) / np.sqrt(2 * np.pi)", "1.0", "0.121"],
    ("tarflow", 1): ["1", "2", "144"],
    ("torus", 1): ["1 / (2 * np.pi)", "1.0", "1 / np.pi ** 2"],
    ("exploding_inverses", 1): ["6e-8", "6e-7", "6e-11"],
    ("no_compression", 1): ["0.5", "0.683", "1.0"],
    ("out_of_distribution", 1): ["3.10", "0.0", "5.48"],
}
