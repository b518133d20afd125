"""Tests of answers that are functions, at other inputs than the visible checks have.

(page, exercise) -> code that nbgrader hides, and runs after the visible check in its namespace.
"""

HIDDEN_TESTS = {
    ("01_stretching", 2): """
hidden_x = np.array([-50.0, -0.3, 0.0, 7.0])
hidden_z = np.arcsinh(hidden_x)
hidden_p = np.exp(-0.5 * hidden_z**2) / np.sqrt(2 * np.pi) / np.cosh(hidden_z)
assert np.allclose(answer_2(hidden_x), np.log(hidden_p), rtol=1e-9)
assert np.shape(answer_2(hidden_x)) == (4,)
""",
    ("07_contraction", 2): """
assert np.allclose([answer_2(k) for k in (9, 20)], [256, 524288])
""",
    ("09_flow_matching", 2): """
hidden_t, hidden_x = np.array([0.0, 0.35, 1.0]), np.array([2.0, -1.0, 0.7])
hidden_v = (hidden_t * S) ** 2 + (1 - hidden_t) ** 2
hidden_rate = (hidden_t * S**2 - (1 - hidden_t)) / hidden_v
assert np.allclose(answer_2(hidden_t, hidden_x), M + (hidden_x - hidden_t * M) * hidden_rate)
""",
    ("10_straightness", 1): """
for hidden_start in (-2.0, 0.1):
    for hidden_t in (0.0, 0.4, 0.9):
        hidden_x = (1 - hidden_t) * hidden_start + hidden_t * (M + S1 * hidden_start)
        assert np.isclose(answer_1(hidden_t, hidden_x), M + (S1 - 1) * hidden_start)
""",
    ("12_energies", 1): """
assert np.isclose(answer_1(np.array([-3000.0])), 1)
assert np.isclose(answer_1(np.log([1.0, 2.0, 3.0]) + 900), 36 / 14)
""",
    ("13_units", 1): """
assert np.isclose(answer_1(0.0, 5), 8) and np.isclose(answer_1(-10 * np.log(256), 10), 0)
""",
    ("14_given_x", 1): """
hidden_x = np.array([0.2, 0.9])
for hidden_e in (-1.3, 0.0, 2.1):
    hidden_y = middle(hidden_x) + spread(hidden_x) * np.expm1(0.4 * hidden_e)
    assert np.allclose(answer_1(hidden_x, hidden_y), stats.norm.cdf(hidden_e))
""",
    ("15_likelihood_and_training", 2): """
assert answer_2([1.0], 1) == 1 and answer_2([3.0, 3.0, 3.0, 1.0], 2) == 3
assert answer_2([5.0, 4.0, 4.5, 3.0, 3.5, 3.6, 3.7], 3) == 7
""",
    ("16_wrong_log_determinants", 1): """
hidden_turn = lambda rows: (rows[:, ::-1], np.zeros(len(rows)))
hidden_double = lambda rows: (2 * rows, np.full(len(rows), 2 * np.log(2)))
hidden_half = lambda rows: (rows / 2, np.full(len(rows), -2 * np.log(2)))
assert answer_1(hidden_turn, hidden_turn) and answer_1(hidden_double, hidden_half)
assert not answer_1(hidden_double, lambda rows: (rows / 2, np.zeros(len(rows))))
""",
    ("17_digits", 2): """
assert np.allclose(answer_2(np.array([0.0, -5.0]), 5), (np.log(8.5) + np.array([0, 1])) / np.log(2))
""",
    ("18_scores", 2): """
hidden_x = np.array([-2.0, 0.1])
for hidden_t in (0.1, 0.6):
    hidden_v = (2 * hidden_t) ** 2 + (1 - hidden_t) ** 2
    hidden_f = hidden_x * (4 * hidden_t - (1 - hidden_t)) / hidden_v
    assert np.allclose(answer_2(hidden_t, hidden_x, hidden_f), -hidden_x / hidden_v)
""",
    ("20_one_step", 2): """
assert np.isclose(answer_2(lambda t, x, d: 2 * t + d, 0.2, 5.0, 0.6), 1.0)
""",
    ("lab_coupling", 1): """
hidden_rng = np.random.default_rng(11)
hidden_weights, hidden_z = new_weights(hidden_rng, 5), hidden_rng.normal(size=(7, 5))
hidden_before = hidden_z.copy()
hidden_x, hidden_log_det = answer_1(hidden_weights, hidden_z)
assert np.array_equal(hidden_z, hidden_before)
hidden_s, hidden_t = network(hidden_weights, hidden_z[:, :2])
assert np.allclose(hidden_x[:, 2:], hidden_z[:, 2:] * np.exp(hidden_s) + hidden_t)
assert np.allclose(hidden_log_det, hidden_s.sum(axis=1))
""",
    ("lab_coupling", 2): """
hidden_rng = np.random.default_rng(12)
hidden_weights, hidden_x = new_weights(hidden_rng, 3), hidden_rng.normal(size=(7, 3))
hidden_s, hidden_t = network(hidden_weights, hidden_x[:, :1])
hidden_z, hidden_log_det = answer_2(hidden_weights, hidden_x)
assert np.allclose(hidden_z[:, 1:], (hidden_x[:, 1:] - hidden_t) * np.exp(-hidden_s))
assert np.allclose(hidden_log_det, -hidden_s.sum(axis=1))
""",
    ("lab_coupling", 3): """
hidden_rng = np.random.default_rng(13)
hidden_stack = [new_weights(hidden_rng, 3) for _ in range(2)]
hidden_rows = np.random.default_rng(14).normal(size=(5, 3))
hidden_mirrored = hidden_rows
hidden_sum = np.zeros(5)
for hidden_k in (1, 0):
    hidden_s, hidden_t = network(hidden_stack[hidden_k], hidden_mirrored[:, :1])
    hidden_mirrored = np.concatenate(
        [hidden_mirrored[:, :1], (hidden_mirrored[:, 1:] - hidden_t) * np.exp(-hidden_s)], axis=1
    )[:, :: -1 if hidden_k else 1]
    hidden_sum = hidden_sum - hidden_s.sum(axis=1)
hidden_sum = hidden_sum - 0.5 * np.sum(hidden_mirrored**2, axis=1) - 1.5 * np.log(2 * np.pi)
assert np.allclose(answer_3(hidden_stack, hidden_rows), hidden_sum)
""",
    ("lab_trace", 1): """
hidden_rng = np.random.default_rng(15)
hidden_net, hidden_x = new_net(hidden_rng, 5, 7), hidden_rng.normal(size=(4, 5))
hidden_found = sum(
    (velocity(hidden_net, 0.9, hidden_x + e) - velocity(hidden_net, 0.9, hidden_x - e))[:, k] / 2e-5
    for k, e in enumerate(1e-5 * np.eye(5))
)
assert np.allclose(answer_1(hidden_net, 0.9, hidden_x), hidden_found, atol=1e-7)
""",
    ("lab_trace", 2): """
hidden_rng = np.random.default_rng(16)
hidden_net, hidden_x = new_net(hidden_rng, 2), hidden_rng.normal(size=(1, 2))
hidden_v = np.array([[[1.0, 1.0]], [[1.0, -1.0]]])
hidden_mean = np.mean([answer_2(hidden_net, 0.2, hidden_x, v) for v in hidden_v])
hidden_found = sum(
    (velocity(hidden_net, 0.2, hidden_x + e) - velocity(hidden_net, 0.2, hidden_x - e))[0, k] / 2e-5
    for k, e in enumerate(1e-5 * np.eye(2))
)
assert np.isclose(hidden_mean, hidden_found, atol=1e-7)
""",
    ("lab_trace", 3): """
hidden_rng = np.random.default_rng(17)
hidden_net, hidden_x = new_net(hidden_rng, 3), hidden_rng.normal(size=(5, 3))
hidden_density, hidden_params = as_nfref(hidden_net, 3)
assert np.allclose(
    answer_3(hidden_net, hidden_x, 30), hidden_density.log_prob(hidden_params, hidden_x), atol=1e-5
)
""",
    ("lab_trainer", 1): """
hidden_t, hidden_x_t, hidden_u = answer_1(np.random.default_rng(18), np.ones((1000, 3)))
assert hidden_t.shape == (1000, 1) and hidden_x_t.shape == hidden_u.shape == (1000, 3)
assert np.allclose(hidden_x_t + (1 - hidden_t) * hidden_u, 1)
""",
    ("lab_trainer", 2): """
hidden_params = cnf.init(np.random.default_rng(19))
hidden_zero = np.zeros((4, 2))
assert np.isclose(answer_2(hidden_params, np.zeros((4, 1)), hidden_zero, hidden_zero + 2), 8)
""",
    ("lab_trainer", 3): """
hidden_rows = np.random.default_rng(20).normal([5.0, -1.0], [0.5, 2.0], (1000, 2))
hidden_params = answer_3(np.random.default_rng(21), hidden_rows, 400)
hidden_flow = {"base": {}, "flow": hidden_params}
assert density.log_prob(hidden_flow, hidden_rows[:300]).mean() > -3.2
""",
    ("lab_log_determinant", 1): """
hidden_turn = lambda rows: (rows[:, ::-1] * [3.0, 1.0], np.zeros(len(rows)))
assert np.allclose(answer_1(hidden_turn, np.ones((3, 2))), -np.log(3), atol=1e-6)
""",
    ("lab_log_determinant", 3): """
hidden_x, hidden_log_det = answer_3(np.array([[30.0, 40.0]]))
assert np.allclose(hidden_x, np.array([[30.0, 40.0]]) * (1 + 0.8 / 51))
assert np.allclose(hidden_log_det, np.log((1 + 0.8 / 51**2) * (1 + 0.8 / 51)))
""",
    ("evidence", 1): """
assert np.isclose(answer_1(np.array([-3000.0, -3000.0])), 3000)
assert np.isclose(answer_1(np.log([1.0, 2.0, 6.0]) + 900), -np.log(3) - 900)
""",
    ("insured_weights", 1): """
assert np.isclose(answer_1(0.0, 1000.0), 1) and np.isclose(answer_1(2.0, 2.0 + np.log(0.3)), 0.3)
""",
}
