"""The dashboard 'sloctl: one SLO': is the promise kept, what spends the budget, when is it gone, who acted."""

from sloctl.telemetry import catalogue as c
from sloctl_exporters.grafana import marks, variables
from sloctl_exporters.grafana.model import GREEN, GREY, RED, YELLOW, Dashboard, Panel, Row, Steps, Target
from sloctl_exporters.grafana.panels import bars, lines, stat, timeline
from sloctl_exporters.grafana.queries import Queries, share, until_zero
from sloctl_exporters.grafana.recorded import Recorded

UID = "sloctl-slo"
BUDGET: Steps = [(None, RED), (0, YELLOW), (0.25, GREEN)]  # spent; a quarter left
_NO_SLO = "No SLO here: the daemon's `slos` names the files"
_NO_EVENTS = "No events in this time"
_DAY = 86400

_q = Queries(variables.ONE_SLO)
_recorded = Recorded('sloctl_slo="$slo"')
_left = _q.series(c.SLO_BUDGET_REMAINING)


def slo() -> Dashboard:
    """The dashboard."""
    return Dashboard(
        UID,
        "sloctl: one SLO",
        "One SLO on each instance: its indicator against its objective, burn rates, what is left of the error budget "
        "and for how long, alerts, and the decisions that were taken meanwhile.",
        [*variables.standard(), variables.slo(), variables.pace()],
        [
            Row("At a glance", _glance()),
            Row("Indicator and objective", _indicator()),
            Row("Error budget", _budget()),
            Row("What the daemon did", _decisions()),
            Row("All instances together, as Prometheus records them (`sloctl rules`)", _together()),
        ],
        [marks.alerts(_q), marks.decisions(_q), marks.reloads(_q), marks.restarts(_q)],
    )


def _glance() -> list[Panel]:
    def number(title: str, text: str, expr: str, unit: str, **more: object) -> Panel:
        return stat(title, text, Target(expr, "{{instance}}"), unit, **{"empty": _NO_SLO, **more})

    allowed = f"(1 - {_q.gauge(c.SLO_OBJECTIVE, 'instance', 'max')})"
    left = _q.gauge(c.SLO_BUDGET_REMAINING, "instance", "min")
    return [
        number("Objective", "The SLO's target.", _q.gauge(c.SLO_OBJECTIVE, "instance", "max"), "percentunit"),
        number(
            "In its period", "Share of good events in the SLO's period.", f"1 - (1 - {left}) * {allowed}", "percentunit"
        ),
        number(
            "Budget left",
            "Share of the period's error budget that is left; below zero it is overspent.",
            left,
            "percentunit",
            steps=BUDGET,
        ),
        number(
            "Runs out in",
            "Time until nothing is left, at the pace of the last hour (or what is chosen above).",
            f"min by (instance) ({until_zero(_left, '$pace')})",
            "s",
            empty="Never, at this pace",
        ),
        number(
            "Events",
            "Valid events in the time shown.",
            _q.increase(c.SLO_EVENTS, "instance"),
            "short",
        ),
        number(
            "Bad events",
            "Events in the time shown that were not good.",
            f"{_q.increase(c.SLO_EVENTS, 'instance')} - {_q.increase(c.SLO_GOOD, 'instance')}",
            "short",
        ),
    ]


def _indicator() -> list[Panel]:
    good, events = _q.rate(c.SLO_GOOD, "instance"), _q.rate(c.SLO_EVENTS, "instance")
    objective = _q.gauge(c.SLO_OBJECTIVE, how="max")
    return [
        lines(
            "Indicator against objective",
            "Share of good events; the dashed line is the target.",
            "percentunit",
            Target(share(good, events), "{{instance}}"),
            limit=Target(objective, "objective"),
            low=None,
            width=12,
            empty=_NO_EVENTS,
        ),
        lines(
            "Error ratio by window",
            "Share of bad events in each window; the dashed line is what the objective allows.",
            "percentunit",
            Target(_q.gauge(c.SLO_ERROR_RATIO, "instance, window", "max"), "{{instance}} {{window}}"),
            limit=Target(f"1 - {objective}", "allowed"),
            width=12,
            empty=_NO_SLO,
        ),
        lines(
            "Events a second",
            "Valid and bad events.",
            "cps",
            Target(events, "{{instance}} valid"),
            Target(f"{events} - {good}", "{{instance}} bad"),
            empty=_NO_SLO,
        ),
        timeline(
            "Burn-rate alerts",
            "The alerts that the daemon judges itself, with the windows of its configuration.",
            Target(_q.gauge(c.SLO_ALERT, "instance, severity", "max"), "{{instance}} {{severity}}"),
            [(0, "quiet", GREEN), (1, "firing", RED)],
            empty=_NO_SLO,
        ),
        timeline(
            "Data",
            "Whether its events can be counted. While they cannot, its alerts neither fire anew nor resolve.",
            Target(_q.gauge(c.SLO_NO_DATA, "instance", "max"), "{{instance}}"),
            [(0, "counted", GREEN), (1, "no data", RED)],
            empty=_NO_SLO,
        ),
        timeline(
            "Maintenance",
            "When what happened was left out, planned in files or by hand (`sloctl maintenance`).",
            Target(_q.gauge(c.SLO_EXCLUDED, "instance", "max"), "{{instance}}"),
            [(0, "counted", GREEN), (1, "left out", GREY)],
            empty=_NO_SLO,
        ),
        lines(
            "Events left out",
            "Events during maintenance, which count neither as good nor as bad.",
            "cps",
            Target(_q.rate(c.SLO_EXCLUDED_EVENTS, "instance"), "{{instance}}"),
            empty=_NO_SLO,
        ),
    ]


def _budget() -> list[Panel]:
    return [
        lines(
            "Error budget left",
            "Share of the period's error budget, now and in a day at the pace of the last hour (or what is chosen).",
            "percentunit",
            Target(_q.gauge(c.SLO_BUDGET_REMAINING, "instance", "min"), "{{instance}}"),
            Target(f"min by (instance) (predict_linear({_left}[$pace], {_DAY}))", "{{instance}} in a day"),
            low=None,
            steps=BUDGET,
            empty=_NO_SLO,
        ),
        lines(
            "Time until it runs out",
            "At the pace of the last hour (or what is chosen above); no line while nothing is spent.",
            "s",
            Target(f"min by (instance) ({until_zero(_left, '$pace')})", "{{instance}}"),
            empty="Never, at this pace",
        ),
        lines(
            "Burn rate by window",
            "Error ratio over what the objective allows; at 1, the dashed line, the budget lasts exactly the period.",
            "short",
            Target(_q.gauge(c.SLO_BURN_RATE, "instance, window", "max"), "{{instance}} {{window}}"),
            steps=[(None, GREEN), (1, RED)],
            empty=_NO_SLO,
        ),
    ]


def _decisions() -> list[Panel]:
    return [
        timeline(
            "Rules that hold",
            "Policy rules of these daemons, while they hold. They may read this SLO or others.",
            Target(_q.gauge(c.RULE_ACTIVE, "policy, rule", "max"), "{{policy}} {{rule}}"),
            [(0, "-", GREY), (1, "holds", YELLOW)],
            width=16,
            empty="No policy has rules",
        ),
        bars(
            "Decisions in this time",
            "Decisions taken in the time shown, by rule and action.",
            "short",
            Target(_q.increase(c.DECISIONS, "policy, rule, action"), "{{policy}} {{rule}}: {{action}}", instant=True),
            empty="No policy has rules",
        ),
    ]


def _together() -> list[Panel]:
    return [
        lines(
            "Error ratio of all instances",
            "Share of bad events in each window; the dashed line is what the objective allows.",
            "percentunit",
            Target(_recorded.gauge("slo_error", "sloctl_window", "max"), "{{sloctl_window}}"),
            limit=Target(f"1 - max({_recorded.series('slo_objective')})", "allowed"),
            empty=_recorded.EMPTY,
        ),
        lines(
            "Burn rate of all instances",
            "Error ratio over what the objective allows.",
            "short",
            Target(_recorded.gauge("slo_burn_rate", "sloctl_window", "max"), "{{sloctl_window}}"),
            steps=[(None, GREEN), (1, RED)],
            empty=_recorded.EMPTY,
        ),
        lines(
            "Error budget of all instances",
            "Share of the period's error budget that is left. Of calendar periods only the daemon knows it.",
            "percentunit",
            Target(_recorded.gauge("slo_error_budget_remaining", "sloctl_service", "min"), "{{sloctl_service}}"),
            low=None,
            steps=BUDGET,
            empty=_recorded.EMPTY,
        ),
    ]
