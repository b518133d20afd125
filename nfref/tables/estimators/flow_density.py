"""``FlowDensity``: the density of a table as an estimator of scikit-learn."""

import numbers
import sys
import warnings
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from signal import SIGINT
from typing import ClassVar, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from nfref.flow import Flow
from nfref.runtime.annotations import Any, Array, ArrayLike, PathLike, Seed, Sequence
from nfref.runtime.checks import check_count, check_positive, shortened
from nfref.runtime.interrupts import keeping
from nfref.tables.densities.table_density import TableDensity, check_given
from nfref.tables.estimators.predictions import Predictions
from nfref.tables.estimators.validation import Rows, weight_of
from nfref.tables.fitting.fit import fit_table
from nfref.tables.fitting.plan import BUDGET, TableFit, asked_plan
from nfref.tables.fitting.results import CandidateTable, Progress
from nfref.tables.fitting.supports import choose_supports
from nfref.tables.queries import answers
from nfref.tables.queries.scoring import sample_table
from nfref.tables.schema.column_inference import find_columns
from nfref.tables.schema.columns import with_gaps
from nfref.tables.schema.distinct_rows import KEPT_KEYS, as_text, keys_of

Own = TypeVar("Own", bound="FlowDensity")  # a subclass fits and loads itself


@dataclass(eq=False, repr=False)  # scikit-learn has its own
class FlowDensity(Predictions, DensityMixin, BaseEstimator):
    """The density of a table: a linear pool of flows and simpler densities.

    Candidates are Gaussians, of all rows and of each group of labels, mixtures, a wide density, and
    flows from 50 rows on. Held-out rows decide the weights of candidates (Smyth and Wolpert 1997).
    So on held-out rows the pool is at least about as good as the best candidate. The wide density
    is fixed, has heavy tails, and bounds the loss on any row.

    Equal rows are one row with a weight, and the content of rows decides which are held out. So
    neither the order of rows nor repeated rows in place of whole weights changes a bit. Copies of a
    row are held out together, with two exceptions: if all columns are discrete; and if the row is
    at least a tenth of the table and each of its continuous columns has a rounding cell for it.

    Parameters
    ----------
    flow : str or Flow, default "auto"
        The flows to try beside the simple densities. "auto" fits neural spline flows of tanh and
        of relu units and a masked autoregressive flow, and then more of the best kind. "cnf", "fm",
        "iaf", "maf", "naf", "nice", "nsf", "planar" and "realnvp" fit flows of that kind;
        "mixture" and "gaussian" fit none. A Flow needs as many columns as are continuous, with
        the discrete ones as context.
    members : int, optional
        The number of flow candidates. Each has its own initial parameters and orders of columns.
        By default candidates are added as long as their gain is worth its seconds. They come in
        the order that ``flow`` has: ``members=1`` with "auto" is one spline flow of tanh units, and
        the MAF where time is short (:mod:`nfref.tables.fitting.flow_search`).
    effort : {"quick", "default", "thorough"}, default "default"
        How much the fit may cost: about ten seconds, a minute, or as long as it helps, for up to
        5,000 rows of 12 columns; more rows take longer (:mod:`nfref.tables.fitting.effort`).
    columns : dict, optional
        name -> the values that a column can take, for columns whose kind you choose yourself:
        "real", "positive", "LOW:HIGH" (one end may be missing), "period P", "count" or
        "category". Columns of arrays are called "x1", "x2", ... By default, text, truth values
        and categories of a DataFrame, and truth values of an array, are categories if labels
        repeat. Columns of up to 100 distinct whole numbers, each ten times on average, are counts,
        with bounds if many rows hold the least and the largest value, unless you ask for "count".
        All other numbers are real, or positive, or in 0:1 or 0:100, if all their values are and
        held-out scores say so (:mod:`nfref.tables.fitting.supports`): the density is 0 beyond,
        unless you ask for "real". Dates, durations and all else are refused; the message shows
        the line that converts them to numbers (:mod:`nfref.tables.schema.dataframes`). A value that
        many rows share, such as a zero among amounts, has a probability of its own and may lie
        outside the support (:mod:`nfref.tables.schema.repeated_values`).
    given : str or sequence of str, optional
        Columns that are given: the density is log p(others | given); the distribution of given
        columns is not modelled. Rows hold all columns as before; samples and imputed rows need
        the given ones.
    epochs : int, default 200
        The largest number of epochs of each flow.
    batch_size : int, optional
        Rows of a step; by default the number of rows decides.
    learning_rate : float, optional
        The learning rate of Adam. By default it depends on the kind of flow: 5e-3 for "auto" and
        for a Flow. When the training continues with all rows, it starts at four times that rate
        for 250 to 1,250 rows.
    time_budget : float or None, default 600.0
        Seconds for the fit; None sets no limit. Candidates for which no time is left are left out.
        If the limit stops a training, the result depends on the machine, and the messages of
        ``candidates_`` say so. At least one epoch of one flow is trained.
    validation : float, default 0.1
        The share of distinct rows that is held out from 8,000 rows on. Fewer rows are all held
        out in turn, in up to five folds, and each flow is trained once for each fold and then
        continues with all rows.
    random_state : int, Generator, RandomState or None, default None
    verbose : bool, default False
        Show progress and a line for each candidate on standard error.

    Attributes
    ----------
    density_ : nfref.tables.densities.table_density.TableDensity
        The fitted density.
    candidates_ : list of nfref.tables.fitting.results.CandidateResult
        Every candidate, and the pool last: mean log-likelihood of held-out rows, its standard
        error, weight and seconds. It prints as a table.
    columns_ : tuple        The kind of each column.
    weights_ : dict        name -> weight of each candidate.
    n_rows_effective_ : float
        (sum w)^2 / sum w^2.
    n_rows_distinct_, n_rows_held_out_ : int
        Distinct rows, and the number of them that were held out; 0 if all were held out in turn.
    n_features_in_ : int
    feature_names_in_ : (D,) array        Only if the names of all columns are text.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> rows = np.random.default_rng(0).standard_normal((200, 2))
    >>> density = nfref.FlowDensity(random_state=0).fit(rows)
    >>> density.score_samples(rows[:3]).shape, density.sample(5).shape
    ((3,), (5, 2))
    """

    flow: str | Flow = "auto"
    _: KW_ONLY
    members: int | None = None
    effort: str = "default"
    columns: dict[str, Any] | None = None
    given: str | Sequence[str] | None = None
    epochs: int = 200
    batch_size: int | None = None
    learning_rate: float | None = None
    time_budget: float | None = BUDGET
    validation: float = 0.1
    random_state: Seed = None
    verbose: bool = False

    def fit(self: Own, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None) -> Own:
        """Fit to rows.

        Parameters
        ----------
        X : (N, D) array or DataFrame
            At least two different rows. A DataFrame may hold text. Missing cells (NaN, None) are
            sampled several times while simple densities are fitted, and flows are fitted to the
            last sample (:mod:`nfref.tables.fitting.gaps`).
        y : None
            Not used.
        sample_weight : (N,) array, optional
            Weight of each row, 0 or more: a weight of 2 counts as the row twice.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a column has no value, is constant or a linear function of others, or if a weight
            or a parameter does not fit.
        """
        before = dict(self.__dict__)
        try:
            with keeping([SIGINT], twice=True) as signals:
                self._fit(X, sample_weight)
        except BaseException:  # an earlier fit stays whole
            self.__dict__ = before
            raise
        if signals.came:
            warnings.warn(
                f"{type(self).__name__}: interrupted; the fit keeps the candidates so far",
                stacklevel=2,
            )
        return self

    def _fit(self, X, sample_weight):
        plan = self._plan().begun()
        seed = _seed_of(self.random_state)
        names, table, supports, whole, refused = self._first_table(X)
        weight = weight_of(sample_weight, len(table[0]))
        if weight is not None:
            table, weight = [values[weight > 0] for values in table], weight[weight > 0]
        given = check_given(self.given, names)
        columns = find_columns(
            names,
            table,
            supports,
            given=given,
            whole=whole,
            refused=refused,
            warn=lambda text: warnings.warn(text, stacklevel=5),
            weight=weight,
        )
        if self._chooses_supports:
            chosen = choose_supports(columns, table, asked=supports, given=given, weight=weight)
            columns = chosen.columns
            if self.verbose and chosen.notes:
                print(f"supports: {', '.join(chosen.notes)}", file=sys.stderr)
        progress = Progress.on_stderr(self.verbose)
        found = self._found(
            TableFit(columns, table, plan, seed, weight, self.validation, progress, given)
        )
        self._keep(found.density)
        complete = np.flatnonzero(~with_gaps(table))
        if len(complete) <= KEPT_KEYS:
            self._info = {
                "fitted_to": as_text(keys_of(found.density, [values[complete] for values in table]))
            }
        self.candidates_: CandidateTable = CandidateTable(found.tried)
        if self.verbose:
            print(self.candidates_, file=sys.stderr)
        self.n_rows_effective_: float = found.rows
        self.n_rows_distinct_: int = found.distinct
        self.n_rows_held_out_: int = found.held_out
        return self

    _chooses_supports = True  # a subclass may keep columns real

    def _found(self, fit):
        """Return the result of a TableFit; a subclass may do more."""
        return fit_table(fit)

    def _keep(self, density):
        self._info = {}
        self.density_, self.columns_ = density, density.columns
        self.weights_: dict[str, float] = {} if density.pool is None else density.pool.shares

    def _plan(self):
        check_count("epochs", self.epochs)
        if self.batch_size is not None:
            check_count("batch_size", self.batch_size)
        if self.learning_rate is not None:
            check_positive("learning_rate", self.learning_rate)
        if not isinstance(self.validation, numbers.Real) or not 0 < self.validation < 1:
            raise ValueError(
                f"validation: expected a number between 0 and 1, got {shortened(self.validation)}"
            )
        if self.columns is not None and not isinstance(self.columns, Mapping):
            raise TypeError(
                "columns: expected a dictionary, name -> what values a column can "
                f"take, got {shortened(self.columns)}"
            )
        return asked_plan(
            self.flow,
            self.members,
            self.effort,
            self.time_budget,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def score_samples(
        self, X: ArrayLike, *, draws: int | None = None, cells: bool | None = None
    ) -> Array:
        """Return the log-likelihood of every row, in nats and the units of the data.

        With discrete columns it is the log of their probability times the density of the others.
        A value that many rows share, such as a zero among amounts, counts as discrete.
        Rounded columns (two decimals, multiples of 0.005) are dequantised in the fit. Their score
        is the mean density over the cell around each row, the probability of the cell divided by
        its size, in agreement with :meth:`sample`, which rounds. For narrow cells, and for rows
        with gaps, it is the density at the values themselves.

        Few rows are scored by formulas, which need no compilation. For many calls of a few rows
        each, ``with nfref.backend("numba"):`` takes a tenth of the time.

        Parameters
        ----------
        X : (N, D) array or DataFrame
            Rows with missing cells (NaN, None) are scored by the known cells. This is exact if
            the pool holds no flows; otherwise it is a mean over weighted samples, with
            :meth:`standard_errors`.
        draws : int, optional
            Samples for each row with gaps. Without it, 200 if they leave a standard error of at
            most 0.01 nats, and 1,000 otherwise. A score depends neither on other rows nor on a
            random state.
        cells : bool, optional
            True averages all rows over cells, at 16 points; False none. None averages rows
            without gaps if a cell is wider than a quarter of the column's robust standard
            deviation; below, the density at the value itself differs by at most 0.3 % a column.

        Returns
        -------
        (N,) array
            -inf for values that a column cannot take.
        """
        check_is_fitted(self)
        table = self._table(X)
        draws = None if draws is None else check_count("draws", draws, 2)

        def scores(own):
            return answers.log_marginal(self.density_, own, draws).log_prob

        return self.density_.cells.average(table, scores, scores(table), cells)

    def standard_errors(self, X: ArrayLike, *, draws: int | None = None) -> Array:
        """Return the standard error in nats of the score of every row, (N,); 0 if it is exact.

        Samples are spread evenly, so most scores err less. The parameters are those of
        :meth:`score_samples`.
        """
        check_is_fitted(self)
        draws = None if draws is None else check_count("draws", draws, 2)
        return answers.log_marginal(self.density_, self._table(X), draws).error

    def score(self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the mean log-likelihood in nats per row.

        Parameters
        ----------
        X : (N, D) array or DataFrame
        y : None
            Not used.
        sample_weight : (N,) array, optional

        Returns
        -------
        float
        """
        scores = self.score_samples(X)
        weight = weight_of(sample_weight, len(scores))
        if weight is None:
            return float(np.mean(scores))
        used = weight > 0
        return float(np.average(scores[used], weights=weight[used] / np.max(weight)))

    def sample(
        self,
        n_samples: int = 1,
        random_state: Seed = None,
        *,
        given: dict[str, Any] | None = None,
        within: float | None = None,
    ) -> Rows:
        """Sample rows.

        Tails of real columns fall like a power, because the data do not say what lies beyond them.
        So the density has no moments: among many rows one may be at 1e20, and means and variances
        need not converge. Medians and quantiles do. Use ``within`` if you need moments.

        Parameters
        ----------
        n_samples : int, default 1
        random_state : int, Generator, RandomState or None, default None
        given : dict, optional
            name -> value: these columns have these values, and the others are sampled given them.
            All given columns of the density are needed. For a different value in each row, use
            :meth:`impute`.
        within : float, optional
            Sample a row again if a real column with at most one bound is further from its
            median than this many robust standard deviations (interquartile range over 1.349; of
            the logarithm of the distance from a bound).

        Returns
        -------
        (n_samples, D) array, or a DataFrame like the one it was fitted to

        Raises
        ------
        ValueError
            If there is no such column, if it cannot take the value, if a given column of the
            density is missing, or if too few rows are ``within``.
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples, minimum=0)
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(f"given: expected a dictionary, name -> value, got {shortened(given)}")
        rng = np.random.default_rng(_seed_of(random_state))
        within = None if within is None else check_positive("within", within)
        try:
            drawn = sample_table(self.density_, rng, n_samples, given, within)
        except MemoryError:
            raise MemoryError(
                f"n_samples: expected rows that fit into memory, got {n_samples:,}"
            ) from None
        return self._like_data(drawn)

    def impute(self, X: ArrayLike, random_state: Seed = None, draws: int | None = None) -> Rows:
        """Return rows with every missing cell sampled given the other cells.

        The spread of several samples shows how uncertain a cell is. ``draws`` of them take little
        longer than one, because they share their work.

        Parameters
        ----------
        X : (N, D) array or DataFrame
        random_state : int, Generator, RandomState or None, default None
        draws : int, optional
            How many tables to return, as a list; one table if omitted.

        Returns
        -------
        (N, D) array, or a DataFrame like the one it was fitted to, with the index of X; with
        ``draws`` a list of them
        """
        check_is_fitted(self)
        count = 1 if draws is None else check_count("draws", draws)
        table = self._table(X)
        rng = np.random.default_rng(_seed_of(random_state))
        found = answers.imputations(self.density_, table, rng, count)
        tables = [self._like_data(one, X) for one in found]
        return tables[0] if draws is None else tables

    # Files ----------------------------------------------------------------------------------

    _fitted: ClassVar[tuple[str, ...]] = (
        "n_rows_effective_",
        "n_rows_distinct_",
        "n_rows_held_out_",
    )

    def save(self, path: PathLike) -> None:
        """Write the estimator to a model file, which :meth:`load` and ``nfref score`` read.

        The file holds the density, all parameters and all fitted attributes. A generator that is
        ``random_state`` becomes None. Labels of a pandas Categorical that are neither numbers,
        text nor truth values become text.

        Parameters
        ----------
        path : path-like
        """
        from nfref.tables.files.model_file import save_model

        check_is_fitted(self)
        save_model(
            path,
            self.density_,
            columns=getattr(self, "feature_names_in_", None),
            info={**self._info, "estimator": self._described()},
        )

    def _described(self):
        """Return the FittedEstimator."""
        from nfref.tables.files.estimator_records import FittedEstimator
        from nfref.tables.schema.frame_schema import FrameSchema

        parameters = self.get_params(deep=False)
        if self.columns is not None:
            parameters["columns"] = [[*pair] for pair in self.columns.items()]
        if self.given is not None and not isinstance(self.given, str):
            parameters["given"] = [*self.given]
        if not isinstance(self.random_state, numbers.Integral):
            parameters["random_state"] = None
        return FittedEstimator(
            parameters,
            tuple(getattr(self, "candidates_", ())),
            {name: getattr(self, name) for name in self._fitted if hasattr(self, name)},
            None if self._frame is None else FrameSchema.of(self._frame),
            getattr(self, "_measures", None),  # of a FlowOutlierDetector
        )

    @classmethod
    def load(cls: type[Own], path: PathLike, classes: Sequence[type] = ()) -> Own:
        """Return the estimator in a model file, which answers as the saved one did.

        A file of ``nfref fit`` or :func:`nfref.save_model` holds the density alone. A FlowDensity
        is also made from the file of a FlowOutlierDetector.

        Parameters
        ----------
        path : path-like
        classes : sequence of classes
            Your own classes that the file may name, as for :func:`nfref.load_model`.

        Raises
        ------
        nfref.tables.files.model_file.ModelError
            If there is no such file, or if it does not hold the density of a table.
        """
        from nfref.tables.files.estimator_records import FittedEstimator
        from nfref.tables.files.model_file import ModelError, load_model

        model = load_model(path, classes)
        if not isinstance(model.density, TableDensity):
            raise ModelError(
                f"{path}: expected the density of a table, got one of a flow alone "
                "(nfref.load_model reads it)"
            )
        made = cls()
        made._keep(model.density)
        made._frame = None
        made.n_features_in_ = model.density.dim
        if model.columns is not None:
            made.feature_names_in_ = np.array(model.columns, object)
        made._info = {name: one for name, one in model.info.items() if name != "written_by"}
        found = made._info.pop("estimator", None)
        try:
            made._restore(found if isinstance(found, FittedEstimator) else None)
        except ValueError as error:
            raise ModelError(f"{path}: {error}") from None
        return made

    def _restore(self, found):
        """Take over the parameters and attributes of a FittedEstimator, if there is one."""
        if found is None:
            return
        parameters = {**found.parameters}
        if parameters.get("columns") is not None:
            parameters["columns"] = dict(parameters["columns"])
        if found.outliers is not None:  # the file may be that of a subclass
            own = self.get_params(deep=False)
            parameters = {name: value for name, value in parameters.items() if name in own}
        self.set_params(**parameters)
        if found.candidates:
            self.candidates_ = CandidateTable(found.candidates)
        for name in self._fitted:
            if name in found.attributes:
                setattr(self, name, found.attributes[name])
        self._frame = found.frame and found.frame.frame()


def _seed_of(value):
    """Return a seed from a random state; a generator advances."""
    if isinstance(value, np.random.Generator):
        return int(value.integers(2**31 - 1))
    try:
        return int(check_random_state(value).randint(2**31 - 1))
    except ValueError:
        raise ValueError(
            "random_state: expected None, a whole number from 0 to 2^32 - 1, a "
            f"numpy.random.Generator or a numpy.random.RandomState, got {shortened(value)}"
        ) from None
