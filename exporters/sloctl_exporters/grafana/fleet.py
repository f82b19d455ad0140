"""The dashboard 'sloctl: fleet of SLOs': which of all the promises are in danger, and where."""

from sloctl.telemetry import catalogue as c
from sloctl_exporters.grafana import variables
from sloctl_exporters.grafana.model import (
    GREEN,
    GREY,
    RED,
    YELLOW,
    Column,
    Dashboard,
    Link,
    Panel,
    Row,
    States,
    Steps,
    Target,
)
from sloctl_exporters.grafana.panels import lines, stat, table, timeline
from sloctl_exporters.grafana.queries import Queries, until_zero
from sloctl_exporters.grafana.recorded import Recorded
from sloctl_exporters.grafana.slo import BUDGET, UID

_KEYS = ("job", "instance", "slo")
_BY = ", ".join(_KEYS)
_PAGE, _TICKET = 'severity="page"', 'severity="ticket"'
_NO_SLOS = "No SLO of that name here: the daemon's `slos` names the files"
_QUIET = "No alert has fired in this time"
_FIRING: States = [(0, "-", GREY), (1, "firing", RED)]
_ANY: Steps = [(None, GREEN), (1, RED)]
_DEPTH = Link(
    "This SLO in depth",
    f"/d/{UID}?${{datasource:queryparam}}&var-job=${{__data.fields.job}}"
    "&var-instance=${__data.fields.instance}&var-slo=${__data.fields.slo}&${__url_time_range}",
)

_q = Queries(variables.SEARCHED_SLOS)
_recorded = Recorded('sloctl_slo=~".*$search.*"')


def fleet() -> Dashboard:
    """The dashboard."""
    return Dashboard(
        "sloctl-fleet",
        "sloctl: fleet of SLOs",
        "Every SLO of every daemon: what is left of its error budget, how fast it burns, what fires. The worst first.",
        [*variables.standard(), variables.search(), variables.pace()],
        [
            Row("At a glance", _glance()),
            Row("Every SLO on every instance, the least budget first", [_all()]),
            Row("Over time", _over_time()),
            Row("All instances together, as Prometheus records them (`sloctl rules`)", _together()),
        ],
    )


def _glance() -> list[Panel]:
    def number(title: str, text: str, expr: str, unit: str = "short", **more: object) -> Panel:
        return stat(title, text, Target(expr, title.lower()), unit, **{"width": 3, "empty": _NO_SLOS, **more})

    left = _q.series(c.SLO_BUDGET_REMAINING)
    return [
        number("SLOs", "SLOs, counted on each instance.", _q.count(c.SLO_OBJECTIVE), width=6),
        number("Overspent", "SLOs whose error budget is spent.", f"sum({left} <= bool 0)", steps=_ANY),
        number("Paging", "SLOs whose page fires.", _q.gauge(c.SLO_ALERT, extra=_PAGE), steps=_ANY),
        number(
            "Ticketing",
            "SLOs whose ticket fires.",
            _q.gauge(c.SLO_ALERT, extra=_TICKET),
            steps=[(None, GREEN), (1, YELLOW)],
        ),
        number("Without data", "SLOs whose events cannot be counted.", _q.gauge(c.SLO_NO_DATA), steps=_ANY),
        number(
            "Least budget",
            "Share of the error budget that the worst SLO has left.",
            _q.gauge(c.SLO_BUDGET_REMAINING, how="min"),
            "percentunit",
            steps=BUDGET,
        ),
        number(
            "Daemons not ready",
            "Daemons of which a model's serving variant does not stand on all five health levels.",
            f"sum(1 - {_q.series(c.READY)})",
            steps=_ANY,
        ),
    ]


def _all() -> Panel:
    left = f"min by ({_BY}) ({_q.series(c.SLO_BUDGET_REMAINING)})"
    events = _q.rate(c.SLO_EVENTS, _BY)
    columns = [
        Column("Budget left", left, "percentunit", steps=BUDGET),
        Column("Runs out in", f"min by ({_BY}) ({until_zero(_q.series(c.SLO_BUDGET_REMAINING), '$pace')})", "s"),
        Column("Objective", _q.gauge(c.SLO_OBJECTIVE, _BY, "max"), "percentunit"),
        Column(
            "Highest burn rate",
            _q.gauge(c.SLO_BURN_RATE, _BY, "max"),
            "short",
            steps=[(None, GREEN), (1, YELLOW)],  # at 1 the budget lasts exactly the period
        ),
        Column("Page", _q.gauge(c.SLO_ALERT, _BY, "max", extra=_PAGE), "short", states=_FIRING),
        Column("Ticket", _q.gauge(c.SLO_ALERT, _BY, "max", extra=_TICKET), "short", states=_FIRING),
        Column("Data", _q.gauge(c.SLO_NO_DATA, _BY, "max"), "short", states=[(0, "-", GREY), (1, "none", RED)]),
        Column("Events", events, "cps"),
        Column("Bad events", f"{events} - {_q.rate(c.SLO_GOOD, _BY)}", "cps"),
    ]
    return table(
        "All SLOs",
        "A line for each SLO of each instance; a click on its name leads to it. It runs out at the pace of the last "
        "hour (or what is chosen above); nothing there: at that pace it does not.",
        _KEYS,
        columns,
        link=_DEPTH,
        by="Budget left",
        empty=_NO_SLOS,
    )


def _over_time() -> list[Panel]:
    name = "{{slo}} ({{instance}})"
    left = _q.gauge(c.SLO_BUDGET_REMAINING, "instance, slo", "min")
    burn = _q.gauge(c.SLO_BURN_RATE, "instance, slo", "max")
    return [
        lines(
            "Least budgets",
            "Share of the error budget left, of the ten SLOs that have least at each moment.",
            "percentunit",
            Target(f"bottomk(10, {left})", name),
            low=None,
            width=12,
            steps=BUDGET,
            empty=_NO_SLOS,
        ),
        lines(
            "Highest burn rates",
            "Burn rate over each SLO's worst window, of the ten highest at each moment.",
            "short",
            Target(f"topk(10, {burn})", name),
            width=12,
            empty=_NO_SLOS,
        ),
        timeline(
            "Alerts that fired",
            "Alerts that the daemons judge themselves, while they fire.",
            Target(f"{_q.gauge(c.SLO_ALERT, 'instance, slo, severity', 'max')} == 1", f"{name} {{{{severity}}}}"),
            [(1, "firing", RED)],
            width=24,
            empty=_QUIET,
        ),
    ]


def _together() -> list[Panel]:
    name = "{{sloctl_service}} {{sloctl_slo}}"
    by = "sloctl_service, sloctl_slo"
    return [
        lines(
            "Least budgets of the fleet",
            "What is left of the error budget of all instances together, of the ten that have least.",
            "percentunit",
            Target(f"bottomk(10, {_recorded.gauge('slo_error_budget_remaining', by, 'min')})", name),
            low=None,
            steps=BUDGET,
            empty=_recorded.EMPTY,
        ),
        lines(
            "Highest burn rates of the fleet",
            "Burn rate over each SLO's worst window, of the ten highest.",
            "short",
            Target(f"topk(10, {_recorded.gauge('slo_burn_rate', by, 'max')})", name),
            empty=_recorded.EMPTY,
        ),
        timeline(
            "Prometheus' alerts",
            "SLOs' alerts that Prometheus has pending or firing.",
            Target(_recorded.alerts(), f"{{{{alertname}}}} {name} {{{{severity}}}}"),
            [(1, "pending", YELLOW), (2, "firing", RED)],
            empty=_QUIET,
        ),
    ]
