"""``nfref export``: a model as one Python file that needs NumPy alone."""

from dataclasses import dataclass
from pathlib import Path

from nfref.cli import arguments as arg
from nfref.cli import inputs
from nfref.cli.arguments import Options, UsageError, blamed
from nfref.cli.streams import say_written


@dataclass(frozen=True)
class Export(Options):
    """Options of ``nfref export``."""

    model: str = arg.positional("MODEL", "a model file")
    to: str = arg.option("the language", choices=("python",), default="python")
    weights: str = arg.option(
        "put the weights into the file, or into NAME.weights.npz beside it",
        choices=("inside", "beside"),
        default="inside",
    )
    out: str | None = arg.option("write here instead of to standard output", "FILE")
    quiet: bool = arg.quiet()


def export(options: Export) -> None:
    """Write a model as one Python file that needs NumPy alone.

    The file has log_prob, inverse and sample, which also take arrays of JAX and torch. The model
    may hold flows of MADE and couplings, Gaussians and mixtures, and all kinds of columns.

    example:
      nfref export wine.npz --out wine_density.py
      python wine_density.py --test
    """
    from nfref.tables.export import export, python_file

    inputs.check_output(options.out, options.model, what="the file", formats=(".py",))
    model = inputs.loaded_model(options.model)
    with blamed(f"{options.model}: "):
        if options.out is not None:
            export(model, options.out, to=options.to, weights=options.weights)
            beside = Path(options.out).with_suffix(".weights.npz")
            about = f"weights in {beside}" if options.weights == "beside" else ""
            say_written(options.out, about)
        elif options.weights == "inside":
            print(python_file(model)[0], end="")
        else:
            raise UsageError("--weights: expected --out FILE with 'beside', got none")
