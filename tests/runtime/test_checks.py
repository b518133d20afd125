"""Entry checks: accepted input, and the messages for the rest."""

import numpy as np
import pytest

from nfref.runtime import checks


@pytest.mark.parametrize(
    "value, dtype",
    [
        ([[1, 2]], np.float64),
        (np.zeros((1, 2), np.float32), np.float32),
        (np.zeros((1, 2), np.float16), np.float64),
        (np.zeros((1, 2), bool), np.float64),
        (np.zeros((1, 2), np.uint8), np.float64),
        (np.zeros((1, 2), complex), np.complex128),
        (np.zeros((1, 2), np.complex64), np.complex64),
        (np.zeros((1, 2), object), np.float64),
        (np.zeros((1, 2), ">f8"), np.float64),
    ],
)
def test_numbers_of_every_kind_are_let_in(value, dtype):
    array = checks.as_rows("x", value, 2)
    assert array.dtype == dtype and array.dtype.isnative and array.flags.c_contiguous


def test_float_arrays_are_not_copied():
    array = np.zeros((3, 2))
    assert checks.as_rows("x", array, 2) is array


@pytest.mark.parametrize(
    "value, error, message",
    [
        ([[1.0, 2.0], [3.0]], ValueError, "x: expected an array, got rows of different lengths"),
        ([["a", "b"]], TypeError, "x: expected numbers, got dtype <U1"),
        (np.zeros((1, 2), "M8[s]"), TypeError, "x: expected numbers, got dtype datetime64[s]"),
        (np.array([[{}, {}]]), TypeError, "x: expected numbers, got dtype object with {}"),
        (np.array([[1, "a"]], object), TypeError, "x: expected numbers, got dtype object with 'a'"),
        (np.zeros(2), ValueError, "x: expected shape (N, 2), got (2,); one row is x[None]"),
        (np.zeros(3), ValueError, "x: expected shape (N, 2), got (3,)"),
        (
            {"base": {}},
            TypeError,
            "x: expected rows, got a dict of parameters; parameters come first, as in "
            "log_prob(params, x)",
        ),
        (
            [{"weight": np.zeros(2)}],
            TypeError,
            "x: expected rows, got a list of parameters; parameters come first, as in "
            "log_prob(params, x)",
        ),
        (np.zeros((2, 3)), ValueError, "x: expected shape (N, 2), got (2, 3)"),
        (1.0, ValueError, "x: expected shape (N, 2), got ()"),
        (None, (TypeError, ValueError), None),
    ],
)
def test_rows_that_are_not(value, error, message):
    with pytest.raises(error) as caught:
        checks.as_rows("x", value, 2)
    assert message is None or str(caught.value) == message


def test_one_column_is_not_rows():
    with pytest.raises(ValueError, match=r"got \(5,\); a column is x\[:, None\]$"):
        checks.as_rows("x", np.zeros(5), 1)


@pytest.mark.parametrize(
    "context, context_dim, message",
    [
        (
            np.zeros((3, 1)),
            0,
            "context: expected None for a flow with context_dim 0, got shape (3, 1)",
        ),
        (None, 2, "context: expected shape (3, 2), got None"),
        (np.zeros((2, 2)), 2, "context: expected shape (3, 2), got (2, 2)"),
    ],
)
def test_contexts_that_are_not(context, context_dim, message):
    with pytest.raises(ValueError) as caught:
        checks.as_context(context, context_dim, np.zeros((3, 4)))
    assert str(caught.value) == message


def test_a_context_takes_the_dtype_of_the_rows():
    rows = np.zeros((3, 4), np.float32)
    assert checks.as_context(np.zeros((3, 2)), 2, rows).dtype == np.float32
    assert checks.as_context(None, 0, rows) is None


@pytest.mark.parametrize(
    "check, value, error, message",
    [
        (checks.check_count, 0, ValueError, "k: expected at least 1, got 0"),
        (checks.check_count, 1.0, TypeError, "k: expected a whole number, got 1.0"),
        (checks.check_count, True, TypeError, "k: expected a whole number, got True"),
        (checks.check_count, "2", TypeError, "k: expected a whole number, got '2'"),
        (checks.check_positive, 0, ValueError, "k: expected a finite number above 0, got 0"),
        (checks.check_positive, np.inf, ValueError, "k: expected a finite number above 0, got inf"),
        (checks.check_positive, np.nan, ValueError, "k: expected a finite number above 0, got nan"),
        (checks.check_positive, "1", TypeError, "k: expected a number, got '1'"),
    ],
)
def test_numbers_that_are_not(check, value, error, message):
    with pytest.raises(error) as caught:
        check("k", value)
    assert str(caught.value) == message


def test_numbers_that_are():
    assert checks.check_count("k", np.int64(3)) == 3
    assert checks.check_positive("k", np.float32(0.5)) == 0.5
    assert checks.check_hidden("k", 8) == (8,)
    assert checks.check_hidden("k", [8, 4]) == (8, 4)
    assert checks.check_choice("k", "a", ("a", "b")) == "a"


def test_choice_and_rng():
    with pytest.raises(ValueError, match="^k: expected one of a, b; got 'c'$"):
        checks.check_choice("k", "c", ("a", "b"))
    for not_a_generator in (None, 0, np.random.RandomState(0)):
        with pytest.raises(TypeError, match=r"^rng: expected a numpy.random.Generator .*, got "):
            checks.check_rng(not_a_generator)


class Tensor:
    """What a tensor of torch that requires gradients does."""

    def __array__(self, *_, **__):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.\nUse detach().")


def test_messages_have_one_line():
    with pytest.raises(TypeError, match="^x: expected numbers, got Can't call .* Use detach"):
        checks.as_rows("x", Tensor(), 2)

    class Lines:
        def __repr__(self):
            return "0    x0\ndtype: str"

    assert checks.shortened(Lines()) == "0    x0 dtype: str"
    assert checks.shortened("a\n  b") == r"'a\n  b'"


@pytest.mark.parametrize("unit", [1e-300, 1.0, 1e307])
def test_weights_of_any_unit_have_finite_sums_and_the_same_ratios(unit):
    weight = checks.as_weight("weight", unit * np.array([0.0, 1.0, 3.0, 9.0]), 4)
    assert weight[0] == 0 and 0 < np.sum(weight**2) < np.inf
    np.testing.assert_allclose(weight[1:] / weight[1], [1, 3, 9], rtol=1e-15)
