"""The row about breakers: those of models, and those of their variants."""

from sloctl.telemetry import catalogue as c
from sloctl_exporters.grafana.model import YELLOW, Panel, Row, Target
from sloctl_exporters.grafana.panels import lines, timeline
from sloctl_exporters.grafana.queries import Queries

_BOTH = ((c.MODEL_BREAKER, "model", "{{model}}"), (c.VARIANT_BREAKER, "model, variant", "{{model}} {{variant}}"))
_FEW = "Too few calls for a rate"


def breakers_row(q: Queries) -> Row:
    """States, results and windows of all breakers."""
    return Row("Breakers", [*_states(q), *_calls(q)])


def _states(q: Queries) -> list[Panel]:
    return [
        timeline(
            "Breaker",
            "The state that each model's breaker is in.",
            Target(f"{q.gauge(c.BREAKER_STATE, 'model, state', 'max')} == 1", "{{model}} {{state}}"),
            [(1, "in this state", YELLOW)],
        ),
        timeline(
            "Breakers of variants",
            "The state that each variant's breaker is in; while one is open, another variant serves.",
            Target(
                f"{q.gauge(c.VARIANT_BREAKER.state, 'model, variant, state', 'max')} == 1",
                "{{model}} {{variant}} {{state}}",
            ),
            [(1, "in this state", YELLOW)],
        ),
        lines(
            "Breaker transitions",
            "Entries of the breakers of models and variants into each state.",
            "cps",
            *(Target(q.rate(m.transitions, f"{by}, state"), f"{name} {{{{state}}}}") for m, by, name in _BOTH),
        ),
    ]


def _calls(q: Queries) -> list[Panel]:
    return [
        lines(
            "Calls by what became of them",
            "Successful, failed, neutral (ignored) and kept out by the breaker; slow ones besides.",
            "cps",
            *(Target(q.rate(m.calls, f"{by}, kind"), f"{name} {{{{kind}}}}") for m, by, name in _BOTH),
            *(Target(q.rate(m.slow_calls, by), f"{name} slow") for m, by, name in _BOTH),
        ),
        lines(
            "Failed and slow calls in the window",
            "What the breakers hold against their thresholds, once there are enough calls.",
            "percentunit",
            *(Target(q.gauge(m.failure_ratio, by, "max"), f"{name} failed") for m, by, name in _BOTH),
            *(Target(q.gauge(m.slow_call_ratio, by, "max"), f"{name} slow") for m, by, name in _BOTH),
            high=1,
            empty=_FEW,
        ),
        lines(
            "Calls in the window",
            "Calls by which each breaker judges.",
            "short",
            *(Target(q.gauge(m.buffered, by), name) for m, by, name in _BOTH),
        ),
    ]
