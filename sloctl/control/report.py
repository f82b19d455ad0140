"""What the control plane shows: status and health in JSON, and its own metric families."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sloctl import __version__
from sloctl.board import Boards
from sloctl.board.status import StatusReading
from sloctl.config.base import format_duration
from sloctl.control.facts import LiveFacts
from sloctl.control.health import Health
from sloctl.control.layers import drift_samples
from sloctl.control.maintenance import ByHand
from sloctl.control.received import ReceivedAlert, ReceivedAlerts
from sloctl.control.sensing import Senses
from sloctl.control.sources import Sources as PrometheusSources
from sloctl.slo.evaluate import Alert, Evaluator
from sloctl.slo.objective import Objective
from sloctl.telemetry import catalogue as c
from sloctl.telemetry.families import Family, SummaryValue, Value
from sloctl_exporters.triton import triton_families

Samples = list[tuple[tuple[str, ...], Value]]


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that a report is made of, at one moment."""

    board: Boards
    senses: Senses
    health: Health
    evaluator: Evaluator
    prometheus: PrometheusSources | None
    excluded: Mapping[str, str]
    set_aside: Callable[[str], tuple[float, float]]
    facts: Mapping[str, LiveFacts]
    alerts: Sequence[dict[str, Any]]
    alert_families: Sequence[Family]
    rules: Sequence[tuple[str, str, bool]]
    decided: Mapping[tuple[str, str, str], int]
    decisions: Sequence[dict[str, Any]]
    overrides: Sequence[dict[str, Any]]
    received: ReceivedAlerts
    notifications: Mapping[str, int]
    reloads: Mapping[str, int]
    reload_ok: bool
    store_failures: int
    ticks: tuple[int, float]
    uptime: float
    tritons_names: bool


def iso(wall: float) -> str:
    """Unix seconds for people."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")


def _number(value: float) -> float | None:
    return None if value != value else value  # JSON has no NaN


# --- JSON


def status(s: Sources) -> dict[str, Any]:
    """The whole, as `/api/v1/status` answers."""
    return {
        "version": __version__,
        "uptimeSeconds": round(s.uptime, 3),
        "ready": s.health.ready,
        "reasons": s.health.reasons(),
        "troubles": s.health.troubles(),
        "planes": _planes(s),
        "models": [_model(s, name, facts) for name, facts in s.facts.items()],
        "slos": _slos(s),
        "sources": s.prometheus.described() if s.prometheus else [],
        "alerts": list(s.alerts),
        "decisions": list(s.decisions),
        "overrides": list(s.overrides),
        "receivedAlerts": [_received(alert) for alert in s.received.firing()],
    }


def health(health: Health) -> dict[str, Any]:
    """Health with every level of every variant."""
    return {
        "ready": health.ready,
        "started": health.started,
        "reasons": health.reasons(),
        "dataPlane": _data_plane(health.data, health.data_up),
        "devices": [
            {
                "device": device.device,
                "ready": device.ready,
                "reasons": device.reasons(),
                **_data_plane(device.data, device.up),
                "serving": device.serving,
            }
            for device in health.devices
        ],
        "variants": [
            {
                "model": model,
                "variant": variant,
                "serving": health.serving[model] == variant,
                "levels": found.describe(health.now),
            }
            for (model, variant), found in health.variants.items()
        ],
    }


def _data_plane(reading: StatusReading, up: bool) -> dict[str, Any]:
    return {
        "up": up,
        "phase": reading.phase.name.lower(),
        "pid": reading.pid,
        "restarts": {reason: count for reason, count in reading.restarts.items() if count},
        "lastEnd": reading.ended or None,
    }


def _planes(s: Sources) -> dict[str, Any]:
    """The data plane that is best off under `data`, then each of several under its device, and control."""
    devices = s.health.devices
    readings = {"data": (s.health.data, s.health.data_up)}
    if len(devices) > 1:
        readings |= {f"data {device.device}": (device.data, device.up) for device in devices}
    readings["control"] = (s.health.control, True)
    return {
        plane: {"pid": r.pid, "phase": r.phase.name.lower(), "up": up, "restarts": sum(r.restarts.values())}
        for plane, (r, up) in readings.items()
    }


def _model(s: Sources, name: str, facts: LiveFacts) -> dict[str, Any]:
    word = s.board.control(name).read()
    variants = s.board.topology.model(name).variants
    return {
        "name": name,
        "variant": facts.variant,
        "wanted": variants[word.variant],
        "variants": [
            {
                "name": variant,
                "accuracy": _number(facts.accuracy(variant)),
                "capacity": _number(facts.capacity(variant)),
                "breaker": facts.breaker(variant),
                "memoryBytes": s.senses.recent.newest.scalar(c.VARIANT_MEMORY, name, variant),
                "health": s.health.variants[name, variant].describe(s.health.now),
            }
            for variant in variants
        ],
        "offeredRate": facts.offered(),
        "servedRate": facts.served(),
        "latency": {"p50": _number(facts.latency(0.5)), "p99": _number(facts.latency(0.99))},
        "tiers": _tiers(s, name),
        "admit": dict(zip(s.board.topology.priorities, word.admit, strict=True)),
        "breaker": facts.breaker(),
        "queue": facts.gauge(c.QUEUE_LENGTH),
        "inflight": facts.gauge(c.INFLIGHT),
        "errorRatio": _number(facts.error_ratio()) or 0.0,
    }


def _tiers(s: Sources, model: str) -> dict[str, dict[str, str]]:
    """Variants of the classes that have one of their own in the control word: what is wanted, and what serves."""
    word, variants = s.board.control(model).read(), s.board.topology.model(model).variants
    own = {name: variants[v] for name, v in zip(s.board.topology.priorities, word.tiers, strict=True) if v >= 0}
    return {name: {"wanted": wanted, "variant": s.senses.tier(model, name)} for name, wanted in own.items()}


def _slos(s: Sources) -> list[dict[str, Any]]:
    alerts: dict[str, list[Alert]] = defaultdict(list)
    for alert in s.evaluator.alerts():
        alerts[alert.slo].append(alert)
    return [_slo(s, objective, alerts[objective.name]) for objective in s.evaluator.objectives]


def _slo(s: Sources, objective: Objective, alerts: Sequence[Alert]) -> dict[str, Any]:
    name = objective.name
    windows = s.evaluator.window_lengths(name)
    return {
        "name": name,
        "service": objective.service,
        "target": objective.target,
        "periodSeconds": objective.period_seconds,
        "periodBegan": iso(began) if (began := s.evaluator.period_began(name)) is not None else None,
        "budgetRemaining": s.evaluator.budget_remaining(name),
        "burnRates": {format_duration(w): s.evaluator.burn_rate(name, w) for w in windows},
        "errorRatios": {format_duration(w): s.evaluator.error_ratio(name, w) for w in windows},
        "excluded": s.excluded.get(name),
        "noData": s.prometheus.reasons.get(name) if s.prometheus else None,
        "alerts": [{"severity": alert.severity, "window": alert.window, "firing": alert.firing} for alert in alerts],
    }


def by_hand(maintenance: ByHand) -> dict[str, Any]:
    """Maintenance by hand for JSON."""
    return {
        "id": maintenance.number,
        "slos": list(maintenance.slos),
        "begin": iso(maintenance.begin),
        "end": iso(maintenance.end),
        "reason": maintenance.reason,
    }


def decision(record: Mapping[str, Any], *, facts: bool) -> dict[str, Any]:
    """A stored decision for JSON."""
    shown = {key: record[key] for key in ("id", "policy", "model", "rule", "action", "before", "after", "reason")}
    shown |= {"at": iso(record["at"]), "dryRun": record["dry_run"]}
    if facts:
        shown["facts"] = {name: None if value != value else value for name, value in record["facts"].items()}
        shown["context"] = record["context"]
    return shown


def override(record: Mapping[str, Any]) -> dict[str, Any]:
    """A stored override for JSON."""
    return {**record, "at": iso(record["at"]), "expires": iso(record["expires"])}


def _received(alert: ReceivedAlert) -> dict[str, Any]:
    return {
        "name": alert.name,
        "labels": dict(alert.labels),
        "fingerprint": alert.fingerprint,
        "startsAt": iso(alert.starts),
        "expires": iso(alert.expires),
    }


def layers(senses: Senses, model: str, now: float, ago: float) -> dict[str, Any]:
    """Layer times of each variant in execution order: of the last `ago` seconds (0: of all) and before that."""
    snapshot = senses.recent.newest
    earlier = senses.layers.before(now, ago) if ago else {}
    return {
        "model": model,
        "serving": senses.health.serving[model],
        "variants": {
            variant: senses.layers.describe((model, variant), snapshot.layers(model, variant), earlier)
            for variant in senses.board.topology.model(model).variants
        },
    }


# --- families


def families(s: Sources) -> list[Family]:
    """The board's families, the control plane's own, and the GPU's."""
    own = [
        Family(c.BUILD_INFO, [((__version__,), 1.0)]),
        Family(c.PLANE_UP, [(("data",), float(s.health.data_up)), (("control",), 1.0)]),
        *_states(s.senses, s.health, len(s.overrides), reload_ok=s.reload_ok, store_failures=s.store_failures),
        *_process_families(s.senses),
        *_model_families(s),
        *_slo_families(s),
        *(s.prometheus.families() if s.prometheus else ()),
        *s.alert_families,
        *_policy_families(s),
        *_received_families(s),
        Family(c.CONFIG_RELOADS, [((result,), float(count)) for result, count in s.reloads.items()]),
        Family(c.TICK_DURATION, [((), SummaryValue(*s.ticks))]),
        Family(c.HEALTH_LAST_SUCCESS, _last_success(s.health)),
    ]
    counted = s.senses.recent.newest.families()
    tritons = triton_families(counted) if s.tritons_names else ()
    return [*counted, *own, *s.senses.gpu_families, *tritons]


_WATCHED = (c.BREAKER_STATE, c.VARIANT_BREAKER.transitions, c.HEALTH_LEVEL, c.ENGINE_ERRORS, c.NONFINITE)


def watched(senses: Senses, health: Health, overrides: int, *, reload_ok: bool, store_failures: int) -> list[Family]:
    """The few families that the daemon's alerts on itself are about: all of them every second would cost too much."""
    return [
        *senses.recent.newest.families(_WATCHED),
        *_states(senses, health, overrides, reload_ok=reload_ok, store_failures=store_failures),
        *senses.gpu_families,
    ]


def _states(senses: Senses, health: Health, overrides: int, *, reload_ok: bool, store_failures: int) -> list[Family]:
    restarts: Samples = []
    for plane in ("data", "control"):
        restarts += [((plane, reason), float(count)) for reason, count in senses.board.restarts(plane).items()]
    models = senses.board.topology.models
    ranks = [((model.name,), float(model.variants.index(senses.health.serving[model.name]))) for model in models]
    return [
        Family(c.READY, [((), float(health.ready))]),
        Family(c.DEVICE_UP, [((device.device,), float(device.ready)) for device in health.devices]),
        Family(c.PLANE_RESTARTS, restarts),
        Family(c.VARIANT_RANK, list(ranks)),
        Family(c.LAYER_DRIFT, list(drift_samples(senses.layers.drift))),
        Family(c.LAYER_LAST, list(_last_layers(senses))),
        Family(c.CONFIG_LAST_RELOAD_OK, [((), float(reload_ok))]),
        Family(c.STORE_FAILURES, [((), float(store_failures))]),
        Family(c.OVERRIDES_ACTIVE, [((), float(overrides))]),
        *_memory_families(senses),
    ]


def _last_layers(senses: Senses) -> Iterator[tuple[tuple[str, str, str], float]]:
    for (model, variant), layers in senses.layers.last.items():
        yield from (((model, variant, layer), seconds) for layer, seconds in layers.items())


def gauges(senses: Senses) -> dict[tuple[str, tuple[str, ...]], float]:
    """The control plane's gauges that an SLO may sample, by name and labels."""
    found: dict[tuple[str, tuple[str, ...]], float] = {(c.READY.name, ()): float(senses.health.ready)}
    for device, (used, total) in senses.memories.items():
        found[c.DEVICE_MEMORY_USED.name, (device,)] = float(used)
        found[c.DEVICE_MEMORY_TOTAL.name, (device,)] = float(total)
        if total:
            found[c.DEVICE_MEMORY_RATIO.name, (device,)] = used / total
    for plane, reading in senses.processes.items():
        found[c.PROCESS_MEMORY.name, (plane,)] = float(reading.memory)
    for model in senses.board.topology.models:
        found[c.THROUGHPUT_RATIO.name, (model.name,)] = _throughput(senses, model.name)
    found |= {(c.LAYER_LAST.name, labels): value for labels, value in _last_layers(senses)}
    found |= {(c.LAYER_DRIFT.name, labels): float(value) for labels, value in drift_samples(senses.layers.drift)}
    return found


def _throughput(senses: Senses, model: str) -> float:
    """Rows a second over the measured peak of the serving variant; NaN where none was measured."""
    variant = senses.health.serving[model]
    capacity = senses.recent.newest.scalar(c.VARIANT_CAPACITY, model, variant)
    return senses.recent.rate(c.INFERENCES, model, variant) / capacity if capacity else float("nan")


def _process_families(senses: Senses) -> list[Family]:
    readings = [(plane, senses.processes.get(plane)) for plane in ("data", "control")]
    switches: Samples = []
    for plane, r in readings:
        switches.append(((plane, "voluntary"), float(r.voluntary if r else 0)))
        switches.append(((plane, "involuntary"), float(r.involuntary if r else 0)))
    return [
        Family(c.PROCESS_MEMORY, [((plane,), float(r.memory if r else 0)) for plane, r in readings]),
        Family(c.PROCESS_CPU, [((plane,), r.cpu if r else 0.0) for plane, r in readings]),
        Family(c.PROCESS_CONTEXT_SWITCHES, switches),
    ]


def _memory_families(senses: Senses) -> list[Family]:
    memories = senses.memories.items()
    return [
        Family(c.DEVICE_MEMORY_USED, [((device,), float(used)) for device, (used, _) in memories]),
        Family(c.DEVICE_MEMORY_TOTAL, [((device,), float(total)) for device, (_, total) in memories]),
        Family(
            c.DEVICE_MEMORY_RATIO,
            [((device,), used / total if total else float("nan")) for device, (used, total) in memories],
        ),
        Family(
            c.DEVICE_MEMORY_UNACCOUNTED,
            [((device,), _unaccounted(senses, device, used)) for device, (used, _) in memories],
        ),
    ]


def _unaccounted(senses: Senses, device: str, used: float) -> float:
    if device not in senses.gpus:
        return float("nan")
    variants = [(model.name, variant) for model in senses.board.topology.models for variant in model.variants]
    taken = (
        board.value(c.VARIANT_MEMORY, *variant)
        for host, board in zip(senses.hosts, senses.board, strict=True)
        for variant in variants
        if senses.pins.get(variant, host) == device
    )
    return used - sum(taken)


def _model_families(s: Sources) -> list[Family]:
    offered: Samples = []
    throughput: Samples = []
    admitted: Samples = []
    for model, facts in s.facts.items():
        offered.append(((model,), facts.offered()))
        throughput.append(((model,), _throughput(s.senses, model)))
        shares = s.board.control(model).read().admit
        admitted += (((model, name), share) for name, share in zip(s.board.topology.priorities, shares, strict=True))
    return [
        Family(c.OFFERED_RATE, offered),
        Family(c.THROUGHPUT_RATIO, throughput),
        Family(c.ADMITTED_RATIO, admitted),
    ]


_SLO_METRICS = (
    c.SLO_OBJECTIVE,
    c.SLO_GOOD,
    c.SLO_EVENTS,
    c.SLO_ERROR_RATIO,
    c.SLO_BURN_RATE,
    c.SLO_BUDGET_REMAINING,
    c.SLO_NO_DATA,
    c.SLO_EXCLUDED,
    c.SLO_EXCLUDED_EVENTS,
)


def _slo_families(s: Sources) -> list[Family]:
    found = {m.name: Family(m) for m in _SLO_METRICS}

    def add(metric: c.Metric, labels: tuple[str, ...], value: float) -> None:
        found[metric.name].samples.append((labels, value))

    for objective in s.evaluator.objectives:
        name = objective.name
        good, total = s.evaluator.counted(name)
        unknown = float("nan") if name in s.evaluator.no_data else 0.0  # a ratio that was once does not go on
        add(c.SLO_OBJECTIVE, (name,), objective.target)
        add(c.SLO_EXCLUDED, (name,), float(name in s.excluded))
        add(c.SLO_EXCLUDED_EVENTS, (name,), s.set_aside(name)[1])
        add(c.SLO_NO_DATA, (name,), float(name in s.evaluator.no_data))
        add(c.SLO_GOOD, (name,), good)
        add(c.SLO_EVENTS, (name,), total)
        add(c.SLO_BUDGET_REMAINING, (name,), s.evaluator.budget_remaining(name) + unknown)
        for window in s.evaluator.window_lengths(name):
            label = format_duration(window)
            add(c.SLO_ERROR_RATIO, (name, label), s.evaluator.error_ratio(name, window) + unknown)
            add(c.SLO_BURN_RATE, (name, label), s.evaluator.burn_rate(name, window) + unknown)
    return list(found.values())


def _policy_families(s: Sources) -> list[Family]:
    return [
        Family(c.RULE_ACTIVE, [((policy, rule), float(active)) for policy, rule, active in s.rules]),
        Family(c.DECISIONS, [(key, float(count)) for key, count in s.decided.items()]),
    ]


def _received_families(s: Sources) -> list[Family]:
    firing = Counter((alert.name, alert.labels.get("severity", "")) for alert in s.received.firing())
    return [
        Family(c.RECEIVED_ALERTS, [(key, float(count)) for key, count in firing.items()]),
        Family(c.RECEIVED_NOTICES, [((result,), float(count)) for result, count in s.received.counts.items()]),
        Family(c.RECEIVED_NOTIFICATIONS, [((result,), float(count)) for result, count in s.notifications.items()]),
    ]


def _last_success(health: Health) -> Samples:
    found: Samples = []
    for (model, variant), levels in health.variants.items():
        for name, level in zip(c.HEALTH_LEVELS, levels.levels, strict=True):
            age = health.now - level.last_success if level.last_success else float("nan")
            found.append(((model, variant, name), age))
    return found
