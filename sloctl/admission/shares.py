"""Admits an exact share of each class, deterministically."""

from collections.abc import Sequence

_SLACK = 1e-9  # ten times 0.1 shall make a whole


class Shares:
    """Each request of a class adds the class's share to its credit; a whole credit admits one.

    Of any n requests in a row at share s, s·n are admitted, give or take one: at 0.25 exactly every fourth.
    """

    __slots__ = ("_credit", "values")

    def __init__(self, classes: int) -> None:
        self.values: tuple[float, ...] = (1.0,) * classes
        self._credit = [0.0] * classes

    def set(self, values: Sequence[float]) -> None:
        """Shares in 0..1 by class; ValueError for another number of classes. Credit is kept."""
        if len(values) != len(self._credit):
            raise ValueError(f"{len(self._credit)} classes want as many shares, not {len(values)}")
        self.values = tuple(values)

    def admits(self, index: int) -> bool:
        """What `admit` would say, which changes nothing."""
        share = self.values[index]
        return share >= 1.0 or (share > 0.0 and self._credit[index] + share >= 1.0 - _SLACK)

    def admit(self, index: int) -> bool:
        """Whether the next request of a class is let in."""
        share = self.values[index]
        if share >= 1.0:
            return True
        credit = self._credit[index] + share
        admitted = share > 0.0 and credit >= 1.0 - _SLACK
        self._credit[index] = credit - 1.0 if admitted else credit
        return admitted
