"""A block of TarFlow from data to latent; its parameters are packed in their own order."""

import numpy as np

from nfref.kernels.chain import tarflow as kernels
from nfref.kernels.chain.instructions.instruction import Instruction
from nfref.kernels.chain.instructions.transformers import operands_of
from nfref.runtime import params as trees


def tarflow_block(flow, direction):
    """Return the instruction from data to latent.

    From latent to data a token waits for those before it; the formula does that.
    """
    transformer = operands_of(flow.transformer)
    if transformer is None or direction == 1:
        return None
    length, width, c = flow.length, flow.width, flow.channels
    hidden, outputs = flow.expansion * c, transformer.raw_rows * width
    layer = 4 * c + 4 * (c + 1) * c + (c + 1) * hidden + (hidden + 1) * c
    kept = 9 * c + 2 + flow.heads * length + 3 * hidden
    sizes = length, width, c, flow.heads, flow.depth, hidden, flow.context_dim
    tokens = np.arange(flow.dim).reshape(length, width)
    places = *(tokens[::-1] if flow.reverse else tokens).flat, *tokens.reshape(width, length).T.flat
    return Instruction(
        (kernels.tokens_to_latent, kernels.tokens_to_latent_vjp, *transformer.kernels),
        direction,
        [*transformer.whole, *sizes, *places],
        size=(width + 1 + length + flow.context_dim) * c + flow.depth * layer + (c + 1) * outputs,
        tape=length * (width + c + flow.depth * kept + outputs + width * transformer.tape_rows)
        + flow.context_dim,
        scratch=length * (5 * c + hidden + outputs + width + 1) + 2,
        pack=lambda params, dtype: trees.leaves(params),
        plain=True,
        unpack=lambda params, cotangent: trees.flatten(params)[1](cotangent),
        reals=transformer.reals,
    )
