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
    ("insured_weights", 1): """
assert np.isclose(answer_1(0.0, 1000.0), 1) and np.isclose(answer_1(2.0, 2.0 + np.log(0.3)), 0.3)
""",
}
