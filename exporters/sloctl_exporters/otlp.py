"""Pushes metric families over OTLP/HTTP, the same ones that /metrics shows."""

import structlog

from sloctl.telemetry.families import Collect
from sloctl.telemetry.tracing import signal_address

_TIMEOUT = 5.0  # seconds for one push, retries included

log = structlog.get_logger("sloctl.otlp")


class OtlpPusher:
    """Sends one reading of the families a call.

    `endpoint` is a collector's base address such as http://collector:4318, or a full one. The standard
    OTEL_EXPORTER_OTLP_* variables set headers, certificates and compression.
    """

    def __init__(self, endpoint: str, collect: Collect) -> None:
        # A fifth of a second of imports, which a daemon without an endpoint does not pay.
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        self._exporter = OTLPMetricExporter(endpoint=signal_address(endpoint, "metrics"), timeout=_TIMEOUT)
        self._endpoint = endpoint
        self._collect = collect
        self._failing = False

    def push(self) -> bool:
        """Whether the collector took it. Takes at most about 5 s and never raises; a failure is logged once."""
        from opentelemetry.sdk.metrics.export import MetricExportResult

        from sloctl_exporters.otlp_data import metrics_data

        try:
            sent = self._exporter.export(metrics_data(self._collect())) is MetricExportResult.SUCCESS
            reason = "the collector refused it or cannot be reached"
        except Exception as error:  # telemetry must not take the daemon down
            sent, reason = False, repr(error)
        if sent and self._failing:
            log.info("metrics are pushed again", endpoint=self._endpoint)
        elif not sent and not self._failing:
            log.warning("metrics cannot be pushed; trying on", endpoint=self._endpoint, reason=reason)
        self._failing = not sent
        return sent

    def close(self) -> None:
        """Ends connections."""
        self._exporter.shutdown()
