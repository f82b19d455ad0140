"""For services that send requests: retries that honour what a refusal says and cannot keep an overload alive.

Standard library only, and nothing of sloctl's besides. `Caller` wraps any callable, `Client` is a small one for V2
over HTTP; `Throttle`, `RetryBudget` and `Retry` are what both are made of, on a clock and a random source of yours.
"""

from sloctl.client.budget import RetryBudget
from sloctl.client.caller import Caller, Counts
from sloctl.client.errors import InferenceError, ThrottledError
from sloctl.client.failures import Failure, describe
from sloctl.client.http import Client
from sloctl.client.retry import Retry
from sloctl.client.throttle import Throttle

__all__ = [
    "Caller",
    "Client",
    "Counts",
    "Failure",
    "InferenceError",
    "Retry",
    "RetryBudget",
    "Throttle",
    "ThrottledError",
    "describe",
]
