"""Shape profiles from recorded traffic: how many rows the executed batches had.

Read from a daemon's `/metrics` or a file of it (the buckets of `sloctl_batch_size`), from JSON (`{"1": 120, "16": 30}`)
or CSV (`size,count` a line).
"""

import csv
import json
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from math import inf
from pathlib import Path

from sloctl.engines.base import EngineError

_METRIC = "sloctl_batch_size"
_MOST_BYTES = 32 << 20


def profile_of(histogram: Mapping[int, float]) -> tuple[int, int, int]:
    """Smallest, best and largest batch: 1, the size that carried the most rows, and the largest seen."""
    return 1, max(histogram, key=lambda size: (size * histogram[size], size)), max(histogram)


def read_histogram(source: str, model: str) -> dict[int, float]:
    """Number of batches by size, from a URL or file. A bucket counts as its upper bound. Raises EngineError."""
    text = _fetch(source) if source.startswith(("http://", "https://")) else _file(Path(source))
    try:
        counts = _counts(text, model)
    except (ValueError, TypeError, AttributeError) as error:
        raise EngineError(f"{source}: neither metrics nor a JSON or CSV table of size and count: {error}") from None
    found = {size: count for size, count in counts.items() if count > 0}
    if not found:
        raise EngineError(f"{source}: there are no batches of model {model} in it")
    if min(found) < 1:
        raise EngineError(f"{source}: a batch has at least one row; found {min(found)}")
    return found


def _counts(text: str, model: str) -> dict[int, float]:
    if text.lstrip().startswith("{"):
        return {int(size): float(count) for size, count in json.loads(text).items()}
    return _metrics(text, model) if f"{_METRIC}_bucket" in text else _csv(text)


def _fetch(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=10) as response:
            return str(response.read(_MOST_BYTES).decode("utf-8"))
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise EngineError(f"{url}: {getattr(error, 'reason', error)}") from None


def _file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8")
    except OSError as error:
        raise EngineError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except ValueError:
        raise EngineError(f"{path}: not UTF-8 text") from None


def _csv(text: str) -> dict[int, float]:
    rows = [row for row in csv.reader(text.splitlines()) if row and not row[0].startswith("#")]
    if rows and not rows[0][0].strip().isdigit():
        rows = rows[1:]  # headings
    if not all(len(row) == 2 for row in rows):
        raise ValueError("expected two columns, size and count")
    return {int(size): float(count) for size, count in rows}


def _metrics(text: str, model: str) -> dict[int, float]:
    """Sums over variants; the open bucket counts as the last bound, beyond which nothing is known."""
    from prometheus_client.parser import text_string_to_metric_families

    below: defaultdict[float, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"{_METRIC}_bucket" and sample.labels.get("model") == model:
                below[float(sample.labels["le"])] += sample.value
    bounds = sorted(below)
    counts = {bound: below[bound] - (below[bounds[i - 1]] if i else 0.0) for i, bound in enumerate(bounds)}
    beyond = counts.pop(inf, 0.0)
    if beyond and counts:
        counts[max(counts)] += beyond
    return {int(bound): count for bound, count in counts.items()}
