"""The alerts on sloctl itself, its engines and GPUs: one table, for Prometheus and for the daemon's own evaluation.

Alerts on objectives come from SLO files. Of an `outside` alert only a Prometheus can tell, since what it is about is
the process that would have to. Every alert has its page in docs/runbooks. Thresholds of GPUs are NVIDIA's own limits
less a margin: HBM3 throttles at 95 °C, an H200's die from 87 °C on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from sloctl.config.base import format_duration
from sloctl.slo.conditions import Compared, Condition, Increase, Missing, Share
from sloctl.slo.objective import Selector
from sloctl.slo.prometheus import RUNBOOKS
from sloctl.slo.windows import Severity
from sloctl.telemetry import catalogue as c
from sloctl.telemetry.catalogue import Metric
from sloctl_exporters import nvml_metrics as m

JOB = "sloctl"
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_ON = "on {{ $labels.instance }}"
_GPU = "GPU {{ $labels.gpu }} on {{ $labels.instance }}"
_VARIANT = "{{ $labels.model }}/{{ $labels.variant }}"


@dataclass(frozen=True, slots=True)
class AlertRule:
    """An alert for each series for which the condition has held for `hold` seconds. Texts are templates."""

    name: str
    condition: Condition
    severity: Severity
    summary: str
    description: str
    hold: float = 0.0
    outside: bool = False

    def annotations(self, runbooks: str) -> dict[str, str]:
        """As written, `runbooks` being the folder of the pages."""
        url = f"{runbooks}/{self.name}.md"
        return {"summary": self.summary, "description": self.description, "runbook_url": url}


def _of(metric: Metric | str, **labels: str | tuple[str, ...]) -> Selector:
    name = metric if isinstance(metric, str) else metric.name
    return Selector(name, {label: (value,) if isinstance(value, str) else value for label, value in labels.items()})


DAEMON = (
    AlertRule(
        "SloctlDown",
        Compared(_of("up", job=JOB), "lt", 1),
        "page",
        "sloctl on {{ $labels.instance }} does not answer a scrape",
        "Its control plane is down; requests are served with the last decision as long as the data plane lives.",
        _MINUTE,
        outside=True,
    ),
    AlertRule(
        "SloctlControlStale",
        Increase(_of(f"{c.TICK_DURATION.name}_count"), 5 * _MINUTE, "lte", 0),
        "page",
        f"sloctl {_ON} decides nothing any more",
        "Its control plane answers, but its ticks stand still: what it exports is old.",
        outside=True,
    ),
    AlertRule(
        "SloctlNotReady",
        Compared(_of(c.READY), "lt", 1),
        "page",
        f"sloctl {_ON} is not ready",
        "A model's serving variant does not stand on all five health levels; `sloctl status` says which and why.",
        _MINUTE,
    ),
    AlertRule(
        "SloctlDeviceDown",
        Compared(_of(c.DEVICE_UP), "lt", 1),
        "ticket",
        f"device {{{{ $labels.device }}}} {_ON} serves nothing",
        "Its data plane does not run, or a serving variant does not stand there; other devices carry its load.",
        2 * _MINUTE,
    ),
    AlertRule(
        "SloctlPlaneRestarts",
        Increase(_of(c.PLANE_RESTARTS), 15 * _MINUTE, "gt", 2, without=("reason",)),
        "ticket",
        f"the {{{{ $labels.plane }}}} plane {_ON} keeps being started anew",
        "Its log says why it ends; a plan for another GPU or TensorRT version can crash a data plane.",
    ),
    AlertRule(
        "SloctlHealthLevelLost",
        Compared(_of(c.HEALTH_LEVEL, level="inference"), "lt", 0.5),
        "ticket",
        f"{_VARIANT} {_ON} does not pass its health probes",
        "It cannot be served with; `sloctl status` names the lowest level that fails, and why.",
        5 * _MINUTE,
    ),
    AlertRule(
        "SloctlPrecisionDegraded",
        Compared(_of(c.VARIANT_RANK), "gt", 0),
        "ticket",
        f"{{{{ $labels.model }}}} {_ON} has served with less precision for an hour",
        "Load, health or an override keeps it from its most accurate variant; `sloctl decisions` says which.",
        _HOUR,
    ),
    AlertRule(
        "SloctlBreakerOpen",
        Compared(_of(c.BREAKER_STATE, state=("open", "forced_open")), "gt", 0),
        "ticket",
        f"the breaker of {{{{ $labels.model }}}} {_ON} is {{{{ $labels.state }}}}",
        "Requests for this model are refused.",
        2 * _MINUTE,
    ),
    AlertRule(
        "SloctlVariantBreakerOpen",
        Increase(_of(c.VARIANT_BREAKER.transitions, state="open"), 15 * _MINUTE, "gt", 0),
        "ticket",
        f"the breaker of {_VARIANT} {_ON} opened",
        "Its failures or slow calls reached a threshold; another variant serves, and it is probed for its return.",
    ),
    AlertRule(
        "SloctlEngineErrors",
        Increase(_of(c.ENGINE_ERRORS), 10 * _MINUTE, "gt", 10),
        "ticket",
        f"the engine of {_VARIANT} {_ON} fails batches",
        "More than ten batches failed within ten minutes; their requests were answered with errors.",
    ),
    AlertRule(
        "SloctlNonfiniteOutputs",
        Increase(_of(c.NONFINITE), 10 * _MINUTE, "gt", 0),
        "ticket",
        f"{_VARIANT} {_ON} answers with NaN or infinity",
        "The model forbids it, so those requests failed: an overflow in a low precision, or damaged weights or memory.",
    ),
    AlertRule(
        "SloctlLayerDrift",
        Compared(_of(c.LAYER_DRIFT), "gt", 1.25),
        "ticket",
        f"layer {{{{ $labels.layer }}}} of {_VARIANT} is slower than it was",
        "`sloctl layers {{ $labels.model }} --since 1h` shows which ones changed; clocks and neighbours are suspects.",
        10 * _MINUTE,
    ),
    AlertRule(
        "SloctlDeviceMemoryShort",
        Compared(_of(c.DEVICE_MEMORY_RATIO), "gt", 0.95),
        "ticket",
        f"memory of {{{{ $labels.device }}}} {_ON} is {{{{ $value | humanizePercentage }}}} full",
        "A variant that has to be loaded anew may not fit, and a batch may fail for want of memory.",
        10 * _MINUTE,
    ),
    AlertRule(
        "SloctlDeviceMemoryUnaccounted",
        Share(_of(c.DEVICE_MEMORY_UNACCOUNTED), _of(c.DEVICE_MEMORY_TOTAL), "gt", 0.25),
        "ticket",
        f"memory of {{{{ $labels.device }}}} {_ON} is in use that no model of sloctl has",
        "It is {{ $value | humanizePercentage }} of all; another process has it, or it leaks.",
        30 * _MINUTE,
    ),
    AlertRule(
        "SloctlReloadRefused",
        Compared(_of(c.CONFIG_LAST_RELOAD_OK), "lt", 1),
        "ticket",
        f"sloctl {_ON} refused the last reload",
        "The SLOs and policies before it stay in force; `sloctl validate` shows what is wrong with the files.",
        5 * _MINUTE,
    ),
    AlertRule(
        "SloctlStoreFailing",
        Increase(_of(c.STORE_FAILURES), 5 * _MINUTE, "gt", 5),
        "ticket",
        f"sloctl {_ON} cannot write its store",
        "A full disk or one mounted read-only: a restart forgets SLO history, alerts and decisions since then.",
    ),
    AlertRule(
        "SloctlOverrideForgotten",
        Compared(_of(c.OVERRIDES_ACTIVE), "gt", 0),
        "ticket",
        f"an override by hand has been in force {_ON} for four hours",
        "`sloctl override` lists it; policies do not decide what it holds.",
        4 * _HOUR,
    ),
    AlertRule(
        "SloctlAlertsNotSent",
        Increase(_of(c.ALERTS_FAILED), 5 * _MINUTE, "gt", 5),
        "ticket",
        f"sloctl {_ON} cannot send alerts to {{{{ $labels.alertmanager }}}}",
        "The Alertmanager does not answer, or refuses; the daemon tries on, and other Alertmanagers are told.",
    ),
)
GPU = (
    AlertRule(
        "SloctlGpuMissing",
        Missing(_of(m.GPUS_PRESENT), _of(m.GPUS_EXPECTED), _DAY),
        "page",
        f"a GPU {_ON} no longer answers",
        "It fell off the bus, or its driver went away; {{ $value | humanize }} are left.",
        2 * _MINUTE,
    ),
    AlertRule(
        "SloctlGpuXid",
        Increase(_of(m.XID_ERRORS, kind="critical"), 10 * _MINUTE, "gt", 0),
        "page",
        f"{_GPU} had XID {{{{ $labels.xid }}}}",
        "The GPU itself is at fault; sloctl_gpu_recovery_action says what it needs.",
    ),
    AlertRule(
        "SloctlGpuXidWarning",
        Increase(_of(m.XID_ERRORS, kind="warning"), _HOUR, "gt", 0),
        "ticket",
        f"{_GPU} had XID {{{{ $labels.xid }}}}",
        "Its memory had an error that was contained or repaired.",
    ),
    AlertRule(
        "SloctlGpuEccUncorrected",
        Increase(_of(m.ECC_ERRORS, error="uncorrected", lifetime="volatile"), _HOUR, "gt", 0),
        "page",
        f"{_GPU} had memory errors that could not be corrected",
        "What was computed with them is wrong or was aborted; the GPU wants a reset.",
    ),
    AlertRule(
        "SloctlGpuEccCorrected",
        Increase(_of(m.ECC_ERRORS, error="corrected", lifetime="volatile"), _HOUR, "gt", 100),
        "ticket",
        f"{_GPU} corrects many memory errors",
        "More than a hundred within an hour: a part of its memory is failing.",
    ),
    AlertRule(
        "SloctlGpuRowRemapPending",
        Compared(_of(m.REMAP_PENDING), "gt", 0),
        "ticket",
        f"{_GPU} waits for a reset to remap a row of its memory",
        "Until then the row stays in use.",
        5 * _MINUTE,
    ),
    AlertRule(
        "SloctlGpuRowRemapFailed",
        Compared(_of(m.REMAP_FAILED), "gt", 0),
        "page",
        f"{_GPU} could not remap a row of its memory",
        "It has no spare rows left: replace it.",
    ),
    AlertRule(
        "SloctlGpuRecoveryNeeded",
        Compared(_of(m.RECOVERY_ACTION), "gt", 0),
        "ticket",
        f"{_GPU} asks for recovery action {{{{ $value | humanize }}}}",
        "1 is a reset of the GPU, 2 a reboot, 3 draining peer-to-peer traffic, 4 draining and a reset.",
        5 * _MINUTE,
    ),
    AlertRule(
        "SloctlGpuThrottled",
        Compared(_of(m.CLOCKS_THROTTLED), "gt", 0),
        "ticket",
        f"{_GPU} is slowed by heat or its own protection",
        "sloctl_gpu_clocks_event_reason says by what; latency suffers while it lasts.",
        5 * _MINUTE,
    ),
    AlertRule(
        "SloctlGpuHot",
        Compared(_of(m.TEMPERATURE), "gt", 84),
        "ticket",
        f"{_GPU} is at {{{{ $value | humanize }}}} °C",
        "A few degrees more and it slows itself down.",
        5 * _MINUTE,
    ),
    AlertRule(
        "SloctlGpuMemoryHot",
        Compared(_of(m.MEMORY_TEMPERATURE), "gt", 92),
        "ticket",
        f"the memory of {_GPU} is at {{{{ $value | humanize }}}} °C",
        "At 95 °C the GPU slows itself down to save it.",
        5 * _MINUTE,
    ),
    AlertRule(
        "SloctlGpuMemoryShort",
        Share(_of(m.MEMORY_USED), _of(m.MEMORY_TOTAL), "gt", 0.97),
        "ticket",
        f"memory of {_GPU} is {{{{ $value | humanizePercentage }}}} full",
        "What is loaded next may not fit, whichever process it is for.",
        10 * _MINUTE,
    ),
    AlertRule(
        "SloctlGpuPcieReplays",
        Increase(_of(m.PCIE_REPLAYS), _HOUR, "gt", 100),
        "ticket",
        f"{_GPU} repeats packets on the PCIe bus",
        "More than a hundred within an hour: its slot, riser or cable loses signals.",
    ),
)
RULES = (*DAEMON, *GPU)


def to_yaml(runbooks: str = RUNBOOKS) -> str:
    """The rule file for Prometheus."""
    groups = [
        {"name": f"sloctl-{name}", "rules": [_rule(rule, runbooks) for rule in rules]}
        for name, rules in (("daemon", DAEMON), ("gpu", GPU))
    ]
    head = (
        "# Written by `sloctl rules --builtin`: alerts on sloctl itself and its GPUs; `sloctl rules` writes those of\n"
        "# your SLO files. For a scrape interval of at most 30 s; set `job` to that of your scrapes.\n"
    )
    body = yaml.dump({"groups": groups}, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=10_000)
    return f"{head}{body}"


def _rule(rule: AlertRule, runbooks: str) -> dict[str, Any]:
    return {
        "alert": rule.name,
        "expr": rule.condition.promql(),
        **({"for": format_duration(rule.hold)} if rule.hold else {}),
        "labels": {"severity": rule.severity},
        "annotations": rule.annotations(runbooks),
    }


def inside(rules: Sequence[AlertRule] = RULES) -> list[AlertRule]:
    """Those that the daemon can evaluate itself."""
    return [rule for rule in rules if not rule.outside]
