"""``Posterior``: the density of parameters, from samples of it or from simulations.

    from samples       theta_i ~ p(theta | data), a chain or weighted samples;   q(theta) ~ p
    from simulations   theta_i ~ prior, x_i ~ p(x | theta_i);    q(theta | x) ~ p(theta | x)

q is a pool of flows and simpler densities, as :class:`nfref.FlowDensity` fits it. Each bounded
parameter passes through the logit of its interval before any flow sees it. So q is 0 beyond the
bounds and has its whole mass within: no sample is rejected, and no correction is needed.

Sources: Papamakarios and Murray 2016, arXiv:1605.06376, for a conditional density that is fitted to
simulations (neural posterior estimation).
"""

import warnings
from dataclasses import replace

import numpy as np

from nfref.diagnostics import evidence
from nfref.diagnostics.evidence import Evidence
from nfref.flow import Flow
from nfref.runtime.annotations import Any, Array, ArrayLike, Callable, Mapping, PathLike, Sequence
from nfref.runtime.checks import check_count, check_finite_rows, shortened
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.estimators import posterior_maps, posterior_rows
from nfref.tables.estimators.posterior_checks import Calibration, target_values, with_insurance
from nfref.tables.estimators.posterior_fit import fit_density, fit_options
from nfref.tables.files.estimator_records import PosteriorRecord
from nfref.tables.fitting.plan import BUDGET
from nfref.tables.fitting.results import CandidateTable
from nfref.tables.schema.columns import as_numbers, is_frame

MOMENT_DRAWS = 2**14
FEWEST_TESTS = 50  # simulations of a calibration
FAR = 0.5  # interquartile ranges beyond all simulations from which an observation is far outside


class Posterior:
    """The density of parameters given data, made by one of three class methods.

    :meth:`from_samples` takes samples of one posterior, :meth:`from_simulations` pairs of
    parameters and simulated data, and :meth:`load` a file. A posterior from simulations answers
    for the observation that you pass to :meth:`given`.

    Attributes
    ----------
    names : list of str
        The names of the parameters.
    dim : int
        The number of parameters.
    observed_names : list of str
        The names of the columns of an observation; empty for a posterior from samples.
    observed : (C,) array or None
        The observation that it is given.
    samples : (N, D) array or None
        The samples that it was fitted to.
    effective_size : float
        The number of independent samples that they are worth (Geyer 1992), or of simulations.
    candidates : list of nfref.tables.fitting.results.CandidateResult
        The members of the pool with their held-out scores; it prints as a table.
    density : nfref.tables.densities.table_density.TableDensity
        The density of the parameters, given the columns of an observation if there are any.

    Examples
    --------
    >>> import numpy as np
    >>> import nfref
    >>> rng = np.random.default_rng(0)
    >>> theta = rng.random((500, 1))                                # from the prior
    >>> x = theta + 0.1 * rng.standard_normal((500, 1))             # simulated
    >>> posterior = nfref.Posterior.from_simulations(
    ...     theta, x, bounds=[(0, 1)], flow="mixture")
    >>> found = posterior.given([0.5])
    >>> found.rvs(3, random_state=0).shape
    (3, 1)
    >>> bool(abs(found.mean()[0] - 0.5) < 0.05)
    True
    """

    def __init__(self, density: TableDensity, record: PosteriorRecord) -> None:
        if density.pool is None:
            raise ValueError("density: expected one of real columns, got one without")
        self.density, self._pool, self._record = density, density.pool, record
        self.observed_names = [*density.given]
        self.names = [column.name for column in density.columns if column.name not in density.given]
        self.dim = len(self.names)
        self.observed, self.samples = record.observed, record.samples
        self.effective_size = record.effective
        self.candidates = CandidateTable(record.candidates)

    # Fits -----------------------------------------------------------------------------------

    @classmethod
    def from_samples(
        cls,
        samples: ArrayLike,
        names: Sequence[str] | None = None,
        *,
        weights: Array | None = None,
        bounds: posterior_rows.Bounds = None,
        flow: str | Flow = "auto",
        members: int | None = None,
        effort: str = "default",
        time_budget: float | None = BUDGET,
        random_state: int = 0,
        verbose: bool = False,
    ) -> "Posterior":
        """Fit to samples of a posterior.

        Parameters
        ----------
        samples : (N, D) array, (chains, N, D) array or DataFrame
            In the order of the chain: stretches of the chain are held out, since a sample
            resembles its neighbours.
        names : sequence of str, optional
            The names of the parameters; by default those of the DataFrame, or "theta1",
            "theta2", ...
        weights : (N,) array, optional
            Whole numbers count repeated rows of a chain. Others are importance weights of
            independent samples, such as those of nested sampling.
        bounds : dict or (D, 2) array, optional
            name -> (low, high), with None for an end without bound; or a pair for each parameter.
        flow, members, effort, time_budget
            As for :class:`nfref.FlowDensity`.
        random_state : int
        verbose : bool
            Show progress and a line for each candidate on standard error.

        Returns
        -------
        Posterior

        Raises
        ------
        ValueError, TypeError
            If there are no more samples than parameters, if the effective size is below 50, if a
            parameter has one value or a sample lies outside of the bounds, and so on.
        """
        names, record = posterior_rows.record_of_samples(samples, names, weights)
        asked = dict(flow=flow, members=members, effort=effort, time_budget=time_budget)
        options = fit_options(names, bounds, random_state, **asked)
        rows, block = record.samples, record.block
        posterior_rows.check_inside("samples", rows, names, options["supports"])
        fitted = fit_density(
            options, names, rows, weights=record.weights, block=block, verbose=verbose
        )
        record = replace(record, options=options, candidates=tuple(fitted.tried))
        return cls(fitted.density, record)

    @classmethod
    def from_simulations(
        cls,
        theta: ArrayLike,
        x: ArrayLike,
        *,
        names: Sequence[str] | None = None,
        bounds: posterior_rows.Bounds = None,
        flow: str | Flow = "auto",
        members: int | None = None,
        effort: str = "default",
        time_budget: float | None = BUDGET,
        random_state: int = 0,
        verbose: bool = False,
    ) -> "Posterior":
        """Fit the density of parameters given data to simulations (neural posterior estimation).

        Parameters
        ----------
        theta : (N, D) array or DataFrame
            Parameters, sampled from the prior.
        x : (N, C) array or DataFrame
            The data that were simulated with each. Simulations with NaN or infinity failed: they
            are left out, with a warning that counts them.
        names : sequence of str, optional
            The names of the parameters; by default those of the DataFrame, or "theta1",
            "theta2", ...
        bounds : dict or (D, 2) array, optional
            The bounds of the prior, as in :meth:`from_samples`.
        flow, members, effort, time_budget, random_state, verbose
            As in :meth:`from_samples`.

        Returns
        -------
        Posterior
            :meth:`given` makes it that of one observation.

        Raises
        ------
        ValueError, TypeError
            As :meth:`from_samples`; or if theta and x differ in length.
        """
        found = posterior_rows.Simulations.of(theta, x, names)
        asked = dict(flow=flow, members=members, effort=effort, time_budget=time_budget)
        options = fit_options(found.names, bounds, random_state, **asked)
        posterior_rows.check_inside("theta", found.theta, found.names, options["supports"])
        if found.failed:
            warnings.warn(
                f"from_simulations: {found.failed:,} of {found.failed + len(found.x):,} "
                "simulations failed (NaN or infinity) and are left out",
                stacklevel=2,
            )
        record = PosteriorRecord(options, effective=float(len(found.x)), seen=found.seen)
        fitted = fit_density(
            options,
            [*found.names, *found.observed_names],
            np.concatenate([found.theta, found.x], axis=1),
            given=found.observed_names,
            verbose=verbose,
        )
        return cls(fitted.density, replace(record, candidates=tuple(fitted.tried)))

    def given(self, observed: ArrayLike | Mapping[str, float]) -> Any:
        """Return the posterior given an observation, or a list of them given several.

        Parameters
        ----------
        observed : (C,) array, (M, C) array, DataFrame, or dict by name
            Values of the columns of ``x``. A warning says which of them are far outside of the
            simulations: more than half an interquartile range.

        Returns
        -------
        Posterior or list of Posterior
        """
        if not self.observed_names:
            raise ValueError("given: expected a posterior from simulations, got one from samples")
        if is_frame(observed):
            observed = _frame_rows("observed", observed, self.observed_names)
        elif isinstance(observed, Mapping):
            for name in self.observed_names:
                if name not in observed:
                    raise ValueError(f"observed: expected {name!r}, got {shortened([*observed])}")
            observed = [observed[name] for name in self.observed_names]
        rows = posterior_rows.real_array("observed", observed)
        width = len(self.observed_names)
        if rows.shape[-1:] != (width,) or rows.ndim > 2:
            raise ValueError(
                f"observed: expected shape ({width},) or (M, {width}), got {rows.shape}"
            )
        check_finite_rows("observed", np.atleast_2d(rows))
        found = [self._given(row) for row in np.atleast_2d(rows)]
        return found if rows.ndim == 2 else found[0]

    def _given(self, row):
        """Return the posterior given an observation (C,)."""
        low, high, spread = self._record.seen
        beyond = np.maximum(low - row, row - high) / np.where(spread > 0, spread, 1.0)
        far = [
            f"{self.observed_names[k]} = {row[k]:g} is {beyond[k]:.1f} interquartile ranges "
            f"beyond {low[k]:g} to {high[k]:g}"
            for k in np.flatnonzero(beyond > FAR)
        ]
        if far:
            warnings.warn(
                f"observed: far outside of the simulations: {'; '.join(far)}", stacklevel=4
            )
        return Posterior(self.density, replace(self._record, observed=row))

    # Answers --------------------------------------------------------------------------------

    def logpdf(self, t: ArrayLike) -> Any:
        """Return the log-density at parameters, in nats; -inf beyond the bounds.

        For many calls of a few rows each, ``with nfref.backend("numba"):`` takes a tenth of the
        time.

        Parameters
        ----------
        t : (D,) array, (N, D) array, or DataFrame

        Returns
        -------
        float for one row of shape (D,), otherwise (N,) array
        """
        rows, alone = self._rows(t)
        found = self.density.log_prob(self._table(rows))
        return float(found[0]) if alone else found

    def pdf(self, t: ArrayLike) -> Any:
        """Return the density at parameters; see :meth:`logpdf`."""
        return np.exp(self.logpdf(t))

    def rvs(self, size: int = 1, random_state: int | np.random.Generator | None = None) -> Array:
        """Sample parameters.

        Parameters
        ----------
        size : int
        random_state : int, Generator or None

        Returns
        -------
        (size, D) array
            All within the bounds.
        """
        check_count("size", size, minimum=0)
        rng = np.random.default_rng(random_state)
        return self._decoded(self._pool.sample(rng, size, self._context(size)))

    def mean(self) -> Array:
        """Return the mean, (D,), from 2^14 samples with a fixed seed."""
        return np.mean(self.rvs(MOMENT_DRAWS, 0), axis=0)

    def cov(self) -> Array:
        """Return the covariance, (D, D), from 2^14 samples with a fixed seed."""
        return np.atleast_2d(np.cov(self.rvs(MOMENT_DRAWS, 0), rowvar=False))

    def marginal(self, names: str | Sequence[str], draws: int = 10_000) -> "Posterior":
        """Return the posterior of some parameters, which is fitted to samples of this one.

        Parameters
        ----------
        names : str or sequence of str
        draws : int
            Samples to fit to.
        """
        chosen = [names] if isinstance(names, str) else [*names]
        unknown = [name for name in chosen if name not in self.names]
        if unknown or not chosen:
            raise ValueError(
                f"names: expected some of {', '.join(self.names)}, got {shortened(names)}"
            )
        options = {**self._record.options}
        supports = options.pop("supports")
        rows = self.rvs(check_count("draws", draws, 100), options["random_state"])
        return Posterior.from_samples(
            np.random.default_rng(0).permutation(rows)[:, [self.names.index(n) for n in chosen]],
            chosen,
            bounds={name: supports[name] for name in chosen if supports[name] != "real"},
            **options,
        )

    def _rows(self, t):
        """Return (rows (N, D), whether ``t`` is a single one)."""
        if is_frame(t):
            return _frame_rows("t", t, self.names), False
        rows = posterior_rows.real_array("t", t)
        shape = rows.shape
        alone = shape in ((), (self.dim,))
        if rows.ndim < 2:
            rows = rows.reshape(-1, 1) if self.dim == 1 else np.atleast_2d(rows)
        if rows.ndim != 2 or rows.shape[1] != self.dim:
            raise ValueError(f"t: expected shape ({self.dim},) or (N, {self.dim}), got {shape}")
        if np.any(np.isnan(rows)):
            raise ValueError("t: expected numbers, got NaN")
        return rows, alone

    def _table(self, rows):
        """Return the columns' values of parameters (N, D) beside the observation."""
        return [*rows.T, *(np.full(len(rows), value) for value in self._observation())]

    def _observation(self):
        """Return the observation (C,), if one is needed."""
        if not self.observed_names:
            return np.zeros(0)
        if self._record.observed is None:
            raise ValueError(
                "Posterior: expected an observation first, got none; posterior.given(observed) "
                "answers for one"
            )
        return self._record.observed

    def _context(self, rows):
        """Return the context of the observation for a number of rows, (N, C), or None."""
        if not self.observed_names:
            return None
        return np.repeat(self._context_of(self._observation()[None]), rows, axis=0)

    def _context_of(self, observed):
        """Return the context of the pool for observations (M, C)."""
        names = self.observed_names
        codes = [
            column.encode(as_numbers(column.name, observed[:, names.index(column.name)]))
            for column in self.density.coded_columns
        ]
        return self.density.context(np.stack([u for u, _ in codes], axis=1))

    def _decoded(self, u):
        """Return the parameters (N, D) of rows of the pool."""
        columns = [self.density.columns[k] for k in self.density.places[1]]
        return np.stack([column.decode(own) for column, own in zip(columns, u.T)], axis=1)

    # Evidence and weights -------------------------------------------------------------------

    def log_evidence(
        self, log_target: Callable[[Array], Any], *, draws: int = 10_000, random_state: int = 0
    ) -> Evidence:
        """Return the evidence, log of the integral of p~, with its verdict.

        Importance sampling: ``draws`` of this density, and of a wide one for one in ten, are
        weighted. Other estimates are those of :mod:`nfref.diagnostics`.

        Parameters
        ----------
        log_target : callable
            log p~: (N, D) array -> (N,) array.
        draws : int
        random_state : int

        Returns
        -------
        nfref.diagnostics.evidence.Evidence
            ``value``, ``error``, ``effective``, ``pareto_k``, ``believable``; as text it begins
            with "cannot tell" where it is not believable.
        """
        check_count("draws", draws, 100)
        proposal = Posterior(with_insurance(self.density), self._record)
        rows = proposal.rvs(draws, np.random.default_rng(random_state))
        log_weights = target_values(log_target, rows) - proposal.logpdf(rows)
        return evidence.importance_sampling(log_weights)

    def reweight(
        self,
        new_log_prior: Callable[[Array], Any],
        old_log_prior: Callable[[Array], Any] | None = None,
        draws: int = 10_000,
    ) -> tuple[Array, Evidence]:
        """Return weights that turn this posterior into that under another prior.

        Parameters
        ----------
        new_log_prior : callable
            (N, D) array -> (N,) array.
        old_log_prior : callable, optional
            The prior that the posterior was found with; flat if omitted.
        draws : int
            How many samples to weigh if the posterior has no ``samples`` of its own:
            ``rvs(draws, random_state=0)``.

        Returns
        -------
        weights : (N,) array
            The weights of ``samples``, with sum 1.
        evidence : nfref.diagnostics.evidence.Evidence
            ``value`` is the log of the new evidence over the old one. If it is not
            ``believable``, neither are the weights.
        """
        record = self._record
        rows = self.rvs(draws, 0) if self.samples is None else self.samples
        log_weights = target_values(new_log_prior, rows, "new_log_prior")
        if old_log_prior is not None:
            log_weights = log_weights - target_values(old_log_prior, rows, "old_log_prior")
        if record.weights is not None:
            log_weights = log_weights + np.log(record.weights / np.mean(record.weights))
        found = evidence.importance_sampling(
            log_weights, size=record.effective if record.chains else None
        )
        shares = np.exp(log_weights - np.max(log_weights))
        return shares / np.sum(shares), found

    def calibration(
        self, theta: ArrayLike, x: ArrayLike, draws: int = 99, random_state: int = 0
    ) -> Calibration:
        """Test a posterior from simulations on other simulations.

        Parameters
        ----------
        theta : (M, D) array or DataFrame
            At least 50 parameters, sampled from the prior and not fitted to.
        x : (M, C) array or DataFrame
            The data that were simulated with each.
        draws : int, default 99
            Samples for each; 10 has to divide ``draws + 1``.
        random_state : int

        Returns
        -------
        Calibration
        """
        if not self.observed_names:
            raise ValueError(
                "calibration: expected a posterior from simulations, got one from samples"
            )
        _, theta = posterior_rows.named_rows("theta", theta, self.names, "theta")
        if is_frame(x):
            x = _frame_rows("x", x, self.observed_names)
        x = posterior_rows.real_array("x", x)
        width = len(self.observed_names)
        if x.shape != (len(theta), width):
            raise ValueError(f"x: expected shape ({len(theta)}, {width}), got {x.shape}")
        check_finite_rows("theta", theta)
        check_finite_rows("x", x)
        if len(theta) < FEWEST_TESTS:
            raise ValueError(f"theta: expected at least {FEWEST_TESTS} rows, got {len(theta)}")
        rng = np.random.default_rng(random_state)
        context = self._context_of(x)
        repeated = np.repeat(context, check_count("draws", draws), axis=0)
        drawn = self._decoded(self._pool.sample(rng, len(repeated), repeated))
        scores = [
            self.density.log_prob([*rows.T, *np.repeat(x, times, axis=0).T])
            for rows, times in ((theta, 1), (drawn, draws))
        ]
        measures = np.column_stack([theta, scores[0]]), np.column_stack([drawn, scores[1]])
        ranks = np.sum(measures[1].reshape(len(theta), draws, -1) < measures[0][:, None], axis=1)
        return Calibration.of(self.names, ranks, draws)

    # Gradients and noise --------------------------------------------------------------------

    def grad_logpdf(self, t: ArrayLike) -> Array:
        """Return the gradient of :meth:`logpdf`, (D,) or (N, D), within the bounds."""
        rows, alone = self._rows(t)
        posterior_rows.check_inside("t", rows, self.names, self._record.options["supports"])
        table = self._table(rows)
        _, u, _ = self.density.encode(table)
        gradient = posterior_maps.log_prob_gradient(self._pool, u, self._context(len(rows)))
        for place, k in enumerate(self.density.places[1]):
            slope, own = self.density.columns[k].slopes(table[k])
            gradient[:, place] = gradient[:, place] * slope + own
        return gradient[0] if alone else gradient

    def prior_transform(self, u: ArrayLike) -> Array:
        """Return the parameters at points of the unit cube: uniform points become samples.

        So this posterior can be the prior of a nested sampler. The first coordinate also chooses
        the member of the pool (:mod:`nfref.tables.estimators.posterior_maps`).

        Parameters
        ----------
        u : (D,) or (N, D) array
            In [0, 1].

        Returns
        -------
        (D,) or (N, D) array
        """
        cube, alone = self._rows(u)
        if not np.all((cube >= 0) & (cube <= 1)):
            raise ValueError(f"u: expected numbers in [0, 1], got {shortened(cube)}")
        context = self._context(len(cube))
        found = self._decoded(posterior_maps.from_unit_cube(self._pool, cube, context))
        return found[0] if alone else found

    # Pictures and files ---------------------------------------------------------------------

    def plot(self, path: PathLike, other: "Posterior | None" = None, draws: int = 5000) -> None:
        """Write a picture of each pair of parameters: samples beside those of another posterior.

        Parameters
        ----------
        path : path-like
            Its suffix decides the format.
        other : Posterior, optional
            With the same parameters. Without it, the samples that this one was fitted to.
        draws : int
        """
        from nfref import plots

        own = self.rvs(draws, 0)
        if other is None:
            rows, labels = self.samples, ("fitted to", "samples")
            if rows is not None and self._record.weights is not None:
                shares = self._record.weights / np.sum(self._record.weights)
                rows = rows[np.random.default_rng(0).choice(len(rows), draws, p=shares)]
        else:
            if not isinstance(other, Posterior) or other.names != self.names:
                raise ValueError(
                    f"other: expected a Posterior of {', '.join(self.names)}, got "
                    f"{shortened(getattr(other, 'names', other))}"
                )
            rows, labels = other.rvs(draws, 1), ("other", "this")
        plots.save(plots.corner(rows, own, self.names, labels=labels), path)

    def save(self, path: PathLike) -> None:
        """Write a model file, which :meth:`load` reads."""
        from nfref.tables.files.model_file import save_model

        names = [column.name for column in self.density.columns]
        save_model(path, self.density, columns=names, info={"posterior": self._record})

    @classmethod
    def load(cls, path: PathLike) -> "Posterior":
        """Return the posterior in a model file, which answers as the saved one did.

        Raises
        ------
        nfref.tables.files.model_file.ModelError
            If there is no such file, or if it does not hold a posterior.
        """
        from nfref.tables.files.model_file import ModelError, load_model

        model = load_model(path)
        record = model.info.get("posterior")
        if not isinstance(record, PosteriorRecord):
            raise ModelError(f"{path}: expected a posterior, got a model without one")
        return cls(model.density, record)

    def __repr__(self) -> str:
        return f"Posterior of {', '.join(self.names)}, {self._record.summary}"


# Arguments --------------------------------------------------------------------------------


def _frame_rows(name, frame, names):
    """Return the columns of a DataFrame by name, (N, D)."""
    found, rows = posterior_rows.named_rows(name, frame, None, "x")
    missing = [one for one in names if one not in found]
    if missing:
        raise ValueError(f"{name}: expected a column {missing[0]!r}, got {shortened(found)}")
    return rows[:, [found.index(one) for one in names]]
