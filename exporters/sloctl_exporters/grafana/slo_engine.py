"""The dashboard 'sloctl: SLOs and engine': what is promised, what comes in, what the engine does, who decides."""

from sloctl.telemetry import catalogue as c
from sloctl_exporters.grafana import queries as q
from sloctl_exporters.grafana.control import control_row
from sloctl_exporters.grafana.engine import engine_row
from sloctl_exporters.grafana.gpu import gpu_row
from sloctl_exporters.grafana.model import (
    GREEN,
    MODEL_VARIANT,
    RED,
    YELLOW,
    Json,
    Panel,
    Row,
    Target,
    dashboard,
    stat,
    timeline,
)
from sloctl_exporters.grafana.variables import standard


def slo_engine_dashboard() -> Json:
    """The dashboard's JSON."""
    rows = [_slo(), _traffic(), engine_row(), control_row(), _layers(), _processes(), gpu_row()]
    return dashboard(
        "sloctl-slo-engine",
        "sloctl: SLOs and engine",
        "Objectives and error budgets, traffic, engines and precision, the controller's decisions, layers and GPUs.",
        standard(),
        rows,
    )


def _slo() -> Row:
    budget = [(None, RED), (0, YELLOW), (0.25, GREEN)]
    return Row(
        "SLO",
        [
            stat(
                "Error budget left",
                "Share of the period's error budget that is left; below zero it is overspent.",
                Target(q.gauge(c.SLO_BUDGET_REMAINING, "slo", "min"), "{{slo}}"),
                "percentunit",
                steps=budget,
                width=6,
            ),
            stat(
                "Objectives",
                "Target of each SLO.",
                Target(q.gauge(c.SLO_OBJECTIVE, "slo", "max"), "{{slo}}"),
                "percentunit",
                width=6,
            ),
            timeline(
                "Burn-rate alerts",
                "The alerts that the daemon judges itself, with the windows of its configuration.",
                Target(q.gauge(c.SLO_ALERT, "slo, severity", "max"), "{{slo}} {{severity}}"),
                [(0, "quiet", GREEN), (1, "firing", RED)],
                width=12,
                height=4,
            ),
            Panel(
                "Alerts",
                "The daemon's own alerts that are pending or firing, by name.",
                [
                    Target(
                        q.gauge(c.ALERTS, "alertname, severity, state", "sum"), "{{alertname}} {{severity}} {{state}}"
                    )
                ],
                "short",
                low=0,
            ),
            Panel(
                "Burn rate by window",
                "Error ratio over the error budget; at 1 the budget lasts exactly the period.",
                [Target(q.gauge(c.SLO_BURN_RATE, "slo, window", "max"), "{{slo}} {{window}}")],
                "short",
                low=0,
            ),
            Panel(
                "Error ratio by window",
                "Share of bad events in each window.",
                [Target(q.gauge(c.SLO_ERROR_RATIO, "slo, window", "max"), "{{slo}} {{window}}")],
                "percentunit",
                low=0,
            ),
            Panel(
                "Events",
                "Valid and bad events of each SLO.",
                [
                    Target(q.rate(c.SLO_EVENTS, "slo"), "{{slo}} valid"),
                    Target(f"{q.rate(c.SLO_EVENTS, 'slo')} - {q.rate(c.SLO_GOOD, 'slo')}", "{{slo}} bad"),
                ],
                "cps",
                low=0,
            ),
        ],
    )


def _traffic() -> Row:
    return Row(
        "Traffic",
        [
            Panel(
                "Offered",
                "Requests offered a second, as the controller sees them (over 2 s).",
                [Target(q.gauge(c.OFFERED_RATE, "model"), "{{model}}")],
                "reqps",
                low=0,
            ),
            Panel(
                "Outcomes",
                "How offered requests ended.",
                [Target(q.rate(c.REQUESTS, "outcome"), "{{outcome}}")],
                "reqps",
                stack=True,
                low=0,
            ),
            Panel(
                "Latency",
                "Time of answered requests in the server.",
                [
                    Target(q.quantile(0.5, c.REQUEST_DURATION, "model"), "{{model}} p50"),
                    Target(q.quantile(0.99, c.REQUEST_DURATION, "model"), "{{model}} p99"),
                ],
                "s",
                low=0,
            ),
            Panel(
                "Outcomes by class",
                "Share of each priority class that was answered with a result.",
                [
                    Target(
                        q.share(
                            q.rate(c.REQUESTS, "model, priority", extra='outcome="ok"'),
                            q.rate(c.REQUESTS, "model, priority"),
                        ),
                        "{{model}} {{priority}}",
                    )
                ],
                "percentunit",
                low=0,
                high=1,
            ),
            Panel(
                "Queue and requests in flight",
                "Requests that wait for a batch, and those admitted and not yet answered.",
                [
                    Target(q.gauge(c.QUEUE_LENGTH, "model"), "{{model}} waiting"),
                    Target(q.gauge(c.INFLIGHT, "model"), "{{model}} in flight"),
                ],
                "short",
                low=0,
            ),
            Panel(
                "Queue time",
                "Time between admission and the start of the batch.",
                [
                    Target(q.quantile(0.5, c.QUEUE_DURATION, "model"), "{{model}} p50"),
                    Target(q.quantile(0.99, c.QUEUE_DURATION, "model"), "{{model}} p99"),
                ],
                "s",
                low=0,
            ),
        ],
    )


def _layers() -> Row:
    means = q.mean(c.LAYER_DURATION, "model, variant, layer, kind", function="increase", window=q.RANGE)
    drift = q.gauge(c.LAYER_DRIFT, "model, variant, layer", "max")
    return Row(
        "Layers",
        [
            Panel(
                "Slowest layers",
                "Mean sampled time of a layer in the time shown, the ten slowest.",
                [Target(f"topk(10, {means})", f"{MODEL_VARIANT} {{{{layer}}}} {{{{kind}}}}", instant=True)],
                "s",
                type="bargauge",
                width=16,
                height=10,
                low=0,
            ),
            Panel(
                "Profiles",
                "Layer profiles sampled, and how many layers have no series of their own.",
                [
                    Target(q.rate(c.PROFILES, "model, variant"), f"{MODEL_VARIANT} profiles"),
                    Target(q.gauge(c.LAYERS_OTHER, "model, variant", "max"), f"{MODEL_VARIANT} layers in (other)"),
                ],
                "short",
                height=10,
                low=0,
            ),
            Panel(
                "Layer drift",
                "Latest time of a layer over its own baseline; the ten highest.",
                [Target(f"topk(10, {drift})", f"{MODEL_VARIANT} {{{{layer}}}}")],
                "percentunit",
                width=24,
                low=0,
            ),
        ],
    )


def _processes() -> Row:
    return Row(
        "Processes and device",
        [
            Panel(
                "Memory of processes",
                "Resident memory of each plane.",
                [Target(q.gauge(c.PROCESS_MEMORY, "plane"), "{{plane}}")],
                "bytes",
                width=6,
                low=0,
            ),
            Panel(
                "Processor",
                "Cores that each plane keeps busy.",
                [Target(q.rate(c.PROCESS_CPU, "plane"), "{{plane}}")],
                "short",
                width=6,
                low=0,
            ),
            Panel(
                "The kernel's context switches",
                "Context switches of each plane's process, voluntary and not.",
                [Target(q.rate(c.PROCESS_CONTEXT_SWITCHES, "plane, kind"), "{{plane}} {{kind}}")],
                "cps",
                width=6,
                low=0,
            ),
            Panel(
                "Device memory",
                "Memory of the serving device in use, in all (the host's on a CPU), and left for another load.",
                [
                    Target(q.gauge(c.DEVICE_MEMORY_USED, "instance, device"), "{{instance}} {{device}} used"),
                    Target(q.gauge(c.DEVICE_MEMORY_TOTAL, "instance, device"), "{{instance}} {{device}} in all"),
                    Target(
                        q.gauge(c.DEVICE_MEMORY_UNACCOUNTED, "instance, device"), "{{instance}} {{device}} unaccounted"
                    ),
                    Target(q.gauge(c.MEMORY_HEADROOM, "instance, model"), "{{instance}} {{model}} headroom"),
                ],
                "bytes",
                width=6,
                low=0,
            ),
        ],
    )
