"""Options of ``nfref fit``, and the plan that they ask for."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from nfref.cli import arguments as arg
from nfref.cli.arguments import Options, UsageError, blamed
from nfref.cli.data import Source, files
from nfref.cli.inputs import check_target
from nfref.cli.plot import picture_formats
from nfref.runtime.annotations import Any, Array
from nfref.tables.files import checkpoints
from nfref.tables.fitting.effort import EFFORTS
from nfref.tables.fitting.flow_kinds import FLOWS, flow_kind
from nfref.tables.fitting.plan import BUDGET, Plan

SIMPLE = ("gaussian", "mixture")  # plans without flows
MOST_LAYERS = 10_000  # each layer has arrays and functions of its own


@dataclass(frozen=True)
class Training(Options):
    """Options that say how densities are fitted."""

    flow: str | None = arg.option(
        "auto tries several kinds of flows; gaussian and mixture fit simple densities without "
        "flows; the name of a flow, in upper or lower case, fits this flow alone (default: auto; "
        "maf if you give an option that only a single flow takes, such as --layers)",
        type=str.lower,
        choices=("auto", *SIMPLE, *FLOWS),
    )
    effort: str = arg.option(
        "how much the fit may cost: about ten seconds, a minute, or as long as it helps",
        choices=tuple(EFFORTS),
        default="default",
    )
    members: int | None = arg.option(
        "number of flow candidates that auto tries (default: as many as pay; not with a single "
        "flow)",
        "K",
        arg.count(0, 1000),
    )
    time: float | None = arg.option(
        f"time limit of the fit (default: {BUDGET:g} for auto, none for one flow)",
        "SECONDS",
        arg.positive,
    )
    given: Sequence = arg.several(
        "fit the density of the other columns given these", "NAME,NAME", arg.names
    )
    layers: int | None = arg.option(
        "number of layers (default: the flow's own)", "K", arg.count(1, MOST_LAYERS)
    )
    hidden: tuple | None = arg.option(
        "widths of the hidden layers, as in 64,64 (default: the flow's own)", "W,W", arg.widths
    )
    epochs: int = arg.option(
        "largest number of epochs of each training", "E", arg.count(1), default=200
    )
    lr: float | None = arg.option(
        "learning rate of Adam (default: the flow's own)", "R", arg.positive
    )
    dtype: str | None = arg.option(
        "precision of flows (default: float32 to train, float64 to score)",
        choices=("float64", "float32"),
    )

    @property
    def of_one_flow(self) -> dict[str, Any]:
        """Return the options that only a single flow takes, by name."""
        return {
            name: value
            for name in ("layers", "hidden")
            if (value := getattr(self, name)) is not None
        }

    @property
    def name(self) -> str:
        """Return the name of the flow, or "auto"."""
        return self.flow or ("maf" if self.of_one_flow else "auto")

    def plan(self) -> Plan:
        """Return the Plan, without callbacks."""
        several = self.name == "auto"
        flow: Any = self.name
        if several or flow in SIMPLE:
            if self.of_one_flow:
                raise UsageError(
                    f"--{next(iter(self.of_one_flow))}: expected none with --flow {flow}, which "
                    f"tries {'several' if several else 'none'}; --flow maf is one that takes it"
                )
        else:
            with blamed("--"):
                flow = flow_kind(self.name, **self.of_one_flow)
        if not several and self.members is not None:
            asked = f"flow {self.flow}" if self.flow else next(iter(self.of_one_flow))
            number = "no" if flow in SIMPLE else "one"
            raise UsageError(
                f"--members: expected none beside --{asked}, which asks for {number} "
                f"flow, got {self.members}"
            )
        members = self.members if several else 0 if flow in SIMPLE else 1
        time = self.time or (BUDGET if several else None)
        return Plan(
            flow,
            members,
            self.epochs,
            learning_rate=self.lr,
            time_budget=time,
            simple=several or flow in SIMPLE,
            dtype=self.dtype,
            effort=self.effort,
        )


@dataclass(frozen=True)
class Targets(Options):
    """Options that say what is written and printed."""

    out: str | None = arg.option("write the model here", "MODEL.npz")
    plot: str | None = arg.option("plot data and samples here", "FIG.png")
    resume: str | None = arg.option(
        "continue from this checkpoint if it is there, and write one after every epoch", "FILE.npz"
    )
    verbose: bool = arg.option("print all notes about the data", action="store_true")
    quiet: bool = arg.option("print nothing but the table", action="store_true")

    def check(self, data: str) -> None:
        """Check that every output can be written, before any work."""
        taken = {os.path.realpath(path): "DATA" for path in files(data)}
        for name, path, formats in (
            ("--out", self.out, [".npz"]),
            ("--plot", self.plot, picture_formats(self.plot) if self.plot else []),
            ("--resume", self.resume, [".npz", ".checkpoint"]),
        ):
            if path is not None:
                check_target(name, path, taken, formats)
                taken[os.path.realpath(path)] = name


def asked_for(source: Source, training: Training, plan: Plan, values: Array) -> dict[str, Any]:
    """Return all that decides the bits of a fit, by option; --resume needs the same."""
    found = {
        "search": checkpoints.SEARCH,
        "seed": source.seed,
        "rows": source.rows,
        "DATA": hashlib.sha256(np.ascontiguousarray(values).data).hexdigest(),
        "flow": training.name,
        "members": plan.members,
        "column": source.column,
        "weights": source.weights,
    }
    left = {"time", *found, *(("epochs",) if plan.members == 1 else ())}
    names = [field.name for field in fields(training) if field.name not in left]
    found |= {name: getattr(training, name) for name in names}
    asked = {
        name if name in ("search", "DATA") else f"--{name.replace('_', '-')}": value
        for name, value in found.items()
    }
    return json.loads(json.dumps(asked))
