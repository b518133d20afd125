"""Describe what each class of flow computes, for other languages, and its parameters.

:mod:`tests.high_precision.pages` makes ``docs/vector_classes.rst`` from this. A test fails if a
class with golden vectors, or one of its parameters, is missing here.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Meaning:
    """The meaning of a class of flow.

    Parameters
    ----------
    map : str
        x = forward(z), as reStructuredText.
    parameters : dict
        name -> its meaning, and its arguments if it is a function.
    members : str, optional
        The elements of its list of parameters, if it is made of other flows.
    """

    map: str
    parameters: dict = field(default_factory=dict)
    members: str = None


# The network of ChannelCoupling and of SplitPrior.
CHANNEL_NETWORK = Meaning(
    r"""
channels below C/2 stay and feed a network of convolutions with weights (k, k, in, out) and
zero padding; the others go through ``transformer``; outputs are the first raw number of
each channel, then the second of each, and so on. ``edge`` (k, k, out) are the weights of
one more input channel, which is 1 in the padding and 0 inside; ``log_gain`` g multiplies
outputs by exp(3 g).
""",
    {"net": "its outputs are functions of the channels that stay and of the context"},
)

# MADE and Coupling take any transformer; docs/golden_vectors.rst has a table of those.
MEANING = {
    "Scale": Meaning(
        r"""
x = z exp(``log_scale``)
""",
        {"log_scale": "a constant, one for each coordinate"},
    ),
    "ElementwiseAffine": Meaning(
        r"""
x = z exp(``log_scale``) + ``shift``
""",
        {
            "shift": "a constant, one for each coordinate",
            "log_scale": "a constant, one for each coordinate",
        },
    ),
    "Standardise": Meaning(r"""
x = ``mean`` + ``std`` z
"""),
    "Logit": Meaning(r"""
x = ``lower`` + (``upper`` - ``lower``) / (1 + exp(-z)); null bounds: x = z
"""),
    "BatchNorm": Meaning(
        r"""
x = (z - ``shift``) exp(-``log_scale``) sqrt(``running_variance`` + ``epsilon``) +
``running_mean``
""",
        {
            "shift": "a constant, one for each coordinate",
            "log_scale": "a constant, one for each coordinate",
            "running_mean": "of the data; fixed while the flow is evaluated",
            "running_variance": "of the data; fixed while the flow is evaluated",
        },
    ),
    "Permutation": Meaning(r"""
x_i = z_order[i]
"""),
    "FixedLinear": Meaning(r"""
x = W z + b.
"""),
    "Linear": Meaning(
        r"""
x = W z + b.
""",
        {"weight": "W, a constant", "bias": "b, a constant"},
    ),
    "LULinear": Meaning(
        r"""
x = P L U z + b; ``lu`` holds L below its diagonal, U above, and log \|u_ii\| on it;
``signs`` are those of u_ii; P puts row ``permutation[i]`` at place i.
Both are keys of ``flow`` in the file; rows and places are counted from 0
""",
        {
            "lu": "both factors, constants; the permutation and the signs are options",
            "bias": "b, a constant",
        },
    ),
    "PlanarLayer": Meaning(
        r"""
x = z + û tanh(w · z + b), û = u + (log(1 + exp(w · u)) - 1 - w · u) w / \|w\|\ :sup:`2`;
with a context, (u, w, b) += context @ ``from_context``
""",
        {
            "u": "constant, plus its share of the context",
            "w": "constant, plus its share of the context",
            "b": "constant, plus its share of the context",
            "from_context": "(C, 2D + 1): linear in the context, added to (u, w, b)",
        },
    ),
    "RadialLayer": Meaning(
        r"""
x = z0 + (z - z0) (softplus(``beta``) + r) / (softplus(``alpha``) + r), r = \|z - z0\|; with
a context, (z0, alpha, beta) += context @ ``from_context``
""",
        {
            "z0": "constant, plus its share of the context",
            "alpha": "constant, plus its share of the context",
            "beta": "constant, plus its share of the context",
            "from_context": "(C, D + 2): linear in the context, added to (z0, alpha, beta)",
        },
    ),
    "SylvesterLayer": Meaning(
        r"""
x = z + Q R1 tanh(R2 Q\ :sup:`T` z + b); R1 and R2 are the upper triangles of ``r1`` and
``r2``, with the tanh of their diagonals. Q by ``kind``: the polar factor U V\ :sup:`T` of
``q`` = U S V\ :sup:`T`; the product of the reflections along the rows of ``v``; the
identity or, if ``reverse``, the reversal. With a context, each array += sum_c context_c
times that of ``from_context``
""",
        {
            "r1": "constant, plus its share of the context",
            "r2": "constant, plus its share of the context",
            "b": "constant, plus its share of the context",
            "q": 'of kind "orthogonal": constant, plus its share of the context',
            "v": 'of kind "householder": constant, plus its share of the context',
            "from_context": "an array for each of the others with the context's features first",
        },
    ),
    "Coupling": Meaning(
        r"""
coordinates with ``mask`` true stay and feed ``net``; the others go through ``transformer``;
outputs are the first raw number of each of them, then the second of each, and so on
""",
        {
            "net": "its outputs, the transformer's raw numbers, are functions of the coordinates "
            "that stay (the same in z and x) and of the context",
            "transformer": "constants of the transformer itself: the factor of a tanh scale, "
            "one for each coordinate that is moved",
        },
    ),
    "MADE": Meaning(
        r"""
every coordinate goes through ``transformer``; outputs are the first raw number of each
coordinate, then the second of each, and so on. A unit of degree d sees units of degree at
most d in the layer below: input i has degree ``order[i]`` + 1, context
0, output i ``order[i]``, hidden unit k of H has ``degrees[layer][k]`` or, if ``degrees`` is
"even", l + floor(k m / H), with l = 1 and m = max(D - 1, 1), or l = 0 and m = D with a
context
""",
        {
            "net": "its outputs are functions of x, not of z: the raw numbers of "
            "coordinate i (shift and log-scale of an affine map) see those x "
            "that come before i in ``order``, and the context",
            "transformer": "constants of the transformer itself",
        },
    ),
    "ActNorm": Meaning(
        r"""
an elementwise affine map for each channel: x = z exp(``log_scale``) + ``shift``.
""",
        {
            "shift": "a constant, one for each channel",
            "log_scale": "a constant, one for each channel",
        },
    ),
    "ChannelAffine": Meaning(
        r"""
an elementwise affine map for each channel: x = z exp(``log_scale``) + ``shift``.
""",
        {
            "shift": "a constant, one for each channel",
            "log_scale": "a constant, one for each channel",
        },
    ),
    "InvertibleConv": Meaning(
        r"""
a ``Linear`` or ``LULinear`` of the channels at each pixel
""",
        {
            "weight": "W, a constant: the same at every pixel",
            "lu": "both factors, the same at every pixel",
        },
    ),
    "Squeeze": Meaning(r"""
from (4C, H/2, W/2) to (C, H, W): channel 4c + 2a + b at (i, j) goes to channel c at (2i +
a, 2j + b)
"""),
    "ChannelCoupling": CHANNEL_NETWORK,
    "SplitPrior": CHANNEL_NETWORK,
    "TopPrior": Meaning(
        r"""
as ``SplitPrior`` with no channel that stays: the network sees the context alone.
""",
        {"net": "its outputs are functions of the context and of the place alone"},
    ),
    "ImageCoupling": Meaning(
        r"""
``mask`` b (1 at pixels of odd i + j, or in channels below C/2; the others for ``parity`` 1)
stays; the network sees b x, b and the context; outputs as above. W = ``length``
``direction`` / \|``direction``\| for each output; h = first(x), then h +=
second(a(first(a(h)))) for each block; the last layer sees a of the sum of ``skip``\ (h)
over all h
""",
        {
            "net": "its outputs are functions of the pixels that stay, of the mask and of the "
            "context",
            "transformer": "constants of the transformer itself",
        },
    ),
    "VariationalDequantisation": Meaning(
        r"""
floor(x) stays; the rest u becomes e with logit(u) = noise(logit(e)); the noise sees (2
floor(x) + 1) / ``levels`` - 1 and the context
""",
        {"noise": "the flow of the noise, which is a function of floor(x) and of the context"},
    ),
    "InjectiveFlow": Meaning(
        r"""
``flow`` of z, followed by zeros up to its number of coordinates; z has ``kept`` coordinates, and
the log-determinant is half of log det J^T J, where J is the Jacobian of x by z
""",
        {"flow": "the flow of D coordinates; the parameters are its parameters"},
    ),
    "OnFirst": Meaning(
        r"""
a flow on the first coordinates
""",
        {"lu": "of the flow inside", "bias": "of the flow inside"},
    ),
    "NICE": Meaning(
        r"""
``Scale``, then couplings whose masks alternate: coupling k keeps coordinates i with i mod 2
= k mod 2
""",
        members="a ``Scale`` and couplings",
    ),
    "RealNVP": Meaning(
        r"""
couplings with the same masks, a ``BatchNorm`` before each if ``batch_norm``
""",
        members="couplings, batch norms among them if there are some",
    ),
    "MAF": Meaning(
        r"""
``MADE`` layers, a ``BatchNorm`` before each if ``batch_norm``; with ``orders`` "alternate"
the last has the natural order, the one before the reversed one, and so by turns
""",
        members="``MADE`` layers, batch norms among them if there are some",
    ),
    "NSF": Meaning(
        r"""
``MADE`` layers as in ``MAF``, or couplings of which the last keeps coordinates of odd place
(counted from 0) in the natural order, the one before those of even place, and so by turns, with
``RationalQuadratic`` splines; with ``linear`` "lu" an ``LULinear`` before each and after the last
""",
        members="``MADE`` layers or couplings, linear layers among them if there are some",
    ),
    "ResidualBlock": Meaning(
        r"""
the solution of x + g(x) = z with g the network ``net`` of x and the context; weights of
spectral norm above ``coefficient`` are scaled down to it (of the first only the rows that
meet x), hidden layer k is followed by a / (1.1 (1 + exp(-b a))) with b = log(1 +
exp(``beta``\ [k])); ``u`` takes no part
""",
        {
            "net": "g, a function of x and of the context",
            "beta": "of each hidden layer, before the softplus",
            "u": "where the power iteration stands; takes no part in the map",
        },
    ),
    "ConvexPotentialFlow": Meaning(
        r"""
the gradient by z of a/2 \|z\|\ :sup:`2` + (v + context @ V) · z + w · h. With s(r) = log(1
+ exp(r)): v ``shift``, V ``from_context``, a = s(``strength``), w = s(``output``) over its
length, h the last of the layers s(h P + [z, context] @ ``weight`` + ``bias``) of the h
before, P = s(``positive``) over its number of rows; the first layer has no h P
""",
        {
            "layers": "each a function of the layer before, of z and of the context",
            "output": "w, constants before the softplus",
            "shift": "v, a constant",
            "strength": "a, before the softplus",
            "from_context": "V, linear in the context",
        },
    ),
    "EquivariantCNF": Meaning(
        r"""
z(1) for dz\ :sub:`i`/dt = the sum over j of (z\ :sub:`i` - z\ :sub:`j`) phi(\|z\ :sub:`i` -
z\ :sub:`j`\|, t) over ``particles`` parts z\ :sub:`i` of equal length, z(0) = z, where phi(d,
t) is the sum over k and l of ``weights``\ :sub:`kl` R\ :sub:`k`(d) T\ :sub:`l`(t), R\
:sub:`k` is exp(-((d - k s)/s)\ :sup:`2`) over its sum over k, s = ``reach`` / (``kernels`` -
1), and T\ :sub:`l`(t) the same with ``times`` kernels from 0 to 1
""",
        {"weights": "constants, one for each kernel of the distance and of the time"},
    ),
    "ProbabilityFlow": Meaning(
        r"""
z(1) for dz/dt = beta/2 (z + the gradient of log p), z(0) = z, where with s = 1 - t beta is
``beta_min`` + s (``beta_max`` - ``beta_min``), A = exp(-(its integral from 0 to s)), and p
the mixture with weights softmax(``logits``), means sqrt(A) ``means``, variances A exp(2
``log_scales``) + 1 - A
""",
        {
            "logits": "constants of the mixture",
            "means": "constants of the mixture",
            "log_scales": "constants of the mixture",
        },
    ),
    "Planar": Meaning(
        r"""
their members in order
""",
        members="``PlanarLayer`` after ``PlanarLayer``",
    ),
    "Radial": Meaning(
        r"""
their members in order
""",
        members="``RadialLayer`` after ``RadialLayer``",
    ),
    "NAF": Meaning(
        r"""
``MADE`` layers as in ``MAF``, whose transformer is ``DeepSigmoid`` of ``units``
""",
        members="``MADE`` layers",
    ),
    "BlockNAF": Meaning(
        r"""
z = g x + (1 - g) f(x), g = sigmoid(``gate``), f a tanh network without a tanh at its end, whose
unit k of a layer belongs to the coordinate k mod D. Its weights from units of earlier coordinates
are w, from units of the same one exp(w), from later ones 0; then they are divided by their
Euclidean norm and multiplied by exp(s)
""",
        {
            "net": "layers of w = ``weight`` (in, out), s = ``log_scale`` (out) and ``bias`` (out)",
            "gate": "a number",
        },
    ),
    "UMNN": Meaning(
        r"""
``MADE`` layers as in ``MAF``, whose transformer is ``MonotoneIntegral``
""",
        members="``MADE`` layers",
    ),
    "ResidualFlow": Meaning(
        r"""
their members in order
""",
        members="``ResidualBlock`` after ``ResidualBlock``",
    ),
    "Chain": Meaning(
        r"""
their members in order
""",
        members="those of its members",
    ),
    "Sylvester": Meaning(
        r"""
layers in order; of kind "triangular" every second one has ``reverse``
""",
        members="``SylvesterLayer`` after ``SylvesterLayer``",
    ),
    "Glow": Meaning(
        r"""
see ``nfref/flows/images/glow.py``
""",
        members="those of its layers, scale after scale",
    ),
    "RealNVPImage": Meaning(
        r"""
see ``nfref/flows/images/real_nvp.py``
""",
        members="those of its layers, scale after scale",
    ),
    "Invert": Meaning(r"""
the inverse of ``flow``
"""),
    "CNF": Meaning(
        r"""
z(1) for dz/dt = ``net``\ (z, t, context), z(0) = z; solved here to 60 digits.
""",
        {"net": "the velocity: a function of z(t), t and the context"},
    ),
    "Hinge": Meaning(
        r"""
coordinate by coordinate the inverse of z = ``shift`` + R (right - w/2) - L (left - w/2),
with u = x - ``location``, w = exp(``log_width``), R = exp(``log_right``), L =
exp(``log_left``), right and left = (sqrt(w\ :sup:`2` + u\ :sup:`2`) +- u) / 2.
""",
        {
            "location": "a constant, one for each coordinate",
            "shift": "a constant, one for each coordinate",
            "log_left": "a constant, one for each coordinate",
            "log_right": "a constant, one for each coordinate",
            "log_width": "a constant, one for each coordinate",
        },
    ),
    "GaussianizationFlow": Meaning(
        r"""
``Elementwise`` layers with ``Gaussianization`` of ``components``, and a ``Linear`` without bias
between two of them
""",
        members="each as in ``Elementwise`` or ``Linear``, in the order of ``forward``",
    ),
    "Elementwise": Meaning(
        r"""
coordinate by coordinate the map of ``transformer``
""",
        {"raw": "constants: the first raw number of each coordinate, then the second of each"},
    ),
    "MarginalSpline": Meaning(
        r"""
coordinate by coordinate the inverse of z = g(x), the cubic spline of ``CubicSpline`` through knots
(x_k, z_k) whose slopes at both ends are the mean slopes of the outer bins, with its tangents
outside
""",
        {
            "x_first": "x_0, one for each coordinate",
            "z_first": "z_0, one for each coordinate",
            "log_widths": "(K, D): logarithms of the differences of the x_k",
            "log_heights": "(K, D): logarithms of the differences of the z_k",
        },
    ),
    "SphereSpline": Meaning(
        r"""
rows keep their length; with \|z\|\ :sub:`k` the length of the first k numbers, the latitudes
atan2(z\ :sub:`k`, \|z\|\ :sub:`k-1`) for k = D, ..., 3 and the longitude atan2(z\ :sub:`2`,
z\ :sub:`1`), in this order, are the row that a ``MAF`` of alternate orders maps, latitudes by
``RationalQuadratic`` with bound pi / 2, the longitude by the circular one with bound pi; its
networks read the cosine and sine of the longitude; the parameters are those of the ``MAF``
""",
        {},
    ),
    "ExponentialMap": Meaning(
        r"""
the inverse of z = \|x\| F(x / \|x\|), F(x) = cos \|v\| x + sin \|v\| v / \|v\|, with v the sum
over k of a\ :sub:`k` exp(b\ :sub:`k` (c\ :sub:`k` - 1)) (m\ :sub:`k` - c\ :sub:`k` x) and
c\ :sub:`k` = m\ :sub:`k` . x
""",
        {
            "centres": "(K, D): m_k times a length above 0",
            "logits": "(K,): l_k; a_k = exp(l_k) / (1 + sum of all exp(l_j))",
            "log_sharpness": "(K,): logarithms of the b_k",
        },
    ),
    "RadialExpansion": Meaning(
        r"""
the inverse of z = c + (x - c) (1 + (exp(``log_slack``) - 1) f(s)), with c the ``centre``, s =
\|x - c\| / exp(``log_width``) and, by ``profile``, f(s) = 1 / sqrt(1 + s\ :sup:`2`) or, if it
is "erf", f(s) = sqrt(pi) erf(s) / (2 s).
""",
        {
            "centre": "a constant",
            "log_width": "a constant",
            "log_slack": "a constant: log of the factor by which lengths grow at the centre",
        },
    ),
    "TarFlowBlock": Meaning(
        r"""
the coordinates are ``length`` tokens, read from the last on if ``reverse``. Every
coordinate of a token goes through ``transformer`` with raw numbers that a causal
Transformer computes from the x of the tokens before (see ``nfref/networks/attention.py``);
those of the first token are zero.
""",
        {"net": "its outputs are functions of the x of earlier tokens and of the context"},
    ),
    "TarFlow": Meaning(
        r"""
its blocks in order, every second one with ``reverse``.
""",
        members="``TarFlowBlock`` after ``TarFlowBlock``",
    ),
    "Amortized": Meaning(
        r"""
the map of ``flow`` with parameters of each row's own: those in the file plus the network of
the context.
""",
        {
            "flow": "parameters of the flow inside, to which the network's outputs are added",
            "network": "a function of the context alone",
        },
    ),
}
