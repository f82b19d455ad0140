"""When the same request is sent again: few times, later each time, never before the server said, never too late."""

from dataclasses import dataclass

from sloctl.client.failures import Failure


@dataclass(frozen=True, slots=True)
class Retry:
    """At most `attempts` in all. What is not worth another one, and what would come too late, is not repeated.

    The wait is what the server asked for, and on top of it exponential backoff with full jitter (a random part of
    `base` doubled each time): whoever was refused together does not come back together. Who is asked to wait for
    more than `longest` gives up at once. All in seconds.
    """

    attempts: int = 3
    base: float = 0.1
    longest: float = 10.0

    def wait(self, attempt: int, failure: Failure, left: float, chance: float) -> float | None:
        """Seconds until the attempt after number `attempt` (from 1), None for none.

        `left` is the time until the deadline, `chance` a random number from 0 to 1.
        """
        if not failure.again or attempt >= self.attempts or failure.after > self.longest:
            return None
        pause = failure.after + chance * min(self.base * 2.0 ** (attempt - 1), self.longest)
        return pause if pause < left else None
