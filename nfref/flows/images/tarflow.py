r"""TarFlow: a masked autoregressive flow whose conditioner is a causal Transformer.

Source: Zhai, Zhang, Nakkiran, Berthelot, Gu, Zheng, Chen, Bautista, Jaitly, Susskind 2024,
arXiv:2412.06329 (Normalizing flows are capable generative models).

The D coordinates of a row are T tokens of W = D / T coordinates. Every coordinate of token t
passes a transformer (as in :mod:`nfref.flows.autoregressive`: a monotone scalar map). A causal
Transformer (the network) computes its parameters from the tokens before:

    .. math::

        x_t &= z_t \exp(s_t) + m_t, \qquad (m_t, s_t) = f_t(x_1, \ldots, x_{t-1}), \qquad
            m_1 = s_1 = 0, \\
        \log \left|\det \frac{dz}{dx}\right| &= -\sum_t \sum_w s_{tw}.

The first token of a block passes unchanged, and each block reads the tokens in the opposite order
of its neighbours. From x to z one pass of the network gives all parameters; from z to x every
token waits for those before it: T passes.
"""

from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np

from nfref.flow import Flow
from nfref.flows.autoregressive import autoregressive_forward, autoregressive_inverse
from nfref.flows.composition import Chain, Composition, with_fields_of
from nfref.networks.attention import causal_transformer, init_causal_transformer
from nfref.runtime.annotations import Any, Array, Callable
from nfref.runtime.checks import at_least, check_count, check_positive, one_of
from nfref.transformers.affine import Affine
from nfref.transformers.transformer import Transformer, check_transformer, constrained, with_own

# Formulas ---------------------------------------------------------------------------------


def as_tokens(rows: Array, length: int, reverse: bool) -> Array:
    """Return rows (N, D) as (N, T, W), in reading order: the last token first if reversed."""
    tokens = np.reshape(rows, (len(rows), length, rows.shape[1] // length))
    return tokens[:, ::-1] if reverse else tokens


def for_the_next(outputs: Array) -> Array:
    """Move entry t of (N, T, E) to t + 1, zeros at the first: no token depends on itself."""
    return np.concatenate([np.zeros_like(outputs[:, :1]), outputs[:, :-1]], axis=1)


def block_outputs(network: Callable[[Array], Array], x: Array, length: int, reverse: bool) -> Array:
    """Return raw numbers h_i(x_<t) for each coordinate i of token t: (N, D) -> (N, P D).

    The result has P blocks of D. ``network`` maps (N, T, W) to (N, T, P W) and is causal. So dz/dx
    is triangular by tokens and diagonal within a token, and its log-determinant is the sum of the
    log-slopes.

    Paper:   TarFlow v3, section 2.2 (block autoregressive flows): z_i = (x_i - mu_i(x_<i))
             exp(-alpha_i(x_<i)) for patches i = 1 ... T-1, z_0 = x_0, data to latent, after a
             permutation of the patches that is the identity or the reversal.
    Differs: from the text: any transformer is allowed; the paper's is ``Affine("exp")``, the
             default here bounds its log-scale. From the published code: the outputs hold the
             shifts before the log-scales; the log-determinant is not divided by D; the bias of
             the network's last layer also starts at zero; a class label is a context here, and
             enters linearly; sampling computes the keys and values of earlier tokens again in
             every pass, while the code keeps them. :func:`guided` samples with guidance. A page of
             the tutorials shows the further steps for better images (normal noise in training, its
             removal by the score). Not here: the code's volume-preserving kind, whose base
             learns its variances.
    """
    n, dim = x.shape
    outputs = for_the_next(network(as_tokens(x, length, reverse)))
    outputs = outputs[:, ::-1] if reverse else outputs
    size = outputs.shape[2] * length // dim
    parts = np.reshape(outputs, (n, length, size, dim // length))
    return np.reshape(np.transpose(parts, (0, 2, 1, 3)), (n, size * dim))


# Block and stack --------------------------------------------------------------------------


@dataclass(frozen=True)
class TarFlowBlock(Flow):
    """One block: tokens in one order, a causal Transformer, an affine map of each token.

    Parameters
    ----------
    dim : int
        D, a multiple of ``width``, at least twice that.
    width : int, default 1
        W, the coordinates of a token; neighbouring coordinates form a token.
    channels : int, default 32
        C of the Transformer, at least 2, a multiple of ``heads``.
    heads : int, default 4
        Heads of the attention.
    depth : int, default 1
        Layers of attention and MLP.
    expansion : int, default 4
        The MLPs have ``expansion`` C hidden units.
    transformer : Transformer, default Affine()
        The map of each coordinate; ``Affine("exp")`` is the paper's.
    reverse : bool, default False
        If True, the last token comes first.
    context_dim : int, default 0
        Context features that every token but the first depends on.
    """

    dim: int
    width: int = 1
    channels: int = 32
    heads: int = 4
    depth: int = 1
    expansion: int = 4
    transformer: Transformer = Affine()
    reverse: bool = False
    context_dim: int = 0

    _converters = {
        "dim": at_least(2),
        "width": check_count,
        "channels": at_least(2),
        "heads": check_count,
        "depth": check_count,
        "expansion": check_count,
        "transformer": check_transformer,
    }

    def __post_init__(self):
        super().__post_init__()
        if self.dim % self.width or self.length < 2:
            raise ValueError(
                f"width: expected a divisor of dim {self.dim} that makes at least "
                f"two tokens, got {self.width}"
            )
        if self.channels % self.heads:
            raise ValueError(
                f"channels: expected a multiple of heads {self.heads}, got {self.channels}"
            )

    @property
    def length(self) -> int:
        """The number T of tokens."""
        return self.dim // self.width

    def _init(self, rng):
        network = init_causal_transformer(
            rng,
            self.length,
            self.width,
            self.channels,
            self.depth,
            self.expansion,
            self.transformer.size * self.width,
            self.context_dim,
        )
        return with_own(self.transformer, {"net": network}, self.dim)

    def conditioner(
        self, params: dict[str, Any], context: Array | None, temperature: float = 1.0
    ) -> Callable[..., Any]:
        """Return the function x -> h."""

        def network(tokens):
            return causal_transformer(params["net"], tokens, self.heads, context, temperature)

        def parameters(x):
            outputs = block_outputs(network, x, self.length, self.reverse)
            return constrained(self.transformer, params, outputs)

        return parameters

    def _forward(self, params, z, context):
        return autoregressive_forward(
            z, self.transformer.forward, self.conditioner(params, context), self.length
        )

    def _inverse(self, params, x, context):
        return autoregressive_inverse(
            x, self.transformer.inverse, self.conditioner(params, context)
        )


@dataclass(frozen=True)
class TarFlow(Composition):
    """A stack of causal Transformer blocks, each in the opposite order of its neighbours.

    The block next to the data reads the tokens in their own order, as in the published code.
    Density takes one pass per block, sampling T passes.

    Parameters
    ----------
    dim : int
        D, a multiple of ``width``, at least twice that.
    layers : int, default 4
        Number of blocks, at least 2, so that no token stays unchanged.
    width : int, default 1
        W, the coordinates of a token; see :class:`TarFlowBlock`, also for the following options.
    channels : int, default 32
    heads : int, default 4
    depth : int, default 1
    expansion : int, default 4
    transformer : Transformer, default Affine()
    context_dim : int, default 0
        Context features.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.TarFlow(8, layers=2, width=2)
    >>> params = flow.init(np.random.default_rng(0))
    >>> z, log_det = flow.inverse(params, np.zeros((3, 8)))
    >>> z.shape, log_det.shape
    ((3, 8), (3,))
    """

    dim: int
    layers: int = 4
    width: int = 1
    channels: int = 32
    heads: int = 4
    depth: int = 1
    expansion: int = 4
    transformer: Transformer = Affine()
    context_dim: int = 0

    _converters = {**TarFlowBlock._converters, "layers": at_least(2)}

    def __post_init__(self):
        super().__post_init__()
        self._block(False)

    def _block(self, reverse):
        return with_fields_of(self, TarFlowBlock, reverse=reverse)

    @cached_property
    def flows(self) -> tuple[TarFlowBlock, ...]:
        """The blocks, from latent to data."""
        return tuple(self._block(k % 2 == 1) for k in reversed(range(self.layers)))


# Guidance ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _GuidedBlock(TarFlowBlock):
    """A block whose outputs go beyond those with the label; see :func:`guided`."""

    weight: float = 0.0
    without: str = "mean"
    annealed: bool = False
    temperature: float = 1.0

    _converters = {
        **TarFlowBlock._converters,
        "without": one_of(("mean", "zero")),
        "temperature": check_positive,
    }

    def _weights(self):
        """Return the weight w_t of each coordinate."""
        token = np.arange(self.dim) // self.width
        place = self.length - 1 - token if self.reverse else token
        return self.weight * (place / (self.length - 1) if self.annealed else np.ones(self.dim))

    def conditioner(self, params, context):
        """Return the function x -> h(c) + w_t (h(c) - h(0))."""
        share = 1 / self.context_dim if self.without == "mean" else 0.0
        given = super().conditioner(params, context)
        free = super().conditioner(params, np.full_like(context, share), self.temperature)
        weights = self._weights().astype(context.dtype)
        return lambda x: tuple(
            labelled + weights * (labelled - unlabelled)
            for labelled, unlabelled in zip(given(x), free(x))
        )


def guided(
    flow: TarFlow,
    weight: float,
    without: str = "mean",
    annealed: bool = False,
    temperature: float = 1.0,
) -> Chain:
    """Return the flow whose blocks have the outputs h(c) + w_t (h(c) - h(0)), for sampling.

    The context is a label c, as a row of a unit matrix. h(0) are the outputs without a label, for
    which some labels have to be left out in training.

    Paper:   TarFlow, its guidance for class-conditional models, with w for each patch.
    Differs: the published code alone has the details: h(0) is the network with the mean of the
             embeddings of all labels. An annealed weight is w t / (T - 1) at token t = 1 ... T-1,
             in the order of reading. A temperature divides the scores of attention for h(0) alone.

    Parameters
    ----------
    flow : TarFlow
        With ``context_dim`` labels.
    weight : float
        w; 0 is the flow itself.
    without : {"mean", "zero"}, default "mean"
        The context that stands for no label: equal parts of all labels, or zeros.
    annealed : bool, default False
    temperature : float, default 1.0

    Returns
    -------
    Chain
        It has the parameters of ``flow``.
    """
    if not flow.context_dim:
        raise ValueError("flow: expected a context_dim, the number of labels; got 0")
    guidance = dict(weight=weight, without=without, annealed=annealed, temperature=temperature)
    return Chain([with_fields_of(block, _GuidedBlock, **guidance) for block in flow.flows])
