"""Annotations: what happened, as marks on every graph of a dashboard."""

from sloctl.telemetry import catalogue as c
from sloctl_exporters import nvml_metrics as n
from sloctl_exporters.grafana.model import BLUE, GREY, RED, YELLOW, Annotation
from sloctl_exporters.grafana.queries import Queries


def decisions(q: Queries) -> Annotation:
    """Each decision of a policy, where its count rises."""
    return Annotation("Decisions", q.new(c.DECISIONS), "{{action}}", "{{policy}}: {{rule}} ({{instance}})", BLUE)


def reloads(q: Queries) -> Annotation:
    """Each reload of SLOs and policies."""
    return Annotation("Reloads", q.new(c.CONFIG_RELOADS), "reload {{result}}", "{{instance}}", GREY)


def restarts(q: Queries) -> Annotation:
    """Each restart of a plane."""
    return Annotation("Restarts", q.new(c.PLANE_RESTARTS), "{{plane}} plane: {{reason}}", "{{instance}}", YELLOW)


def alerts(q: Queries) -> Annotation:
    """While an SLO's alert fires in the daemon."""
    firing = f"{q.series(c.SLO_ALERT)} == 1"
    return Annotation("Alerts", firing, "{{slo}}: {{severity}}", "{{instance}}", RED)


def xids(q: Queries) -> Annotation:
    """The last time of each XID: a counter that begins with the first one would hide it."""
    when = f"{q.series(n.XID_LAST)} * 1000"
    return Annotation("XIDs", when, "XID {{xid}} ({{kind}})", "{{instance}} GPU {{gpu}}", RED, at_value=True)
