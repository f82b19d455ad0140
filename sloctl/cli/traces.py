"""Traces from files: CSV, as the daemon records them, or Parquet with the same columns (needs pyarrow)."""

import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sloctl.policy.trace import TraceError

_ROWS = 4096  # in memory at a time
_MOST_BYTES = 1 << 30


@contextmanager
def lines_of(path: Path) -> Iterator[Iterable[str]]:
    """The lines of a trace as CSV. Raises TraceError, with the file's name, and OSError."""
    if path.stat().st_size > _MOST_BYTES:
        raise TraceError(f"{path} is larger than {_MOST_BYTES} bytes")
    try:
        if path.suffix == ".parquet":
            yield _parquet(path)
            return
        with path.open(encoding="utf-8", newline="") as file:
            yield file
    except TraceError as error:
        raise TraceError(f"{path}: {error}") from None
    except UnicodeDecodeError:
        raise TraceError(f"{path}: not UTF-8, so no trace in CSV") from None


def _parquet(path: Path) -> Iterator[str]:
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise TraceError("to read Parquet, pip install 'sloctl[parquet]'; or write it as CSV") from None
    try:
        file = ParquetFile(path)
        yield _line(file.schema_arrow.names)
        for batch in file.iter_batches(_ROWS):
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield _line([_text(value) for value in row])
    except pa.ArrowException as error:
        raise TraceError(f"not readable as Parquet: {str(error).splitlines()[0]}") from None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None or value != value else str(value)


def _line(fields: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(fields)
    return line.getvalue()
