"""Records traces: `<folder>/<model>.csv`, a row a second, in files of bounded size of which a few are kept.

A disk that is full or a folder that is gone must not stop decisions: it is said once, and tried again a minute later.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from sloctl.policy import trace
from sloctl.policy.decisions import Decision
from sloctl.policy.document import PolicyDocument
from sloctl.policy.facts import Facts, Vocabulary

_EVERY = 1.0  # seconds
_AGAIN = 60.0

Count = Callable[[str], tuple[float, float]]
"""Good and valid events of an SLO since its history began."""

log = structlog.get_logger("sloctl.control")


class Recorder:
    """Writes the traces of all models. `now` is monotonic, `wall` Unix seconds."""

    def __init__(self, folder: Path, max_bytes: int, keep: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._keep = keep
        self._columns: dict[str, tuple[str, ...]] = {}
        self._slos: Sequence[str] | None = ()
        self._begun: set[str] = set()  # models whose file has the columns of now
        self._decided: defaultdict[str, list[Decision]] = defaultdict(list)
        self._due: defaultdict[str, float] = defaultdict(lambda: float("-inf"))

    def describe(self, vocabulary: Vocabulary, policies: Sequence[PolicyDocument] = ()) -> None:
        """Takes the names that exist from now on, and who names them; columns that change begin a new file."""
        columns = {model: trace.columns(vocabulary, model, policies) for model in vocabulary.variants or {}}
        self._begun = self._begun if self._slos == vocabulary.slos else set()
        self._slos = vocabulary.slos
        self._begun = {model for model in self._begun if columns.get(model) == self._columns[model]}
        self._columns = columns

    def record(
        self, model: str, now: float, wall: float, facts: Facts, decisions: tuple[Decision, ...], count: Count
    ) -> None:
        """Writes a row if one is due; decisions of ticks in between are kept for it, `count` counts an SLO."""
        self._decided[model] += decisions
        if now < self._due[model]:
            return
        self._due[model] = now + _EVERY
        counts = {slo: count(slo) for slo in self._slos or ()}
        line = trace.row(wall, self._columns[model], facts, self._decided.pop(model, []), counts)
        try:
            self._write(model, line)
        except OSError as error:
            self._due[model] = now + _AGAIN
            log.error("trace not written; tried again in a minute", folder=str(self._folder), error=str(error))

    def _write(self, model: str, line: str) -> None:
        path = self._folder / f"{model}.csv"
        if model not in self._begun or not path.exists() or path.stat().st_size >= self._max_bytes:
            self._rotate(path)
            path.write_text(trace.header(self._columns[model], self._slos or ()), encoding="utf-8")
            self._begun.add(model)
        with path.open("a", encoding="utf-8") as file:
            file.write(line)

    def _rotate(self, path: Path) -> None:
        """Moves `m.csv` to `m.csv.1`, that one to `m.csv.2` and so on; what would be beyond `keep` is overwritten."""
        path.parent.mkdir(parents=True, exist_ok=True)
        names = [path, *(path.with_name(f"{path.name}.{index}") for index in range(1, self._keep + 1))]
        for older, newer in reversed(list(zip(names[1:], names, strict=False))):
            if newer.exists():
                newer.replace(older)
