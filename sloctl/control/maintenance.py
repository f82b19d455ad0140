"""What is left out of SLOs at a moment: planned in files, or begun by hand; and the trail of what began and ended."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sloctl.slo.exclusions import Once, Timetable
from sloctl.slo.objective import Objective


@dataclass(frozen=True, slots=True)
class ByHand:
    """Maintenance that somebody began: of the SLOs whose names match, from `begin` to `end` in Unix seconds."""

    number: int
    slos: tuple[str, ...]
    begin: float
    end: float
    reason: str

    def concerns(self, slo: str) -> bool:
        """Whether it is about an SLO."""
        return any(fnmatchcase(slo, pattern) for pattern in self.slos)


class Exclusions:
    """The times that are left out of each SLO. Not for several threads at once."""

    def __init__(self, objectives: Sequence[Objective], by_hand: Iterable[ByHand] = ()) -> None:
        self._objectives = objectives
        self._timetables: dict[str, Timetable] = {}
        self.active: Mapping[str, str] = {}  # why SLOs are left out at the last `look`, by name
        self.take(by_hand)

    def take(self, by_hand: Iterable[ByHand]) -> None:
        """Puts these in the place of what was begun by hand before."""
        held = list(by_hand)
        tables = {}
        for objective in self._objectives:
            own = [Once(each.begin, each.end, each.reason) for each in held if each.concerns(objective.name)]
            if own or objective.exclusions:
                tables[objective.name] = Timetable((*objective.exclusions, *own))
        self._timetables = tables

    def look(self, now: float) -> list[tuple[str, str, bool]]:
        """SLO, reason and whether it begins, of all that has begun or ended since the last look."""
        found = {name: why for name, table in self._timetables.items() if (why := table.reason(now)) is not None}
        began = [(name, why, True) for name, why in found.items() if name not in self.active]
        ended = [(name, why, False) for name, why in self.active.items() if name not in found]
        self.active = found
        return [*ended, *began]

    def excludes(self, slo: str, at: float) -> bool:
        """Whether what an SLO counts at a moment is left out."""
        table = self._timetables.get(slo)
        return table is not None and table.reason(at) is not None
