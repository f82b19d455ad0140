"""The dashboard 'sloctl: engine and precision': what comes in, what serves it, how fast, and what is refused."""

from sloctl.telemetry import catalogue as c
from sloctl_exporters.grafana import marks, variables
from sloctl_exporters.grafana.breakers import breakers_row
from sloctl_exporters.grafana.daemon import alerts_row, daemon_row, health_row, processes_row, sources_row
from sloctl_exporters.grafana.model import GREEN, GREY, YELLOW, Dashboard, Panel, Row, Target
from sloctl_exporters.grafana.panels import bars, heatmap, lines, stat, timeline
from sloctl_exporters.grafana.queries import Queries, share

_NO_REQUESTS = "No requests in this time"
_NO_POLICY = "No policy has rules"
_NO_TENANTS = "The configuration has no tenants"
_NAME = "{{model}} {{variant}}"
_VARIANT = "model, variant"

_q = Queries(variables.BY_MODEL)


def engine() -> Dashboard:
    """The dashboard."""
    return Dashboard(
        "sloctl-engine",
        "sloctl: engine and precision",
        "Traffic, the variant that serves and why, latency, batches, admission, breakers, health, and the daemon.",
        [*variables.standard(), variables.model()],
        [
            Row("Precision", _precision()),
            Row("Traffic and latency", _traffic()),
            Row("Queue and batches", _batches()),
            Row("Admission and decisions", _control()),
            breakers_row(_q),
            Row("Tenants", _tenants()),
            health_row(_q),
            alerts_row(_q),
            sources_row(_q),
            daemon_row(_q),
            processes_row(_q),
        ],
        [marks.decisions(_q), marks.reloads(_q), marks.restarts(_q)],
    )


def _precision() -> list[Panel]:
    return [
        timeline(
            "Serving variant",
            "Which variant of each model serves; a mark is a decision, with the rule that took it.",
            Target(_q.gauge(c.SERVING_VARIANT, _VARIANT, "max"), _NAME),
            [(0, "standby", GREY), (1, "serving", GREEN)],
            width=16,
        ),
        timeline(
            "Place of the serving variant",
            "0 while the most accurate variant of a model serves, else how many there are above it.",
            Target(_q.gauge(c.VARIANT_RANK, "model", "max"), "{{model}}"),
            [(0, "most accurate", GREEN), (1, "degraded", YELLOW)],
            width=8,
        ),
        timeline(
            "Variants of classes",
            "Which variant serves each priority class; all the same unless a policy has tiers.",
            Target(f"{_q.gauge(c.CLASS_VARIANT, 'model, priority, variant', 'max')} == 1", f"{_NAME} {{{{priority}}}}"),
            [(1, "serving", GREEN)],
        ),
        bars(
            "Decisions in this time",
            "Why it was switched, shed or tripped: decisions taken in the time shown, by rule and action.",
            "short",
            Target(_q.increase(c.DECISIONS, "policy, rule, action"), "{{policy}} {{rule}}: {{action}}", instant=True),
            empty=_NO_POLICY,
        ),
        stat(
            "Switches in this time",
            "Changes of the serving variant in the time shown.",
            Target(_q.increase(c.VARIANT_SWITCHES, "model"), "{{model}}", instant=True),
            "short",
            width=6,
        ),
        stat(
            "Accuracy",
            "Accuracy of each variant on the gate's data set.",
            Target(_q.gauge(c.VARIANT_ACCURACY, _VARIANT, "min"), _NAME),
            "percentunit",
            width=6,
        ),
        stat(
            "Memory of variants",
            "Memory that each loaded variant takes on its device.",
            Target(_q.gauge(c.VARIANT_MEMORY, _VARIANT), _NAME),
            "bytes",
            width=6,
        ),
        stat(
            "Throughput over peak",
            "Rows inferred a second over the measured peak of the serving variant.",
            Target(_q.gauge(c.THROUGHPUT_RATIO, "model", "max"), "{{model}}"),
            "percentunit",
            width=6,
        ),
    ]


def _traffic() -> list[Panel]:
    return [
        lines(
            "Offered",
            "Requests offered a second, as the controller sees them (over 2 s).",
            "reqps",
            Target(_q.gauge(c.OFFERED_RATE, "model"), "{{model}}"),
        ),
        lines(
            "Outcomes",
            "How offered requests ended.",
            "reqps",
            Target(_q.rate(c.REQUESTS, "outcome"), "{{outcome}}"),
            stack=True,
        ),
        lines(
            "Rows inferred and capacity",
            "Rows a second, and the measured peak of each variant.",
            "cps",
            Target(_q.rate(c.INFERENCES, _VARIANT), _NAME),
            Target(_q.gauge(c.VARIANT_CAPACITY, _VARIANT), f"{_NAME} capacity"),
        ),
        lines(
            "Time of batches, and as measured",
            "Seconds a second of batches without a pause before them, and what the same took when measured.",
            "percentunit",
            Target(_q.rate(c.BATCH_SECONDS, _VARIANT), _NAME),
            Target(_q.rate(c.BATCH_MEASURED_SECONDS, _VARIANT), f"{_NAME} as measured"),
        ),
        lines(
            "Latency",
            "Time of answered requests in the server.",
            "s",
            *_quantiles(c.REQUEST_DURATION, _VARIANT, _NAME, (0.5, 0.9, 0.99)),
            empty=_NO_REQUESTS,
        ),
        heatmap(
            "Latency of requests",
            "How many requests a second took how long.",
            "s",
            _q.buckets(c.REQUEST_DURATION),
            empty=_NO_REQUESTS,
        ),
        lines(
            "Engine time",
            "Time of a batch on the device, and the host's time to hand it over.",
            "s",
            *_quantiles(c.ENGINE_DURATION, _VARIANT, _NAME, (0.5, 0.99)),
            Target(_q.quantile(0.99, c.ENQUEUE_DURATION, _VARIANT), f"{_NAME} enqueue p99"),
            empty=_NO_REQUESTS,
        ),
    ]


def _quantiles(metric: c.Metric, by: str, name: str, wanted: tuple[float, ...]) -> list[Target]:
    return [Target(_q.quantile(q, metric, by), f"{name} p{q * 100:g}") for q in wanted]


def _batches() -> list[Panel]:
    return [
        lines(
            "Queue and requests in flight",
            "Requests that wait for a batch, and those admitted and not yet answered.",
            "short",
            Target(_q.gauge(c.QUEUE_LENGTH, "model"), "{{model}} waiting"),
            Target(_q.gauge(c.INFLIGHT, "model"), "{{model}} in flight"),
        ),
        lines(
            "Queue time",
            "Time between admission and the start of the batch.",
            "s",
            *_quantiles(c.QUEUE_DURATION, "model, priority", "{{model}} {{priority}}", (0.5, 0.99)),
            empty=_NO_REQUESTS,
        ),
        lines(
            "Mean batch size",
            "Rows of an executed batch, and of the padding that came to them.",
            "short",
            Target(_q.mean(c.BATCH_SIZE, _VARIANT), _NAME),
            Target(_q.each(c.PADDING, c.BATCH_SIZE, _VARIANT), f"{_NAME} padding"),
            empty=_NO_REQUESTS,
        ),
        heatmap(
            "Batch sizes",
            "How many batches a second had how many rows.",
            "short",
            _q.buckets(c.BATCH_SIZE),
            empty=_NO_REQUESTS,
        ),
        lines(
            "Batch hit rate",
            "Share of requests that shared their batch with another.",
            "percentunit",
            Target(share(_q.rate(c.BATCHED_REQUESTS, "model"), _q.rate(c.EXECUTED_REQUESTS, "model")), "{{model}}"),
            high=1,
            empty=_NO_REQUESTS,
        ),
        lines(
            "Engine failures",
            "Batches that the engine failed, and requests with NaN or infinity in their output.",
            "cps",
            Target(_q.rate(c.ENGINE_ERRORS, _VARIANT), f"{_NAME} errors"),
            Target(_q.rate(c.NONFINITE, _VARIANT), f"{_NAME} not finite"),
        ),
    ]


def _tenants() -> list[Panel]:
    by, name = "model, tenant", "{{model}} {{tenant}}"
    return [
        lines(
            "Outcomes by tenant",
            "How the requests of each tenant ended that the configuration names; (other) are all others.",
            "reqps",
            Target(_q.rate(c.TENANT_REQUESTS, f"{by}, outcome"), f"{name} {{{{outcome}}}}"),
            empty=_NO_TENANTS,
        ),
        lines(
            "Rows by tenant",
            "Rows that each tenant got into the queue.",
            "cps",
            Target(_q.rate(c.TENANT_ROWS, by), name),
            empty=_NO_TENANTS,
        ),
        lines(
            "Latency by tenant",
            "Time of a tenant's answered requests in the server.",
            "s",
            *_quantiles(c.TENANT_DURATION, by, name, (0.5, 0.99)),
            empty=_NO_TENANTS,
        ),
    ]


def _control() -> list[Panel]:
    refused = 'outcome=~"rate_limited|shed|overloaded|deadline|breaker_open"'
    classes, by = "{{model}} {{priority}}", "model, priority"
    return [
        lines(
            "Admitted share",
            "Share of each priority class that is admitted.",
            "percentunit",
            Target(_q.gauge(c.ADMITTED_RATIO, by, "min"), classes),
            high=1,
        ),
        lines(
            "Refused by class",
            "Requests of each priority class that were refused, and why: over a tenant's rate, shed by a policy, the "
            "queue was full, too late, the breaker open.",
            "reqps",
            Target(_q.rate(c.REQUESTS, f"{by}, outcome", extra=refused), f"{classes} {{{{outcome}}}}"),
        ),
        lines(
            "Answered by class",
            "Share of each priority class that was answered with a result.",
            "percentunit",
            Target(share(_q.rate(c.REQUESTS, by, extra='outcome="ok"'), _q.rate(c.REQUESTS, by)), classes),
            high=1,
            empty=_NO_REQUESTS,
        ),
        timeline(
            "Rules",
            "Policy rules that hold.",
            Target(_q.gauge(c.RULE_ACTIVE, "policy, rule", "max"), "{{policy}} {{rule}}"),
            [(0, "-", GREY), (1, "holds", YELLOW)],
            empty=_NO_POLICY,
        ),
    ]
