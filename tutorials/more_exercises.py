r"""
More exercises
==============

*Can you do it by hand?*

Short ones, for a sheet or an exam: each takes a pencil and a few minutes, and each is held to a
count, a difference or nfref itself, not to the formula that you will use. Every page has others of
its own.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import nfref

rng = np.random.default_rng(0)


def log_det(function, z, h=1e-6):
    """log |det| of a map of rows at one point, by differences."""
    z = np.atleast_1d(np.asarray(z, float))
    columns = [(function(z + h * e) - function(z - h * e)) / (2 * h) for e in np.eye(len(z))]
    return np.linalg.slogdet(np.stack(columns, axis=1))[1]


# %%
# Exercise 1: a square
# --------------------
# Let z be uniform on (0, 1) and x = z^2. What is the density of x at 1/4?

answer_1 = ...  # type a number here


def check_1(answer):
    truth = np.mean(np.abs(np.random.default_rng(1).random(10**7) ** 2 - 0.25) < 0.005) / 0.01
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "dz/dx = 1 / (2 sqrt(x))"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 1.0
#
#    1 / (2 * 1/2) = 1.

# %%
# Exercise 2: a logarithm
# -----------------------
# Let z be uniform on (0, 1) and x = -log z. What is the density of x at 2?

answer_2 = ...  # type a number here


def check_2(answer):
    truth = np.mean(np.abs(-np.log(np.random.default_rng(1).random(10**7)) - 2) < 0.02) / 0.04
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "z = e^(-x), and |dz/dx| is the same"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = np.exp(-2)
#
#    The exponential density, 0.135.

# %%
# Exercise 3: degrees
# -------------------
# A density of temperatures is 0.05 per degree Celsius at 20 degrees. What is it per degree
# Fahrenheit at the same temperature?

answer_3 = ...  # type a number here


def check_3(answer):
    truth = 0.05 / (1.8 * 21 + 32 - (1.8 * 20 + 32))
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), (
        "a degree Celsius is 1.8 degrees Fahrenheit"
    )


nfref.exercises.grade(check_3, answer_3)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_3 = 0.05 / 1.8
#
#    0.0278: the same share over more units.

# %%
# Exercise 4: three layers
# ------------------------
# Three layers have the log-determinants 0.5, -1.2 and 0.3 at the points where they are applied.
# By which factor is a small volume changed?

answer_4 = ...  # type a number here


def check_4(answer):
    truth = np.prod(np.exp([0.5, -1.2, 0.3]))
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "log-determinants add up"


nfref.exercises.grade(check_4, answer_4)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_4 = np.exp(-0.4)
#
#    0.67.

# %%
# Exercise 5: polar
# -----------------
# At the radius r = 2, by which factor does (r, angle) to (r cos, r sin) change areas?

answer_5 = ...  # type a number here


def check_5(answer):
    truth = np.exp(
        log_det(lambda z: np.array([z[0] * np.cos(z[1]), z[0] * np.sin(z[1])]), [2.0, 0.7])
    )
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "the determinant is r"


nfref.exercises.grade(check_5, answer_5)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_5 = 2.0
#
#    2.

# %%
# Exercise 6: a planar layer
# --------------------------
# In the plane, u = (1, 2), w = (0.5, -0.25) and b = 0. What is det J of the planar layer z + u
# tanh(w . z + b) at z = (1, 2)?

answer_6 = ...  # type a number here


def check_6(answer):
    truth = np.exp(log_det(lambda z: z + np.array([1, 2]) * np.tanh(z @ [0.5, -0.25]), [1.0, 2.0]))
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "w . u is 0.5 - 0.5"


nfref.exercises.grade(check_6, answer_6)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_6 = 1.0
#
#    1: w and u are at right angles, and the layer is a shear.

# %%
# Exercise 7: when it folds
# -------------------------
# u = (-2, 0) and w = (1, 0). What is the smallest determinant of the planar layer, over all z?

answer_7 = ...  # type a number here


def check_7(answer):
    truth = 1 - 2 * np.max(1 - np.tanh(np.linspace(-3, 3, 6001)) ** 2)
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "tanh' is at most 1"


nfref.exercises.grade(check_7, answer_7)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_7 = -1.0
#
#    -1: the plane is folded.

# %%
# Exercise 8: a coupling
# ----------------------
# z = (1, 2), s = 0.5 z_1, t = 3: what is x_2 of the affine coupling that keeps z_1?

answer_8 = ...  # type a number here


def check_8(answer):
    truth = nfref.Standardise([3.0], [np.exp(0.5)]).forward({}, np.array([[2.0]]))[0][0, 0]
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "x_2 = z_2 e^s + t"


nfref.exercises.grade(check_8, answer_8)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_8 = 2 * np.exp(0.5) + 3
#
#    6.30.

# %%
# Exercise 9: there and back
# --------------------------
# A coupling has log_det = 0.7 at z, on the way to x. What is log_det at x, on the way back?

answer_9 = ...  # type a number here


def check_9(answer):
    truth = nfref.Standardise([0.0], [np.exp(0.7)]).inverse({}, np.ones((1, 1)))[1][0]
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "the two maps undo each other"


nfref.exercises.grade(check_9, answer_9)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_9 = -0.7
#
#    -0.7.

# %%
# Exercise 10: additive
# ---------------------
# Six additive couplings in eight dimensions: what is the log-determinant?

answer_10 = ...  # type a number here


def check_10(answer):
    truth = log_det(lambda z: np.append(z[:4], z[4:] + np.sin(z[:4])), np.arange(8.0))
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "shears change no volume"


nfref.exercises.grade(check_10, answer_10)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_10 = 0.0
#
#    0.

# %%
# Exercise 11: a permutation
# --------------------------
# What is the log of the absolute determinant of a permutation of 100 coordinates?

answer_11 = ...  # type a number here


def check_11(answer):
    truth = np.linalg.slogdet(np.eye(100)[np.random.default_rng(1).permutation(100)])[1]
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "it only renames coordinates"


nfref.exercises.grade(check_11, answer_11)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_11 = 0.0
#
#    0.

# %%
# Exercise 12: triangles
# ----------------------
# L has ones on its diagonal, U has 2, 3 and 0.5. What is log |det LU|?

answer_12 = ...  # type a number here


def check_12(answer):
    truth = np.linalg.slogdet(
        np.array([[1, 0, 0], [4, 1, 0], [5, 6, 1]]) @ np.array([[2, 7, 8], [0, 3, 9], [0, 0, 0.5]])
    )[1]
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "multiply the diagonal"


nfref.exercises.grade(check_12, answer_12)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_12 = np.log(3)
#
#    log 3 = 1.10.

# %%
# Exercise 13: a 1x1 convolution
# ------------------------------
# Images have 2 channels of 4 x 4 pixels, and the matrix of the channels has the determinant 3.
# What is the log-determinant?

answer_13 = ...  # type a number here


def check_13(answer):
    truth = nfref.InvertibleConv((2, 4, 4), form="full").forward(
        {"weight": np.array([[3.0, 1], [0, 1]])}, np.zeros((1, 32))
    )[1][0]
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "once a pixel"


nfref.exercises.grade(check_13, answer_13)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_13 = 16 * np.log(3)
#
#    17.6.

# %%
# Exercise 14: masks
# ------------------
# Two inputs, one hidden unit of degree 1, two outputs. How many ones do the two masks have
# together?

answer_14 = ...  # type a number here


def check_14(answer):
    truth = sum(
        int(mask[:, :2].sum()) for mask in nfref.MADE(2, hidden=(1,), degrees=((1,),)).masks
    )
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), (
        "input 1 feeds the unit, and the unit feeds output 2"
    )


nfref.exercises.grade(check_14, answer_14)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_14 = 2
#
#    2.

# %%
# Exercise 15: passes
# -------------------
# How many passes of its networks does a MAF of 5 layers need for a sample in 8 dimensions,
# without a sweep?

answer_15 = ...  # type a number here


def check_15(answer):
    truth = 8 * len(nfref.MAF(8, 5).flows)
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "D passes a layer"


nfref.exercises.grade(check_15, answer_15)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_15 = 40
#
#    40; the density takes 5.

# %%
# Exercise 16: an autoregressive density
# --------------------------------------
# x_1 is standard normal, and x_2 given x_1 is normal with mean x_1 and deviation 2. What is the
# log-determinant from x to z?

answer_16 = ...  # type a number here


def check_16(answer):
    truth = log_det(lambda x: np.array([x[0], (x[1] - x[0]) / 2]), [0.3, 0.9])
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "dz/dx is triangular, with 1 and 1/2"


nfref.exercises.grade(check_16, answer_16)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_16 = -np.log(2)
#
#    -0.693.

# %%
# Exercise 17: mass by heights
# ----------------------------
# A spline z = g(x) has knots at x = -1 and 1 with heights -1 and 1, whatever it does between.
# Which share of the mass lies between the knots?

answer_17 = ...  # type a number here


def check_17(answer):
    truth = np.mean(np.abs(np.random.default_rng(1).standard_normal(10**6)) < 1)
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "Phi(1) - Phi(-1)"


nfref.exercises.grade(check_17, answer_17)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_17 = 0.6827
#
#    0.683.

# %%
# Exercise 18: a contraction
# --------------------------
# g(x) = 0.5 x. How many times does the fixed-point iteration for x + g(x) = 3 have to be run from
# x = 3 until the error is below 0.01? (x is 2.)

answer_18 = ...  # type a number here


def check_18(answer):
    truth = next(k for k in range(99) if abs(2 - (2 + (-0.5) ** k)) < 0.01)
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "the error is halved each time, from 1"


nfref.exercises.grade(check_18, answer_18)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_18 = 7
#
#    7: 1/128 is below 0.01.

# %%
# Exercise 19: a series
# ---------------------
# J = 0.1 in one dimension. How far is log(1 + J) from the first two terms of its series, J - J^2
# / 2? Give the absolute error to one digit.

answer_19 = ...  # type a number here


def check_19(answer):
    truth = np.round(abs(np.log(1.1) - (0.1 - 0.005)), 4)
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "the third term is J^3 / 3"


nfref.exercises.grade(check_19, answer_19)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_19 = 0.0003
#
#    3e-4.

# %%
# Exercise 20: a trace
# --------------------
# Velocity (x_2, -x_1) in the plane, for a time of 5. What is log |det|?

answer_20 = ...  # type a number here


def check_20(answer):
    truth = np.trace([[0, 1], [-1, 0]]) * 5.0
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "the trace of the Jacobian"


nfref.exercises.grade(check_20, answer_20)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_20 = 0.0
#
#    0: it is a rotation.

# %%
# Exercise 21: growth
# -------------------
# dx/dt = 2 x in three dimensions, from t = 0 to 1. What is log |det|?

answer_21 = ...  # type a number here


def check_21(answer):
    truth = log_det(lambda z: z * np.exp(2), [1.0, 2, 3])
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "the trace is 2 + 2 + 2"


nfref.exercises.grade(check_21, answer_21)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_21 = 6.0
#
#    6.

# %%
# Exercise 22: signs
# ------------------
# J = [[3, 1], [1, 3]]. What is the variance of e . J e with random signs e?

answer_22 = ...  # type a number here


def check_22(answer):
    truth = np.var(
        [np.array(e) @ [[3, 1], [1, 3]] @ np.array(e) for e in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
    )
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "it is 6 + 2 e_1 e_2"


nfref.exercises.grade(check_22, answer_22)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_22 = 4.0
#
#    4.

# %%
# Exercise 23: mean velocity
# --------------------------
# At t = 1/2 lines with the velocities 2, 2 and -4 pass through x, equally often. Which velocity
# does flow matching learn there?

answer_23 = ...  # type a number here


def check_23(answer):
    truth = np.mean([2, 2, -4])
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "the mean"


nfref.exercises.grade(check_23, answer_23)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_23 = 0.0
#
#    0, the velocity of none of them.

# %%
# Exercise 24: a bridge
# ---------------------
# A flow of the line is odd and has a slope of at most 10. At least which mass lies within |x| <
# 1?

answer_24 = ...  # type a number here


def check_24(answer):
    truth = np.mean(np.abs(np.random.default_rng(1).standard_normal(10**7)) < 0.1)
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "2 Phi(1 / 10) - 1"


nfref.exercises.grade(check_24, answer_24)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_24 = 0.0797
#
#    0.08.

# %%
# Exercise 25: effective size
# ---------------------------
# Ten weights: nine are 1, one is 9. What is the effective sample size?

answer_25 = ...  # type a number here


def check_25(answer):
    truth = np.sum([1] * 9 + [9]) ** 2 / np.sum(np.square([1] * 9 + [9]))
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "18^2 / 90"


nfref.exercises.grade(check_25, answer_25)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_25 = 3.6
#
#    3.6 of ten.

# %%
# Exercise 26: evidence
# ---------------------
# Four draws of q have the weights 1, 3, 2 and 2. What is the estimate of log Z?

answer_26 = ...  # type a number here


def check_26(answer):
    truth = np.log(np.mean([1, 3, 2, 2]))
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), (
        "the log of the mean, not the mean of the logs"
    )


nfref.exercises.grade(check_26, answer_26)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_26 = np.log(2)
#
#    0.69.

# %%
# Exercise 27: bits
# -----------------
# A flow costs 5,000 nats for an image of 28 x 28 pixels. How many bits a pixel?

answer_27 = ...  # type a number here


def check_27(answer):
    truth = 5000 / 784 * np.log2(np.e)
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "a nat is 1 / log 2 bits"


nfref.exercises.grade(check_27, answer_27)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_27 = 5000 / (784 * np.log(2))
#
#    9.2: more than eight, so it is worse than no model.

# %%
# Exercise 28: dequantised
# ------------------------
# n is 0 or 1 with probability 1/2 each, and x = n + u with u uniform. What is the entropy of x,
# in nats?

answer_28 = ...  # type a number here


def check_28(answer):
    truth = -np.mean(np.log(np.full(10, 0.5)))
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "the density is 1/2 on (0, 2)"


nfref.exercises.grade(check_28, answer_28)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_28 = np.log(2)
#
#    log 2, that of n.

# %%
# Exercise 29: KL
# ---------------
# How large is KL(p || q), p standard normal and q normal with mean 1 and deviation 1?

answer_29 = ...  # type a number here


def check_29(answer):
    truth = (
        np.mean(np.subtract.outer([1.0], np.random.default_rng(1).standard_normal(10**7)) ** 2) / 2
        - 0.5
    )
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), (
        "half of the squared distance of the means"
    )


nfref.exercises.grade(check_29, answer_29)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_29 = 0.5
#
#    0.5 nats.

# %%
# Exercise 30: a loss below
# -------------------------
# A flow costs 2.0 nats on training rows, 2.6 on fresh rows, and the entropy of the data is 2.4.
# How large is KL(p || q)?

answer_30 = ...  # type a number here


def check_30(answer):
    truth = 2.6 - 2.4
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "fresh rows count"


nfref.exercises.grade(check_30, answer_30)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_30 = 0.2
#
#    0.2.

# %%
# Exercise 31: a wrong sign
# -------------------------
# A flow of the line is x = 3 z. By mistake its inverse returns log 3. By how many nats is its
# log-density too high?

answer_31 = ...  # type a number here


def check_31(answer):
    truth = np.log(3) - nfref.Standardise([0.0], [3.0]).inverse({}, np.ones((1, 1)))[1][0]
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "it should return -log 3"


nfref.exercises.grade(check_31, answer_31)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_31 = 2 * np.log(3)
#
#    2.20.

# %%
# Exercise 32: an integral
# ------------------------
# What is the integral over x of what the flow of the exercise before calls its density?

answer_32 = ...  # type a number here


def check_32(answer):
    truth = (
        np.sum(np.exp(-(np.linspace(-60, 60, 10**6) ** 2) / 18) / np.sqrt(2 * np.pi) * 3)
        * 120
        / 10**6
    )
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-4), "too high by the factor e^(2 log 3)"


nfref.exercises.grade(check_32, answer_32)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_32 = 9.0
#
#    9.

# %%
# .. alt: Bars of the number of exercises of this page by the lesson they belong to.
#
# Which lesson is practised here how often.

lessons = {
    "01": 5,
    "02": 2,
    "03": 3,
    "04": 3,
    "05": 3,
    "06": 1,
    "07": 2,
    "08": 3,
    "09": 1,
    "11": 1,
    "12": 2,
    "13": 2,
    "15": 2,
    "16": 2,
}
fig, ax = plt.subplots(figsize=(7.36, 2.2), layout="constrained")
ax.bar(list(lessons), list(lessons.values()), color="#4477AA")
ax.set(xlabel="lesson", ylabel="exercises")
plt.show()

# %%
# What this page claims.

assert sum(lessons.values()) == 32
assert abs(log_det(lambda z: 2 * z, [1.0, 1.0]) - np.log(4)) < 1e-8
assert nfref.exercises.grade(check_1, 1.0)
