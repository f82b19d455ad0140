"""How long an open breaker waits: constant, growing with each reopening, spread by chance."""

from collections.abc import Callable

from sloctl.config.daemon import BreakerConfig

_MULTIPLIER, _FACTOR = 1.5, 0.5  # resilience4j's defaults
_LONGEST = 3600.0  # seconds, where nothing else is said; resilience4j's grows without a bound
_MOST_GROWTH = 64  # times; the wait has reached its bound long before, and a float does not overflow


def wait_in_open_state(config: BreakerConfig, reopenings: int, chance: Callable[[], float]) -> float:
    """Seconds until the next half-open round.

    `reopenings` counts those since the breaker was last closed for good; `chance` gives numbers in [0, 1).
    min(wait · multiplier^reopenings · (1 ± factor), maximum), resilience4j's exponential random interval.
    """
    wait = config.wait_duration_in_open_state
    longest = config.exponential_max_wait_duration_in_open_state or max(_LONGEST, wait)
    if config.enable_exponential_backoff:
        wait *= (config.exponential_backoff_multiplier or _MULTIPLIER) ** min(reopenings, _MOST_GROWTH)
    if config.enable_randomized_wait:
        factor = _FACTOR if config.randomized_wait_factor is None else config.randomized_wait_factor
        wait *= 1 + factor * (2 * chance() - 1)
    return min(wait, longest) if config.enable_exponential_backoff else wait
