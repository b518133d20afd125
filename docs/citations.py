"""Every paper that nfref cites, and the places in it.

A docstring names a paper by its key here, then the place, then the number of an equation:

    (RealNVP, section 3.4, eq. 9)
    Paper:   RealNVP v3, section 3.4, (9): y = b * x + (1 - b) * (x * exp(s(b * x)) + t(b * x)).

A name holds until the next name or the end of the paragraph. A test reads all of nfref and
fails where a paper, a version, a place or a number is not in this table.

The status of a place says how it was checked. "read": in the paper's own text. "quoted": its
formula was read in notes on the paper that quote it, in another paper or in the published code.
Only what was read has equation numbers. A version is given where one could be confirmed.

In the symbol maps the paper's letter stands on the left, nfref's on the right. z is always
nfref's latent and x its data; ``forward`` takes z to x.
"""

from dataclasses import dataclass

TO_DATA, TO_LATENT = "latent to data", "data to latent"


@dataclass(frozen=True)
class Place:
    """A place in a paper.

    Parameters
    ----------
    where : str
        A section, appendix, algorithm, theorem, table or figure with its number.
    status : {"read", "quoted"}
    formula : str
        What stands there, in the paper's letters.
    equations : str
        Numbers of the equations, such as "7-8, 10"; only where the status is "read".
    direction : {"latent to data", "data to latent"}, optional
        In which direction the paper writes its map.
    symbols : str
        "paper's letter: nfref's letter", separated by commas; letters not named are the same.
    """

    where: str
    status: str
    formula: str
    equations: str = ""
    direction: str = ""
    symbols: str = ""


@dataclass(frozen=True)
class Citation:
    """A paper or a book.

    Parameters
    ----------
    key : str
        What docstrings call it.
    authors : str
    year : int
        Of the first version.
    title : str
    arxiv : str, optional
        Its arXiv id without the version.
    version : int, optional
        The version whose sections and numbers are meant.
    venue : str
        Where it appeared, if it is not on arXiv.
    places : tuple of Place
        Places that docstrings may name. Without any, the paper is cited as a whole.
    """

    key: str
    authors: str
    year: int
    title: str
    arxiv: str = ""
    version: int = None
    venue: str = ""
    places: tuple = ()

    def place(self, where):
        """Return the :class:`Place` called ``where``; raise KeyError if there is none."""
        for place in self.places:
            if place.where == where:
                return place
        raise KeyError(
            f"{where}: expected a registered place of {self.key}, one of "
            f"{', '.join(place.where for place in self.places) or 'none'}"
        )


_TABLE = (

    # Elementwise, coupling and autoregressive flows ------------------------------------------

    Citation(
        "NICE", "Dinh, Krueger, Bengio", 2014,
        "NICE: Non-linear independent components estimation", arxiv="1410.8516", version=6,
        places=(
            Place("section 3.2", "quoted", direction=TO_LATENT,
                  formula="y_I1 = x_I1, y_I2 = g(x_I2; m(x_I1)) with g(a; b) = a + b; det = 1; "
                          "at least three couplings before every coordinate depends on every one",
                  symbols="y: z, m: -t"),
            Place("section 3.3", "quoted", direction=TO_LATENT,
                  formula="x_i -> S_ii x_i as the last map; sum_i log |S_ii| in the criterion",
                  symbols="S_ii: exp(-s_i)"),
            Place("section 3.4", "quoted",
                  formula="log p(h_d) = -log(1 + e^h_d) - log(1 + e^-h_d), preferred to the "
                          "normal for its better behaved gradient",
                  symbols="h: z"),
            Place("section 5", "quoted",
                  formula="four couplings that change the odd and the even coordinates in turn; "
                          "S_ii = exp(s_ii)",
                  symbols="s_ii: -s_i"),
        )),

    Citation(
        "RealNVP", "Dinh, Sohl-Dickstein, Bengio", 2016, "Density estimation using Real NVP",
        arxiv="1605.08803", version=3,
        places=(
            Place("section 3.2", "read", equations="4-5", direction=TO_LATENT,
                  formula="y_{1:d} = x_{1:d}, "
                          "y_{d+1:D} = x_{d+1:D} * exp(s(x_{1:d})) + t(x_{1:d})",
                  symbols="y: z, s: -s, t: -t exp(-s)"),
            Place("section 3.3", "read", equations="6-8", direction=TO_LATENT,
                  formula="the Jacobian; y as in section 3.2; "
                          "x_{d+1:D} = (y_{d+1:D} - t(y_{1:d})) * exp(-s(y_{1:d}))",
                  symbols="y: z, s: -s, t: -t exp(-s)"),
            Place("section 3.4", "read", equations="9", direction=TO_LATENT,
                  formula="y = b * x + (1 - b) * (x * exp(s(b * x)) + t(b * x)); checkerboard "
                          "b = 1 where the sum of the spatial coordinates is odd; by channels "
                          "b = 1 for the first half",
                  symbols="y: z, s: -s, t: -t exp(-s)"),
            Place("section 3.5", "read", equations="10-12", direction=TO_LATENT,
                  formula="layers composed; what one leaves unchanged the next one changes"),
            Place("section 3.6", "read", equations="13-16", direction=TO_LATENT,
                  formula="h0 = x, (z_{i+1}, h_{i+1}) = f_{i+1}(h_i), z_L = f_L(h_{L-1}), "
                          "z = (z_1, ..., z_L); 2 x 2 x c pixels become 1 x 1 x 4c; three "
                          "couplings by checkerboard, squeeze, three by channels; last scale: "
                          "four by checkerboard"),
            Place("section 3.7", "read", equations="17-18", direction=TO_LATENT,
                  formula="x -> (x - mu) / sqrt(sigma^2 + eps) on the output of every coupling, "
                          "det = prod_i (sigma_i^2 + eps)^(-1/2); mu, sigma^2 averages over the "
                          "recent minibatches",
                  symbols="mu: m, sigma^2: v"),
            Place("section 4.1", "read",
                  formula="logit(alpha + (1 - alpha) x / 256), alpha = 0.05; s is a tanh times a "
                          "learned scale, t affine; standard normal prior"),
        )),

    Citation(
        "MADE", "Germain, Gregor, Murray, Larochelle", 2015,
        "MADE: Masked autoencoder for distribution estimation", arxiv="1502.03509", version=2,
        places=(
            Place("section 4", "quoted",
                  formula="M^W_{k,d} = 1 where m(k) >= d, M^V_{d,k} = 1 where d > m(k); m(k) drawn "
                          "uniformly from 1 ... D-1, in deeper layers from the smallest degree of "
                          "the layer below to D-1; M^{W^l}_{k',k} = 1 where m^l(k') >= m^{l-1}(k)",
                  symbols="m: degree, d: order + 1"),
        )),

    Citation(
        "MAF", "Papamakarios, Pavlakou, Murray", 2017,
        "Masked autoregressive flow for density estimation", arxiv="1705.07057", version=4,
        places=(
            Place("section 3.1", "quoted", direction=TO_DATA,
                  formula="x_i = u_i exp(alpha_i) + mu_i; u_i = (x_i - mu_i) exp(-alpha_i), "
                          "|det du/dx| = exp(-sum_i alpha_i); the layer at the data has the order "
                          "of the data set, each next one the reverse of the one before",
                  symbols="u: z"),
            Place("appendix B", "quoted", direction=TO_DATA,
                  formula="x = (u - beta) exp(-gamma) (v + eps)^(1/2) + m, between every two "
                          "layers and between the last and the base; m, v of the minibatch while "
                          "training, of the whole training set afterwards; eps = 1e-5",
                  symbols="u: z, beta: shift, gamma: log_scale, m: mean, v: variance"),
        )),

    Citation(
        "IAF", "Kingma, Salimans, Jozefowicz, Chen, Sutskever, Welling", 2016,
        "Improving variational inference with inverse autoregressive flow",
        arxiv="1606.04934", version=2,
        places=(
            Place("section 4", "read", equations="9-14", direction=TO_DATA,
                  formula="z_0 = mu_0 + sigma_0 eps (9); z_t = mu_t + sigma_t z_{t-1} (10); the "
                          "density (11); [m_t, s_t] = net(z_{t-1}, h) (12), "
                          "sigma_t = sigmoid(s_t) (13), "
                          "z_t = sigma_t z_{t-1} + (1 - sigma_t) m_t (14), s_t near 1 or 2 at the "
                          "start; the order is reversed after every step",
                  symbols="z_{t-1}: z, z_t: x, mu_t: -mu exp(-alpha), sigma_t: exp(-alpha), h: c"),
            Place("algorithm 1", "read", direction=TO_DATA,
                  formula="the flow in the form of (12)-(14), log-density alongside"),
        )),

    Citation(
        "NSF", "Durkan, Bekasov, Murray, Papamakarios", 2019,
        "Neural spline flows", arxiv="1906.04032", version=2,
        places=(
            Place("section 3.1", "quoted", direction=TO_LATENT,
                  formula="g(x) = y_k + (y_{k+1} - y_k) (s xi^2 + d_k xi (1 - xi)) / (s + (d_{k+1} "
                          "+ d_k - 2 s) xi (1 - xi)); its derivative; the root xi = 2c / (-b - "
                          "sqrt(b^2 - 4ac)); identity with slope 1 outside [-B, B]",
                  symbols="xi: a, 1 - xi: b, d_k: d, g(x): z"),
        )),

    # No section was read: the published code, torchkit, is the source.
    Citation(
        "NAF", "Huang, Krueger, Lacoste, Courville", 2018, "Neural autoregressive flows",
        arxiv="1804.00779"),

    # Known from its published code and its authors' slides.
    Citation(
        "UMNN", "Wehenkel, Louppe", 2019, "Unconstrained monotonic neural networks",
        arxiv="1908.05164"),

    # Known from its abstract and the code of pyro.
    Citation(
        "Block-NAF", "De Cao, Titov, Aziz", 2019, "Block neural autoregressive flow",
        arxiv="1904.04676"),

    # Known from the code of nflows.
    Citation(
        "NIS", "Mueller, McWilliams, Rousselle, Gross, Novak", 2018,
        "Neural importance sampling", arxiv="1808.03856"),

    # Known from the code of nflows, whose authors wrote the paper.
    Citation(
        "Cubic-spline flows", "Durkan, Bekasov, Murray, Papamakarios", 2019,
        "Cubic-spline flows", arxiv="1906.02145"),

    Citation(
        "Steffen", "Steffen", 1990,
        "A simple method for monotonic interpolation in one dimension",
        venue="Astronomy and Astrophysics 239"),

    # Known from the code of zuko.
    Citation(
        "Deep transformation models", "Sick, Hothorn, Duerr", 2020,
        "Deep transformation models: Tackling complex regression problems with neural network "
        "based transformation models", arxiv="2004.00464"),

    Citation(
        "Bernstein flows", "Ramasinghe, Fernando, Khan, Barnes", 2021,
        "Robust normalizing flows using Bernstein-type polynomials", arxiv="2102.03509"),

    # Known from its abstract and the code of zuko.
    Citation(
        "SOS flows", "Jaini, Selby, Yu", 2019, "Sum-of-squares polynomial flow",
        arxiv="1905.02325"),

    # Known from its published code.
    Citation(
        "TarFlow", "Zhai, Zhang, Nakkiran, Berthelot, Gu, Zheng, Chen, Bautista, Jaitly, Susskind",
        2024, "Normalizing flows are capable generative models", arxiv="2412.06329", version=3,
        places=(
            Place("section 2.2", "quoted", direction=TO_LATENT,
                  formula="z_0 = x_0, z_i = (x_i - mu_i(x_<i)) exp(-alpha_i(x_<i)) of patches, "
                          "mu and alpha from a causal Transformer; the permutation of the patches "
                          "is the identity in the first block and the reversal in every other",
                  symbols="mu: m, alpha: s"),
        )),

    Citation(
        "Rezende et al. (tori and spheres)", "Rezende, Papamakarios, Racaniere, Albergo, Kanwar, "
        "Shanahan, Cranmer", 2020, "Normalizing flows on tori and spheres", arxiv="2002.02428",
        places=(
            Place("table 1", "quoted",
                  formula="KL in nats and effective share on the four modes: Moebius and spline "
                          "flow, N_T = 1, 0.05 and 90 %; exponential maps, N_T = 24, 0.10 and "
                          "85 %"),)),

    # Known from its abstract.
    Citation(
        "Riemannian flow matching", "Chen, Lipman", 2023,
        "Flow matching on general geometries", arxiv="2302.03660"),

    Citation(
        "Glow", "Kingma, Dhariwal", 2018,
        "Glow: Generative flow with invertible 1x1 convolutions", arxiv="1807.03039", version=2,
        places=(
            Place("table 1", "quoted", direction=TO_LATENT,
                  formula="actnorm y = s * x + b, h w sum log |s|; convolution y = W x, "
                          "h w log |det W|; coupling (log s, t) = NN(x_b), y_a = s * x_a + t, "
                          "y_b = x_b, sum log |s|",
                  symbols="y: z, s: exp(-s), b: -t exp(-s), W: W^-1, h: H, w: W"),
            Place("section 3.1", "quoted", direction=TO_LATENT,
                  formula="actnorm, set on a first minibatch to mean 0 and variance 1 a channel",
                  symbols="s: exp(-s), b: -t exp(-s)"),
            Place("section 3.2", "quoted", direction=TO_LATENT,
                  formula="log |det dconv(x; W)/dx| = h w log |det W|, W a random rotation at the "
                          "start; W = P L (U + diag(s)), log |det W| = sum log |s|, P fixed",
                  symbols="W: W^-1, U + diag(s): U, s: u_ii, h: H, w: W"),
            Place("section 3.3", "quoted", direction=TO_LATENT,
                  formula="coupling over the channels; the last convolution of NN starts at zero",
                  symbols="s: exp(-s), t: -t exp(-s)"),
        )),

    Citation(
        "weight normalisation", "Salimans, Kingma", 2016,
        "Weight normalization: A simple reparameterization to accelerate training of deep neural "
        "networks", arxiv="1602.07868",
        places=(
            Place("section 2", "quoted", formula="w = (g / |v|) v, one g for each output",
                  symbols="g: length, v: direction"),
        )),

    Citation(
        "Theis et al.", "Theis, van den Oord, Bethge", 2015,
        "A note on the evaluation of generative models", arxiv="1511.01844", version=3),

    Citation(
        "Burda et al.", "Burda, Grosse, Salakhutdinov", 2015,
        "Importance weighted autoencoders", arxiv="1509.00519"),

    Citation(
        "Flow++", "Ho, Chen, Srinivas, Duan, Abbeel", 2019,
        "Flow++: Improving flow-based generative models with variational dequantization and "
        "architecture design", arxiv="1902.00275",
        places=(
            Place("section 3.1", "quoted",
                  formula="log P(x) >= E_q(u|x) [log p(x + u) - log q(u|x)], u on [0, 1)^D; "
                          "u = q_x(eps) with eps standard normal and q_x a flow that sees x",
                  symbols="x: n"),
        )),

    Citation(
        "TAN", "Oliva, Dubey, Zaheer, Poczos, Salakhutdinov, Xing, Schneider", 2018,
        "Transformation autoregressive networks", arxiv="1801.09819"),

    Citation(
        "Rezende and Mohamed", "Rezende, Mohamed", 2015,
        "Variational inference with normalizing flows", arxiv="1505.05770", version=6,
        places=(
            Place("section 4.1", "quoted", direction=TO_DATA,
                  formula="f(z) = z + u h(w^T z + b), psi(z) = h'(w^T z + b) w, "
                          "|det| = |1 + u^T psi(z)|; f(z) = z + beta h(alpha, r) (z - z0), "
                          "h = 1 / (alpha + r), "
                          "|det| = (1 + beta h)^(D-1) (1 + beta h + beta h' r)",
                  symbols="f(z): x, u: u_hat, beta: slack - alpha"),
            Place("section 4.2", "quoted",
                  formula="the variational bound of a flow as E_q0 of its terms; the parameters of "
                          "the flow come from an inference network"),
            Place("appendix A.1", "quoted",
                  formula="for h = tanh, w^T u >= -1 is sufficient for f to be invertible; "
                          "u_hat = u + (m(w^T u) - w^T u) w / |w|^2, m(x) = -1 + log(1 + e^x)",
                  symbols="m(x): slack - 1"),
            Place("appendix A.2", "quoted",
                  formula="the radial f is invertible for beta >= -alpha; "
                          "beta_hat = -alpha + m(beta), m(x) = log(1 + e^x)",
                  symbols="m(beta): slack, beta_hat: slack - alpha"),
            Place("section 6", "quoted",
                  formula="before section 6.1: the target tempered by "
                          "beta_t = min(1, 0.01 + t / 10000)",
                  symbols="beta_t: beta"),
            Place("table 1", "quoted", formula="the four energies U(z)"),
            Place("figure 3", "quoted", formula="planar flows fitted to the four energies"),
        )),

    Citation(
        "van den Berg et al.", "van den Berg, Hasenclever, Tomczak, Welling", 2018,
        "Sylvester normalizing flows for variational inference", arxiv="1803.05649"),

    Citation(
        "SurVAE", "Nielsen, Jaini, Hoogeboom, Winther, Welling", 2020,
        "SurVAE flows: Surjections to bridge the gap between VAEs and flows", arxiv="2007.02731",
        version=2),

    # Residual flows --------------------------------------------------------------------------

    Citation(
        "i-ResNet", "Behrmann, Grathwohl, Chen, Duvenaud, Jacobsen", 2018,
        "Invertible residual networks", arxiv="1811.00995",
        places=(
            Place("theorem 1", "quoted", direction=TO_LATENT,
                  formula="F = F_1 ... F_T with F_t = I + g_t is invertible if Lip(g_t) < 1 for "
                          "all t",
                  symbols="F: inverse"),
            Place("algorithm 1", "quoted", formula="x^0 = y, x^{i+1} = y - g(x^i)",
                  symbols="y: z"),
        )),

    Citation(
        "residual flows", "Chen, Behrmann, Duvenaud, Jacobsen", 2019,
        "Residual flows for invertible generative modeling", arxiv="1906.02735"),

    # Continuous flows ------------------------------------------------------------------------

    Citation(
        "neural ODE", "Chen, Rubanova, Bettencourt, Duvenaud", 2018,
        "Neural ordinary differential equations", arxiv="1806.07366", version=5,
        places=(
            Place("section 2", "read", equations="4-5",
                  formula="da/dt = -a^T df/dz; "
                          "dL/dtheta = -integral from t_1 to t_0 of a^T df/dtheta dt",
                  symbols="L: E, z: y, f: g"),
            Place("theorem 1", "read", equations="8", direction=TO_DATA,
                  formula="d log p(z(t))/dt = -tr(df/dz)"),
            Place("appendix B", "quoted", formula="the derivation of what section 2 says"),
        )),

    Citation(
        "FFJORD", "Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud", 2018,
        "FFJORD: Free-form continuous dynamics for scalable reversible generative models",
        arxiv="1810.01367",
        places=(
            Place("section 3.1", "read", equations="7-8",
                  formula="tr A = E[eps^T A eps] for E eps = 0, Cov eps = I; one eps for a whole "
                          "solve; normal or Rademacher",
                  symbols="eps: e"),
        )),

    Citation(
        "RNODE", "Finlay, Jacobsen, Nurbekyan, Oberman", 2020,
        "How to train your neural ODE: the world of Jacobian and kinetic regularization",
        arxiv="2002.02798", version=3),

    Citation(
        "augmented neural ODE", "Dupont, Doucet, Teh", 2019, "Augmented neural ODEs",
        arxiv="1904.01681", version=3),

    Citation(
        "Zhang et al.", "Zhang, Gao, Unterman, Arodz", 2019,
        "Approximation capabilities of neural ODEs and invertible residual networks",
        arxiv="1907.12998", version=2),

    Citation(
        "VFlow", "Chen, Lu, Chenli, Zhu, Tian", 2020,
        "VFlow: More expressive generative flows with variational data augmentation",
        arxiv="2002.09741"),

    Citation(
        "CP-Flow", "Huang, Chen, Tsirigotis, Courville", 2020,
        "Convex potential flows: Universal probability distributions with optimal transport and "
        "convex optimization", arxiv="2012.05942", version=2),

    Citation(
        "ICNN", "Amos, Xu, Kolter", 2016, "Input convex neural networks", arxiv="1609.07152"),

    Citation(
        "score SDE", "Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole", 2020,
        "Score-based generative modeling through stochastic differential equations",
        arxiv="2011.13456"),

    # Objectives ------------------------------------------------------------------------------

    Citation(
        "free-form flows", "Draxler, Sorrenson, Zimmermann, Rousselot, Koethe", 2023,
        "Free-form flows: Make any architecture a normalizing flow", arxiv="2310.16624",
        version=2,
        places=(
            Place("algorithm 1", "quoted", direction=TO_LATENT,
                  formula="v^T f'_theta(x) SG[g'_phi(z) v], E v v^T = I, in place of "
                          "log |det f'|; loss -log p(z) - surrogate + beta |x - g(z)|^2"),
        )),

    Citation(
        "integer discrete flows", "Hoogeboom, Peters, van den Berg, Welling", 2019,
        "Integer discrete flows and lossless compression", arxiv="1905.07376"),

    Citation(
        "argmax flows", "Hoogeboom, Nielsen, Jaini, Forre, Welling", 2021,
        "Argmax flows and multinomial diffusion: Learning categorical distributions",
        arxiv="2102.05379"),

    Citation(
        "discrete flow matching", "Gat, Remez, Shaul, Kreuk, Chen, Synnaeve, Adi, Lipman", 2024,
        "Discrete flow matching", arxiv="2407.15595"),

    Citation(
        "discrete flow models", "Campbell, Yim, Barzilay, Rainforth, Jaakkola", 2024,
        "Generative flows on discrete state-spaces: Enabling multimodal flows with applications "
        "to protein co-design", arxiv="2402.04997"),

    Citation(
        "rectangular flows", "Caterini, Loaiza-Ganem, Pleiss, Cunningham", 2021,
        "Rectangular flows for manifold learning", arxiv="2106.01413"),

    Citation(
        "free-form injective flows", "Sorrenson, Draxler, Rousselot, Hummerich, Zimmermann, Koethe",
        2023, "Lifting architectural constraints of injective flows", arxiv="2306.01843"),

    Citation(
        "flow matching", "Lipman, Chen, Ben-Hamu, Nickel, Le", 2022,
        "Flow matching for generative modeling", arxiv="2210.02747", version=2,
        places=(
            Place("theorem 1", "read", direction=TO_DATA,
                  formula="the mixture of conditional velocities makes the mixture of the paths"),
            Place("theorem 2", "read",
                  formula="the losses against u_t(x) and u_t(x | x_1) have the same gradient"),
            Place("section 4.1", "read", equations="18-23", direction=TO_DATA,
                  formula="VP: mu_t = alpha_{1-t} x_1, sigma_t = sqrt(1 - alpha_{1-t}^2), "
                          "alpha_t = exp(-T(t)/2) (18), its field (19); OT: mu_t = t x_1, "
                          "sigma_t = 1 - (1 - sigma_min) t (20), field (21), flow (22), loss (23)",
                  symbols="x_1: x, x_0: z, alpha_{1-t}: alpha, sigma_t: sigma"),
        )),

    Citation(
        "OT-CFM", "Tong, Fatras, Malkin, Huguet, Zhang, Rector-Brooks, Wolf, Bengio", 2023,
        "Improving and generalizing flow-based generative models with minibatch optimal transport",
        arxiv="2302.00482", version=4,
        places=(
            Place("section 3.2", "quoted", direction=TO_DATA,
                  formula="q(z) = pi(x_0, x_1) of a minibatch, N(t x_1 + (1 - t) x_0, sigma^2), "
                          "u_t = x_1 - x_0",
                  symbols="x_1: x, x_0: z"),
        )),

    Citation(
        "Papamakarios et al.", "Papamakarios, Nalisnick, Rezende, Mohamed, Lakshminarayanan", 2019,
        "Normalizing flows for probabilistic modeling and inference",
        arxiv="1912.02762", version=2,
        places=(
            Place("section 2.3", "quoted", direction=TO_DATA,
                  formula="2.3.1 forward KL and maximum likelihood, 2.3.2 reverse KL",
                  symbols="u: z, p_x: q"),
        )),

    Citation(
        "Tabak and Vanden-Eijnden", "Tabak, Vanden-Eijnden", 2010,
        "Density estimation by dual ascent of the log-likelihood",
        venue="Communications in Mathematical Sciences 8(1), 217-233",
        places=(
            Place("section 1", "read", direction=TO_LATENT,
                  formula="Only the abstract and the beginning could be read: the variables are "
                          "mapped onto a jointly normal set, ascending the log-likelihood by steps "
                          "that move the margins along random orthogonal directions to normality"),
        )),

    # Known from its abstract.
    Citation(
        "equivariant flows", "Koehler, Klein, Noe", 2020,
        "Equivariant flows: Exact likelihood generative learning for symmetric densities",
        arxiv="2006.02425"),

    Citation(
        "E(n) flows", "Satorras, Hoogeboom, Fuchs, Posner, Welling", 2021,
        "E(n) equivariant normalizing flows", arxiv="2105.09016"),

    Citation(
        "equivariant flow matching", "Klein, Kraemer, Noe", 2023,
        "Equivariant flow matching", arxiv="2306.15030"),

    Citation(
        "iDEM", "Akhound-Sadegh, Rector-Brooks, Bose, Mittal, Lemos, Liu, Sendera, Ravanbakhsh, "
        "Gidel, Bengio, Malkin, Tong", 2024,
        "Iterated denoising energy matching for sampling from Boltzmann densities",
        arxiv="2402.06121"),

    Citation(
        "Gaussianization flows", "Meng, Song, Song, Ermon", 2020, "Gaussianization flows",
        arxiv="2003.01941"),

    Citation(
        "Chen and Gopinath", "Chen, Gopinath", 2000, "Gaussianization",
        venue="Advances in Neural Information Processing Systems 13"),

    Citation(
        "FORT", "Rehman, Davis, Lu, Tang, Bronstein, Bengio, Tong, Bose", 2025,
        "FORT: Forward-only regression training of normalizing flows", arxiv="2506.01158"),

    Citation(
        "RBIG", "Laparra, Camps-Valls, Malo", 2011,
        "Iterative Gaussianization: From ICA to random rotations", arxiv="1602.00229"),

    Citation(
        "Tabak and Turner", "Tabak, Turner", 2013,
        "A family of nonparametric density estimation algorithms",
        venue="Communications on Pure and Applied Mathematics 66(2), 145-164",
        places=(
            Place("section 1", "read", direction=TO_LATENT,
                  formula="Only the abstract and the beginning could be read: a composition of "
                          "simple maps; the parameters of each maximise a local quadratic "
                          "approximation to the log-likelihood; localized radial expansions "
                          "depend on a single parameter. Profile, width, centres and the length "
                          "of a step are those of a program of others that says it follows the "
                          "paper (a class RadialBasisFlow, read whole)"),
        )),

    # Training --------------------------------------------------------------------------------

    Citation(
        "Adam", "Kingma, Ba", 2014, "Adam: A method for stochastic optimization",
        arxiv="1412.6980", version=9,
        places=(
            Place("algorithm 1", "read",
                  formula="m_t = beta_1 m_{t-1} + (1 - beta_1) g_t, "
                          "v_t = beta_2 v_{t-1} + (1 - beta_2) g_t^2, "
                          "theta_t = theta_{t-1} - alpha m_hat_t / (sqrt(v_hat_t) + eps)",
                  symbols="alpha: learning_rate"),
        )),

    Citation(
        "Pascanu et al.", "Pascanu, Mikolov, Bengio", 2012,
        "On the difficulty of training recurrent neural networks", arxiv="1211.5063", version=2,
        places=(
            Place("algorithm 1", "read",
                  formula="g = threshold / |g| g where |g| >= threshold",
                  symbols="threshold: limit"),
        )),

    Citation(
        "SGDR", "Loshchilov, Hutter", 2016,
        "SGDR: Stochastic gradient descent with warm restarts", arxiv="1608.03983", version=5,
        places=(
            Place("section 3", "read", equations="5",
                  formula="eta_t = eta_min + (eta_max - eta_min) (1 + cos(pi T_cur / T_i)) / 2",
                  symbols="T_cur: t, T_i: steps, eta_min: 0, eta_max: 1"),
        )),

    # Calibration -----------------------------------------------------------------------------

    Citation(
        "Talts et al.", "Talts, Betancourt, Simpson, Vehtari, Gelman", 2018,
        "Validating Bayesian inference algorithms with simulation-based calibration",
        arxiv="1804.06788",
        places=(
            Place("theorem 1", "quoted",
                  formula="theta from pi(theta), y from pi(y | theta), theta_1 ... theta_L from "
                          "pi(theta | y): the rank of f(theta) among the f(theta_l) is uniform "
                          "on 0 ... L for every f with values on the line",
                  symbols="theta: x, y: c, f: t"),
        )),

    Citation(
        "Lueckmann et al.", "Lueckmann, Boelts, Greenberg, Goncalves, Macke", 2021,
        "Benchmarking simulation-based inference", arxiv="2101.04653", version=2),

    Citation(
        "Papamakarios and Murray", "Papamakarios, Murray", 2016,
        "Fast epsilon-free inference of simulation models with Bayesian conditional density "
        "estimation", arxiv="1605.06376"),

    # Evidence --------------------------------------------------------------------------------

    Citation(
        "learned harmonic mean", "Polanska, Price, Piras, Spurio Mancini, McEwen", 2024,
        "Learned harmonic mean estimation of the Bayesian evidence with normalizing flows",
        arxiv="2405.05969", version=3),
    Citation(
        "PSIS", "Vehtari, Simpson, Gelman, Yao, Gabry", 2024,
        "Pareto smoothed importance sampling", arxiv="1507.02646", version=9),
    Citation(
        "split R-hat", "Vehtari, Gelman, Simpson, Carpenter, Buerkner", 2021,
        "Rank-normalization, folding, and localization: An improved R-hat for assessing "
        "convergence of MCMC", arxiv="1903.08008"),

    # Sampling from energies ------------------------------------------------------------------

    Citation(
        "Neal", "Neal", 2001, "Annealed importance sampling",
        venue="Statistics and Computing 11"),
    Citation(
        "stochastic normalizing flows", "Wu, Koehler, Noe", 2020, "Stochastic normalizing flows",
        arxiv="2002.06707"),
    Citation(
        "annealed flow transport", "Arbel, Matthews, Doucet", 2021,
        "Annealed flow transport Monte Carlo", arxiv="2102.07501"),
    Citation(
        "CRAFT", "Matthews, Arbel, Rezende, Doucet", 2022,
        "Continual repeated annealed flow transport Monte Carlo", arxiv="2201.13117"),
    Citation(
        "Boltzmann generators", "Noe, Olsson, Koehler, Wu", 2018,
        "Boltzmann generators: Sampling equilibrium states of many-body systems with deep "
        "learning", arxiv="1812.01729"),
    Citation(
        "FAB", "Midgley, Stimper, Simm, Schoelkopf, Hernandez-Lobato", 2022,
        "Flow annealed importance sampling bootstrap", arxiv="2208.01893"),
    Citation(
        "Lee and Whiteley", "Lee, Whiteley", 2015, "Variance estimation in the particle filter",
        arxiv="1509.00394"),

    # What flows fail at ----------------------------------------------------------------------

    Citation(
        "exploding inverses", "Behrmann, Vicol, Wang, Grosse, Jacobsen", 2020,
        "Understanding and mitigating exploding inverses in invertible neural networks",
        arxiv="2006.09347"),
    Citation(
        "typicality test", "Nalisnick, Matsukawa, Teh, Lakshminarayanan", 2019,
        "Detecting out-of-distribution inputs to deep generative models using typicality",
        arxiv="1906.02994"),

    Citation(
        "stochastic interpolants", "Albergo, Vanden-Eijnden", 2022,
        "Building normalizing flows with stochastic interpolants", arxiv="2209.15571"),
    Citation(
        "piecewise flows", "Bevins, Handley, Gessey-Jones", 2023,
        "Piecewise normalizing flows", arxiv="2305.02930", version=2),
    Citation(
        "what they don't know", "Nalisnick, Matsukawa, Teh, Gorur, Lakshminarayanan", 2018,
        "Do deep generative models know what they don't know?", arxiv="1810.09136"),
    Citation(
        "misestimation", "Zhang, Goldstein, Ranganath", 2021,
        "Understanding failures in out-of-distribution detection with deep generative models",
        arxiv="2107.06908", version=2),
    Citation(
        "entropic issues", "Caterini, Loaiza-Ganem", 2021,
        "Entropic issues in likelihood-based OOD detection", arxiv="2109.10794"),
    Citation(
        "likelihood ratios", "Ren, Liu, Fertig, Snoek, Poplin, DePristo, Dillon, "
        "Lakshminarayanan", 2019,
        "Likelihood ratios for out-of-distribution detection", arxiv="1906.02845", version=2),
    Citation(
        "input complexity", "Serra, Alvarez, Gomez, Slizovskaia, Nunez, Luque", 2019,
        "Input complexity and out-of-distribution detection with likelihood-based generative "
        "models", arxiv="1909.11480"),

    Citation(
        "rectified flow", "Liu, Gong, Liu", 2022,
        "Flow straight and fast: Learning to generate and transfer data with rectified flow",
        arxiv="2209.03003"),

    Citation(
        "classifier-free guidance", "Ho, Salimans", 2022, "Classifier-free diffusion guidance",
        arxiv="2207.12598", version=1,
        places=(
            Place("section 3.2", "read", equations="6",
                  formula="(1 + w) eps(z, c) - w eps(z), with c left out of some rows in training; "
                          "of networks, this is in general no gradient of a classifier",
                  symbols="w: w - 1, z: x_t, eps: E[z | x_t]"),
        )),

    Citation(
        "MeanFlow", "Geng, Deng, Bai, Kolter, He", 2025,
        "Mean flows for one-step generative modeling", arxiv="2505.13447", version=1,
        places=(
            Place("section 4.1", "read", equations="3, 6, 9",
                  formula="u(z_t, r, t) = 1 / (t - r) times the integral of v(z_s, s) from r to t; "
                          "u = v - (t - r) du/dt; the squared distance of u from the right side, "
                          "held fixed, with the velocity of a line in place of v",
                  symbols="v: -f, u: -u, t: 1 - t, r: 1 - t - d, z_t: x_t"),
        )),

    # Densities of tables ---------------------------------------------------------------------

    Citation(
        "Smyth and Wolpert", "Smyth, Wolpert", 1997, "Stacked density estimation",
        venue="Advances in neural information processing systems 10"),
    Citation(
        "Schaefer and Strimmer", "Schaefer, Strimmer", 2005,
        "A shrinkage approach to large-scale covariance matrix estimation and implications for "
        "functional genomics", venue="Statistical applications in genetics and molecular biology "
        "4(1)"),
    Citation(
        "Arthur and Vassilvitskii", "Arthur, Vassilvitskii", 2007,
        "k-means++: The advantages of careful seeding",
        venue="ACM-SIAM symposium on discrete algorithms"),
    Citation(
        "Fraley and Raftery", "Fraley, Raftery", 2007,
        "Bayesian regularization for normal mixture estimation and model-based clustering",
        venue="Journal of classification 24(2)"),
    Citation(
        "Ghahramani and Hinton", "Ghahramani, Hinton", 1996,
        "The EM algorithm for mixtures of factor analyzers",
        venue="Technical report CRG-TR-96-1, University of Toronto"),
    Citation(
        "Zhao, Yu and Jiang", "Zhao, Yu, Jiang", 2008,
        "ML estimation for factor analysis: EM or non-EM?",
        venue="Statistics and computing 18(2)"),
    Citation(
        "McKay, Beckman and Conover", "McKay, Beckman, Conover", 1979,
        "A comparison of three methods for selecting values of input variables in the analysis of "
        "output from a computer code", venue="Technometrics 21(2)"),

    # Applications ----------------------------------------------------------------------------

    Citation(
        "DifferNet", "Rudolph, Wandt, Rosenhahn", 2020,
        "Same same but DifferNet: Semi-supervised defect detection with normalizing flows",
        arxiv="2008.12577"),

    Citation(
        "GraphAF", "Shi, Xu, Zhu, Zhang, Zhang, Tang", 2020,
        "GraphAF: A flow-based autoregressive model for molecular graph generation",
        arxiv="2001.09382"),

    Citation(
        "PointFlow", "Yang, Huang, Hao, Liu, Belongie, Hariharan", 2019,
        "PointFlow: 3D point cloud generation with continuous normalizing flows",
        arxiv="1906.12320"),

    Citation(
        "WaveFlow", "Ping, Peng, Zhao, Song", 2019,
        "WaveFlow: A compact flow-based model for raw audio", arxiv="1912.01219"),

    Citation(
        "VideoFlow", "Kumar, Babaeizadeh, Erhan, Finn, Levine, Dinh, Kingma", 2019,
        "VideoFlow: A conditional flow-based model for stochastic video generation",
        arxiv="1903.01434"),

    Citation(
        "Helminger et al.", "Helminger, Djelouah, Gross, Schroers", 2020,
        "Lossy image compression with normalizing flows", arxiv="2008.10486"),

    # Books -----------------------------------------------------------------------------------

    Citation(
        "Bishop", "Bishop", 2006, "Pattern recognition and machine learning", venue="Springer",
        places=(
            Place("section 9.2", "quoted",
                  formula="9.2.2: expectation-maximisation for mixtures of normal distributions"),
        )),

    Citation(
        "Hairer et al.", "Hairer, Norsett, Wanner", 1993,
        "Solving ordinary differential equations I: Nonstiff problems", venue="Springer, 2nd ed.",
        places=(
            Place("section II.4", "quoted", formula="the first step of an adaptive solver"),
            Place("section II.9", "quoted", formula="extrapolation of the midpoint rule"),
        )),
)  # fmt: skip

CITATIONS = {citation.key: citation for citation in _TABLE}
