"""docs/reference/metrics.md, generated from the metric catalogue."""

from collections.abc import Iterable

from sloctl.telemetry import catalogue as c
from sloctl_exporters.nvml_metrics import NVML_METRICS
from sloctl_exporters.triton import TRITON_METRICS

_HEAD = """\
# Metrics

<!-- Written by `sloctl dashboards --docs`; change the metric catalogue and write it anew. -->

The control plane serves them at `/metrics` on port 8002, in Prometheus' text format or in OpenMetrics as the
scraper asks, and pushes them over OTLP where `telemetry.otlpEndpoint` is set. Units are base units. Every series
is there from the start, counters at 0.
"""

_TRITON = """\
Made of those above when they are read, for dashboards and autoscalers that know Triton;
`telemetry: {triton: false}` leaves them out. `version` is always 1. `reason` is the outcome as in
`sloctl_requests_total`, `triton_reason` what Triton calls it: `REJECTED`, `CANCELED`, `BACKEND` or `OTHER`
([why](../adr/0017-tritons-names.md)). Compute times count a batch once, where Triton counts it for each of its
requests: divide by `nv_inference_exec_count`. There is no `nv_inference_compute_output_duration_us` (that time is
in the request's), and nothing of Triton's caches, summaries, GPUs and CPUs."""

_VALUES = {
    "outcome": c.OUTCOMES,
    "level": c.HEALTH_LEVELS,
    "state": c.BREAKER_STATES,
    "plane": ("data", "control"),
    "reason": c.CLOCKS_EVENT_REASONS,
}
_MEANS = {
    "model": "a hosted model",
    "variant": "a variant of the model",
    "tenant": "a tenant that `tenants.each` names, or `(other)`",
    "priority": "a priority class, as configured in `priorities`",
    "layer": "a layer after the runtime's own fusion",
    "slo": "`metadata.name` of an SLO",
    "window": "a window of the burn-rate alerts, such as `5m`",
    "device": "the serving device, such as `cpu` or `cuda:0`",
    "gpu": "NVML's index of a GPU",
    "uuid": "a GPU's UUID",
    "gpu_instance": "NVML's number of a MIG instance on its GPU",
}


def metrics_reference() -> str:
    """The page as Markdown."""
    parts = [
        _HEAD,
        _section("Data plane", "Counted while serving; they survive a restart of either plane.", c.DATA_METRICS),
        _section("Control plane", "Known to the controller.", c.CONTROL_METRICS),
        _section(
            "GPU",
            "Read from NVIDIA's management library; what a GPU does not support is left out.",
            NVML_METRICS,
        ),
        _section("Triton's names", _TRITON, TRITON_METRICS),
        _labels(),
    ]
    return "\n".join(parts)


def _section(title: str, text: str, metrics: Iterable[c.Metric]) -> str:
    lines = [f"## {title}", text, "", "| metric | type | unit | labels | meaning |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| `{m.name}` | {m.kind} | {m.unit} | {_code(m.labels)} | {m.help} |" for m in metrics]
    return "\n".join(lines) + "\n"


def _labels() -> str:
    lines = ["## Labels", "", "| label | values |", "| --- | --- |"]
    known = {label: _code(values) for label, values in _VALUES.items()} | _MEANS
    return "\n".join([*lines, *(f"| `{label}` | {text} |" for label, text in sorted(known.items()))]) + "\n"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
