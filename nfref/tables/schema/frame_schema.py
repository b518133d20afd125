"""A DataFrame without rows as plain data: its library, and names and types of its columns."""

from dataclasses import dataclass

from nfref.runtime.annotations import Any
from nfref.runtime.checks import require, shortened
from nfref.runtime.configuration import Configuration
from nfref.tables.schema.columns import plain

LIBRARIES = ("pandas", "modin", "cudf", "polars", "pyarrow")


@dataclass(frozen=True)
class FrameSchema(Configuration):
    """The library, names and types of a DataFrame.

    Parameters
    ----------
    library : str
        "pandas", "modin", "cudf", "polars" or "pyarrow".
    names : tuple
        Text; of pandas, numbers too.
    types : tuple of str
        As the library names them: "int64", "String". "category" and "ordered" of pandas are those
        of a Categorical, and "Enum" is that of polars.
    labels : tuple
        The labels of a Categorical or an Enum, in order; None for other types.
    """

    library: str
    names: tuple
    types: tuple
    labels: tuple

    @classmethod
    def of(cls, frame: Any) -> "FrameSchema":
        """Return the schema of a DataFrame; its labels are numbers, text or truth values."""
        import narwhals

        own = narwhals.from_native(frame, eager_only=True)
        library = own.implementation.value
        found = [
            (_pandas_type if library == "pandas" else _other_type)(series)
            for series in own.iter_columns()
        ]
        names = frame.columns if library == "pandas" else own.columns
        types = tuple(name for name, _ in found)
        every = tuple(labels and tuple(map(_kept, labels)) for _, labels in found)
        return cls(library, tuple(map(_kept, names)), types, every)

    def frame(self) -> Any:
        """Return the DataFrame without rows.

        Raises
        ------
        ModuleNotFoundError
            If its library is not installed.
        """
        if self.library == "pandas":
            import pandas

            columns = [
                pandas.Series([], dtype=_pandas_dtype(name, labels))
                for name, labels in zip(self.types, self.labels)
            ]
            frame = pandas.concat(columns, axis=1)
            frame.columns = list(self.names)
            return frame
        import narwhals

        dtypes = {
            name: _narwhals_dtype(kind, labels)
            for name, kind, labels in zip(self.names, self.types, self.labels)
        }
        backend: Any = self.library
        empty: dict[str, list] = {name: [] for name in dtypes}
        return narwhals.from_dict(empty, dtypes, backend=backend).to_native()

    def _check(self):
        require(
            self.library in LIBRARIES,
            f"library: expected one of {', '.join(LIBRARIES)}, got {shortened(self.library)}",
        )
        require(
            len(self.names) == len(self.types) == len(self.labels)
            and all(isinstance(kind, str) for kind in self.types)
            and all(labels is None or isinstance(labels, tuple) for labels in self.labels),
            "types: expected text for each name, and labels or null",
        )


def _kept(label):
    """Return a name or a label as a file can hold it."""
    label = plain(label)
    return label if isinstance(label, (str, bool, int, float)) else str(label)


def _pandas_type(series):
    import pandas

    dtype = series.to_native().dtype
    if not isinstance(dtype, pandas.CategoricalDtype):
        return str(dtype), None
    return "ordered" if dtype.ordered else "category", dtype.categories.tolist()


def _pandas_dtype(name, labels):
    import pandas

    if labels is not None:
        return pandas.CategoricalDtype(list(labels), ordered=name == "ordered")
    return pandas.api.types.pandas_dtype(name)


def _other_type(series):
    import narwhals

    name = type(series.dtype).__name__
    return name, series.dtype.categories if isinstance(series.dtype, narwhals.Enum) else None


def _narwhals_dtype(name, labels):
    import narwhals

    if labels is not None:
        return narwhals.Enum(labels)
    kind = getattr(narwhals, name, None)
    require(
        isinstance(kind, type) and issubclass(kind, narwhals.dtypes.DType),
        f"types: expected those of narwhals, got {shortened(name)}",
    )
    return kind()
