"""One Python file of a fitted density, which needs NumPy alone; ``nfref export`` writes it.

:mod:`~nfref.tables.export.plain_model` turns a model into facts and arrays,
:mod:`~nfref.tables.export.plain_parts` each class in it,
:mod:`~nfref.tables.export.density_template` is the text of the file.
"""

import base64
import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from nfref.runtime.annotations import PathLike
from nfref.runtime.checks import check_choice
from nfref.runtime.files import check_writable, replacing
from nfref.runtime.serialization import describe
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.export.plain_model import plain_model
from nfref.tables.files.archives import write_npz
from nfref.tables.files.model_file import Model, load_model


class Estimator(Protocol):
    """A fitted estimator of scikit-learn."""

    density_: TableDensity


class Holder(Protocol):
    """A posterior."""

    density: TableDensity


Exported: TypeAlias = Model | PathLike | Estimator | Holder | TableDensity


def export(model: Exported, path: PathLike, *, to: str = "python", weights: str = "inside") -> None:
    """Write a fitted density as one Python file that needs NumPy alone.

    Parameters
    ----------
    model : Model, path-like or estimator
        A model, the path of its file, a fitted :class:`nfref.FlowDensity` or a
        :class:`nfref.Posterior`. Pools of Gaussians, mixtures, the wide density, MAF, NICE, NSF and
        RealNVP are exported, and such flows alone.
    path : path-like
        The file to write, whole or not at all.
    to : {"python"}
    weights : {"inside", "beside"}
        Put the weights into the file, or into NAME.weights.npz beside it.

    Raises
    ------
    ValueError
        If a part of the model cannot be exported; nothing is written.
    """
    check_choice("to", to, ("python",))
    check_choice("weights", weights, ("inside", "beside"))
    beside = Path(path).with_suffix(".weights.npz")
    if isinstance(model, (str, os.PathLike)) and os.path.realpath(model) == os.path.realpath(path):
        raise ValueError(f"path: expected a file of its own, got {path}, which is read")
    text, data = python_file(model, beside.name if weights == "beside" else None)
    check_writable(path)
    if weights == "beside":
        with replacing(beside) as file:
            file.write(data)
    with replacing(path) as file:
        file.write(text.encode("ascii"))


def python_file(model: Exported, beside: str | None = None) -> tuple[str, bytes]:
    """Return the text of the file, and the weights as an .npz, which the text holds too.

    If ``beside`` names a file, the text reads that instead.
    """
    model = _model_of(model)
    about, tree = plain_model(model)
    description, arrays = describe(tree)
    stored = {"model": np.frombuffer(json.dumps(description).encode(), np.uint8)}
    stored |= {name: _smallest(array) for name, array in arrays.items()}
    file = io.BytesIO()
    write_npz(file, stored, zipfile.ZIP_DEFLATED)
    data = file.getvalue()
    writer = model.info.get("written_by", {})
    about |= {
        "written_by": ", ".join(f"{name} {version}" for name, version in writer.items()),
        "checksum": hashlib.sha256(data).hexdigest(),
        "beside": beside,
    }
    encoded = "" if beside else "\n" + base64.encodebytes(data).decode()
    text = Path(__file__).with_name("density_template.py").read_text(encoding="utf-8")
    text = text.replace('WEIGHTS = """"""', f'WEIGHTS = """{encoded}"""', 1)
    # JSON escapes as a raw literal does, so no name ends it; and all of it is ASCII.
    return text.replace(r'r"""{"columns": []}"""', f'r"""{_as_json(about)}"""', 1), data


def _as_json(about):
    """Return JSON with a line for each column."""
    lines = [json.dumps(column) for column in about["columns"]]
    rest = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(value)}"
        for name, value in about.items()
        if name != "columns"
    )
    return '{"columns": [\n' + ",\n".join(lines) + "\n],\n" + rest + "}"


def _smallest(array):
    """Return the array, in float32 if that loses nothing."""
    with np.errstate(all="ignore"):
        single = array.astype(np.float32) if array.dtype.kind == "f" else array
    return single if np.array_equal(single, array) else array


def _model_of(model):
    if isinstance(model, Model):
        return model
    if isinstance(model, (str, os.PathLike)):
        return load_model(model)
    density = getattr(model, "density_", getattr(model, "density", model))
    if not isinstance(density, TableDensity):
        raise TypeError(
            "model: expected a model, the path of its file or a fitted estimator, "
            f"got {type(model).__name__}"
        )
    from nfref import __version__

    return Model(density, None, info={"written_by": {"nfref": __version__}})
