"""Series as promtool's unit tests write them: `metric{label="value"}` and `0+10x60`, `1 2 _ stale`.

https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/
"""

import math
import re
from collections.abc import Mapping

from sloctl.slo.objective import Selector

MISSING = math.nan
_NAME = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+|Inf|NaN)"
_RUN = re.compile(rf"({_NUMBER})([-+](?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+))?(?:x(\d+))?")
_GAP = re.compile(r"(_|stale)(?:x(\d+))?")


def selector_of(text: str) -> tuple[str, Mapping[str, str]]:
    """Name and labels of a series. Raises ValueError."""
    match = _NAME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'{text!r} is no series; expected one such as requests_total{{outcome="ok"}}')
    labels, rest = {}, (match[2] or "").strip()
    while rest:
        label = _LABEL.match(rest)
        if label is None:
            raise ValueError(f'{text!r}: expected label="value" at {rest!r}')
        labels[label[1]] = label[2].encode().decode("unicode_escape") if "\\" in label[2] else label[2]
        rest = rest[label.end() :]
    return match[1], labels


def expanded(text: str, most: int) -> list[float]:
    """The samples; NaN where there is none. Raises ValueError, also for more than `most`."""
    found: list[float] = []
    for word in text.split():
        gap, run = _GAP.fullmatch(word), _RUN.fullmatch(word)
        if gap is not None:
            count = int(gap[2] or 1)
            values = [MISSING] * min(count, most + 1)
        elif run is not None:
            first, step, times = float(run[1]), float(run[2] or 0), min(int(run[3] or 0), most + 1)
            values = [first + step * index for index in range(times + 1)]
        else:
            raise ValueError(f"{word!r} is no sample; expected a number, 0+10x60, 5x3, _ or stale")
        found += values
        if len(found) > most:
            raise ValueError(f"more than {most} samples")
    return found


def selects(selector: Selector, name: str, series: tuple[str, Mapping[str, str]], **more: str) -> bool:
    """Whether a series is among those of a selector, under a name that may have a suffix."""
    known, labels = series
    wanted = all(labels.get(label, "") in values for label, values in selector.labels.items())
    return known == name and wanted and all(labels.get(label) == value for label, value in more.items())
