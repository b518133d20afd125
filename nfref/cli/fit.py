"""``nfref fit``: from a table to a model file, and how good the model is."""

import os
from dataclasses import replace

import numpy as np

import nfref
from nfref.cli import auto, checkpoints, continuous, inputs
from nfref.cli.arguments import (UsageError, add_header, bound, count, names, positive, support,
                                 widths)
from nfref.cli.flows import FLOWS, MOST_LAYERS, build_flow, default_flow
from nfref.cli.interrupts import once
from nfref.cli.streams import complain, patient
from nfref.runtime import params as trees
from nfref.runtime.files import check_writable, reserved
from nfref.tables.closed_form import Gaussian, GaussianMixture
from nfref.tables.pool import mean_and_error

BATCH = 256

DESCRIPTION = """\
Fit a density to the rows of DATA by maximum likelihood.

Several candidates are tried: a Gaussian, a mixture, neural spline and masked autoregressive
flows; the model is a weighted sum of them, with weights from rows that are held out. It is
what nfref.FlowDensity finds in Python. Or one flow alone: --flow NAME. With --given it is the
density of the other columns given these. Cells may be empty: what may stand there is drawn
anew while the simple densities are fitted, and the flows learn from the last draw.

DATA is passed over once and may be larger than memory: of a file with more rows than --rows
says, a sample is used, which the seed draws and which is the same however the file is cut.

A tenth of the rows is kept to test by, and a tenth of the others to choose and to stop by.
Last comes a small table: the mean log-likelihood of the test rows under every candidate and
under all together, in nats per row and in the units of the data, each with its standard
error. More is better. Ctrl-C ends the training and keeps the best so far; so do SIGTERM and
SIGHUP. A fit that was killed goes on where it was: --resume, and the same DATA and options,
give the same bits. Without a word a fit with --out writes a checkpoint every minute, beside
the model; with --checkpoint it does after every epoch."""

EXAMPLE = """\
example:
  nfref fit wine --out wine.npz
  nfref fit people.csv --given age,town --column town=category --out model.npz
  nfref fit people.csv --weights w --column age=positive --column town=category --time 60
  nfref fit wine --flow maf --layers 5 --hidden 128,128 --out wine.npz --plot wine.png
  nfref fit shares.csv --bounded share=0:1 --drop-duplicates --out shares.npz
  nfref fit wine --checkpoint half.npz --out wine.npz
  nfref fit wine --resume half.npz --out wine.npz"""


def add_commands(commands):
    """Add ``fit`` to the command line."""
    parser = commands.add_parser("fit", help="fit a density to a table",
                                 description=DESCRIPTION, example=EXAMPLE)
    parser.add_argument("data", metavar="DATA",
                        help="a file, a pattern of files in quotes, or the name of built-in data")
    parser.add_argument("--rows", type=count(1), metavar="N",
                        help="use a sample of so many rows where DATA holds more (default: a "
                             "million, and no more than 2^23 numbers)")
    parser.add_argument("--flow", choices=("auto", *FLOWS),
                        help="auto tries several; a name is one flow alone (default: auto; where "
                             "an option is given that only one flow has, maf, or planar for one "
                             "column)")
    parser.add_argument("--members", type=count(0, 1000), default=4, metavar="K",
                        help="auto: how many flows (default: %(default)s)")
    parser.add_argument("--jobs", type=count(0), default=1, metavar="J",
                        help="auto: train so many flows at once, each in a process; 0 is as many "
                             "as there are processors (default: %(default)s)")
    parser.add_argument("--time", type=positive, metavar="SECONDS",
                        help=f"train for about so long (default: {60 * auto.MINUTES} for auto, "
                             "any for one flow)")
    parser.add_argument("--weights", metavar="COLUMN",
                        help="this column says what each row counts")
    parser.add_argument("--without", type=names, action="append", default=[],
                        metavar="NAME,NAME", help="leave these columns out")
    parser.add_argument("--given", type=names, action="append", default=[], metavar="NAME,NAME",
                        help="auto: the density of the other columns given these")
    parser.add_argument("--column", type=support, action="append", default=[],
                        metavar="NAME=SUPPORT",
                        help="auto: what values column NAME takes: real, positive, LOW:HIGH, "
                             "'period P', count or category; may be given for several columns "
                             "(text that repeats is a category without a word)")
    add_header(parser)
    parser.add_argument("--layers", type=count(1, MOST_LAYERS), metavar="K",
                        help="how many layers (default: the flow's own)")
    parser.add_argument("--hidden", type=widths, metavar="W,W",
                        help="widths of the hidden layers, as in 64,64 (default: the flow's own)")
    continuous.add_options(parser)
    parser.add_argument("--epochs", type=count(1), default=200, metavar="E",
                        help="train for at most so many epochs (default: %(default)s)")
    parser.add_argument("--batch", type=count(1), metavar="B",
                        help=f"rows a training step (default: {BATCH}; auto goes by the rows)")
    parser.add_argument("--lr", type=positive, metavar="R",
                        help="learning rate of Adam (default: the flow's own)")
    parser.add_argument("--seed", type=count(0, 2 ** 128), default=0, metavar="S",
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
    parser.add_argument("--checkpoint", metavar="FILE.npz",
                        help="write here after every epoch what it takes to go on")
    parser.add_argument("--resume", metavar="FILE.npz",
                        help="go on from a checkpoint, and write the next ones there too unless "
                             "--checkpoint names another file")
    parser.add_argument("--quiet", action="store_true", help="print nothing but the table")
    parser.set_defaults(run=run)


def run(options):
    """Fit, write, compare."""
    check_outputs(options)
    if auto.is_asked_for(options):
        return auto.run(options)
    options.batch = options.batch or BATCH
    for option in ("given", "column"):
        if getattr(options, option):
            raise UsageError(f"--{option}: expected none with --flow {options.flow or 'maf'}, "
                             "only with auto")
    data = inputs.load_to_fit(options)
    copies = inputs.duplicates(data.values)
    if options.drop_duplicates:
        data = inputs.without_duplicates(data)
    split_rng, start_rng, fit_rng, baseline_rng = np.random.default_rng(options.seed).spawn(4)
    data, weight = inputs.without_weights(data, options.weights)
    if weight is not None:
        data = replace(data, table=replace(data.table, values=data.values[weight > 0]))
        weight = weight[weight > 0]
    parts = inputs.split(data, split_rng, weight)
    inputs.check_dtype(data, options.dtype)
    lower, upper = inputs.bounds(data, options.bounded, options.dtype)

    dim = len(data.columns)
    name = options.flow or default_flow(dim)
    continuous.check_options(name, options)
    flow = build_flow(name, dim, options.layers, options.hidden)
    if name in continuous.CONTINUOUS:
        flow = continuous.with_tolerance(flow, options)
    density = nfref.Density(inputs.with_units(flow, parts, lower, upper))
    params = density.init(start_rng)
    rate = options.lr or FLOWS[name].learning_rate
    asked = checkpoints.asked_for(options, name, rate, data.values)
    state = None if options.resume is None else checkpoints.read(options.resume, asked)

    # Whoever reads our output may have seen enough; the model is what is wanted.
    kept, problem = options.out or options.plot, None
    with (patient(kept), reserved(options.out, _size(params, options.epochs)) as place,
          reserved(options.plot) as picture, once() as signals):
        say = (lambda line: None) if options.quiet else (lambda line: print(line, flush=True))
        _introduce(say, options, data, parts, copies, name, params)
        keep = checkpoints.Keeper(options, asked, checkpoints.write, say)
        result = _fit(density, params, parts, fit_rng, rate, name, options, keep, state, signals)
        signals.hold()
        log_prob = inputs.log_prob(density, result.params, parts.test)
        if options.out:
            from nfref.tables.model_file import save_model
            figure = mean_and_error(log_prob, parts.weights[2])
            save_model(place, density, result.params, columns=data.columns,
                       info={"fit": _info(options, name, rate, parts, result, figure)})
        say(result.message)
        if options.out:
            say(f"wrote {options.out}")
        if options.checkpoint and result.stopped == "interrupted":
            say(f"--resume {options.checkpoint} goes on from here")
        keep.done()
        if options.plot:
            from nfref.cli.pictures import draw
            try:
                draw("--plot", picture, density, result.params, data.columns, data.values)
                say(f"wrote {options.plot}")
            except UsageError as error:
                problem = error
    notes, table = _compare(name, log_prob, data, parts, baseline_rng)
    for line in notes:
        say(line)
    print("\n".join(table))
    if problem is not None:
        raise problem


def _introduce(say, options, data, parts, copies, name, params):
    """What will be done, in lines."""
    if data.table.doubtful:
        complain(f"nfref: warning: {data.table.remark}")
    elif data.table.remark:
        say(data.table.remark)
    dim = len(data.columns)
    columns = "1 column" if dim == 1 else f"{dim} columns"
    say(f"{data.name}: {len(data.values):,} rows, {columns}; {len(parts.train):,} rows to "
        f"train, {len(parts.validation):,} to validate, {len(parts.test):,} to test")
    inputs.say_sample(say, data)
    if copies:
        say(_about_copies(copies, options.drop_duplicates))
    for column, value, share in inputs.repeated_values(data):
        say(f"{column!r} is {value:g} in {share:.0%} of the rows: a density can pile up on one "
            "value without bound, so compare log-likelihoods with care")
    if parts.weights[0] is not None:
        weight = np.concatenate(parts.weights)
        say(f"weights of {options.weights!r}: as good as "
            f"{np.sum(weight) ** 2 / np.sum(weight ** 2):,.1f} rows of equal weight")
    say(f"{name}: {trees.count(params):,} parameters, {options.dtype}, seed {options.seed}")
    if not options.out:
        say("the model will not be kept: --out MODEL.npz writes it to a file")


def _fit(density, params, parts, rng, rate, name, options, keep, state, signals):
    """The FitResult; a KeyboardInterrupt or a UsageError if nothing came of it."""
    def callback(now):
        with signals.between():
            keep(now)

    result = nfref.fit(density, params, parts.train.astype(options.dtype), rng,
                       validation=parts.validation.astype(options.dtype),
                       sample_weight=parts.weights[0], validation_weight=parts.weights[1],
                       time_limit=options.time, epochs=options.epochs,
                       batch_size=options.batch, learning_rate=rate,
                       objective=continuous.objective(name, options),
                       progress=not options.quiet, callback=callback, resume=state)
    if not result.history["train"]:
        if result.stopped == "interrupted":
            raise KeyboardInterrupt
        raise UsageError(f"--lr {rate:g}: training came to {result.message}; "
                         "a lower rate may help")
    return result


def _size(params, epochs):
    """Bytes of the model file, or a little more."""
    arrays = trees.leaves(params)
    return sum(leaf.nbytes + 512 for leaf in arrays) + 2 ** 16 + 64 * min(epochs, 10 ** 5)


def check_outputs(options):
    """That all there is to write can be written, before any time is spent."""
    if options.resume and not options.checkpoint:
        options.checkpoint = options.resume
    targets = {"--out": options.out, "--plot": options.plot, "--checkpoint": options.checkpoint}
    taken = {os.path.realpath(path): "DATA" for path in inputs.files(options.data)}
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


FAR = 10        # standard errors by which a flow is worse than a Gaussian beyond all doubt


def _compare(name, log_prob, data, parts, rng):
    """(lines that have to be said about the table, lines of the table)."""
    notes, gaussian = [], None
    train, validation, test = parts.weights
    figures = {name: mean_and_error(log_prob, test)}
    try:
        gaussian = Gaussian.fit(parts.train, train).log_prob(parts.test)
        figures["full Gaussian"] = mean_and_error(gaussian, test)
    except ValueError:
        figures["full Gaussian"] = None
    mixture = GaussianMixture.choose(parts.train, parts.validation, rng, weight=train,
                                     validation_weight=validation)
    title = f"Gaussian mixture of {mixture.components}"
    if mixture.collapsed:
        title += " (collapsed)"
        notes.append(f"note: {mixture.collapsed} of the mixture's {mixture.components} components "
                     "have shrunk onto repeated values, as far as they may: its figure is no "
                     "density to compare with")
    figures[title] = mean_and_error(mixture.log_prob(parts.test), test)
    if data.truth is not None:
        figures["true density"] = mean_and_error(data.truth.log_prob(parts.test), test)
    if gaussian is not None:
        mean, error = mean_and_error(log_prob - gaussian, test)
        if mean == -np.inf or mean < -FAR * error:
            notes.append(f"note: {name} is worse than the Gaussian by {-mean:.3g} nats per row, "
                         f"more than {FAR} standard errors: it needs more rows, more epochs or a "
                         "lower --lr")
    return notes, list(_table(figures))


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
