"""Objectives as Sloth's documents, one for each service."""

from collections.abc import Mapping
from decimal import Decimal

from sloctl.config.base import format_duration
from sloctl.slo.objective import Indicator, Objective, QueryRatio, QueryShare, Ratio, Tier
from sloctl.slo.prometheus import ALERT
from sloctl.slo.promql import events, is_sampled
from sloctl.slo.write.words import Document, NoWords, lean

_STANDS_FOR = 7919.0  # seconds; the window, while an expression is made
_WINDOW = "{{.window}}"


def document(objective: Objective) -> Document:
    """A file with this SLO alone. Raises NoWords."""
    slo = {
        "name": objective.name.removeprefix(f"{objective.service}-") or objective.name,
        "objective": float(Decimal(str(objective.target)) * 100),
        "description": objective.annotations.get("description", ""),
        "labels": dict(objective.labels),
        "sli": _sli(objective.indicator),
        "alerting": _alerting(objective.tiers),
    }
    return {"version": "prometheus/v1", "service": objective.service, "slos": [lean(slo)]}


def _sli(indicator: Indicator) -> Document:
    if isinstance(indicator, QueryShare):
        query = indicator.query if indicator.failure else f"1 - ({indicator.query})"
        return {"raw": {"error_ratio_query": query}}
    if isinstance(indicator, QueryRatio):
        bad = indicator.bad if indicator.bad is not None else f"({indicator.total}) - ({indicator.good})"
        return {"events": {"error_query": bad, "total_query": indicator.total}}
    if is_sampled(indicator):
        raise NoWords("indicator", "Sloth counts events, and this indicator is a sample each second")
    if isinstance(indicator, Ratio) and indicator.bad is not None:  # counted as its own, in the place of good
        bad, total = events(Ratio(indicator.total, good=indicator.bad), _STANDS_FOR)
    else:
        good, total = events(indicator, _STANDS_FOR)
        bad = f"{total} - ({good})"
    return {"events": {"error_query": _template(bad), "total_query": _template(total)}}


def _template(expression: str) -> str:
    return expression.replace(format_duration(_STANDS_FOR), _WINDOW)


def _alerting(tiers: Mapping[str, Tier | None]) -> Document:
    page, ticket = (tiers.get(severity, Tier()) for severity in ("page", "ticket"))
    names = [tier.name or ALERT for tier in (page, ticket) if tier is not None]
    return lean(
        {"name": names[0] if names else "", "page_alert": _alert(page), "ticket_alert": _alert(ticket)},
    )


def _alert(tier: Tier | None) -> Document:
    if tier is None:
        return {"disable": True}
    return lean({"labels": dict(tier.labels), "annotations": dict(tier.annotations)})
