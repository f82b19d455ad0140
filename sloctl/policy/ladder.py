"""The precision ladder, and the memory of switches on it."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Ladder:
    """Variants, most accurate first."""

    variants: tuple[str, ...]

    def target(self, wish: str, serving: str) -> str | None:
        """Where `down`, `up` or a named variant leads from the serving one; None if that is nowhere.

        From a variant that is not on the ladder, only a named one leads anywhere.
        """
        if wish not in {"down", "up"}:
            return wish if wish != serving else None
        if serving not in self.variants:
            return None
        index = self.variants.index(serving) + (1 if wish == "down" else -1)
        return self.variants[index] if 0 <= index < len(self.variants) else None

    def is_up(self, target: str, serving: str) -> bool:
        """Whether a change leads to a more accurate variant; one from outside the ladder does not."""
        variants = self.variants
        if target not in variants or serving not in variants:
            return False
        return variants.index(target) < variants.index(serving)

    def holds_down(self, wish: str, serving: str) -> bool:
        """Whether a pending rule with that wish speaks against a step up."""
        if wish in {"down", "up"}:
            return wish == "down"
        return self.variants[:1] != (wish,) and not self.is_up(wish, serving)


class Switches:
    """When switches happened: the last of any kind, and the rules' of the last hour."""

    def __init__(self) -> None:
        self._last = -math.inf
        self._counted: deque[float] = deque()

    def note(self, now: float, *, counted: bool = True) -> None:
        """A switch happened; one by hand is not counted against the rules."""
        self._last = now
        if counted:
            self._counted.append(now)

    def quiet(self, now: float) -> float:
        """Seconds since the last switch, infinite without one."""
        return now - self._last

    def in_last_hour(self, now: float) -> int:
        """The rules' switches of the last hour."""
        while self._counted and self._counted[0] <= now - _HOUR:
            self._counted.popleft()
        return len(self._counted)

    def ages(self, now: float) -> tuple[float | None, list[float]]:
        """Age of the last switch (None without one) and of the counted ones."""
        last = None if math.isinf(self._last) else now - self._last
        return last, [now - at for at in self._counted]

    def restore(self, now: float, last: float | None, counted: Iterable[float]) -> None:
        """Takes up what `ages` gave."""
        self._last = -math.inf if last is None else now - last
        self._counted = deque(sorted(now - age for age in counted))
