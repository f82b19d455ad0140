"""Both windows against a plain list of results."""

from hypothesis import given
from hypothesis import strategies as st

from sloctl.admission.windows import CallWindow, TimeWindow

RESULTS = st.lists(st.tuples(st.floats(0, 3.5), st.booleans(), st.booleans()), max_size=60)


def totals(results: list[tuple[bool, bool]]) -> tuple[int, int, int]:
    return len(results), sum(failed for failed, _ in results), sum(slow for _, slow in results)


@given(RESULTS, st.integers(1, 12))
def test_of_calls(results: list[tuple[float, bool, bool]], size: int) -> None:
    window = CallWindow(size)
    for number, (_, failed, slow) in enumerate(results):
        window.add(0.0, failed=failed, slow=slow)
        last = [(f, s) for _, f, s in results[: number + 1]][-size:]
        assert (window.calls, window.failures, window.slow) == totals(last)


@given(RESULTS, st.integers(1, 12), st.floats(0, 1e6))
def test_of_seconds(results: list[tuple[float, bool, bool]], size: int, start: float) -> None:
    window, now, seen = TimeWindow(size), start, []
    for pause, failed, slow in results:
        now += pause
        window.add(now, failed=failed, slow=slow)
        seen.append((int(now), failed, slow))
        last = [(f, s) for second, f, s in seen if second > int(now) - size]
        assert (window.calls, window.failures, window.slow) == totals(last)
    window.advance(now + size + 1)
    assert (window.calls, window.failures, window.slow) == (0, 0, 0)


def test_a_clock_that_goes_back_adds_to_the_newest_second() -> None:
    window = TimeWindow(2)
    window.add(10.0, failed=True, slow=False)
    window.add(3.0, failed=True, slow=False)
    assert window.calls == 2
    window.advance(12.0)
    assert window.calls == 0


def test_rates_of_an_empty_window_are_zero() -> None:
    assert (CallWindow(3).failure_rate, TimeWindow(3).slow_call_rate) == (0.0, 0.0)
