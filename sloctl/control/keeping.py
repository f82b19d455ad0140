"""What becomes of attempts to keep something in the store: one that fails is counted and told, and ends no tick."""

import sqlite3
from collections.abc import Callable
from typing import TypeVar

import structlog

log = structlog.get_logger("sloctl.control")
_T = TypeVar("_T")


class Keeping:
    """`failures` are the attempts that failed. Each kind is told of when it first fails, and when it works again."""

    def __init__(self) -> None:
        self.failures = 0
        self._failing: set[str] = set()

    def attempt(self, what: str, write: Callable[[], _T]) -> _T | None:
        """What `write` gives, None where the store cannot be written; `what` is for people."""
        try:
            found = write()
        except sqlite3.Error as error:
            self.failures += 1
            if what not in self._failing:
                self._failing.add(what)
                log.error("the store cannot be written: after a restart this is missing", what=what, error=str(error))
            return None
        if what in self._failing:
            self._failing.remove(what)
            log.info("the store can be written again", what=what)
        return found
