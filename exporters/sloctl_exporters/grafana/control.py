"""The dashboard's row on control: health, breaker, admission and decisions."""

from sloctl.telemetry import catalogue as c
from sloctl_exporters.grafana import queries as q
from sloctl_exporters.grafana.model import GREEN, GREY, RED, YELLOW, Panel, Row, Target, stat, timeline


def control_row() -> Row:
    """The row."""
    return Row("Control", [*_standing(), *_decisions()])


def _standing() -> list[Panel]:
    up_or_down = {"states": [(0, "no", RED), (1, "yes", GREEN)], "steps": [(None, RED), (1, GREEN)]}
    return [
        stat(
            "Ready",
            "Whether every model's serving variant stands on all five health levels.",
            Target(q.gauge(c.READY, "instance", "min"), "{{instance}}"),
            "short",
            **up_or_down,
        ),
        stat(
            "Planes up",
            "Whether a plane's heartbeat is fresh.",
            Target(q.gauge(c.PLANE_UP, "plane", "min"), "{{plane}}"),
            "short",
            **up_or_down,
        ),
        stat(
            "Plane restarts in this time",
            "Times that the supervisor started a plane anew in the time shown.",
            Target(q.increase(c.PLANE_RESTARTS, "plane"), "{{plane}}", instant=True),
            "short",
            steps=[(None, GREEN), (1, RED)],
        ),
        stat(
            "Last reload accepted",
            "Whether the last reload of SLOs and policies was accepted.",
            Target(q.gauge(c.CONFIG_LAST_RELOAD_OK, "instance", "min"), "{{instance}}"),
            "short",
            **up_or_down,
        ),
        stat(
            "Overrides",
            "Overrides by hand that are in force.",
            Target(q.gauge(c.OVERRIDES_ACTIVE), "overrides"),
            "short",
            steps=[(None, GREEN), (1, YELLOW)],
        ),
        stat(
            "Version",
            "Versions that are running.",
            Target(f"count by (version) ({q.series(c.BUILD_INFO)})", "{{version}}"),
            "short",
        ),
        timeline(
            "Health levels",
            "Worst health of each level over all variants: device, runtime, model, context, inference.",
            Target(q.gauge(c.HEALTH_LEVEL, "model, level", "min"), "{{model}} {{level}}"),
            [(0, "failing", RED), (0.5, "missed once", YELLOW), (1, "passing", GREEN)],
        ),
        Panel(
            "Age of health",
            "Seconds since a level of a variant last passed.",
            [Target(q.gauge(c.HEALTH_LAST_SUCCESS, "model, level", "max"), "{{model}} {{level}}")],
            "s",
            low=0,
        ),
        timeline(
            "Devices",
            "Whether each device's data plane runs and every model's serving variant stands there on all levels.",
            Target(q.gauge(c.DEVICE_UP, "device", "min"), "{{device}}"),
            [(0, "down", RED), (1, "up", GREEN)],
        ),
        timeline(
            "Breaker",
            "The state that each model's breaker is in.",
            Target(f"{q.gauge(c.BREAKER_STATE, 'model, state', 'max')} == 1", "{{model}} {{state}}"),
            [(1, "in this state", YELLOW)],
        ),
    ]


def _decisions() -> list[Panel]:
    return [
        Panel(
            "Admitted share",
            "Share of each priority class that is admitted.",
            [Target(q.gauge(c.ADMITTED_RATIO, "model, priority", "min"), "{{model}} {{priority}}")],
            "percentunit",
            low=0,
            high=1,
        ),
        timeline(
            "Rules",
            "Policy rules that hold.",
            Target(q.gauge(c.RULE_ACTIVE, "policy, rule", "max"), "{{policy}} {{rule}}"),
            [(0, "-", GREY), (1, "holds", YELLOW)],
        ),
        Panel(
            "Decisions in this time",
            "Decisions taken in the time shown, by rule and action.",
            [Target(q.increase(c.DECISIONS, "policy, rule, action"), "{{policy}} {{rule}}: {{action}}", instant=True)],
            "short",
            type="bargauge",
            low=0,
        ),
        Panel(
            "Alerts received",
            "Firing alerts that an Alertmanager sent to the daemon, as policies see them.",
            [Target(q.gauge(c.RECEIVED_ALERTS, "alertname, severity"), "{{alertname}} {{severity}}")],
            "short",
            low=0,
        ),
        Panel(
            "Notices of alerts in this time",
            "What became of the alerts in an Alertmanager's notifications, and how many notifications were taken.",
            [
                Target(q.increase(c.RECEIVED_NOTICES, "result"), "{{result}}", instant=True),
                Target(q.increase(c.RECEIVED_NOTIFICATIONS, "result"), "notifications {{result}}", instant=True),
            ],
            "short",
            type="bargauge",
            low=0,
        ),
        Panel(
            "Breaker transitions",
            "Entries of the breaker into each state.",
            [Target(q.rate(c.BREAKER_TRANSITIONS, "model, state"), "{{model}} {{state}}")],
            "cps",
            low=0,
        ),
        Panel(
            "Time of a tick",
            "Mean time of a control tick: snapshot, judge, act.",
            [Target(q.mean(c.TICK_DURATION, "instance"), "{{instance}}")],
            "s",
            low=0,
        ),
        Panel(
            "Reloads",
            "Reloads of SLOs and policies, accepted or refused, in the time shown.",
            [Target(q.increase(c.CONFIG_RELOADS, "result"), "{{result}}", instant=True)],
            "short",
            type="bargauge",
            low=0,
        ),
    ]
