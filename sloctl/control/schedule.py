"""Calls at intervals of the monotonic clock: a wall clock that is set back must not stop the control plane."""

import threading
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger("sloctl.control")


class Wait:
    """Waits that can be ended: what `repeat` needs of time."""

    def __init__(self) -> None:
        self._end = threading.Event()

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def until(self, moment: float) -> bool:
        """Waits for a moment; False where it has been ended instead."""
        return not self._end.wait(max(moment - self.now(), 0.0))

    def end(self) -> None:
        """Ends all waits, those to come as well."""
        self._end.set()


def repeat(call: Callable[[], object], seconds: float, wait: Wait) -> None:
    """Calls every so many seconds until the waits are ended, and first after one interval.

    A late call is made at once and missed ones are not made up for. One that raises is logged and costs only itself.
    """
    due = wait.now() + seconds
    while wait.until(due):
        try:
            call()
        except Exception:
            log.exception("a periodic task failed; it is tried again", task=getattr(call, "__qualname__", ""))
        due = max(due + seconds, wait.now())


class Schedule:
    """Repeated calls, each in a thread of its own and never two of one at a time."""

    def __init__(self) -> None:
        self._wait = Wait()
        self._threads: list[threading.Thread] = []

    def add(self, call: Callable[[], object], seconds: float) -> None:
        """Adds a call; it is repeated from `start` on."""
        self._threads.append(threading.Thread(target=repeat, args=(call, seconds, self._wait), daemon=True))

    def start(self) -> None:
        """Begins."""
        for thread in self._threads:
            thread.start()

    def shutdown(self) -> None:
        """Ends, after the calls that are under way."""
        self._wait.end()
        for thread in self._threads:
            thread.join()
