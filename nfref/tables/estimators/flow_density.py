"""The density of a table as an estimator of scikit-learn."""

import numbers
import sys
import warnings
from collections.abc import Mapping

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from nfref.flow import Flow
from nfref.runtime.annotations import Any, Array, PathLike, Sequence
from nfref.runtime.checks import check_count, check_positive, shortened
from nfref.tables.densities.table_density import (
    TableDensity,
    cell_average,
    check_given,
    sample_within,
)
from nfref.tables.estimators.predictions import Predictions
from nfref.tables.estimators.validation import weight_of
from nfref.tables.fitting.flow_kinds import FLOWS
from nfref.tables.fitting.gaps import fit_incomplete_table
from nfref.tables.fitting.plan import BUDGET, Plan
from nfref.tables.fitting.results import CandidateTable
from nfref.tables.fitting.row_fingerprints import KEPT_KEYS, as_text, keys_of
from nfref.tables.queries import missing_cells
from nfref.tables.schema.column_inference import find_columns
from nfref.tables.schema.columns import is_missing

CHOICES = ("auto", "gaussian", "mixture", *FLOWS)
MOST_MEMBERS = 1000


class FlowDensity(Predictions, DensityMixin, BaseEstimator):
    """The density of a table, by flows and simpler densities in a linear pool.

    A few candidates are fitted: a Gaussian, mixtures, a wide density, and flows from 50 rows on;
    with ``pip install nfref[vines]`` a vine copula too (:mod:`nfref.tables.densities.vine`), of 2
    to 12 columns where weights are whole numbers. The rows that are held out say what each weighs
    (Smyth and Wolpert 1997). So the answer is about as good as the best of them, on few rows as
    well as on many, and no row costs more than the wide density says.

    Equal rows are one row with a weight, and the rows that are held out are chosen by their
    content: copies never fall into different parts, whole weights give the same bits as repeated
    rows, and so does any order of rows.

    Parameters
    ----------
    flow : str or Flow, default "auto"
        What is tried besides the simple densities. "auto" fits neural spline flows of tanh and
        of relu units and a masked autoregressive flow, and then more of the best; "cnf", "fm",
        "iaf", "maf", "naf", "nice", "nsf", "planar" and "realnvp" are flows of that kind;
        "mixture" and "gaussian" no flow at all. A flow has to be one of as many columns as are
        continuous, with the discrete ones as context.
    members : int, default 4
        How many flows, each with a start and orders of its own.
    columns : dict, optional
        name -> what values a column can take, for those that shall not be guessed: "real",
        "positive", "LOW:HIGH" (either may be missing), "period P", "count" or "category". The
        columns of arrays are called "x1", "x2", ... Without a word, text, truth values and
        categories of a DataFrame are categories, where labels repeat; its columns of whole
        numbers, up to 100 different ones and each there ten times on average, are counts; all
        other numbers are real. Dates, durations and all else are refused, with the line that
        makes numbers of them (:mod:`nfref.tables.schema.dataframes`).
    given : str or sequence of str, optional
        Columns that are given: the density is that of the others given these, log p(others |
        given), and no word is lost on how these are distributed. Rows hold all columns as before;
        what is drawn or imputed needs the given ones.
    epochs : int, default 200
        At most so many for each flow.
    batch_size : int, optional
        Rows a step; by default as fits the number of rows.
    learning_rate : float, optional
        Of Adam; by default as the kind of flow has it, 5e-3 for "auto" and for a flow, and four
        times that where flows of 250 to 1,250 rows go on with all of them.
    time_budget : float or None, default 600.0
        Seconds for all flows together; None sets no limit. What is found depends on the machine
        where it cuts a training, which the messages of ``candidates_`` say. At least one epoch of
        one flow is done.
    validation : float, default 0.1
        The share of distinct rows that is held out, of 5,000 and more. Fewer are all held out by
        turns, in five folds, or three of 2,500 and more, and of each kind of flow as many are
        trained. Once they have said what a flow weighs it goes on with all rows, unless it is the
        only one.
    random_state : int, RandomState instance or None, default None
    verbose : bool, default False
        Show on standard error what is tried, how far it is, and a line for each candidate.
    n_jobs : int, optional
        How many flows are trained at once, by joblib: in processes of this machine, or on what
        ``joblib.parallel_config`` says (Dask, Ray). -1 is as many as there are processors. The
        bits are the same. None is one, unless ``parallel_config`` says more.

    Attributes
    ----------
    density_ : nfref.tables.densities.table_density.TableDensity
        What was found.
    candidates_ : list of nfref.tables.fitting.results.CandidateResult
        Every member, and the pool last: mean log-likelihood of the rows held out, its standard
        error, weight and seconds. Printed, it is a table.
    columns_ : tuple
        What each column was taken for.
    weights_ : dict
        name -> weight of the members of the pool.
    n_rows_effective_ : float
        (sum w)^2 / sum w^2.
    n_features_in_ : int
    feature_names_in_ : (D,) array
        Only where the names of all columns are text.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> rows = np.random.default_rng(0).standard_normal((200, 2))
    >>> density = nfref.FlowDensity(random_state=0).fit(rows)
    >>> density.score_samples(rows[:3]).shape, density.sample(5).shape
    ((3,), (5, 2))
    """

    def __init__(
        self,
        flow: str | Flow = "auto",
        *,
        members: int = 4,
        columns: dict[str, Any] | None = None,
        given: str | Sequence[str] | None = None,
        epochs: int = 200,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        time_budget: float | None = BUDGET,
        validation: float = 0.1,
        random_state: Any = None,
        verbose: bool = False,
        n_jobs: int | None = None,
    ) -> None:
        self.flow = flow
        self.members = members
        self.columns = columns
        self.given = given
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.time_budget = time_budget
        self.validation = validation
        self.random_state = random_state
        self.verbose = verbose
        self.n_jobs = n_jobs

    def fit(self, X: Array, y: None = None, sample_weight: Array | None = None) -> "FlowDensity":
        """Fit to rows.

        Parameters
        ----------
        X : (N, D) array or DataFrame
            At least two rows that differ. A DataFrame may hold text. Cells may be missing (NaN,
            None): they are drawn anew while the simple densities are fitted, and the flows learn
            from the last draw (:mod:`nfref.tables.fitting.gaps`).
        y : None
            Not used.
        sample_weight : (N,) array, optional
            What each row counts, 0 or more: twice as much is the row twice.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a column has no value, is constant or a linear function of others, or a weight or
            a parameter does not fit.
        """
        before = dict(self.__dict__)
        try:
            return self._fit(X, sample_weight)
        except BaseException:  # what was fitted before stays whole
            self.__dict__ = before
            raise

    def _fit(self, X, sample_weight=None, callback=None, announce=None):
        plan = self._plan(callback)
        random = _random_state(self.random_state)
        names, table, supports, whole = self._first_table(X)
        weight = weight_of(sample_weight, len(table[0]))
        if weight is not None:
            table, weight = [values[weight > 0] for values in table], weight[weight > 0]
        seed = int(random.randint(2**31 - 1))
        options = {
            "weight": weight,
            "validation": self.validation,
            "given": check_given(self.given, names),
            "announce": announce or self._announce,
        }
        columns = find_columns(
            names,
            table,
            supports,
            given=options["given"],
            whole=whole,
            warn=lambda text: warnings.warn(text, stacklevel=5),
        )
        found = self._found(columns, table, plan, seed, options)
        self._keep(found.density)
        whole = np.flatnonzero(~np.any([is_missing(values) for values in table], axis=0))
        if len(whole) <= KEPT_KEYS:
            self._info = {
                "fitted_to": as_text(keys_of(found.density, [values[whole] for values in table]))
            }
        self.candidates_ = CandidateTable(found.tried)
        if self.verbose:
            print(self.candidates_, file=sys.stderr)
        self.n_rows_effective_ = found.rows
        self.n_rows_distinct_, self.n_rows_held_out_ = found.distinct, found.held_out
        return self

    def _found(self, columns, table, plan, seed, options):
        """What the fit of a table finds."""
        return fit_incomplete_table(columns, table, plan, seed, **options)

    def _keep(self, density):
        self._info = {}
        self.density_, self.columns_ = density, density.columns
        self.weights_ = {} if density.pool is None else density.pool.shares

    def _plan(self, callback):
        if not (isinstance(self.flow, Flow) or isinstance(self.flow, str) and self.flow in CHOICES):
            raise ValueError(
                f"flow: expected one of {', '.join(CHOICES)} or a Flow, got {shortened(self.flow)}"
            )
        if check_count("members", self.members, minimum=0) > MOST_MEMBERS:
            raise ValueError(f"members: expected at most {MOST_MEMBERS}, got {self.members}")
        check_count("epochs", self.epochs)
        if self.batch_size is not None:
            check_count("batch_size", self.batch_size)
        for name in ("learning_rate", "time_budget"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        if not isinstance(self.validation, numbers.Real) or not 0 < self.validation < 1:
            raise ValueError(
                f"validation: expected a number between 0 and 1, got {shortened(self.validation)}"
            )
        if self.columns is not None and not isinstance(self.columns, Mapping):
            raise TypeError(
                "columns: expected a dictionary, name -> what values a column can "
                f"take, got {shortened(self.columns)}"
            )
        return Plan(
            self.flow,
            self.members,
            self.epochs,
            self.batch_size,
            self.learning_rate,
            self.time_budget,
            bool(self.verbose),
            callback,
            jobs=_jobs(self.n_jobs),
        )

    def _announce(self, name):
        if self.verbose:
            from tqdm import tqdm

            tqdm.write(f"trying {name}")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def score_samples(
        self,
        X: Array,
        return_spread: bool = False,
        return_error: bool = False,
        draws: int = 1000,
        return_effective: bool = False,
        cells: bool | None = None,
    ) -> Any:
        """Log-likelihood of every row, in nats and the units of the data.

        Of a table with discrete columns it is the log of a probability of these times a density
        of the others. Columns whose values lie on a lattice (two decimals, multiples of 0.005) are
        fitted with the values spread over the lattice's cells, and what is given is the mean of
        this density over the cell around each row, the probability of the cell divided by its size:
        exactly what :meth:`sample` draws, which rounds. Where cells are narrow, and of rows with
        gaps, it is the density at the values themselves.

        Parameters
        ----------
        X : (N, D) array or DataFrame
            Where cells are missing (NaN, None), it is the likelihood of those that are there.
            It is exact where the pool holds no flows, or only those of one order in all layers
            (``orders="natural"``) in which what is missing comes last, and the mean of weighted
            draws else.
        return_spread : bool, default False
            Return also how far the flows of the pool are apart.
        return_error : bool, default False
            Return also the standard error of what is drawn.
        draws : int, default 1000
            For each row with gaps. It does not depend on the other rows, nor on a random state.
        return_effective : bool, default False
            Return also how many equally weighted draws would tell as much.
        cells : bool, optional
            Whether to take the mean over cells, at 16 points, of all rows or of none. None takes
            it of whole rows of which a cell is wider than a quarter of the column's robust standard
            deviation; below, the middle is as good to 0.3 % a column.

        Returns
        -------
        (N,) array
            -inf for values that a column cannot take.
        spread : (N,) array
            The standard deviation of log p under the single flows; NaN with fewer than two, and
            of rows with gaps. Only if asked for.
        error : (N,) array
            In nats; 0 for what is exact. Only if asked for.
        effective : (N,) array
            Infinite for what is exact; of few draws the standard error itself is unsure. Only if
            asked for.
        """
        check_is_fitted(self)
        _, table = self._table(X)
        found = missing_cells.log_marginal(self.density_, table, check_count("draws", draws, 2))
        answer = [
            cell_average(
                self.density_,
                table,
                lambda own: missing_cells.log_marginal(self.density_, own, draws).log_prob,
                found.log_prob,
                cells,
            )
        ]
        if return_spread:
            whole = ~np.any([is_missing(values) for values in table], axis=0)
            spread = np.full(len(whole), np.nan)
            if np.any(whole):
                spread[whole] = self.density_.spread([values[whole] for values in table])
            answer.append(spread)
        if return_error:
            answer.append(found.error)
        if return_effective:
            answer.append(found.effective)
        return answer[0] if len(answer) == 1 else tuple(answer)

    def score(self, X: Array, y: None = None, sample_weight: Array | None = None) -> float:
        """Mean log-likelihood in nats per row.

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
        random_state: Any = None,
        *,
        given: dict[str, Any] | None = None,
        within: float | None = None,
    ) -> Array:
        """Draw rows.

        Tails of real columns fall like a power, as nobody knows what lies beyond the data: among
        many rows one may be at 1e20, and their means and variances need not settle, for the
        density has no moments. Medians and quantiles do; ``within`` is for those who need moments.

        Parameters
        ----------
        n_samples : int, default 1
        random_state : int, RandomState instance or None, default None
        given : dict, optional
            name -> value: rows in which these columns have these values, and the others their
            law given them. Columns that the density is given have to be among them; for rows with
            a value each, :meth:`impute` draws what is missing in them.
        within : float, optional
            Rows are drawn anew of which a real column without a bound on either side, or on one,
            lies further from its median than so many robust standard deviations (interquartile
            ranges over 1.349; of the logarithm of the distance from a bound).

        Returns
        -------
        (n_samples, D) array, or a DataFrame like the one it was fitted to

        Raises
        ------
        ValueError
            If there is no such column, it cannot take the value, or one that the density is given
            is not there; if hardly a row is drawn ``within``.
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples, minimum=0)
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(f"given: expected a dictionary, name -> value, got {shortened(given)}")
        rng = np.random.default_rng(_random_state(random_state).randint(2**31 - 1))

        def draw(n):
            return (
                missing_cells.sample_given(self.density_, given, rng, n)
                if given
                else self.density_.sample(rng, n)
            )

        return self._like_data(
            draw(n_samples)
            if within is None
            else sample_within(
                draw, n_samples, self.columns_, check_positive("within", within), given or ()
            )
        )

    def impute(self, X: Array, random_state: Any = None) -> Array:
        """The rows with every missing cell drawn from its law given the cells that are there.

        One draw is one of many answers: their spread over several calls is how little is known.

        Parameters
        ----------
        X : (N, D) array or DataFrame
        random_state : int, RandomState instance or None, default None

        Returns
        -------
        (N, D) array, or a DataFrame like the one it was fitted to
        """
        check_is_fitted(self)
        _, table = self._table(X)
        rng = np.random.default_rng(_random_state(random_state).randint(2**31 - 1))
        return self._like_data(missing_cells.impute(self.density_, table, rng))

    def save(self, path: PathLike) -> None:
        """Write what was fitted to a model file, which :meth:`load` and ``nfref score`` read.

        Parameters
        ----------
        path : path-like
        """
        from nfref.tables.files.model_file import save_model

        check_is_fitted(self)
        save_model(
            path, self.density_, columns=getattr(self, "feature_names_in_", None), info=self._info
        )

    @classmethod
    def load(cls, path: PathLike) -> Any:
        """An estimator from a model file: it scores and draws, and what it was made with is gone.

        Parameters
        ----------
        path : path-like

        Raises
        ------
        nfref.tables.files.model_file.ModelError
            If there is none, or it does not hold the density of a table.
        """
        from nfref.tables.files.model_file import ModelError, load_model

        model = load_model(path)
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
        return made


def _random_state(value):
    """The RandomState of a parameter."""
    try:
        return check_random_state(value)
    except ValueError:
        raise ValueError(
            "random_state: expected None, a whole number from 0 to 2^32 - 1 or a "
            f"numpy.random.RandomState, got {shortened(value)}"
        ) from None


def _jobs(value):
    """How many flows are trained at once."""
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, numbers.Integral) or value == 0
    ):
        raise ValueError(
            f"n_jobs: expected None or a whole number that is not 0, got {shortened(value)}"
        )
    return effective_n_jobs(value)
