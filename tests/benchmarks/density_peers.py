"""The densities that :mod:`tests.benchmarks.densities` compares by its protocol.

Each imports its own packages, takes (train, validation, seed, seconds) and returns the function
that fits and scores: test -> (log-likelihoods, remark). Columns are in standardised units.
"""

import time
from functools import partial

import numpy as np

COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
BANDWIDTHS = tuple(0.05 * 1.25 ** np.arange(16))
KERNEL_ROWS = 10_000
EPOCHS, PATIENCE, BATCH, RATE = 1000, 20, 256, 1e-3
LEAST_SPREAD = 0.01  # of a leaf of ARF, where all its rows are equal


def _flow_density(train, validation, seed, seconds, **options):
    import nfref
    from nfref.tables.fitting.plan import BUDGET

    rows = np.concatenate([train, validation])
    options = {"time_budget": max(BUDGET, seconds), **options}  # options may name a smaller one

    def fit(test):
        density = nfref.FlowDensity(random_state=seed, **options).fit(rows)
        scores, members = density.density_.parts(list(test.T))
        others = scores - density.density_.pool.pooled(members)
        members = density.density_.pool.by_name(members) + others[:, None]
        best = int(np.argmax(np.mean(members, axis=0)))
        apart = scores - members[:, best]
        weights = sorted(density.weights_.items(), key=lambda pair: -pair[1])
        return scores, (
            f"best member {density.candidates_[best].name} "
            f"{np.mean(members[:, best]):.3f}, pool "
            f"{np.mean(apart):+.3f} +- {np.std(apart) / np.sqrt(len(apart)):.3f}; "
            + ", ".join(
                f"{100 * weight:.0f} % {name}" for name, weight in weights if weight >= 0.005
            )
        )

    return fit


def warm_up(train, validation, seed, seconds):
    """Compile what is not on disk yet."""
    return _flow_density(train, validation, seed, seconds, epochs=1)


def _before(train, validation, seed, seconds):
    import nfref

    rows = np.concatenate([train, validation])

    def fit(test):
        density = nfref.FlowDensity(random_state=seed).fit(rows)
        return density.score_samples(test), ""

    return fit


def _gaussian(train, validation, seed, seconds):
    rows = np.concatenate([train, validation])
    return lambda test: (_normal(rows, test), "")


def _normal(rows, test):
    from scipy.stats import multivariate_normal

    return multivariate_normal(np.mean(rows, axis=0), np.cov(rows.T)).logpdf(test)


def _mixture(train, validation, seed, seconds):
    from sklearn.mixture import GaussianMixture

    def fit(test):
        tried = [
            GaussianMixture(count, max_iter=500, random_state=seed).fit(train)
            for count in COMPONENTS
            if count <= len(train)
        ]
        best = max(tried, key=lambda one: one.score(validation))
        return best.score_samples(test), f"{best.n_components} components"

    return fit


def _mixture_by_bic(train, validation, seed, seconds):
    from sklearn.mixture import GaussianMixture

    rows = np.concatenate([train, validation])

    def fit(test):
        tried = [
            GaussianMixture(count, max_iter=500, random_state=seed).fit(rows)
            for count in COMPONENTS
            if count <= min(len(rows) // 10, 32)
        ]
        best = min(tried, key=lambda one: one.bic(rows))
        return best.score_samples(test), f"{best.n_components} components"

    return fit


def _kernels(train, validation, seed, seconds):
    from sklearn.model_selection import GridSearchCV, KFold
    from sklearn.neighbors import KernelDensity

    rows = np.random.default_rng(seed).permutation(np.concatenate([train, validation]))

    def fit(test):
        some = rows[:KERNEL_ROWS]
        search = GridSearchCV(KernelDensity(), {"bandwidth": BANDWIDTHS}, cv=KFold(5), refit=False)
        width = search.fit(some).best_params_["bandwidth"]
        width *= (len(rows) / len(some)) ** (-1 / (rows.shape[1] + 4))
        return (
            KernelDensity(bandwidth=width).fit(rows).score_samples(test),
            f"bandwidth {width:.3f}",
        )

    return fit


def _with_gaussian(log_density):
    """Pool with the Gaussian, which gets the weight of one row, because the density has zeros."""

    def contender(train, validation, seed, seconds):
        rows = np.concatenate([train, validation])

        def fit(test):
            scores, remark = log_density(rows, test, seed)
            return (
                np.logaddexp(scores + np.log(len(rows)), _normal(rows, test))
                - np.log(len(rows) + 1)
            ), remark

        return fit

    return contender


@_with_gaussian
def _vine(rows, test, seed):
    from pyvinecopulib import FitControlsVinecop, Vinecop
    from pyvinecopulib.core import Kde1d
    from pyvinecopulib.families import nonparametric

    def uniform(part):
        return np.clip(
            np.stack([one.cdf(column) for one, column in zip(margins, part.T)], axis=1),
            1e-10,
            1 - 1e-10,
        )

    margins = [Kde1d() for _ in rows.T]
    for margin, column in zip(margins, rows.T):
        margin.fit(column)
    vine = Vinecop.from_data(uniform(rows), controls=FitControlsVinecop(nonparametric))
    with np.errstate(divide="ignore"):
        scores = sum(np.log(one.pdf(column)) for one, column in zip(margins, test.T))
        return scores + np.log(vine.pdf(uniform(test))), ""


def adversarial_forest(rows, seed):
    """Return arfpy's forest with its defaults, as leaves: tree -> (share, mean, std, low, high).

    These are (nodes,) and (nodes, D) arrays; the share of a node that is not a leaf is 0.
    """
    import pandas as pd

    if not hasattr(np, "in1d"):  # arfpy 0.1.1 asks for it, NumPy 2.4 lacks it
        np.in1d = np.isin  # noqa: NPY201
    from arfpy import arf

    np.random.seed(seed)  # noqa: NPY002        (it draws from the global state)
    names = [f"x{k}" for k in range(rows.shape[1])]
    model = arf.arf(pd.DataFrame(rows, columns=names), verbose=False, random_state=seed)
    model.forde()
    found = model.params.merge(model.bnds[["tree", "nodeid", "variable", "cvg"]])
    leaves = []
    for number, tree in enumerate(model.clf.estimators_):
        own = found[found.tree == number]
        own = {
            name: own.pivot(index="nodeid", columns="variable", values=name)
            .reindex(index=range(tree.tree_.node_count), columns=names)
            .to_numpy()
            for name in ("cvg", "mean", "sd", "min", "max")
        }
        leaves.append(
            (
                np.nan_to_num(own["cvg"][:, 0]),
                own["mean"],
                np.fmax(own["sd"], LEAST_SPREAD),
                own["min"],
                own["max"],
            )
        )
    return model.clf, leaves


@_with_gaussian
def _adversarial_forest(rows, test, seed):
    import pandas as pd
    from scipy.stats import truncnorm

    forest, leaves = adversarial_forest(rows, seed)
    nodes, by_tree = forest.apply(pd.DataFrame(test, columns=forest.feature_names_in_)), []
    for node, (share, *arrays) in zip(nodes.T, leaves):
        scores, some = np.full(len(test), -np.inf), share[node] > 0
        mean, std, low, high = (array[node[some]] for array in arrays)
        scores[some] = np.log(share[node[some]]) + np.sum(
            truncnorm.logpdf(test[some], (low - mean) / std, (high - mean) / std, mean, std), axis=1
        )
        by_tree.append(scores)
    return np.logaddexp.reduce(by_tree) - np.log(len(by_tree)), ""


def _zuko(kind, transforms, hidden):
    def contender(train, validation, seed, seconds):
        import torch
        import zuko

        def fit(test):
            began = time.perf_counter()
            torch.manual_seed(seed)
            flow = getattr(zuko.flows, kind)(
                train.shape[1], transforms=transforms, hidden_features=hidden
            )
            optimiser = torch.optim.Adam(flow.parameters(), lr=RATE)
            rows, held_out, test = (
                torch.from_numpy(part.astype(np.float32)) for part in (train, validation, test)
            )
            best, kept, since, remark = -np.inf, None, 0, ""
            for epoch in range(EPOCHS):
                for batch in torch.randperm(len(rows)).split(BATCH):
                    loss = -flow().log_prob(rows[batch]).mean()
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                with torch.no_grad():
                    score = float(flow().log_prob(held_out).mean())
                since += 1
                if score > best:
                    best, since = score, 0
                    kept = {name: value.clone() for name, value in flow.state_dict().items()}
                remark = f"{epoch + 1} epochs"
                if since >= PATIENCE:
                    break
                if time.perf_counter() - began > seconds:
                    remark += ", cut"
                    break
            flow.load_state_dict(kept)
            with torch.no_grad():
                return flow().log_prob(test).double().numpy(), remark

        return fit

    return contender


def _single_maf(train, validation, seed, seconds):
    import nfref

    density = nfref.Density(nfref.MAF(train.shape[1], 5, (128, 128)))

    def fit(test):
        rng = np.random.default_rng(seed)
        found = nfref.fit(
            density,
            density.init(rng),
            train.astype(np.float32),
            rng,
            validation=validation.astype(np.float32),
            epochs=200,
            progress=False,
        )
        return density.log_prob(found.params, test), found.message

    return fit


def _denmarf(train, validation, seed, seconds):
    from denmarf import DensityEstimate

    rows = np.random.default_rng(seed).permutation(np.concatenate([train, validation]))
    shares = {"p_train": 0.8, "p_test": 0.1, "verbose": False}

    def fit(test):
        start = time.perf_counter()
        DensityEstimate(seed=seed, use_cuda=False).fit(rows, num_epochs=2, **shares)
        epochs = int(min(1000, max(1, 2 * seconds / (time.perf_counter() - start))))
        found = DensityEstimate(seed=seed, use_cuda=False).fit(rows, num_epochs=epochs, **shares)
        return found.score_samples(test), f"{epochs} epochs" + (", cut" if epochs < 1000 else "")

    return fit


CONTENDERS = {
    "FlowDensity": _flow_density,
    "quick": partial(_flow_density, effort="quick"),
    "thorough": partial(_flow_density, effort="thorough"),
    "5 s": partial(_flow_density, time_budget=5.0),
    "15 s": partial(_flow_density, time_budget=15.0),
    "before": _before,
    "gaussian": _gaussian,
    "mixture": _mixture,
    "mixture, BIC": _mixture_by_bic,
    "kernels": _kernels,
    "vine": _vine,
    "ARF": _adversarial_forest,
    "zuko NSF": _zuko("NSF", 5, (128, 128)),
    "zuko NSF, small": _zuko("NSF", 3, (64, 64)),
    "zuko MAF": _zuko("MAF", 5, (128, 128)),
    "denmarf": _denmarf,
    "single MAF": _single_maf,
}
NEEDS = {
    "vine": "pyvinecopulib",
    "ARF": "arfpy",
    "zuko NSF": "zuko",
    "zuko NSF, small": "zuko",
    "zuko MAF": "zuko",
    "denmarf": "denmarf",
}
