"""The metric catalogue: every metric of sloctl, declared once.

The board lays out its memory from it, the exporters name and describe series by it, the dashboards, the
recording rules and the reference page are generated from it. Units follow Prometheus' naming guide: base
units (seconds, bytes, ratio) and `_total` on counters.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum


class Kind(StrEnum):
    """The OpenMetrics type of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"
    INFO = "info"


class Plane(StrEnum):
    """Which process writes a metric: the data plane (on the board) or the control plane (in its memory)."""

    DATA = "data"
    CONTROL = "control"


class Merge(StrEnum):
    """How values of several devices become one. Counters, histograms and summaries are always summed."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"
    WORST = "worst"  # of states, the one nearest to refusing all


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: `name` as exported, `unit` of its values, `labels` in order, `help` for people.

    `merge` is how a gauge of several devices becomes one.
    """

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str
    plane: Plane = Plane.DATA
    merge: Merge = Merge.SUM


OUTCOMES = (
    "ok",  # answered with a result
    "invalid",  # the client's mistake: 4xx
    "error",  # the engine failed or gave a non-finite result
    "rate_limited",  # refused by the rate of its tenant
    "shed",  # refused by the admitted share of its priority class
    "overloaded",  # refused by the bounded queue or the concurrency limit
    "deadline",  # refused or dropped because it could not be answered in time
    "breaker_open",  # refused while the breaker is open
    "unavailable",  # refused while starting
    "draining",  # refused while the server stops
    "cancelled",  # the client went away
)
HEALTH_LEVELS = ("device", "runtime", "model", "context", "inference")
RESTART_REASONS = (
    "exit",  # it ended by itself, with any other exit status
    "signal",  # a signal ended it, such as SIGSEGV
    "no_heartbeat",  # its loop stood still, and the supervisor killed it
    "device_lost",  # a sticky CUDA error, after which only a new process can use the device
    "engine_hangs",  # every variant of a model hung for longer than health.hangLimit
)
BREAKER_KINDS = (
    "successful",
    "failed",
    "ignored",  # told nothing about the engine: neutral
    "not_permitted",  # kept out by the breaker
)
BREAKER_STATES = ("closed", "open", "half_open", "forced_open", "metrics_only", "disabled")
# What may hold a GPU's clocks below their highest, in the order of nvml.h's bits.
CLOCKS_EVENT_REASONS = (
    "gpu_idle",
    "applications_clocks_setting",
    "sw_power_cap",
    "hw_slowdown",
    "sync_boost",
    "sw_thermal_slowdown",
    "hw_thermal_slowdown",
    "hw_power_brake_slowdown",
    "display_clock_setting",
)
BREAKER_WORST = ("disabled", "metrics_only", "closed", "half_open", "open", "forced_open")  # the worst last
BATCH_BOUNDS: tuple[float, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)

_D, _C = Plane.DATA, Plane.CONTROL
_MODEL, _VARIANT, _TENANT = ("model",), ("model", "variant"), ("model", "tenant")


def _m(
    name: str,
    kind: Kind,
    unit: str,
    labels: tuple[str, ...],
    text: str,
    plane: Plane = _D,
    *,
    merge: Merge = Merge.SUM,
) -> Metric:
    return Metric(name, kind, unit, labels, text, plane, merge)


@dataclass(frozen=True, slots=True)
class BreakerMetrics:
    """What is told of a breaker: of a model's, or of a variant's."""

    state: Metric
    transitions: Metric
    calls: Metric
    slow_calls: Metric
    buffered: Metric
    failure_ratio: Metric
    slow_call_ratio: Metric


def _breaker(prefix: str, labels: tuple[str, ...], whose: str) -> BreakerMetrics:
    counter, gauge = Kind.COUNTER, Kind.GAUGE
    early = "NaN until there are enough calls"
    return BreakerMetrics(
        _m(
            f"{prefix}_state",
            gauge,
            "1",
            (*labels, "state"),
            f"1 for the state that the breaker of {whose} is in.",
            merge=Merge.WORST,
        ),
        _m(
            f"{prefix}_transitions_total",
            counter,
            "1",
            (*labels, "state"),
            f"Entries of the breaker of {whose} into a state.",
        ),
        _m(f"{prefix}_calls_total", counter, "1", (*labels, "kind"), f"Calls past the breaker of {whose}, by kind."),
        _m(f"{prefix}_slow_calls_total", counter, "1", labels, f"Slow ones among the calls of {whose}."),
        _m(f"{prefix}_buffered_calls", gauge, "1", labels, f"Calls in the window of the breaker of {whose}."),
        _m(
            f"{prefix}_failure_ratio",
            gauge,
            "ratio",
            labels,
            f"Failed calls in the window of the breaker of {whose} ({early}).",
            merge=Merge.MAX,
        ),
        _m(
            f"{prefix}_slow_call_ratio",
            gauge,
            "ratio",
            labels,
            f"Slow calls in the window of the breaker of {whose} ({early}).",
            merge=Merge.MAX,
        ),
    )


REQUESTS = _m(
    "sloctl_requests_total",
    Kind.COUNTER,
    "1",
    ("model", "priority", "outcome"),
    "Requests offered, by how they ended.",
)
TENANT_REQUESTS = _m(
    "sloctl_tenant_requests_total",
    Kind.COUNTER,
    "1",
    ("model", "tenant", "outcome"),
    "Requests offered by a tenant, by how they ended; `(other)` are all that the configuration does not name.",
)
TENANT_ROWS = _m(
    "sloctl_tenant_rows_total", Kind.COUNTER, "1", _TENANT, "Rows of a tenant's requests that were let into the queue."
)
TENANT_DURATION = _m(
    "sloctl_tenant_request_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    _TENANT,
    "End-to-end time of a tenant's answered requests in the server.",
)
REQUEST_DURATION = _m(
    "sloctl_request_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    _VARIANT,
    "End-to-end time of answered requests in the server, from parsed headers to the encoded answer.",
)
QUEUE_DURATION = _m(
    "sloctl_queue_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    ("model", "priority"),
    "Time of a request between admission and the start of its batch.",
)
ENGINE_DURATION = _m(
    "sloctl_engine_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    _VARIANT,
    "Time of a batch on the device: CUDA events on a GPU, the run call on a CPU.",
)
ENQUEUE_DURATION = _m(
    "sloctl_enqueue_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    _VARIANT,
    "Host time to hand a batch to the device: copies and enqueue; on a CPU, the binding of inputs.",
)
BATCH_SIZE = _m(
    "sloctl_batch_size",
    Kind.HISTOGRAM,
    "1",
    _VARIANT,
    "Rows of an executed batch (its mean is sum over count).",
)
BATCH_SECONDS = _m(
    "sloctl_batch_seconds_total",
    Kind.COUNTER,
    "seconds",
    _VARIANT,
    "Time of batches that followed upon another without a pause, as the data plane sees it.",
)
BATCH_MEASURED_SECONDS = _m(
    "sloctl_batch_measured_seconds_total",
    Kind.COUNTER,
    "seconds",
    _VARIANT,
    "Time that the same batches took when the variant was measured at its warm-up.",
)
PADDING = _m(
    "sloctl_padding_rows_total",
    Kind.COUNTER,
    "1",
    _VARIANT,
    "Rows that batches were filled up with, to a size that is allowed or was measured to be faster.",
)
INFERENCES = _m("sloctl_inferences_total", Kind.COUNTER, "1", _VARIANT, "Rows inferred without error.")
ENGINE_ERRORS = _m("sloctl_engine_errors_total", Kind.COUNTER, "1", _VARIANT, "Batches that the engine failed.")
NONFINITE = _m(
    "sloctl_nonfinite_outputs_total",
    Kind.COUNTER,
    "1",
    _VARIANT,
    "Requests whose output held NaN or infinity where the model forbids it.",
)
BATCHED_REQUESTS = _m(
    "sloctl_batched_requests_total",
    Kind.COUNTER,
    "1",
    _MODEL,
    "Requests that shared their batch with another.",
)
EXECUTED_REQUESTS = _m("sloctl_executed_requests_total", Kind.COUNTER, "1", _MODEL, "Requests that reached the engine.")
VARIANT_SWITCHES = _m(
    "sloctl_variant_switches_total", Kind.COUNTER, "1", _MODEL, "Times that the serving variant changed."
)
CONTEXT_SWITCHES = _m(
    "sloctl_context_switches_total",
    Kind.COUNTER,
    "1",
    _MODEL,
    "Launches on another execution context than the launch before.",
)
QUEUE_LENGTH = _m("sloctl_queue_length", Kind.GAUGE, "1", _MODEL, "Requests that wait for a batch.")
INFLIGHT = _m("sloctl_inflight_requests", Kind.GAUGE, "1", _MODEL, "Requests admitted and not yet answered.")
SERVING_VARIANT = _m(
    "sloctl_serving_variant",
    Kind.GAUGE,
    "1",
    _VARIANT,
    "1 for the variant that serves now, 0 for the others.",
    merge=Merge.MAX,
)
CLASS_VARIANT = _m(
    "sloctl_class_variant",
    Kind.GAUGE,
    "1",
    ("model", "priority", "variant"),
    "1 for the variant that serves a priority class now (without tiers the serving one), 0 for the others.",
    merge=Merge.MAX,
)
VARIANT_CAPACITY = _m(
    "sloctl_variant_capacity_inferences_per_second",
    Kind.GAUGE,
    "1/s",
    _VARIANT,
    "Measured peak throughput of a variant on this machine (rows a second at its best batch size).",
)
VARIANT_ACCURACY = _m(
    "sloctl_variant_accuracy_ratio",
    Kind.GAUGE,
    "ratio",
    _VARIANT,
    "Accuracy of a variant on the gate's data set, from its manifest (NaN where none was measured).",
    merge=Merge.MAX,
)
VARIANT_MEMORY = _m(
    "sloctl_variant_memory_bytes",
    Kind.GAUGE,
    "bytes",
    _VARIANT,
    "Memory that a loaded variant takes on its device.",
)
MEMORY_HEADROOM = _m(
    "sloctl_memory_headroom_bytes",
    Kind.GAUGE,
    "bytes",
    _MODEL,
    "Memory that another load of the model could take: free on its device or left of its budget, less a margin.",
    merge=Merge.MIN,
)
MODEL_BREAKER = _breaker("sloctl_breaker", _MODEL, "a model")
VARIANT_BREAKER = _breaker("sloctl_variant_breaker", _VARIANT, "a variant")
BREAKER_STATE, BREAKER_TRANSITIONS = MODEL_BREAKER.state, MODEL_BREAKER.transitions
HEALTH_LEVEL = _m(
    "sloctl_health_level",
    Kind.GAUGE,
    "1",
    ("model", "variant", "level"),
    "Health of a level: 1 passing, 0.5 missed once or degraded, 0 failing or not reached yet.",
    merge=Merge.MIN,
)
PROBE_SECONDS = _m(
    "sloctl_health_probe_seconds_total",
    Kind.COUNTER,
    "seconds",
    _MODEL,
    "Device time spent on health probes.",
)
LAYER_DURATION = _m(
    "sloctl_layer_duration_seconds",
    Kind.SUMMARY,
    "seconds",
    ("model", "variant", "layer", "kind"),
    "Sampled time of a layer of a full batch, measured off the hot path; `(other)` is all that have no name here.",
)
LAYERS_OTHER = _m(
    "sloctl_layers_other",
    Kind.GAUGE,
    "1",
    _VARIANT,
    "Layers that are summed under `(other)`.",
    merge=Merge.MAX,
)
PROFILES = _m("sloctl_layer_profiles_total", Kind.COUNTER, "1", _VARIANT, "Layer profiles sampled.")

DATA_METRICS: tuple[Metric, ...] = (
    REQUESTS,
    TENANT_REQUESTS,
    TENANT_ROWS,
    TENANT_DURATION,
    REQUEST_DURATION,
    QUEUE_DURATION,
    ENGINE_DURATION,
    ENQUEUE_DURATION,
    BATCH_SIZE,
    PADDING,
    BATCH_SECONDS,
    BATCH_MEASURED_SECONDS,
    INFERENCES,
    ENGINE_ERRORS,
    NONFINITE,
    BATCHED_REQUESTS,
    EXECUTED_REQUESTS,
    VARIANT_SWITCHES,
    CONTEXT_SWITCHES,
    QUEUE_LENGTH,
    INFLIGHT,
    SERVING_VARIANT,
    CLASS_VARIANT,
    VARIANT_CAPACITY,
    VARIANT_ACCURACY,
    VARIANT_MEMORY,
    MEMORY_HEADROOM,
    *(getattr(metrics, field.name) for metrics in (MODEL_BREAKER, VARIANT_BREAKER) for field in fields(metrics)),
    HEALTH_LEVEL,
    PROBE_SECONDS,
    LAYER_DURATION,
    LAYERS_OTHER,
    PROFILES,
)

BUILD_INFO = _m("sloctl_build_info", Kind.GAUGE, "1", ("version",), "Always 1; the version is a label.", _C)
READY = _m("sloctl_ready", Kind.GAUGE, "1", (), "1 while the health verdict is ready.", _C)
PLANE_UP = _m("sloctl_plane_up", Kind.GAUGE, "1", ("plane",), "1 while a plane's heartbeat is fresh.", _C)
DEVICE_UP = _m(
    "sloctl_device_up",
    Kind.GAUGE,
    "1",
    ("device",),
    "1 while a device's data plane runs and every model's serving variant stands there on all levels.",
    _C,
)
PLANE_RESTARTS = _m(
    "sloctl_plane_restarts_total",
    Kind.COUNTER,
    "1",
    ("plane", "reason"),
    "Times that the supervisor started a plane anew, by why the process before had ended.",
    _C,
)
PROCESS_MEMORY = _m(
    "sloctl_process_memory_bytes",
    Kind.GAUGE,
    "bytes",
    ("plane",),
    "Resident memory of a plane's process.",
    _C,
)
PROCESS_CPU = _m(
    "sloctl_process_cpu_seconds_total",
    Kind.COUNTER,
    "seconds",
    ("plane",),
    "Processor time of a plane's process.",
    _C,
)
PROCESS_CONTEXT_SWITCHES = _m(
    "sloctl_process_context_switches_total",
    Kind.COUNTER,
    "1",
    ("plane", "kind"),
    "The kernel's context switches of a plane's process, voluntary and not.",
    _C,
)
DEVICE_MEMORY_USED = _m(
    "sloctl_device_memory_used_bytes",
    Kind.GAUGE,
    "bytes",
    ("device",),
    "Device memory in use (the host's on a CPU).",
    _C,
)
DEVICE_MEMORY_TOTAL = _m(
    "sloctl_device_memory_total_bytes", Kind.GAUGE, "bytes", ("device",), "Device memory in all.", _C
)
DEVICE_MEMORY_RATIO = _m(
    "sloctl_device_memory_ratio", Kind.GAUGE, "ratio", ("device",), "Device memory in use over all of it.", _C
)
DEVICE_MEMORY_UNACCOUNTED = _m(
    "sloctl_device_memory_unaccounted_bytes",
    Kind.GAUGE,
    "bytes",
    ("device",),
    "Used device memory beyond what loaded variants took: contexts, other processes, leaks, fragments (NaN on a CPU).",
    _C,
)
OFFERED_RATE = _m(
    "sloctl_offered_requests_per_second",
    Kind.GAUGE,
    "1/s",
    _MODEL,
    "Requests offered a second, over the last 2 s.",
    _C,
)
THROUGHPUT_RATIO = _m(
    "sloctl_throughput_peak_ratio",
    Kind.GAUGE,
    "ratio",
    _MODEL,
    "Rows inferred a second over the measured peak of the serving variant.",
    _C,
)
VARIANT_RANK = _m(
    "sloctl_serving_variant_rank",
    Kind.GAUGE,
    "1",
    _MODEL,
    "Place of the serving variant among its model's; the most accurate is 0.",
    _C,
)
ADMITTED_RATIO = _m(
    "sloctl_admitted_ratio",
    Kind.GAUGE,
    "ratio",
    ("model", "priority"),
    "Share of a class that is admitted.",
    _C,
)
SLO_OBJECTIVE = _m("sloctl_slo_objective_ratio", Kind.GAUGE, "ratio", ("slo",), "Target of an SLO.", _C)
SLO_GOOD = _m("sloctl_slo_good_events_total", Kind.COUNTER, "1", ("slo",), "Good events of an SLO.", _C)
SLO_EVENTS = _m("sloctl_slo_events_total", Kind.COUNTER, "1", ("slo",), "Valid events of an SLO.", _C)
SLO_ERROR_RATIO = _m(
    "sloctl_slo_error_ratio",
    Kind.GAUGE,
    "ratio",
    ("slo", "window"),
    "Share of bad events in a window (0 where there were none).",
    _C,
)
SLO_BURN_RATE = _m(
    "sloctl_slo_burn_rate", Kind.GAUGE, "ratio", ("slo", "window"), "Error ratio over the error budget.", _C
)
SLO_BUDGET_REMAINING = _m(
    "sloctl_slo_error_budget_remaining_ratio",
    Kind.GAUGE,
    "ratio",
    ("slo",),
    "Share of the period's error budget that is left; negative when overspent.",
    _C,
)
SLO_NO_DATA = _m(
    "sloctl_slo_no_data",
    Kind.GAUGE,
    "1",
    ("slo",),
    "1 while the events of an SLO cannot be counted, since its Prometheus gives none.",
    _C,
)
SLO_EXCLUDED = _m("sloctl_slo_excluded", Kind.GAUGE, "1", ("slo",), "1 while maintenance is left out of an SLO.", _C)
SLO_EXCLUDED_EVENTS = _m(
    "sloctl_slo_excluded_events_total",
    Kind.COUNTER,
    "1",
    ("slo",),
    "Events that maintenance left out of an SLO.",
    _C,
)
SOURCE_UP = _m("sloctl_source_up", Kind.GAUGE, "1", ("source",), "1 while a Prometheus answers the daemon.", _C)
SOURCE_FAILURES = _m(
    "sloctl_source_failures_total", Kind.COUNTER, "1", ("source",), "Rounds that a Prometheus did not answer.", _C
)
SOURCE_DURATION = _m(
    "sloctl_source_round_duration_seconds",
    Kind.SUMMARY,
    "seconds",
    ("source",),
    "Rounds of questions to a Prometheus, and the time that they took.",
    _C,
)
SLO_ALERT = _m(
    "sloctl_slo_alert_firing",
    Kind.GAUGE,
    "1",
    ("slo", "severity"),
    "1 while the in-process burn-rate alert fires.",
    _C,
)
ALERTS = _m(
    "sloctl_alerts",
    Kind.GAUGE,
    "1",
    ("alertname", "severity", "state"),
    "The daemon's own alerts that are pending or firing.",
    _C,
)
ALERTS_SENT = _m(
    "sloctl_alertmanager_sent_total",
    Kind.COUNTER,
    "1",
    ("alertmanager",),
    "Alerts that an Alertmanager took from the daemon itself, each time that one was sent.",
    _C,
)
ALERTS_FAILED = _m(
    "sloctl_alertmanager_failed_total",
    Kind.COUNTER,
    "1",
    ("alertmanager",),
    "Requests that an Alertmanager did not answer, or not well.",
    _C,
)
ALERTS_DROPPED = _m(
    "sloctl_alertmanager_dropped_total",
    Kind.COUNTER,
    "1",
    ("alertmanager",),
    "Alerts that an Alertmanager refused, or that were pushed out of the full queue before it.",
    _C,
)
ALERTS_SEND_DURATION = _m(
    "sloctl_alertmanager_send_duration_seconds",
    Kind.SUMMARY,
    "seconds",
    ("alertmanager",),
    "Time of a request to an Alertmanager.",
    _C,
)
RULE_ACTIVE = _m("sloctl_policy_rule_active", Kind.GAUGE, "1", ("policy", "rule"), "1 while a rule holds.", _C)
DECISIONS = _m(
    "sloctl_decisions_total",
    Kind.COUNTER,
    "1",
    ("policy", "rule", "action"),
    "Decisions taken, by rule and action.",
    _C,
)
OVERRIDES_ACTIVE = _m("sloctl_overrides_active", Kind.GAUGE, "1", (), "Overrides by hand that have not expired.", _C)
RECEIVED_ALERTS = _m(
    "sloctl_received_alerts_firing",
    Kind.GAUGE,
    "1",
    ("alertname", "severity"),
    "Firing alerts that an Alertmanager sent.",
    _C,
)
RECEIVED_NOTICES = _m(
    "sloctl_received_alert_notices_total",
    Kind.COUNTER,
    "1",
    ("result",),
    "Alerts in an Alertmanager's notifications, by what became of them; also those that expired.",
    _C,
)
RECEIVED_NOTIFICATIONS = _m(
    "sloctl_received_notifications_total",
    Kind.COUNTER,
    "1",
    ("result",),
    "Notifications of an Alertmanager, accepted or refused for their form.",
    _C,
)
CONFIG_RELOADS = _m(
    "sloctl_config_reloads_total",
    Kind.COUNTER,
    "1",
    ("result",),
    "Reloads of SLOs and policies, accepted or refused.",
    _C,
)
CONFIG_LAST_RELOAD_OK = _m(
    "sloctl_config_last_reload_successful", Kind.GAUGE, "1", (), "1 if the last reload was accepted.", _C
)
STORE_FAILURES = _m(
    "sloctl_store_failures_total",
    Kind.COUNTER,
    "1",
    (),
    "Attempts of the control plane to keep history, progress, decisions or events in its store that failed.",
    _C,
)
TICK_DURATION = _m(
    "sloctl_tick_duration_seconds",
    Kind.SUMMARY,
    "seconds",
    (),
    "Time of a control tick: snapshot, judge, act.",
    _C,
)
HEALTH_LAST_SUCCESS = _m(
    "sloctl_health_last_success_seconds",
    Kind.GAUGE,
    "seconds",
    ("model", "variant", "level"),
    "Seconds since a health level last passed (NaN if never).",
    _C,
)

LAYER_LAST = _m(
    "sloctl_layer_last_seconds",
    Kind.GAUGE,
    "seconds",
    ("model", "variant", "layer"),
    "Mean time of a layer of a full batch in the last profile.",
    _C,
)
LAYER_DRIFT = _m(
    "sloctl_layer_drift_ratio",
    Kind.GAUGE,
    "ratio",
    ("model", "variant", "layer"),
    "Median of a layer's latest sampled times over its own baseline, once it has one.",
    _C,
)

CONTROL_METRICS: tuple[Metric, ...] = (
    BUILD_INFO,
    READY,
    PLANE_UP,
    DEVICE_UP,
    PLANE_RESTARTS,
    PROCESS_MEMORY,
    PROCESS_CPU,
    PROCESS_CONTEXT_SWITCHES,
    DEVICE_MEMORY_USED,
    DEVICE_MEMORY_TOTAL,
    DEVICE_MEMORY_RATIO,
    DEVICE_MEMORY_UNACCOUNTED,
    OFFERED_RATE,
    THROUGHPUT_RATIO,
    VARIANT_RANK,
    ADMITTED_RATIO,
    SLO_OBJECTIVE,
    SLO_GOOD,
    SLO_EVENTS,
    SLO_ERROR_RATIO,
    SLO_BURN_RATE,
    SLO_BUDGET_REMAINING,
    SLO_NO_DATA,
    SLO_EXCLUDED,
    SLO_EXCLUDED_EVENTS,
    SOURCE_UP,
    SOURCE_FAILURES,
    SOURCE_DURATION,
    SLO_ALERT,
    ALERTS,
    ALERTS_SENT,
    ALERTS_FAILED,
    ALERTS_DROPPED,
    ALERTS_SEND_DURATION,
    RULE_ACTIVE,
    DECISIONS,
    OVERRIDES_ACTIVE,
    RECEIVED_ALERTS,
    RECEIVED_NOTICES,
    RECEIVED_NOTIFICATIONS,
    CONFIG_RELOADS,
    CONFIG_LAST_RELOAD_OK,
    STORE_FAILURES,
    TICK_DURATION,
    HEALTH_LAST_SUCCESS,
    LAYER_LAST,
    LAYER_DRIFT,
)

SLO_GAUGES: tuple[Metric, ...] = (
    READY,
    PROCESS_MEMORY,
    DEVICE_MEMORY_USED,
    DEVICE_MEMORY_TOTAL,
    DEVICE_MEMORY_RATIO,
    THROUGHPUT_RATIO,
    LAYER_DRIFT,
)
"""The control plane's gauges that an SLO may sample."""

_BY_NAME = {metric.name: metric for metric in (*DATA_METRICS, *CONTROL_METRICS)}


def find(name: str) -> Metric | None:
    """The metric of that exact name, or None."""
    return _BY_NAME.get(name)


def all_metrics() -> Iterator[Metric]:
    """Every metric of the daemon itself (an exporter may add its own, such as NVML's)."""
    yield from _BY_NAME.values()
