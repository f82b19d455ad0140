"""The dashboard's row on engines and precision."""

from sloctl.telemetry import catalogue as c
from sloctl_exporters.grafana import queries as q
from sloctl_exporters.grafana.model import GREEN, GREY, MODEL_VARIANT, Panel, Row, Target, stat, timeline


def engine_row() -> Row:
    """The row."""
    return Row("Engine and precision", [*_precision(), *_batches()])


def _precision() -> list[Panel]:
    return [
        timeline(
            "Serving variant",
            "Which variant of each model serves.",
            Target(q.gauge(c.SERVING_VARIANT, "model, variant", "max"), MODEL_VARIANT),
            [(0, "standby", GREY), (1, "serving", GREEN)],
        ),
        Panel(
            "Rows inferred and capacity",
            "Rows a second, and the measured peak of each variant.",
            [
                Target(q.rate(c.INFERENCES, "model, variant"), MODEL_VARIANT),
                Target(q.gauge(c.VARIANT_CAPACITY, "model, variant"), f"{MODEL_VARIANT} capacity"),
            ],
            "rowsps",
            low=0,
        ),
        Panel(
            "Throughput over peak",
            "Rows inferred a second over the measured peak of the serving variant.",
            [Target(q.gauge(c.THROUGHPUT_RATIO, "model", "max"), "{{model}}")],
            "percentunit",
            low=0,
        ),
        stat(
            "Accuracy",
            "Accuracy of each variant on the gate's data set.",
            Target(q.gauge(c.VARIANT_ACCURACY, "model, variant", "min"), MODEL_VARIANT),
            "percentunit",
            width=8,
        ),
        stat(
            "Memory of variants",
            "Memory that each loaded variant takes on its device.",
            Target(q.gauge(c.VARIANT_MEMORY, "model, variant"), MODEL_VARIANT),
            "bytes",
            width=8,
        ),
        stat(
            "Switches in this time",
            "Changes of the serving variant in the time shown.",
            Target(q.increase(c.VARIANT_SWITCHES, "model"), "{{model}}", instant=True),
            "short",
            width=8,
        ),
    ]


def _batches() -> list[Panel]:
    return [
        Panel(
            "Engine time",
            "Time of a batch on the device, and the host's time to hand it over.",
            [
                Target(q.quantile(0.5, c.ENGINE_DURATION, "model, variant"), f"{MODEL_VARIANT} p50"),
                Target(q.quantile(0.99, c.ENGINE_DURATION, "model, variant"), f"{MODEL_VARIANT} p99"),
                Target(q.quantile(0.99, c.ENQUEUE_DURATION, "model, variant"), f"{MODEL_VARIANT} enqueue p99"),
            ],
            "s",
            low=0,
        ),
        Panel(
            "Mean batch size",
            "Rows of an executed batch.",
            [Target(q.mean(c.BATCH_SIZE, "model, variant"), MODEL_VARIANT)],
            "short",
            low=0,
        ),
        Panel(
            "Batched share",
            "Share of requests that shared their batch with another.",
            [Target(q.share(q.rate(c.BATCHED_REQUESTS, "model"), q.rate(c.EXECUTED_REQUESTS, "model")), "{{model}}")],
            "percentunit",
            low=0,
            high=1,
        ),
        Panel(
            "Engine failures",
            "Batches that the engine failed, and requests with NaN or infinity in their output.",
            [
                Target(q.rate(c.ENGINE_ERRORS, "model, variant"), f"{MODEL_VARIANT} errors"),
                Target(q.rate(c.NONFINITE, "model, variant"), f"{MODEL_VARIANT} not finite"),
            ],
            "cps",
            low=0,
        ),
        Panel(
            "Context switches",
            "Launches on another execution context than the launch before.",
            [Target(q.rate(c.CONTEXT_SWITCHES, "model"), "{{model}}")],
            "cps",
            low=0,
        ),
        Panel(
            "Health probes",
            "Device time spent on health probes, a second.",
            [Target(q.rate(c.PROBE_SECONDS, "model"), "{{model}}")],
            "percentunit",
            low=0,
        ),
    ]
