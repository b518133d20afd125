"""Answers that the exercises of the lessons have to reject: (lesson, exercise): expressions.

They are evaluated among the names of the lesson, as a reader would type them.
"""

WRONG_ANSWERS = {
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
    ("12_energies", 1): ["lambda log_w, log_w_new: np.minimum(1, np.exp(log_w - log_w_new))",
                         "lambda log_w, log_w_new: np.exp(log_w_new - log_w)",
                         "lambda log_w, log_w_new: 1.0",
                         "lambda log_w, log_w_new: 1 / (1 + np.exp(log_w - log_w_new))"],
}
