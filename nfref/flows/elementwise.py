"""Flows that act on each coordinate alone: scaling, affine, standardisation, logit.

The Jacobian is diagonal, so the log-determinant is the sum of the log-slopes. Cost: one
pass in either direction.
"""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.flow import Flow
from nfref.networks.activations import softplus
from nfref.runtime.annotations import Any, Array, Iterable, Sequence
from nfref.runtime.checks import as_tuple, check_finite_rows, plural
from nfref.transformers.affine import affine_forward, affine_inverse
from nfref.transformers.transformer import over_rows

# Formulas ---------------------------------------------------------------------------------
# Affine: see nfref/transformers/affine.py.


def sigmoid_forward(z: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Return x = l + (u - l) sigma(z), and sum log(u - l) + log sigma(z) + log sigma(-z).

    Shapes: z (N, D); lower and upper (D,). Returns (N, D) and (N,). x is computed from the nearer
    end, so that it keeps its digits near both.
    """
    width = upper - lower
    to_lower = width * np.exp(-softplus(-z))
    to_upper = width * np.exp(-softplus(z))
    x = np.where(z < 0, lower + to_lower, upper - to_upper)
    return x, np.sum(np.log(width) - softplus(z) - softplus(-z), axis=1)


def sigmoid_inverse(x: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Return z = log(x - l) - log(u - x), and sum log(u - l) - log(x - l) - log(u - x).

    Shapes: x (N, D), strictly between lower and upper (D,). Returns (N, D) and (N,).
    """
    from_lower, from_upper = np.log(x - lower), np.log(upper - x)
    return from_lower - from_upper, np.sum(np.log(upper - lower) - from_lower - from_upper, axis=1)


# Flows ------------------------------------------------------------------------------------


class AffineFlow(Flow):
    """A map x = z exp(s) + t of each coordinate; a subclass defines t and s."""

    def _affine(self, params, dtype):
        """Return (t, s), each (D,)."""
        raise NotImplementedError

    def _forward(self, params, z, context):
        return over_rows(*affine_forward(z, *self._affine(params, np.finfo(z.dtype).dtype)))

    def _inverse(self, params, x, context):
        return over_rows(*affine_inverse(x, *self._affine(params, np.finfo(x.dtype).dtype)))


@dataclass(frozen=True)
class Scale(AffineFlow):
    """A scaling x = z exp(s) with one learned s for each coordinate, as in NICE.

    Paper:   NICE, section 3.3: x_i -> S_ii x_i, data to latent; S_ii is exp(-s) here.
    Differs: nothing but the sign of s.

    Parameters
    ----------
    dim : int
    """

    dim: int

    _twin = "scale"

    def _init(self, rng):
        return {"log_scale": np.zeros(self.dim)}

    def _affine(self, params, dtype):
        return np.zeros(self.dim, dtype), params["log_scale"]


@dataclass(frozen=True)
class ElementwiseAffine(AffineFlow):
    """An affine map x = z exp(s) + t with one learned s and t for each coordinate.

    Parameters
    ----------
    dim : int
    """

    dim: int

    _twin = "elementwise_affine"

    def _init(self, rng):
        return {"shift": np.zeros(self.dim), "log_scale": np.zeros(self.dim)}

    def _affine(self, params, dtype):
        return params["shift"], params["log_scale"]


def as_floats(name: str, values: Iterable[Any]) -> tuple[float, ...]:
    """Return the values as a tuple of Python's floats."""
    return tuple(map(float, values))


@dataclass(frozen=True)
class Standardise(AffineFlow):
    """A fixed map x = mean + std z: the units of the data, as part of the flow.

    At the data end of a chain it lets all flows before it work on standardised columns. Densities
    stay in the units of the data, since its log-determinant counts. It has no parameters.

    Parameters
    ----------
    mean, std : sequence of float, length D
        std above zero.
    """

    mean: Sequence[float]
    std: Sequence[float]

    _twin = "standardise"
    _converters = {"mean": as_floats, "std": as_floats}

    def __post_init__(self):
        super().__post_init__()
        if len(self.mean) != len(self.std):
            raise ValueError(
                "Standardise: expected mean and std of one length, "
                f"got {len(self.mean)} and {len(self.std)}"
            )
        if not all(0 < value < np.inf for value in self.std):
            raise ValueError(f"std: expected finite numbers above 0, got {self.std}")
        if not np.all(np.isfinite(self.mean)):
            raise ValueError(f"mean: expected finite numbers, got {self.mean}")

    @classmethod
    def of(cls, x: Array) -> "Standardise":
        """Return the standardisation that gives the columns of ``x`` mean 0 and variance 1."""
        x = check_finite_rows("x", np.asarray(x, dtype=np.float64))
        std = np.std(x, axis=0)
        constant = [str(column) for column in np.flatnonzero(std == 0)]
        if constant:
            which = constant if len(constant) < 6 else [*constant[:4], f"{len(constant) - 4} more"]
            listed = " and ".join(filter(None, (", ".join(which[:-1]), which[-1])))
            raise ValueError(
                f"x: {plural('column', len(which))} {listed} "
                f"{'are' if len(which) > 1 else 'is'} constant"
            )
        return cls(tuple(np.mean(x, axis=0)), tuple(std))

    @property
    def dim(self) -> int:
        """The number of columns D."""
        return len(self.mean)

    def _affine(self, params, dtype):
        return np.array(self.mean, dtype), np.log(np.array(self.std)).astype(dtype)


@dataclass(frozen=True)
class Logit(Flow):
    """A logit for bounded columns: ``inverse`` maps (lower, upper) to the whole line.

    Columns with two bounds of None pass through. It has no parameters. The values of ``forward``
    lie strictly between the bounds. If the exact number rounds to a bound, as for large ``|z|``,
    the value is the last number before the bound, with the log-determinant of the exact number.
    A row that is not strictly between the bounds has no z and the density zero: ``inverse`` gives
    it the log-determinant -inf, and 0 in place of z, so that it changes no gradient.

    Parameters
    ----------
    lower, upper : sequence of float or None, length D
        Both numbers with lower < upper, or both None.
    """

    lower: Sequence[float | None]
    upper: Sequence[float | None]

    _converters = {"lower": as_tuple, "upper": as_tuple}

    def __post_init__(self):
        super().__post_init__()
        if len(self.lower) != len(self.upper):
            raise ValueError(
                "Logit: expected lower and upper of one length, "
                f"got {len(self.lower)} and {len(self.upper)}"
            )
        for k, (low, high) in enumerate(zip(self.lower, self.upper)):
            neither = low is None and high is None
            both = low is not None and high is not None and -np.inf < low < high < np.inf
            if not neither and not both:
                raise ValueError(
                    f"Logit: expected lower < upper or None for both in column {k}, "
                    f"got {low} and {high}"
                )

    @property
    def dim(self) -> int:
        """The number of columns D."""
        return len(self.lower)

    def _columnwise(self, formula, rows):
        """Apply a formula to the bounded columns and put the result back among the others."""
        bounded = np.array([low is not None for low in self.lower])
        dtype = np.finfo(rows.dtype).dtype
        lower = np.array([low for low in self.lower if low is not None], dtype)
        upper = np.array([high for high in self.upper if high is not None], dtype)
        # Permute the unbounded columns to the front, and back afterwards.
        there = np.concatenate([np.flatnonzero(~bounded), np.flatnonzero(bounded)])
        free = np.sum(~bounded)
        mapped, log_det = formula(rows[:, there[free:]], lower, upper)
        joined = np.concatenate([rows[:, there[:free]], mapped], axis=1)
        return joined[:, np.argsort(there)], log_det

    def _forward(self, params, z, context):
        def strictly_inside(z, lower, upper):
            x, log_det = sigmoid_forward(z, lower, upper)
            return np.clip(x, np.nextafter(lower, upper), np.nextafter(upper, lower)), log_det

        return self._columnwise(strictly_inside, z)

    def _inverse(self, params, x, context):
        def zero_outside(x, lower, upper):
            outside = (x <= lower) | (x >= upper)
            z, log_det = sigmoid_inverse(np.where(outside, lower / 2 + upper / 2, x), lower, upper)
            return np.where(outside, 0, z), np.where(np.any(outside, axis=1), -np.inf, log_det)

        return self._columnwise(zero_outside, x)
