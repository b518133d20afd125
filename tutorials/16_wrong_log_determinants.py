r"""
16. Wrong log-determinants
==========================

*A flow runs, trains and samples. How would you notice that its density is none?*

A flow with a wrong log-determinant runs, trains, and draws samples. Its loss falls. Nothing in it
says that what it calls a density is none. So the log-determinant needs a judge who knows no
formula, only the map: column j of the Jacobian is how the image moves with coordinate j,

.. math::

   J_{\cdot j} \approx \frac{f(z + h e_j) - f(z - h e_j)}{2 h},
   \qquad \log |\det J| \stackrel{?}{=} \texttt{log\_det} .

This page has a small museum of log-determinants as they go wrong, asks which of the usual tests
see them, and shows what nfref's oracle says, which can be pointed at anybody's flow
(``nfref.oracle``, or ``nfref check`` in a terminal).
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import nfref
from nfref.oracle import check_flow
from nfref.plots.canvas import COLOURS
from nfref.runtime import params as trees

# %%
# A right one
# -----------
# A coupling in the plane: z_1 stays, z_2 is scaled by exp(s) and shifted by t, both functions of
# z_1. The Jacobian is triangular with 1 and exp(s) on its diagonal, so log det is s. From x back to
# z it is -s.


def s_and_t(first):
    return 0.5 + 0.5 * first, 0.25 * first**2


def forward(z):
    s, t = s_and_t(z[:, 0])
    return np.stack([z[:, 0], z[:, 1] * np.exp(s) + t], axis=1), s


def inverse(x):
    s, t = s_and_t(x[:, 0])
    return np.stack([x[:, 0], (x[:, 1] - t) * np.exp(-s)], axis=1), -s


# %%
# The judge, in five lines.


def log_det_by_differences(function, rows, h=1e-5):
    """log |det| at each row, (N,), of a function that returns values and log_det."""
    steps = h * np.eye(rows.shape[1])
    columns = [(function(rows + e)[0] - function(rows - e)[0]) / (2 * h) for e in steps]
    return np.linalg.slogdet(np.stack(columns, axis=-1))[1]


rng = np.random.default_rng(0)
points = rng.standard_normal((100, 2))
off = np.abs(log_det_by_differences(forward, points) - forward(points)[1]).max()
print(f"the coupling above: off by {off:.0e}")  # 2e-11

real_nvp = nfref.RealNVP(3, layers=4, hidden=(16,))
params = trees.tree_map(lambda a: a + 0.3 * rng.standard_normal(a.shape), real_nvp.init(rng))
in_space = rng.standard_normal((100, 3))
log_det = real_nvp.forward(params, in_space)[1]
off_real_nvp = np.abs(
    log_det_by_differences(lambda z: real_nvp.forward(params, z), in_space) - log_det
).max()
print(f"nfref.RealNVP: off by {off_real_nvp:.0e}")  # 1e-09

# %%
# The museum
# ----------
# Four ways to be wrong, of kinds that are met in real code. Each is the coupling above with one
# line changed. Samples of all four are those of a proper flow; only their log_det is wrong.


def same_sign(x):
    """The inverse returns the log-determinant of the forward direction."""
    z, log_det = inverse(x)
    return z, -log_det


def forgotten(function):
    """A layer's log-determinant is not added up, in either direction."""
    return lambda rows: (function(rows)[0], np.zeros(len(rows)))


def clipped_forward(z):
    """The map limits s to be safe, and log_det does not know of it."""
    s, t = s_and_t(z[:, 0])
    return np.stack([z[:, 0], z[:, 1] * np.exp(np.clip(s, -1, 1.5)) + t], axis=1), s


def clipped_inverse(x):
    s, t = s_and_t(x[:, 0])
    return np.stack([x[:, 0], (x[:, 1] - t) * np.exp(-np.clip(s, -1, 1.5))], axis=1), -s


def over_the_batch(function):
    """A mean over the wrong axis: each row gets the log-determinant of the average row."""

    def averaged(rows):
        values, log_det = function(rows)
        return values, np.full(len(rows), log_det.mean())

    return averaged


museum = {
    "right": (forward, inverse),
    "same sign": (forward, same_sign),
    "forgotten": (forgotten(forward), forgotten(inverse)),
    "clipped": (clipped_forward, clipped_inverse),
    "over the batch": (over_the_batch(forward), over_the_batch(inverse)),
}

# %%
# Three tests that people write: there and back gives the same point; the log-determinants of there
# and back cancel; the likelihood is good. Rows come from the right flow, so the best possible
# mean of -log p is the entropy of its law, :math:`1 + \log 2\pi + \mathrm{E}\, s = 3.338`.
#
# **Predict.** Which of the four does each test see?

entropy = 1 + np.log(2 * np.pi) + 0.5
rows = forward(rng.standard_normal((20_000, 2)))[0]
trips, cancels, losses = {}, {}, {}
for name, (there, back) in museum.items():
    z, log_det_back = back(rows)
    again, log_det_there = there(z)
    trips[name] = np.abs(again - rows).max()
    cancels[name] = np.abs(log_det_there + log_det_back).max()
    losses[name] = -np.mean(nfref.StandardNormal(2).log_prob({}, z) + log_det_back)
    print(
        f"{name:<15} round trip off by {trips[name]:.0e}, cancel up to {cancels[name]:.0e}, "
        f"loss {losses[name]:.3f}"
    )
print(f"entropy {entropy:.3f}")  # losses 3.34, 2.34, 2.84, 3.35, 3.34

# %%
# .. dropdown:: Answer
#
#    The round trip sees none of them: it never looks at log_det. That the two cancel sees only
#    the wrong sign; two equal errors cancel as well. And the likelihood? *Two of the wrong ones
#    look better than the truth*, by 1.0 and 0.5 nats, and are below the entropy, which no density
#    can be; the last has the right loss to all digits. Whoever picks models by their loss picks
#    the first two.
#
# Whether p is a density at all says its integral: 1, or something else.

axes_of_grid = np.linspace(-5.5, 5.5, 401), np.linspace(-60, 80, 4001)
cell = np.prod([axis[1] - axis[0] for axis in axes_of_grid])
grid = np.stack(np.meshgrid(*axes_of_grid), axis=-1).reshape(-1, 2)
integrals = {}
for name in ("right", "same sign", "forgotten", "clipped"):
    z, log_det_back = museum[name][1](grid)
    integrals[name] = np.exp(-0.5 * (z**2).sum(axis=1) + log_det_back).sum() / (2 * np.pi) * cell
    print(f"integral of {name:<10} {integrals[name]:.3f}")  # 1, 4.48, 1.87, 0.997

# %%
# A stretch with a wrong log-determinant. What shows it?
#
# .. play: wrong
#
# The oracle
# ----------
# It takes two plain functions. At points chosen in the bulk and far out it measures Jacobians, each
# with an error estimate, so that rounding is not taken for a fault; it integrates, compares samples
# with the density, and asks the same rows again in other batches, orders, and sizes.

reports = {
    name: check_flow(there, back, dim=2, rng=np.random.default_rng(0), subject=name)
    for name, (there, back) in museum.items()
}
for report in reports.values():
    print(report.summary[:96])
print(reports["clipped"]["log_det_forward"])

# %%
# The first line of a report is its verdict; a row of the table says how large the error was, how
# large it might have been by rounding, and at which point. In a test suite one line does it:
# ``test_mine = nfref.oracle.testing.flow_tests(make_mine, dim=2)``.

# %%
# Exercise 1: catch three mutants
# -------------------------------
# Write a judge: a function of (forward, inverse) that is True for a right flow of the plane, and
# False for "same sign", "forgotten" and "clipped". ``log_det_by_differences`` is there for it.

answer_1 = ...  # type your answer here


def check_1(answer):
    assert callable(answer), "a function of two functions, such as lambda forward, inverse: ..."
    assert answer(forward, inverse), "it rejects the right one: allow for the error of differences"
    assert not answer(*museum["same sign"]), "the inverse has a log_det of its own: look at it too"
    assert not answer(*museum["forgotten"]), (
        "errors that cancel there and back: compare with something that is not the flow's own word"
    )
    assert not answer(*museum["clipped"]), (
        "it is right in the middle: let the points reach as far as the rows will, and further"
    )


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       def answer_1(forward, inverse):
#           rows = 3 * np.random.default_rng(1).standard_normal((500, 2))
#           return all(np.allclose(log_det_by_differences(function, rows), function(rows)[1],
#                                  atol=1e-4) for function in (forward, inverse))
#
#    Three deviations out, s passes its limits of -1 and 1.5 in four rows of ten.

# %%
# Exercise 2: what forgetting buys
# --------------------------------
# A flow in three dimensions is x = 2 z, and its inverse forgets its log-determinant. By how many
# nats a row does its mean -log p come out lower than it is?

answer_2 = ...  # type your answer here


def check_2(answer):
    honest = nfref.Standardise([0.0] * 3, [2.0] * 3)
    log_det = honest.inverse({}, np.ones((1, 3)))[1][0]
    assert not np.isclose(answer, np.log(2)), "every one of the three coordinates is stretched"
    assert answer > 0, "without its log_det the density is too large everywhere, the loss too low"
    assert np.isclose(answer, -log_det), "what is missing is log |det dz/dx| of z = x / 2"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = 3 * np.log(2)
#
#    The integral of what it calls a density is 8.

# %%
# The figure is the table of the checks, some of the forty rows of each report, with the largest
# error that each has seen. Only the Jacobian from x to z, the direction of the density, and the
# integral see all four; "there and back", for points and log-determinants, sees one. "clipped" errs
# so rarely in the bulk that its integral is short by a third of a percent only, which a fine grid
# shows in the plane; points far out see it at once.
#
# .. alt: A table of five checks against five flows, right and wrong. Only the rows for the
#    log-determinant from x to z and for the integral fail for all four wrong flows; the row for
#    there and back fails for one.

properties = {
    "round_trip_x": "there and back",
    "log_det_forward": "log_det, z to x",
    "log_det_inverse": "log_det, x to z",
    "row_independence_inverse": "rows independent",
    "normalised": "integral is 1",
}
figure, ax = plt.subplots(figsize=(7.36, 4.2), layout="constrained")
for i, name in enumerate(museum):
    for j, property_name in enumerate(properties):
        row = reports[name][property_name]
        colour = COLOURS[1] if row.failed else "#D6E2F0"
        ax.add_patch(plt.Rectangle((i, j), 0.96, 0.92, color=colour, linewidth=0))
        error = f"  {row.error:.0e}" if row.error is not None else ""
        ax.text(
            i + 0.48,
            j + 0.46,
            ("fails" if row.failed else row.verdict) + error,
            ha="center",
            va="center",
            fontsize=9,
            weight="bold" if row.failed else "normal",
        )
ax.set(xlim=(0, len(museum)), ylim=(len(properties), 0))
ax.set_xticks(
    np.arange(len(museum)) + 0.48,
    [f"{name}\nloss {losses[name]:.2f}" for name in museum],
    fontsize=9,
)
ax.set_yticks(np.arange(len(properties)) + 0.46, properties.values(), fontsize=10)
ax.xaxis.tick_top()
ax.tick_params(length=0)
ax.spines[:].set_visible(False)
plt.show()

# %%
# What can go wrong
# -----------------
# - Testing there and back alone: it never looks at log_det.
# - Testing only where the data are.
# - Trusting the better likelihood: two of the wrong flows have it.

# %%
# What this page claims.

assert off < 1e-7 and off_real_nvp < 1e-6
assert max(trips.values()) < 1e-9
assert cancels["same sign"] > 1 and all(
    cancels[name] < 1e-9 for name in cancels if name != "same sign"
)
assert losses["same sign"] < losses["forgotten"] < entropy - 0.4
assert np.isclose(losses["over the batch"], losses["right"])
assert abs(integrals["right"] - 1) < 1e-4 and integrals["forgotten"] > 1.5
assert reports["right"].ok
assert all(reports[name]["log_det_inverse"].failed for name in museum if name != "right")
assert [name for name in museum if reports[name]["round_trip_x"].failed] == ["same sign"]
assert 1e-3 < reports["clipped"]["normalised"].error < 1e-2
