"""``nfref fit --flow auto``: what ``nfref.FlowDensity`` does, from a file to a file."""

from dataclasses import replace
from shlex import quote

import numpy as np

from nfref.cli import checkpoints, inputs
from nfref.cli.arguments import UsageError
from nfref.cli.interrupts import once
from nfref.cli.streams import complain, patient
from nfref.runtime import params as trees
from nfref.runtime.files import reserved
from nfref.tables.candidates import Plan, sized_flow
from nfref.tables.closed_form import Gaussian, KernelDensity
from nfref.tables.columns import ColumnError, Continuous, are_counts
from nfref.tables.conditional import log_marginal
from nfref.tables.density import check_given, find_columns, fit_table, split_copies
from nfref.tables.frames import distinct_rows, gaps, has_gaps
from nfref.tables.gaps import fit_with_gaps, says_nothing
from nfref.tables.pool import mean_and_error

LEAST_ROWS = 5
COARSE = 10                 # rows a value from which on a column is said to repeat
FEW_LABELS = 20             # of a column of text that nobody called a category; or a tenth of rows
MINUTES = 10                # the time budget where none is given
# What only a single flow has a use for.
OF_ONE_FLOW = ("layers", "hidden", "trace", "rtol", "regularise")


def is_asked_for(options):
    """Whether a fit is one of several candidates; without a word it is, unless an option is given
    that only a single flow has a use for."""
    if options.flow is not None:
        return options.flow == "auto"
    return options.dtype == "float64" and all(getattr(options, name) is None
                                              for name in OF_ONE_FLOW)


def check_options(options):
    """That no option is given that has no meaning where several candidates are tried."""
    for name in OF_ONE_FLOW:
        if getattr(options, name) is not None:
            raise UsageError(f"--{name}: expected none with --flow auto, which tries several; "
                             "--flow maf is one that takes it")
    if options.dtype != "float64":
        raise UsageError("--dtype: expected float64 with --flow auto, which trains in float32 and "
                         f"scores in float64; got {options.dtype}")


def run(options):
    """Fit, write, compare."""
    check_options(options)
    data = inputs.load_to_fit(options, (..., *texts(options)), gaps=True)
    _check_labels(data, texts(options))
    copies = inputs.duplicates(data.values)
    asked = checkpoints.asked_for_search(options, data.values)
    state = None if options.resume is None else checkpoints.read_search(options.resume, asked)
    data, weight = inputs.without_weights(data, options.weights)
    rows = _distinct(data, weight, options)
    given = _given(data, options)
    try:
        columns = find_columns(data.columns, data.table.cells(), supports(data, options), first=1,
                               labels=data.table.labels)
    except ColumnError as error:
        raise UsageError(f"{data.name}: {_with_option(error)}") from None
    columns = _of_all_rows(columns, data)
    rows = rows.by_copies(columns, options.seed)
    with patient(options.out or options.plot), once() as signals:
        say = (lambda line: None) if options.quiet else (lambda line: print(line, flush=True))
        _introduce(say, options, data, rows, copies, weight)
        _say_columns(say, data, columns, given)
        _say_ties(say, data, columns)
        _say_gaps(say, data, given)
        with (reserved(options.out, _size(data, rows, options)) as place,
              reserved(options.plot) as picture):
            keep = checkpoints.Keeper(options, asked, checkpoints.write_search, say)
            fitted = _fit(columns, data, rows, options, say, signals, keep, state, given)
            signals.hold()
            problem = _write(say, options, data, rows, fitted, place, picture)
            keep.done()
    print("\n".join(table_lines(data, rows, fitted)))
    if problem is not None:
        raise problem


def _with_option(error):
    """The message of a ColumnError, with the option that does what it says."""
    if not error.useless:
        return str(error)
    return (f"column {error.column!r}: {error.what}; --without {quote(error.column)} leaves it "
            "out")


def _check_labels(data, asked):
    """That text that nobody called a category repeats."""
    for name, labels in data.table.labels.items():
        if len(labels) > max(FEW_LABELS, len(data.values) / 10) and name not in asked:
            raise UsageError(
                f"{data.name}: column {name!r}: expected labels that repeat, got {len(labels):,} "
                f"different texts in {len(data.values):,} rows; --without {quote(name)} leaves "
                f"the column out, --column {quote(name + '=category')} takes it all the same")


def _of_all_rows(columns, data):
    """The columns of a sample, with counts below zero allowed where other rows hold some."""
    lowest = data.lowest or {}
    return tuple(replace(column, low=-np.inf) if column.kind == "count"
                 and lowest.get(column.name, 0) < 0 else column for column in columns)


def texts(options):
    """Names of columns whose cells are text."""
    return tuple(name for name, support in options.column if support == "category")


def supports(data, options):
    """name -> support that was asked for."""
    asked = {}
    given = [("--column", *one) for one in options.column]
    given += [("--bounded", name, (low, high)) for name, low, high in options.bounded]
    for option, name, support in given:
        if name not in data.columns:
            raise UsageError(f"{option}: expected a column of {data.name}, got {name!r}")
        if name in asked:
            raise UsageError(f"{option}: expected each column once, got {name!r} twice")
        asked[name] = support
    for name, values in zip(data.columns, data.values.T):
        if name in data.table.whole and name not in asked and are_counts(values[~np.isnan(values)]):
            asked[name] = "count"
    return asked


def _given(data, options):
    """Names of the columns of --given."""
    named = [name for some in options.given for name in some]
    if options.weights in named:
        raise UsageError(f"--given: expected other columns than that of --weights, got "
                         f"{options.weights!r}")
    try:
        return check_given(named, data.columns)
    except ValueError as error:
        raise UsageError(f"--{error}") from None


# Rows -------------------------------------------------------------------------------------


class _Distinct:
    """Distinct rows with what they count, and where the test part ends."""

    def __init__(self, places, weight, tests, copies=False):
        self.places, self.weight, self.tests, self.copies = places, weight, tests, copies

    def by_copies(self, columns, seed):
        """The same rows; where all columns are discrete, copies of a row are in both parts."""
        held = split_copies(columns, columns, self.weight, 0.1, seed + 1)
        if held is None:
            return self
        test, train = held > 0, self.weight > held
        return _Distinct(np.concatenate([self.places[test], self.places[train]]),
                         np.concatenate([held[test], (self.weight - held)[train]]),
                         int(np.sum(test)), True)

    def __str__(self):
        if self.copies:
            distinct = len(np.unique(self.places))
            return (f"{distinct:,} rows differ, and {np.sum(self.weight[self.test]):,.0f} copies "
                    "are kept to test by")
        return f"{len(self.places):,} rows differ, of which {self.tests:,} are kept to test by"

    def columns(self, data, part):
        """The columns' values of a part."""
        return [values[self.places[part]] for values in data.table.cells()]

    @property
    def test(self):
        return slice(self.tests)

    @property
    def train(self):
        return slice(self.tests, None)


def _distinct(data, weight, options):
    values = data.values
    if weight is not None:
        values, kept = values[weight > 0], np.flatnonzero(weight > 0)
        places, counts = distinct_rows(values, weight[kept], options.seed)
        places = kept[places]
    else:
        places, counts = distinct_rows(values, None, options.seed)
    if options.drop_duplicates and weight is None:
        counts = np.ones(len(places))
    if len(places) < LEAST_ROWS:
        raise UsageError(f"{data.name}: expected at least {LEAST_ROWS} rows that differ, "
                         f"got {len(places)}")
    return _Distinct(places, counts, max(1, round(len(places) / 10)))


def _introduce(say, options, data, rows, copies, weight):
    if data.table.doubtful:
        complain(f"nfref: warning: {data.table.remark}")
    elif data.table.remark:
        say(data.table.remark)
    columns = "1 column" if len(data.columns) == 1 else f"{len(data.columns)} columns"
    say(f"{data.name}: {len(data.values):,} rows, {columns}; "
        f"{rows}")
    inputs.say_sample(say, data)
    if weight is not None:
        effective = np.sum(weight) ** 2 / np.sum(weight ** 2)
        say(f"weights of {options.weights!r}: as good as {effective:,.1f} rows of equal weight")
    elif copies:
        row = "row" if copies == 1 else "rows"
        say(f"dropped {copies:,} {row} equal to an earlier one" if options.drop_duplicates else
            f"{copies:,} {row} equal to an earlier one: these count as often as they are there"
            + ("" if rows.copies else ", all in the same part"))
    if not options.out:
        say("the model will not be kept: --out MODEL.npz writes it to a file")


def _say_columns(say, data, columns, given):
    """What columns that are not simply real were taken for, and which are given."""
    kinds = [f"{column.name!r} {column.kind}" for column in columns if column.kind != "real"]
    if kinds:
        say(f"columns that are not simply real: {', '.join(kinds)}")
    if given:
        rest = [column.name for column in columns if column.name not in given]
        say(f"the density of {', '.join(map(repr, rest))} given {', '.join(map(repr, given))}")


def _say_gaps(say, data, given):
    """How many cells are empty, and what is done."""
    cells = data.table.cells()
    about = inputs.about_gaps(data.columns, cells)
    if not about:
        return
    say(f"{about}; what may stand there is drawn given the cells that are there, and the densities "
        "are fitted to rows filled so")
    left_out = int(np.sum(says_nothing(data.columns, cells, given)))
    if left_out:
        why = "that lack a column that is given, or all others," if given else "without any value"
        say(f"{left_out:,} {'row' if left_out == 1 else 'rows'} {why} are left out")


def _say_ties(say, data, columns):
    """Continuous columns whose values repeat, or count the rows."""
    real = {column.name for column in columns if isinstance(column, Continuous)}
    shares = {name: (value, share) for name, value, share in inputs.repeated_values(data)}
    for name, values in zip(data.columns, data.values.T):
        if name not in real:
            continue
        values = values[~np.isnan(values)]
        distinct = len(np.unique(values))
        if name in shares:
            value, share = shares[name]
            say(f"{name!r} is {value:g} in {share:.0%} of the rows: a density can pile up on one "
                f"value without bound; --column {quote(name)}=count or category gives it a "
                "probability")
        elif COARSE * distinct <= len(values):
            say(f"{name!r} takes {distinct:,} values in {len(values):,} rows: a density can pile "
                "up on them without bound, so compare log-likelihoods with care")
        elif len(values) > 2 and np.all(np.diff(values) == 1):
            say(f"{name!r} counts the rows and says nothing else of them: --without "
                f"{quote(name)} leaves it out")


def _size(data, rows, options):
    """Bytes of the model file, or a little more."""
    dim = len(data.columns)
    widest = sized_flow("nsf", len(rows.places), dim, 0, np.random.default_rng(0))
    flow = trees.count(widest.init(np.random.default_rng(0)))
    return 9 * (options.members * flow + 33 * (dim + 1) ** 2) + 2 ** 18


# Fitting ----------------------------------------------------------------------------------


def _fit(columns, data, rows, options, say, signals, keep, state, given):
    def callback(state):
        with signals.between():
            keep(state)

    plan = Plan("auto", options.members, options.epochs, options.batch, options.lr,
                options.time or 60 * MINUTES, not options.quiet, callback, state,
                jobs=_jobs(options.jobs))
    weight = rows.weight[rows.train]
    table = rows.columns(data, rows.train)
    chosen = {"weight": None if np.all(weight == 1) else weight, "given": given,
              "announce": lambda name: say(f"trying {name}")}
    try:
        if has_gaps(table):
            return fit_with_gaps(data.columns, table, None, plan, options.seed, columns=columns,
                                 **chosen)
        return fit_table(columns, table, plan, options.seed, **chosen)
    except ValueError as error:
        raise UsageError(f"{data.name}: {error}") from None


def _jobs(asked):
    """How many flows are trained at once."""
    if asked == 1:
        return 1
    try:
        from joblib import effective_n_jobs
    except ModuleNotFoundError:
        raise UsageError("--jobs: expected joblib to be installed, found it is not; "
                         "pip install 'nfref[sklearn]' brings it") from None
    return effective_n_jobs(asked or -1)


def _write(say, options, data, rows, fitted, place, picture):
    """Model and picture; a problem with the second is given back."""
    density = fitted.density
    if options.out:
        from nfref.tables.model_file import save_model
        table, weight = _whole_test(data, rows, density)
        figure = mean_and_error(density.log_prob(table), weight) if len(weight) else (np.nan,) * 2
        save_model(place, density, columns=data.columns if data.table.named else None,
                   info={"fit": _info(options, rows, fitted, figure)})
        say(f"wrote {options.out}")
    if options.plot:
        from nfref.cli.pictures import draw
        try:
            cells = data.table.cells()
            whole = ~np.any([gaps(values) for values in cells], axis=0)
            cells = [values[whole] for values in cells]
            shown = inputs.AsDensity(density, cells)
            draw("--plot", picture, shown, None, data.columns, shown.numbers(cells))
            say(f"wrote {options.plot}")
        except UsageError as error:
            return error
    return None


def _info(options, rows, fitted, figure):
    """What the model file says about its own making."""
    mean, error = figure
    return {"flow": "auto", "data": options.data, "seed": options.seed,
            "rows": {"train": fitted.distinct - fitted.held_out, "validation": fitted.held_out,
                     "test": rows.tests},
            "candidates": [{"name": one.name, "weight": one.weight, "message": one.message,
                            "history": one.history,
                            "validation": {"mean": one.mean, "standard_error":
                                           None if np.isnan(one.error) else one.error}}
                           for one in fitted.tried],
            "test": {"mean": None if np.isnan(mean) else mean,
                     "standard_error": None if np.isnan(error) else error}}


def _whole_test(data, rows, density):
    """(columns' values, weights) of the test rows without empty cells."""
    table, weight = rows.columns(data, rows.test), rows.weight[rows.test]
    whole = ~np.any([gaps(values) for values in table], axis=0)
    return [values[whole] for values in table], weight[whole]


# How good it is ---------------------------------------------------------------------------


MARGINAL_ROWS = 200         # test rows that are scored where cells are empty, a thousand draws each
KERNELS = 4000              # rows at most that have kernels


def _by_kernels(density, rows, data):
    """Log-likelihoods of the test rows under a kernel density in the columns' robust units."""
    _, u, _ = density.encode(rows.columns(data, rows.train))
    kernels = KernelDensity.choose(u[:KERNELS], weight=rows.weight[rows.train][:KERNELS])
    _, u, log_slope = density.encode(rows.columns(data, rows.test))
    return kernels.log_prob(u) + log_slope


def _about_cells_there(density, data, rows):
    """The log-likelihood of the cells that are there, in test rows with and without empty ones."""
    table = rows.columns(data, rows.test)
    used = np.flatnonzero(~says_nothing(data.columns, table, density.given))[:MARGINAL_ROWS]
    found = log_marginal(density, [values[used] for values in table])
    mean, error = mean_and_error(found.log_prob, rows.weight[rows.test][used])
    return (f"test nats per row of the cells that are there: {nats(mean)}, std. error "
            f"{nats(error)} ({len(used):,} rows, with empty cells and without)")


def nats(value):
    """A log-likelihood in ten characters; that of a row far out may have hundreds of digits."""
    return f"{value:.3f}" if abs(value) < 1e5 else f"{value:.3g}"


def table_lines(data, rows, fitted):
    """Every candidate, the pool, and what else there is to compare with, on the test rows."""
    density = fitted.density
    table, weight = _whole_test(data, rows, density)
    if len(weight) < rows.tests:
        yield _about_cells_there(density, data, rows)
        if not len(weight):
            yield f"no test row of {rows.tests:,} is without empty cells: nothing to compare by"
            return
        yield f"{len(weight):,} of {rows.tests:,} test rows are without empty cells:"
    total, members = density.parts(table)
    rest = []
    if density.pool is not None:
        others = total - density.pool.pooled(members)
        for k, one in enumerate(fitted.tried[:-1]):
            rest.append((one.name, mean_and_error(others + members[:, k], weight),
                         f"{one.weight:.3f}", f"{one.seconds:.1f}"))
    seconds = sum(one.seconds for one in fitted.tried[:-1])
    rest.append(("pool" if density.pool is not None else fitted.tried[-1].name,
                 mean_and_error(total, weight), "1.000", f"{seconds:.1f}"))
    holes = has_gaps(data.table.cells())
    if not (density.given or holes) and all(isinstance(column, Continuous)
                                            for column in density.columns):
        train = np.stack(rows.columns(data, rows.train), axis=1).astype(np.float64)
        try:
            with np.errstate(all="ignore"):     # its units are not robust
                gaussian = Gaussian.fit(train, rows.weight[rows.train])
                figure = mean_and_error(gaussian.log_prob(
                    np.stack(table, axis=1).astype(np.float64)), weight)
            rest.append(("full Gaussian", figure, "", ""))
        except (ValueError, np.linalg.LinAlgError):
            pass
        rest.append(("kernel density", mean_and_error(_by_kernels(density, rows, data), weight),
                     "", ""))
    if data.truth is not None and not density.given:
        rest.append(("true density", mean_and_error(data.truth.log_prob(
            np.stack(table, axis=1)), weight), "", ""))
    width = max(24, *(len(name) for name, *_ in rest))
    yield (f"{'test nats per row':<{width}}  {'mean':>10}  {'std. error':>10}  {'weight':>7}  "
           f"{'seconds':>8}")
    for name, (mean, error), share, spent in rest:
        shown = "-" if np.isnan(error) else nats(error)
        yield f"{name:<{width}}  {nats(mean):>10}  {shown:>10}  {share:>7}  {spent:>8}".rstrip()
