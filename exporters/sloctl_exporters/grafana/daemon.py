"""Rows on the daemon itself: health, its two planes, their processes and the device."""

from typing import Any

from sloctl.telemetry import catalogue as c
from sloctl_exporters.grafana.model import GREEN, RED, YELLOW, Row, Target
from sloctl_exporters.grafana.panels import bars, lines, stat, timeline
from sloctl_exporters.grafana.queries import Queries

_YES_OR_NO: dict[str, Any] = {"states": [(0, "no", RED), (1, "yes", GREEN)], "steps": [(None, RED), (1, GREEN)]}
_ON_A_CPU = "Not known on a CPU"


def health_row(q: Queries) -> Row:
    """Health of variants and devices."""
    return Row(
        "Health",
        [
            timeline(
                "Health levels",
                "Worst health of each level over all variants: device, runtime, model, context, inference.",
                Target(q.gauge(c.HEALTH_LEVEL, "model, level", "min"), "{{model}} {{level}}"),
                [(0, "failing", RED), (0.5, "missed once", YELLOW), (1, "passing", GREEN)],
            ),
            lines(
                "Age of health",
                "Seconds since a level of a variant last passed.",
                "s",
                Target(q.gauge(c.HEALTH_LAST_SUCCESS, "model, level", "max"), "{{model}} {{level}}"),
            ),
            timeline(
                "Devices",
                "Whether each device's data plane runs and every model's serving variant stands there on all levels.",
                Target(q.gauge(c.DEVICE_UP, "device", "min"), "{{device}}"),
                [(0, "down", RED), (1, "up", GREEN)],
            ),
            lines(
                "Health probes",
                "Device time spent on health probes, a second.",
                "percentunit",
                Target(q.rate(c.PROBE_SECONDS, "model"), "{{model}}"),
                width=12,
            ),
            lines(
                "Context switches",
                "Launches on another execution context than the launch before.",
                "cps",
                Target(q.rate(c.CONTEXT_SWITCHES, "model"), "{{model}}"),
                width=12,
            ),
        ],
    )


def daemon_row(q: Queries) -> Row:
    """How the daemon itself does."""
    return Row(
        "Daemon",
        [
            stat(
                "Ready",
                "Whether every model's serving variant stands on all five health levels.",
                Target(q.gauge(c.READY, "instance", "min"), "{{instance}}"),
                "short",
                **_YES_OR_NO,
            ),
            stat(
                "Planes up",
                "Whether a plane's heartbeat is fresh.",
                Target(q.gauge(c.PLANE_UP, "plane", "min"), "{{plane}}"),
                "short",
                **_YES_OR_NO,
            ),
            stat(
                "Restarts in this time",
                "Times that the supervisor started a plane anew in the time shown.",
                Target(q.increase(c.PLANE_RESTARTS, "plane"), "{{plane}}", instant=True),
                "short",
                steps=[(None, GREEN), (1, RED)],
            ),
            stat(
                "Last reload accepted",
                "Whether the last reload of SLOs and policies was accepted.",
                Target(q.gauge(c.CONFIG_LAST_RELOAD_OK, "instance", "min"), "{{instance}}"),
                "short",
                **_YES_OR_NO,
            ),
            stat(
                "Overrides",
                "Overrides by hand that are in force.",
                Target(q.gauge(c.OVERRIDES_ACTIVE), "overrides"),
                "short",
                steps=[(None, GREEN), (1, YELLOW)],
            ),
            stat(
                "Version",
                "Versions that are running, and on how many instances.",
                Target(q.count(c.BUILD_INFO, "version"), "{{version}}"),
                "short",
            ),
            lines(
                "Time of a tick",
                "Mean time of a control tick: snapshot, judge, act.",
                "s",
                Target(q.mean(c.TICK_DURATION, "instance"), "{{instance}}"),
                width=8,
            ),
            bars(
                "Reloads",
                "Reloads of SLOs and policies, accepted or refused, in the time shown.",
                "short",
                Target(q.increase(c.CONFIG_RELOADS, "result"), "{{result}}", instant=True),
                width=8,
            ),
            lines(
                "Writes that failed",
                "Attempts a second to keep history, progress, decisions or events in the store that failed.",
                "short",
                Target(q.rate(c.STORE_FAILURES, "instance"), "{{instance}}"),
                width=8,
            ),
        ],
    )


def alerts_row(q: Queries) -> Row:
    """Alerts of the daemon itself, and those that an Alertmanager sends it."""
    return Row(
        "Alerts",
        [
            lines(
                "Own alerts",
                "The daemon's own alerts that are pending or firing, by name.",
                "short",
                Target(q.gauge(c.ALERTS, "alertname, severity, state"), "{{alertname}} {{severity}} {{state}}"),
                empty="No alert is pending or firing",
            ),
            lines(
                "Alerts received",
                "Firing alerts that an Alertmanager sent to the daemon, as policies see them.",
                "short",
                Target(q.gauge(c.RECEIVED_ALERTS, "alertname, severity"), "{{alertname}} {{severity}}"),
                empty="No Alertmanager sent any",
            ),
            bars(
                "Notices of alerts in this time",
                "What became of the alerts in an Alertmanager's notifications, and how many notifications were taken.",
                "short",
                Target(q.increase(c.RECEIVED_NOTICES, "result"), "{{result}}", instant=True),
                Target(q.increase(c.RECEIVED_NOTIFICATIONS, "result"), "notifications {{result}}", instant=True),
                empty="No Alertmanager sent any",
            ),
            bars(
                "Alerts sent in this time",
                "What the daemon itself sent to Alertmanagers: alerts taken and dropped, and requests that failed.",
                "short",
                Target(q.increase(c.ALERTS_SENT, "alertmanager"), "{{alertmanager}} taken", instant=True),
                Target(q.increase(c.ALERTS_DROPPED, "alertmanager"), "{{alertmanager}} dropped", instant=True),
                Target(q.increase(c.ALERTS_FAILED, "alertmanager"), "{{alertmanager}} failed requests", instant=True),
                empty="No Alertmanager is named in the configuration",
            ),
            lines(
                "Time to send alerts",
                "Mean time of a request to an Alertmanager.",
                "s",
                Target(q.mean(c.ALERTS_SEND_DURATION, "alertmanager"), "{{alertmanager}}"),
                empty="No Alertmanager is named in the configuration",
            ),
        ],
    )


def sources_row(q: Queries) -> Row:
    """The Prometheus servers that SLOs are asked of."""
    nobody = "No SLO is asked of a Prometheus"
    return Row(
        "Sources of SLOs",
        [
            timeline(
                "Sources",
                "Whether each Prometheus that SLOs are asked of answers.",
                Target(q.gauge(c.SOURCE_UP, "instance, source", "min"), "{{instance}} {{source}}"),
                [(0, "silent", RED), (1, "answers", GREEN)],
                empty=nobody,
            ),
            lines(
                "Rounds without an answer",
                "Rounds of questions that a Prometheus did not answer.",
                "cps",
                Target(q.rate(c.SOURCE_FAILURES, "instance, source"), "{{instance}} {{source}}"),
                empty=nobody,
            ),
            lines(
                "Time of a round",
                "Mean time of a round of questions.",
                "s",
                Target(q.mean(c.SOURCE_DURATION, "instance, source"), "{{instance}} {{source}}"),
                empty=nobody,
            ),
        ],
    )


def processes_row(q: Queries) -> Row:
    """What the daemon's processes and their device take."""
    place = "{{instance}} {{device}}"
    return Row(
        "Processes and device",
        [
            lines(
                "Memory of processes",
                "Resident memory of each plane.",
                "bytes",
                Target(q.gauge(c.PROCESS_MEMORY, "plane"), "{{plane}}"),
            ),
            lines(
                "Processor",
                "Cores that each plane keeps busy.",
                "short",
                Target(q.rate(c.PROCESS_CPU, "plane"), "{{plane}}"),
            ),
            lines(
                "The kernel's context switches",
                "Context switches of each plane's process, voluntary and not.",
                "cps",
                Target(q.rate(c.PROCESS_CONTEXT_SWITCHES, "plane, kind"), "{{plane}} {{kind}}"),
            ),
            lines(
                "Device memory",
                "Memory of the serving device in use and in all (the host's on a CPU).",
                "bytes",
                Target(q.gauge(c.DEVICE_MEMORY_USED, "instance, device"), f"{place} used"),
                Target(q.gauge(c.DEVICE_MEMORY_TOTAL, "instance, device"), f"{place} in all"),
            ),
            lines(
                "Headroom",
                "Memory that another load of the model could take.",
                "bytes",
                Target(q.gauge(c.MEMORY_HEADROOM, "instance, model", "min"), "{{instance}} {{model}}"),
            ),
            lines(
                "Unaccounted device memory",
                "Used memory beyond what the variants took: contexts, other processes, leaks, fragments.",
                "bytes",
                Target(f"{q.gauge(c.DEVICE_MEMORY_UNACCOUNTED, 'instance, device')} >= 0", place),
                empty=_ON_A_CPU,
            ),
        ],
    )
