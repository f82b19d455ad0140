"""Grafana dashboards and the metrics reference, generated from the metric catalogue."""

from sloctl_exporters.grafana.document import document, to_json
from sloctl_exporters.grafana.engine import engine
from sloctl_exporters.grafana.fleet import fleet
from sloctl_exporters.grafana.gpu import gpu
from sloctl_exporters.grafana.layers import layers
from sloctl_exporters.grafana.model import Json
from sloctl_exporters.grafana.reference import metrics_reference
from sloctl_exporters.grafana.slo import slo

__all__ = ["dashboards", "metrics_reference", "to_json"]


def dashboards() -> list[Json]:
    """Every dashboard's JSON, the widest view first."""
    return [document(each()) for each in (fleet, slo, engine, layers, gpu)]
