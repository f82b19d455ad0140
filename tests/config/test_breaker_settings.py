"""The breaker's settings: resilience4j's names, and what is refused."""

import pytest
from pydantic import ValidationError

from sloctl.config.daemon import BreakerConfig


def test_settings_of_resilience4j_are_taken_as_they_are() -> None:
    config = BreakerConfig.model_validate(
        {
            "slidingWindowType": "TIME_BASED",
            "slidingWindowSize": 60,
            "slowCallRateThreshold": 80,
            "slowCallDurationThreshold": "200ms",
            "enableExponentialBackoff": True,
            "exponentialBackoffMultiplier": 2,
            "exponentialMaxWaitDurationInOpenState": "1m",
            "enableRandomizedWait": True,
            "randomizedWaitFactor": 0.25,
            "automaticTransitionFromOpenToHalfOpenEnabled": True,
        }
    )
    assert (config.slow_call_duration_threshold, config.exponential_max_wait_duration_in_open_state) == (0.2, 60.0)


def test_what_was_resolved_is_valid_again() -> None:
    """The supervisor hands its children the resolved configuration."""
    resolved = BreakerConfig().model_dump(mode="json", by_alias=True)
    assert BreakerConfig.model_validate(resolved) == BreakerConfig()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        pytest.param({"slidingWindowType": "time"}, "'COUNT_BASED' or 'TIME_BASED'", id="an unknown window"),
        pytest.param({"exponentialBackoffMultiplier": 2}, "enableExponentialBackoff: true", id="backoff is off"),
        pytest.param(
            {"exponentialMaxWaitDurationInOpenState": "1m"}, "enableExponentialBackoff: true", id="a maximum of nothing"
        ),
        pytest.param({"randomizedWaitFactor": 0.1}, "enableRandomizedWait: true", id="chance is off"),
        pytest.param(
            {"enableExponentialBackoff": True, "exponentialMaxWaitDurationInOpenState": "1s"},
            r"\(1s\) is shorter than waitDurationInOpenState \(5s\)",
            id="a maximum below the first wait",
        ),
        pytest.param(
            {"enableExponentialBackoff": True, "exponentialBackoffMultiplier": 0.5},
            "greater than or equal to 1",
            id="less",
        ),
        pytest.param({"enableRandomizedWait": True, "randomizedWaitFactor": 1}, "less than 1", id="no wait at all"),
        pytest.param({"slowCallRateThreshold": 0}, "greater than 0", id="always slow"),
        pytest.param({"slowCallDuration": "1s"}, "slowCallDuration", id="an unknown name"),
        pytest.param({"recloseRamp": "-1s"}, "recloseRamp", id="a ramp into the past"),
    ],
)
def test_what_is_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        BreakerConfig.model_validate(settings)
