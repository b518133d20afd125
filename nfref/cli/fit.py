"""``nfref fit``: from a table to a model file, and how good the model is."""

import os

import numpy as np

import nfref
from nfref import params as trees
from nfref.cli import continuous
from nfref.cli import inputs as tables
from nfref.cli.arguments import UsageError, bound, count, positive, widths
from nfref.cli.flows import FLOWS, build_flow, default_flow
from nfref.files import check_writable

DESCRIPTION = """\
Fit a density to the rows of DATA by maximum likelihood.

A tenth of the rows is held out to stop by and a tenth to test by. Last comes a small table:
the mean log-likelihood of the test rows under the flow, under a full-covariance Gaussian and
under a Gaussian mixture whose size the validation rows choose, in nats per row and in the
units of the data, each with its standard error. More is better. Ctrl-C ends the training
and keeps the best so far."""

EXAMPLE = """\
example:
  nfref fit wine --flow maf --layers 5 --hidden 128,128 --out wine.npz --plot wine.png
  nfref fit shares.csv --bounded share=0:1 --drop-duplicates --out shares.npz"""


def add_commands(commands):
    """Add ``fit`` to the command line."""
    parser = commands.add_parser("fit", help="fit a density to a table",
                                 description=DESCRIPTION, example=EXAMPLE)
    parser.add_argument("data", metavar="DATA", help="a file, or the name of built-in data")
    parser.add_argument("--flow", choices=tuple(FLOWS),
                        help="the family of flows (default: maf, or planar for one column)")
    parser.add_argument("--layers", type=count(1), metavar="K",
                        help="how many layers (default: the flow's own)")
    parser.add_argument("--hidden", type=widths, metavar="W,W",
                        help="widths of the hidden layers, as in 64,64 (default: the flow's own)")
    continuous.add_options(parser)
    parser.add_argument("--epochs", type=count(1), default=200, metavar="E",
                        help="train for at most so many epochs (default: %(default)s)")
    parser.add_argument("--batch", type=count(1), default=256, metavar="B",
                        help="rows a training step (default: %(default)s)")
    parser.add_argument("--lr", type=positive, metavar="R",
                        help="learning rate of Adam (default: the flow's own)")
    parser.add_argument("--seed", type=count(0), default=0, metavar="S",
                        help="draws the parts, the start and the batches (default: %(default)s)")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64",
                        help="what to compute in (default: %(default)s)")
    parser.add_argument("--bounded", type=bound, action="append", default=[],
                        metavar="NAME=LOW:HIGH",
                        help="column NAME lies strictly between LOW and HIGH: fit its logit; "
                             "may be given for several columns")
    parser.add_argument("--drop-duplicates", action="store_true",
                        help="keep only the first of rows that are exact copies")
    parser.add_argument("--out", metavar="MODEL.npz", help="write the model here")
    parser.add_argument("--plot", metavar="FIG.png", help="draw data and samples here")
    parser.add_argument("--quiet", action="store_true", help="print nothing but the table")
    parser.set_defaults(run=run)


def run(options):
    """Fit, write, compare."""
    check_outputs(options)
    data = tables.load(options.data)
    copies = tables.duplicates(data.values)
    if options.drop_duplicates:
        data = tables.without_duplicates(data)
    split_rng, start_rng, fit_rng, baseline_rng = np.random.default_rng(options.seed).spawn(4)
    parts = tables.split(data, split_rng)
    tables.check_dtype(data, options.dtype)
    lower, upper = tables.bounds(data, options.bounded, options.dtype)

    dim = len(data.columns)
    name = options.flow or default_flow(dim)
    continuous.check_options(name, options)
    flow = build_flow(name, dim, options.layers, options.hidden)
    if name in continuous.CONTINUOUS:
        flow = continuous.with_tolerance(flow, options)
    density = nfref.Density(nfref.in_units_of(flow, parts.train, lower, upper))
    params = density.init(start_rng)

    say = (lambda line: None) if options.quiet else (lambda line: print(line, flush=True))
    say(f"{data.name}: {len(data.values):,} rows, {dim} columns; {len(parts.train):,} rows to "
        f"train, {len(parts.validation):,} to validate, {len(parts.test):,} to test")
    if copies:
        say(_about_copies(copies, options.drop_duplicates))
    for column, value, share in tables.repeated_values(data):
        say(f"{column!r} is {value:g} in {share:.0%} of the rows: a density can pile up on one "
            "value without bound, so compare log-likelihoods with care")
    say(f"{name}: {trees.count(params):,} parameters, {options.dtype}, seed {options.seed}")
    if not options.out:
        say("the model will not be kept: --out MODEL.npz writes it to a file")

    rate = options.lr or FLOWS[name].learning_rate
    result = nfref.fit(density, params, parts.train.astype(options.dtype), fit_rng,
                       validation=parts.validation.astype(options.dtype),
                       epochs=options.epochs, batch_size=options.batch, learning_rate=rate,
                       objective=continuous.objective(name, options),
                       progress=not options.quiet)
    if result.best_epoch is None:
        if result.stopped == "interrupted":
            raise KeyboardInterrupt
        raise UsageError(f"--lr {rate:g}: training came to {result.message}; "
                         "a lower rate may help")
    say(result.message)

    figures = {name: _figure(tables.log_prob(density, result.params, parts.test))}
    if options.out:
        from nfref.model_file import save_model
        save_model(options.out, density, result.params, columns=data.columns,
                   info={"fit": _info(options, name, rate, parts, result, figures[name])})
        say(f"wrote {options.out}")
    if options.plot:
        from nfref.cli.pictures import draw
        draw(options.plot, density, result.params, data.columns, data.values)
        say(f"wrote {options.plot}")
    figures.update(_baselines(parts, baseline_rng))
    if data.truth is not None:
        figures["true density"] = _figure(data.truth.log_prob(parts.test))
    print("\n".join(_table(figures)))


def check_outputs(options):
    """That all there is to write can be written, before any time is spent."""
    targets = {"--out": options.out, "--plot": options.plot}
    taken = {os.path.realpath(options.data): "DATA"}
    for option, path in targets.items():
        if path is None:
            continue
        check_writable(path)
        if os.path.realpath(path) in taken:
            raise UsageError(f"{option}: expected a file of its own, "
                             f"got {path}, which is {taken[os.path.realpath(path)]}")
        taken[os.path.realpath(path)] = option
    if options.plot is not None:
        from nfref.cli.pictures import check_format
        check_format("--plot", options.plot)


def _about_copies(copies, dropped):
    rows = "row" if copies == 1 else "rows"
    if dropped:
        return f"dropped {copies:,} {rows} equal to an earlier one"
    return (f"{copies:,} {rows} equal to an earlier one: where copies fall into different parts, "
            "the test is too kind (--drop-duplicates leaves them out)")


# How good it is ---------------------------------------------------------------------------


def _figure(log_prob):
    """Mean in nats per row and its standard error; NaN for one row."""
    log_prob = np.asarray(log_prob, dtype=np.float64)
    if len(log_prob) < 2 or not np.all(np.isfinite(log_prob)):
        return float(np.mean(log_prob)), float("nan")
    return float(np.mean(log_prob)), float(np.std(log_prob, ddof=1) / np.sqrt(len(log_prob)))


def _baselines(parts, rng):
    """Figures of the Gaussian and of the mixture; None for a Gaussian that doesn't exist."""
    from nfref.estimator.baselines import Gaussian, GaussianMixture
    try:
        gaussian = _figure(Gaussian.fit(parts.train).log_prob(parts.test))
    except ValueError:
        gaussian = None
    mixture = GaussianMixture.choose(parts.train, parts.validation, rng)
    return {"full Gaussian": gaussian,
            f"Gaussian mixture of {mixture.components}": _figure(mixture.log_prob(parts.test))}


def _table(figures):
    width = max(24, *map(len, figures))
    yield f"{'test nats per row':<{width}}  {'mean':>10}  {'std. error':>10}"
    for name, figure in figures.items():
        if figure is None:
            yield f"{name:<{width}}  none: some columns are linear functions of others"
        else:
            error = "-" if np.isnan(figure[1]) else f"{figure[1]:.3f}"
            yield f"{name:<{width}}  {figure[0]:>10.3f}  {error:>10}"


def _info(options, name, rate, parts, result, figure):
    """What the model file says about its own making."""
    mean, error = figure
    return {"flow": name, "data": options.data, "seed": options.seed,
            "rows": {"train": len(parts.train), "validation": len(parts.validation),
                     "test": len(parts.test)},
            "batch": options.batch, "learning_rate": rate, "epochs": options.epochs,
            "best_epoch": result.best_epoch, "stopped": result.stopped,
            "message": result.message, "history": result.history,
            "test": {"mean": mean, "standard_error": None if np.isnan(error) else error}}
