"""Sloth's documents into objectives."""

from decimal import Decimal

from sloctl.slo.objective import Indicator, Objective, QueryRatio, QueryShare, Tier
from sloctl.slo.sloth_model import Alert, Alerting, ResourceSpec, Sli, Slo, SlothDocument, SlothResource

PERIOD = 30 * 86400.0  # Sloth's; its files name none


def objectives(document: SlothDocument | SlothResource) -> tuple[Objective, ...]:
    """The objectives of a document, each named `<service>-<slo>` as Sloth's ids are."""
    body, origin = _body(document)
    return tuple(_objective(body, slo, origin) for slo in body.slos)


def names(document: SlothDocument | SlothResource) -> list[str]:
    """Names of a document's objectives, in order."""
    body, _ = _body(document)
    return [f"{body.service}-{slo.name}" for slo in body.slos]


def _body(document: SlothDocument | SlothResource) -> tuple[SlothDocument | ResourceSpec, str]:
    if isinstance(document, SlothDocument):
        return document, document.version
    return document.spec, document.api_version


def _objective(body: SlothDocument | ResourceSpec, slo: Slo, origin: str) -> Objective:
    return Objective(
        name=f"{body.service}-{slo.name}",
        service=body.service,
        display_name=slo.name,
        indicator=_indicator(slo.sli),
        target=float(Decimal(str(slo.objective)) / 100),
        period_seconds=PERIOD,
        labels=body.labels | slo.labels,
        annotations={"description": slo.description} if slo.description else {},
        tiers={"page": _tier(slo.alerting, slo.alerting.page_alert)}
        | {"ticket": _tier(slo.alerting, slo.alerting.ticket_alert)},
        origin=origin,
    )


def _indicator(sli: Sli) -> Indicator:
    if sli.events is not None:
        return QueryRatio(sli.events.total_query, bad=sli.events.error_query)
    if sli.raw is None:
        raise ValueError("an SLI needs events or raw")  # the model has seen to it
    return QueryShare(sli.raw.error_ratio_query, failure=True)


def _tier(alerting: Alerting, alert: Alert) -> Tier | None:
    if alert.disable:
        return None
    return Tier(alerting.name, alerting.labels | alert.labels, alerting.annotations | alert.annotations)
