"""Solutions of the labs: page -> code of each answer. They stand nowhere else."""

LABS = {
    "lab_coupling": [
        """
def answer_1(weights, z):
    k = z.shape[1] // 2
    a, b = z[:, :k], z[:, k:]
    s, t = network(weights, a)
    return np.concatenate([a, b * np.exp(s) + t], axis=1), np.sum(s, axis=1)
""",
        """
def answer_2(weights, x):
    k = x.shape[1] // 2
    a, b = x[:, :k], x[:, k:]
    s, t = network(weights, a)
    return np.concatenate([a, (b - t) * np.exp(-s)], axis=1), -np.sum(s, axis=1)
""",
        """
def answer_3(stack, x):
    def inverse(weights, x):
        k = x.shape[1] // 2
        s, t = network(weights, x[:, :k])
        return np.concatenate([x[:, :k], (x[:, k:] - t) * np.exp(-s)], axis=1), -s.sum(axis=1)

    total = np.zeros(len(x))
    for number in range(len(stack) - 1, -1, -1):
        x, log_det = inverse(stack[number], x)
        total = total + log_det
        if number:
            x = x[:, ::-1]
    return total - 0.5 * np.sum(x**2, axis=1) - 0.5 * x.shape[1] * np.log(2 * np.pi)
""",
    ],
    "lab_trace": [
        """
def answer_1(net, t, x):
    W1, b1, W2, b2, W3 = net
    first = np.tanh(x @ W1[:-1] + t * W1[-1] + b1)
    second = np.tanh(first @ W2 + b2)
    # sum over i, h, k of W1[i, h] (1 - first_h^2) W2[h, k] (1 - second_k^2) W3[k, i]
    matrix = W2 * (W3 @ W1[:-1]).T
    return np.sum(((1 - first**2) @ matrix) * (1 - second**2), axis=1)
""",
        """
def answer_2(net, t, x, v):
    W1, b1, W2, b2, W3 = net
    first = np.tanh(x @ W1[:-1] + t * W1[-1] + b1)
    second = np.tanh(first @ W2 + b2)
    along = (((v @ W1[:-1]) * (1 - first**2)) @ W2 * (1 - second**2)) @ W3
    return np.sum(v * along, axis=1)
""",
        """
def answer_3(net, x, steps):
    def rates(x, t):
        W1, b1, W2, b2, W3 = net
        first = np.tanh(x @ W1[:-1] + t * W1[-1] + b1)
        second = np.tanh(first @ W2 + b2)
        matrix = W2 * (W3 @ W1[:-1]).T
        trace = np.sum(((1 - first**2) @ matrix) * (1 - second**2), axis=1)
        return second @ W3, trace

    total, h = np.zeros(len(x)), -1 / steps
    for k in range(steps):
        t = 1 + k * h
        a, trace_a = rates(x, t)
        b, trace_b = rates(x + h / 2 * a, t + h / 2)
        c, trace_c = rates(x + h / 2 * b, t + h / 2)
        d, trace_d = rates(x + h * c, t + h)
        x = x + h / 6 * (a + 2 * b + 2 * c + d)
        total = total + h / 6 * (trace_a + 2 * trace_b + 2 * trace_c + trace_d)
    return total - 0.5 * np.sum(x**2, axis=1) - 0.5 * x.shape[1] * np.log(2 * np.pi)
""",
    ],
    "lab_trainer": [
        """
def answer_1(rng, x):
    z, t = rng.standard_normal(x.shape), rng.random((len(x), 1))
    return t, t * x + (1 - t) * z, x - z
""",
        """
def answer_2(params, t, x_t, u):
    return anp.mean(anp.sum((cnf.velocity(params, t, x_t) - u) ** 2, axis=1))
""",
        """
def answer_3(rng, x, steps):
    def loss(params, t, x_t, u):
        return anp.mean(anp.sum((cnf.velocity(params, t, x_t) - u) ** 2, axis=1))

    gradient, tree_map = value_and_grad(loss), nfref.params.tree_map
    params = cnf.init(rng)
    m = v = tree_map(np.zeros_like, params)
    for k in range(1, steps + 1):
        some = x[rng.integers(len(x), size=256)]
        z, t = rng.standard_normal(some.shape), rng.random((len(some), 1))
        _, g = gradient(params, t, t * some + (1 - t) * z, some - z)
        m = tree_map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = tree_map(lambda v, g: 0.999 * v + 0.001 * g**2, v, g)

        def step(p, m, v):
            return p - 0.01 * m / (1 - 0.9**k) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)

        params = tree_map(step, params, m, v)
    return params
""",
    ],
    "lab_log_determinant": [
        """
def answer_1(layer, z):
    h = 1e-6
    columns = [(layer(z + h * e)[0] - layer(z - h * e)[0]) / (2 * h) for e in np.eye(2)]
    return layer(z)[1] - np.linalg.slogdet(np.stack(columns, axis=2))[1]
""",
        """
answer_2 = "radial"
""",
        """
def answer_3(z):
    r = np.sqrt(np.sum(z**2, axis=1, keepdims=True))
    h = 1 / (1 + r)
    return z * (1 + 0.8 * h), np.log((1 + 0.8 * h**2) * (1 + 0.8 * h))[:, 0]
""",
    ],
}
