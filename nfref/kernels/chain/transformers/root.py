"""The root of an increasing function on a block of rows, which look for theirs side by side.

See :func:`nfref.transformers.root.increasing_root` for the steps; a row that is done stays where it
is until all of its block are.
"""

import math

from nfref.kernels.chain.block import FORWARD
from nfref.kernels.jit import body
from nfref.kernels.simd.elementary import exp
from nfref.transformers.root import NEWTON_STEPS, STEPS

# Rows of the tape: x, F(x) and log F'(x), which ``evaluate`` fills, and the state of a search.
PLACE, VALUE, LOG_SLOPE, LOW, HIGH, RESIDUE, STEP, MOVES = range(8)
ROOT_ROWS = 8


def increasing_map(evaluate, ends_of):
    """Return a transformer's compiled map from data to latent, and its inverse by a search.

    evaluate : (parameters, raw, tape, columns) fills VALUE and LOG_SLOPE at PLACE
    ends_of : (parameters, raw, u, tape, columns) fills LOW and HIGH, which enclose the root of u
    """

    @body
    def increasing_root(parameters, raw, u, tape, columns):
        """Replace u = y by the x with that value."""
        number = u.dtype.type
        zero, half, infinity = number(0), number(0.5), number(math.inf)
        none = number(math.nan)  # no prediction: every comparison with it is false
        eps = number(2.0**-52) if number(1 + 2.0**-52) > number(1) else number(2.0**-23)
        ends_of(parameters, raw, u, tape, columns)
        for r in range(columns):
            tape[PLACE, r] = half * tape[LOW, r] + half * tape[HIGH, r]
            tape[RESIDUE, r] = infinity
            tape[STEP, r] = none
            tape[MOVES, r] = number(1) if abs(u[r]) < infinity else zero
        for k in range(STEPS):
            evaluate(parameters, raw, tape, columns)
            for r in range(columns):
                x, low, high = tape[PLACE, r], tape[LOW, r], tape[HIGH, r]
                last, moves = tape[STEP, r], tape[MOVES, r] > zero
                excess = tape[VALUE, r] - u[r]
                low = x if excess <= zero else low
                high = x if excess >= zero else high
                step = -excess * exp(-tape[LOG_SLOPE, r])
                newton = x + step
                trusted = (
                    (newton >= low)
                    & (newton <= high)
                    & (number(2) * abs(excess) <= tape[RESIDUE, r])
                    & (k < NEWTON_STEPS)
                )
                new = newton if trusted else half * low + half * high
                new = new if moves else x
                done = (new == x) | (trusted & (abs(step * (step / last)) <= eps * abs(new)))
                tape[LOW, r] = low
                tape[HIGH, r] = high
                tape[RESIDUE, r] = abs(excess)
                tape[STEP, r] = step if trusted & (step != zero) else none
                tape[PLACE, r] = new
                # A NaN stays one.
                tape[MOVES, r] = number(1) if moves & (abs(new) < infinity) & (not done) else zero
            moving = zero
            for r in range(columns):
                moving += tape[MOVES, r]
            if moving == zero:
                break
        evaluate(parameters, raw, tape, columns)
        for r in range(columns):
            y, value = u[r], tape[VALUE, r]
            x = tape[PLACE, r] if (abs(y) < infinity) & (value == value) else none
            tape[VALUE, r] = y
            tape[LOG_SLOPE, r] += x - x
            tape[PLACE, r] = x
            u[r] = x

    @body
    def both_ways(direction, parameters, raw, u, tape, columns):
        """Transform u in place; LOG_SLOPE is that of the map from data to latent."""
        if direction == FORWARD:
            increasing_root(parameters, raw, u, tape, columns)
        else:
            for r in range(columns):
                tape[PLACE, r] = u[r]
            evaluate(parameters, raw, tape, columns)
            for r in range(columns):
                u[r] = tape[VALUE, r]

    return both_ways
