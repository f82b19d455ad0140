"""Grafana dashboards and the metrics reference, generated from the metric catalogue."""

from sloctl_exporters.grafana.reference import metrics_reference
from sloctl_exporters.grafana.slo_engine import slo_engine_dashboard

__all__ = ["metrics_reference", "slo_engine_dashboard"]
