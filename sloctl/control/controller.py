"""The controller: one tick from snapshot to decision, and what the API asks of it in between."""

import gc
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import structlog

from sloctl.board import Boards, Fault
from sloctl.config.base import format_duration, parse_duration
from sloctl.config.documents import Bundle
from sloctl.config.problems import ConfigError
from sloctl.config.project import load_bundle_texts, reload_bundle
from sloctl.config.runtime import Runtime
from sloctl.control import report
from sloctl.control.alertmanager import Notifier
from sloctl.control.alerts import Alerts, described
from sloctl.control.deciding import Decider
from sloctl.control.facts import LiveFacts
from sloctl.control.health import Health
from sloctl.control.judging import Judge, Timeline
from sloctl.control.keeping import Keeping
from sloctl.control.maintenance import ByHand, Exclusions
from sloctl.control.received import ReceivedAlerts
from sloctl.control.recording import Recorder
from sloctl.control.sensing import Senses
from sloctl.control.sources import Sources, sources
from sloctl.control.store import Store
from sloctl.control.watching import Watch
from sloctl.control.webhook import WebhookError, decode
from sloctl.policy.document import PLANNER, Action, PolicyDocument
from sloctl.policy.engine import Decision, Override
from sloctl.policy.facts import Vocabulary
from sloctl.policy.fallback import FALLBACK
from sloctl.policy.overrides import RULE as OVERRIDE
from sloctl.slo.alerting import Active
from sloctl.telemetry.families import Family

_SAVE_EVERY = 1.0
_WATCH_EVERY = 1.0
_GRACE = 10.0  # seconds after a start within which no alert ends: GPUs and processes are not read yet
_LONGEST_OVERRIDE = 365 * 86400.0  # seconds; for longer there is the configuration
_MOST_ROWS = 2**63  # SQLite numbers no more
_MOST_PATTERNS = 100  # of one maintenance
_MAINTENANCE_KEPT = 400 * 86400.0  # seconds for which what was left out by hand is known, for events that come late
_KINDS = ("variant", "tiers", "admit", "breaker")
Clock = Callable[[], float]

log = structlog.get_logger("sloctl.control")


class RequestError(Exception):
    """A request to the API that cannot be met; `status` is the HTTP status."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Controller:
    """All state of the control plane. Every public method takes the lock, so ticks and requests alternate."""

    def __init__(
        self,
        runtime: Runtime,
        bundle: Bundle,
        senses: Senses,
        store: Store,
        *,
        clock: Clock = time.monotonic,
        wall: Clock = time.time,
        trace: Callable[[Mapping[str, Any]], None] = lambda _: None,
        recorder: Recorder | None = None,
        notifier: Notifier | None = None,
        address: str = "localhost",
    ) -> None:
        """`address` is host and port of the control plane, as a Prometheus names its target."""
        self.runtime = runtime
        self.store = store
        self._board: Boards = senses.board
        self._senses = senses
        self._clock, self._wall, self._trace = clock, wall, trace
        self._recorder = recorder
        self._notifier = notifier
        self._watch = Watch(runtime.daemon.alerts.runbook_url, address)
        self._watched: list[Active] = []
        self._watched_at = float("-inf")
        self._lock = threading.RLock()
        self._keeping = Keeping()
        self._started = clock()
        saved = (store.state("progress") or {}) | {"alerts": store.state("alerts") or []}
        self._timeline = Timeline(self._started, wall(), saved.get("axis"))
        self._decided: Counter[tuple[str, str, str]] = Counter(dict(_pairs(saved.get("decided", []))))
        self._ticks = [0, 0.0]
        self._reloads = Counter(accepted=0, refused=0)
        self._reload_ok = True
        self._saved_at = float("-inf")
        self._saved_alerts = -1  # the revision that is in the store
        senses.look(self._started)
        webhook = runtime.daemon.control.webhook
        self._received = ReceivedAlerts(webhook.time_to_live, webhook.max_alerts, store.received())
        self._notifications = Counter(accepted=0, refused=0)
        self._prometheus: Sources | None = None
        self._take(bundle, saved)
        self._alerts.keep(self._timeline.at(self._started) + _GRACE)

    def _take(self, bundle: Bundle, saved: Mapping[str, Any]) -> None:
        """Puts SLOs and policies in force, over whatever history and memory there is."""
        topology = self.runtime.topology
        now = self._clock()
        self._judge = Judge(bundle.objectives, bundle.windows, self._board, self._gauges)
        self._judge.begin(self._senses.recent.newest, now, saved.get("judge"))
        self.store.forget_others(self._judge.resumed)
        self._judge.evaluator.restore(self.store.history())
        active = dict(saved.get("excluded") or {})
        self._exclusions = Exclusions(bundle.objectives, self._begun_by_hand())
        self._exclusions.active = {name: why for name, why in active.items() if name in self._judge.names}
        self._ask(saved.get("sources") or {})
        runbooks = self.runtime.daemon.alerts.runbook_url
        names = self._watch.names
        self._saved_alerts = -1
        self._alerts = Alerts(bundle.objectives, bundle.windows, saved.get("alerts", ()), runbooks, names)
        vocabulary = Vocabulary.of(bundle.objectives, topology)
        if self._recorder is not None:
            self._recorder.describe(vocabulary, bundle.policies)
        enabled = self.runtime.daemon.control.enabled
        policies = bundle.policies if enabled else ()
        self._decider = Decider(policies, vocabulary, self._board, saved.get("policies") or {}, enabled=enabled)
        # A series that begins with its first decision would hide that decision from increase().
        for key in _possible(self._decider.policies):
            self._decided.setdefault(key, 0)

    def _ask(self, saved: Mapping[str, Any]) -> None:
        """Begins to ask the sources of these SLOs, in place of those of the ones before."""
        if self._prometheus is not None:
            self._prometheus.stop()
        known, folder = self.runtime.daemon.prometheus, self.runtime.path.parent
        judge = self._judge
        self._prometheus = sources(judge.evaluator, known, folder, saved, judge.resumed, self._wall)
        self._prometheus.start()

    # --- the tick

    def tick(self) -> None:
        """Snapshot, judge, decide; save once a second, and at once after a decision."""
        with self._lock:
            now = self._clock()
            self._board.control_status.beat(now)
            snapshot = self._senses.look(now)
            axis, wall = self._timeline.at(now), self._wall()
            self._look_for_maintenance(wall)
            self._judge.tick(now, axis, snapshot, self._exclusions.active)
            if self._prometheus is not None:
                self._prometheus.feed(self._judge.evaluator, wall, axis - wall, self._exclusions.excludes)
            self._alert(self._timeline.at(now))
            self._expire_received()
            overrides = self._overrides()
            for model, facts in zip(self.runtime.daemon.models, self._facts(now), strict=True):
                decisions = self._decider.step(now, model.name, facts, overrides.get(model.name, ()))
                for decision in decisions:
                    self._record(decision)
                if self._recorder is not None:
                    self._recorder.record(model.name, now, wall, facts, tuple(decisions), self._judge.evaluator.counted)
            if now - self._saved_at >= _SAVE_EVERY:
                self.save()
            self._ticks[0] += 1
            self._ticks[1] += self._clock() - now

    def _look_for_maintenance(self, wall: float) -> None:
        for slo, why, begins in self._exclusions.look(wall):
            event = (wall, "maintenance", slo, "begin" if begins else "end", why)
            self._keeping.attempt("maintenance", partial(self.store.add_event, *event))
            log.info("maintenance", slo=slo, state="begins" if begins else "ends", reason=why)

    def _alert(self, axis: float) -> None:
        if axis - self._watched_at >= _WATCH_EVERY:
            self._watched_at = axis
            self._watched = self._watch.read(axis, self._watched_families())
        for changed in self._alerts.tick(axis, self._judge, self._watched):
            self._saved_at = float("-inf")  # this tick ends with a save: a crash forgets no alert
            log.info("alert", state=changed.state, value=round(changed.value, 3), **changed.labels)
        if self._notifier is not None:
            self._notifier.tick(axis, self._skew(), self._alerts.instances())

    def _watched_families(self) -> list[Family]:
        overrides = len(self.store.overrides(self._wall()))
        failures, health = self._keeping.failures, self._senses.health
        found = report.watched(self._senses, health, overrides, reload_ok=self._reload_ok, store_failures=failures)
        return found + (self._notifier.families() if self._notifier else [])

    def _facts(self, now: float) -> list[LiveFacts]:
        """The facts of each model, in their order."""
        shared = (self._senses, self._judge.evaluator, self._received, now, self._wall())
        return [LiveFacts(model, *shared) for model in self.runtime.daemon.models]

    def save(self, **more: Any) -> bool:
        """Writes history, progress and `more` state by key; whether the store could be written."""
        with self._lock:
            return self._keeping.attempt("history and progress", partial(self._save, more)) or False

    def _save(self, more: Mapping[str, Any]) -> bool:
        self._saved_at = self._clock()
        rows, oldest = self._judge.evaluator.unsaved()
        state: dict[str, Any] = {"progress": self._progress(), **more}
        revision = self._alerts.revision
        if revision != self._saved_alerts:  # hundreds of alerts that merely go on need not be written every second
            state["alerts"] = self._alerts.saved()
        self.store.save(rows, state, oldest)
        self._saved_alerts = revision
        return True

    def _progress(self) -> dict[str, Any]:
        return {
            "axis": self._timeline.at(self._clock()),
            "judge": self._judge.saved(),
            "policies": self._decider.memory(),
            "sources": self._prometheus.saved() if self._prometheus else {},
            "excluded": dict(self._exclusions.active),
            "decided": [[list(key), count] for key, count in self._decided.items()],
        }

    def _record(self, decision: Decision) -> None:
        record = asdict(decision)
        # It is in force already, and the other models' decisions must be taken too.
        number = self._keeping.attempt("decisions", lambda: self.store.add_decision(self._wall(), record)) or 0
        self._decided[decision.policy, decision.rule, decision.action] += 1
        self._saved_at = float("-inf")  # this tick ends with a save: a crash forgets no switch and no count
        log.info(
            "decision",
            id=number,
            **{
                key: record[key]
                for key in ("policy", "model", "rule", "action", "before", "after", "reason", "dry_run")
            },
        )
        self._trace({"id": number, **record})

    # --- what the API asks

    @property
    def health(self) -> Health:
        """Health as of now, not of the last tick; without the lock, which a slow disk or driver may hold for long."""
        return self._senses.look_at_health(self._clock())

    def describe_health(self) -> dict[str, Any]:
        """Health in JSON."""
        return report.health(self.health)

    def status(self) -> dict[str, Any]:
        """The whole in JSON."""
        with self._lock:
            return report.status(self._sources())

    def families(self) -> Sequence[Family]:
        """Every metric family of the daemon."""
        with self._lock:
            return report.families(self._sources())

    def alerts(self) -> dict[str, Any]:
        """The daemon's own alerts that are pending or firing, as Prometheus' `/api/v1/alerts` has them."""
        with self._lock:
            return {"status": "success", "data": {"alerts": self._described_alerts()}}

    def _described_alerts(self) -> list[dict[str, Any]]:
        return described(self._alerts.shown(), self._skew())

    def _skew(self) -> float:
        """Seconds by which Unix time is ahead of the timeline: 0 unless a clock was set; whole, to be steady."""
        return float(round(self._wall() - self._timeline.at(self._clock())))

    def _sources(self) -> report.Sources:
        now = self._clock()
        models = self.runtime.daemon.models
        return report.Sources(
            board=self._board,
            senses=self._senses,
            health=self._senses.look_at_health(now),
            evaluator=self._judge.evaluator,
            prometheus=self._prometheus,
            excluded=self._exclusions.active,
            set_aside=self._judge.set_aside,
            alerts=self._described_alerts(),
            alert_families=[*self._alerts.families(), *(self._notifier.families() if self._notifier else ())],
            facts={model.name: facts for model, facts in zip(models, self._facts(now), strict=True)},
            rules=self._decider.active_rules(),
            decided=self._decided,
            decisions=self.decisions(20, None, facts=False),
            overrides=self.overrides(),
            received=self._received,
            notifications=self._notifications,
            reloads=self._reloads,
            reload_ok=self._reload_ok,
            store_failures=self._keeping.failures,
            ticks=(int(self._ticks[0]), self._ticks[1]),
            uptime=now - self._started,
            tritons_names=self.runtime.daemon.telemetry.triton,
        )

    def decisions(self, limit: int, model: str | None, *, facts: bool = True) -> list[dict[str, Any]]:
        """The latest decisions, newest first."""
        with self._lock:
            return [report.decision(record, facts=facts) for record in self.store.decisions(limit, model)]

    def decision(self, number: int) -> dict[str, Any]:
        """One decision with all that is kept of it. Raises RequestError if there is none of that number."""
        with self._lock:
            record = self.store.decision(number) if number < _MOST_ROWS else None
        if record is None:
            raise RequestError(f"there is no decision {number}", 404)
        return report.decision(record, facts=True)

    def layers(self, model: str, ago: float = 0.0) -> dict[str, Any]:
        """Layer times of a model's variants, of the last `ago` seconds (0: of all) and before. Raises RequestError."""
        self._known(model)
        with self._lock:
            return report.layers(self._senses, model, self._clock(), ago)

    def overrides(self) -> list[dict[str, Any]]:
        """Overrides in force."""
        with self._lock:
            return [report.override(record) for record in self.store.overrides(self._wall())]

    def add_override(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Keeps an override: `model`, `kind`, `value`, `expires` (a duration), `reason`. Raises RequestError."""
        model = self._known(str(body.get("model", "")))
        kind, value = body.get("kind"), body.get("value")
        self._check_override(model, kind, value)
        lasts = _lasting(body.get("expires", "30m"), "expires")
        with self._lock:
            now = self._wall()
            reason = str(body.get("reason", ""))[:500]
            number = self.store.add_override(now, model, str(kind), value, now + lasts, reason)
            log.info("override", id=number, model=model, kind=kind, value=value, lasts=format_duration(lasts))
            return {"id": number, "expires": report.iso(now + lasts)}

    def _check_override(self, model: str, kind: Any, value: Any) -> None:
        variants, classes = self.runtime.topology.model(model).variants, self.runtime.topology.priorities
        if kind not in _KINDS:
            raise RequestError(f"kind must be one of {', '.join(_KINDS)}")
        if kind == "variant" and value not in variants:
            raise RequestError(f"{model} has no variant {value!r}; it has {', '.join(variants)}")
        if kind == "tiers":
            self._check_tiers(model, value)
        if kind == "breaker" and value not in ("force_open", "disable", "metrics_only", "close"):
            raise RequestError("a breaker can be held at force_open, disable, metrics_only or close")
        if kind == "admit":
            if not isinstance(value, dict) or not value or not set(value) <= set(classes):
                raise RequestError(f"admit wants shares by class, of {', '.join(classes)}")
            if not all(isinstance(share, int | float) and 0 <= share <= 1 for share in value.values()):
                raise RequestError("a share is a number between 0 and 1")

    def _check_tiers(self, model: str, value: Any) -> None:
        variants, classes = self.runtime.topology.model(model).variants, self.runtime.topology.priorities
        if not isinstance(value, dict) or not value or not set(value) <= set(classes):
            raise RequestError(f"tiers wants variants by class, of {', '.join(classes)}")
        for variant in value.values():
            if variant not in variants:
                raise RequestError(f"{model} has no variant {variant!r}; it has {', '.join(variants)}")

    def drop_override(self, number: int) -> None:
        """Ends an override. Raises RequestError if there is none of that number."""
        with self._lock:
            if number >= _MOST_ROWS or not self.store.drop_override(number):
                raise RequestError(f"there is no override {number}", 404)

    def prune(self) -> None:
        """Forgets what is older than `control.retention`."""
        with self._lock:
            gone = self.store.prune(self._wall() - self.runtime.daemon.control.retention)
        log.info("old rows removed", rows=gone)

    # --- maintenance

    def maintenance(self) -> dict[str, Any]:
        """What is left out of SLOs now, what was begun by hand and has not ended, and what began and ended lately."""
        with self._lock:
            held = [each for each in self._begun_by_hand() if each.end > self._wall()]
            return {
                "excluded": dict(self._exclusions.active),
                "byHand": [report.by_hand(each) for each in held],
                "events": [{**event, "at": report.iso(event["at"])} for event in self.store.events("maintenance", 100)],
            }

    def begin_maintenance(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Leaves SLOs out from now on: `slos` (names, or patterns with *), `for` (a duration), `reason`, `by`.

        Raises RequestError.
        """
        slos = body.get("slos")
        if not isinstance(slos, list) or not slos or not all(isinstance(each, str) for each in slos):
            raise RequestError("slos must be a list of names, or patterns with *")
        if len(slos) > _MOST_PATTERNS:
            raise RequestError(f"more than {_MOST_PATTERNS} names; expected fewer, or a pattern with *")
        for pattern in slos:
            if not any(fnmatchcase(name, pattern) for name in self._judge.names):
                raise RequestError(f"there is no SLO {pattern!r}; there is {', '.join(self._judge.names)}", 404)
        lasts = _lasting(body.get("for", "1h"), "for")
        reason, who = (str(body.get(field, ""))[:500] for field in ("reason", "by"))
        if not reason:
            raise RequestError("a reason is needed: it is kept with what was left out")
        with self._lock:
            now = self._wall()
            number = self.store.begin_maintenance(now, slos, now + lasts, reason, who)
            self.store.add_event(now, "maintenance", ",".join(slos)[:500], "asked", f"{reason} (by {who or 'nobody'})")
            self._exclusions.take(self._begun_by_hand())
            log.info("maintenance asked for", id=number, slos=slos, lasts=format_duration(lasts), reason=reason, by=who)
            return {"id": number, "ends": report.iso(now + lasts)}

    def end_maintenance(self, number: int) -> None:
        """Ends what was begun by hand; what it has left out stays out. Raises RequestError if there is none."""
        with self._lock:
            now = self._wall()
            if number >= _MOST_ROWS or not self.store.end_maintenance(number, now):
                raise RequestError(f"there is no maintenance {number} to end", 404)
            self.store.add_event(now, "maintenance", str(number), "ended by hand", "")
            self._exclusions.take(self._begun_by_hand())

    def _begun_by_hand(self) -> list[ByHand]:
        return self.store.maintenance(self._wall() - _MAINTENANCE_KEPT)

    def _overrides(self) -> dict[str, list[Override]]:
        wall, now = self._wall(), self._clock()
        found: dict[str, list[Override]] = {}
        for record in self.store.overrides(wall):
            held = Override(record["model"], record["kind"], record["value"], now + record["expires"] - wall)
            found.setdefault(record["model"], []).append(held)
        return found

    def notify(self, body: bytes) -> dict[str, Any]:
        """Takes an Alertmanager's notification; it is on disk when this returns. Raises RequestError."""
        try:
            notification = decode(body)
        except WebhookError as error:
            self._notifications["refused"] += 1
            log.warning("notification refused", reason=str(error))
            raise RequestError(str(error)) from None
        with self._lock:
            self._expire_received()
            now, before = self._wall(), self._received.counts.copy()
            self.store.save_received(self._received.take(notification, now), now)
            self._notifications["accepted"] += 1
            became = {result: count for result, count in (self._received.counts - before).items() if count}
        if lost := {result: became[result] for result in ("dropped", "truncated") if result in became}:
            log.warning("alerts lost: control.webhook.maxAlerts, or max_alerts of the receiver, is too low", **lost)
        return {"alerts": became}

    def _expire_received(self) -> None:
        for alert in self._received.expire(self._wall()):
            log.warning("a received alert expired without its end", alert=alert.name, labels=dict(alert.labels))

    def set_faults(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Injects engine faults by name, in all variants or one. Raises RequestError where that is not allowed."""
        if not self.runtime.daemon.fault_injection:
            raise RequestError("fault injection is off; set faultInjection: true in a test's configuration", 403)
        model = self._known(str(body.get("model", "")))
        names = body.get("faults", [])
        known = [fault.name.lower() for fault in Fault if fault.name]
        if not isinstance(names, list) or not all(name in known for name in names):
            raise RequestError(f"faults must be a list of {', '.join(known)}")
        variant, variants = body.get("variant"), self.runtime.topology.model(model).variants
        if variant is not None and variant not in variants:
            raise RequestError(f"{model} has no variant {variant!r}; it has {', '.join(variants)}")
        faults = Fault(sum(Fault[name.upper()].value for name in set(names)))
        with self._lock:
            self._decider.set_faults(model, faults, variant)
        log.warning("faults injected", model=model, variant=variant or "all", faults=names)
        return {"model": model, "faults": names, **({"variant": variant} if variant is not None else {})}

    def _known(self, model: str) -> str:
        names = [known.name for known in self.runtime.topology.models]
        if model not in names:
            raise RequestError(f"there is no model {model!r}; there is {', '.join(names)}", 404)
        return model

    # --- reload

    def reload(self) -> dict[str, Any]:
        """Reads SLO and policy files anew; a bad set is refused whole and the old one stays. Raises RequestError."""
        try:
            bundle = reload_bundle(self.runtime)
        except ConfigError as error:
            raise self._refused(f"\n{error}", 422) from None
        with self._lock:
            # SLOs go on from what is in the store, and a restart with the files that were accepted.
            if not self.save(bundle={"board": self._board.identity, "texts": bundle.texts()}):
                raise self._refused(" the store cannot be written", 503)
            self._take(bundle, self._progress() | {"alerts": self._alerts.saved()})
            self._reloads["accepted"] += 1
            self._reload_ok = True
            settle()
        log.info("reloaded", slos=len(bundle.objectives), policies=len(bundle.policies))
        return {"slos": len(bundle.objectives), "policies": len(bundle.policies)}

    def _refused(self, why: str, status: int) -> RequestError:
        self._reloads["refused"] += 1
        self._reload_ok = False
        log.error("reload refused: the SLOs and policies in force stay", problems=why.strip())
        return RequestError(f"reload refused, nothing was changed:{why}", status)

    def _gauges(self) -> dict[tuple[str, tuple[str, ...]], float]:
        return report.gauges(self._senses)


def settle() -> None:
    """Lets the garbage collector forget what is there to stay: to look at it for nothing stops a tick for long."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _lasting(value: Any, field: str) -> float:
    try:
        lasts = parse_duration(value)
    except ValueError as error:
        raise RequestError(f"{field}: {error}") from None
    if not 0 < lasts <= _LONGEST_OVERRIDE:
        raise RequestError(f"{field}: expected more than 0s and at most {format_duration(_LONGEST_OVERRIDE)}")
    return lasts


_SHED = ("shed:start", "shed:change", "shed:end")
_MOVES = ("precision:down", "precision:up", "refused")
_TIERS = ("tier:down", "tier:up", "tier:hold", "tier:end", "refused")
_OVERRIDES = ("override:variant", "override:tiers", "override:admit", "override:breaker", "override:end")


def _possible(policies: Sequence[PolicyDocument]) -> list[tuple[str, str, str]]:
    """(policy, rule, action) of every decision that rules and overrides can lead to."""
    found = []
    for policy in policies:
        names: dict[str, tuple[str, ...]] = {OVERRIDE: _OVERRIDES}
        if policy.spec.planner is not None:
            names[PLANNER] = _MOVES
        if policy.spec.health_fallback:
            names[FALLBACK] = _MOVES
        names |= {rule.name: _actions(rule.action) for rule in policy.spec.rules}
        found += [(policy.metadata.name, rule, action) for rule, actions in names.items() for action in actions]
    return found


def _actions(action: Action) -> tuple[str, ...]:
    if action.precision is not None:
        return (f"precision:{action.precision}", "refused") if action.precision in ("down", "up") else _MOVES
    if action.tiers is not None:
        return _TIERS
    return (f"breaker:{action.breaker}",) if action.breaker else _SHED


def _pairs(rows: Sequence[Any]) -> list[tuple[tuple[str, str, str], int]]:
    return [((key[0], key[1], key[2]), count) for key, count in rows]


def accepted_bundle(runtime: Runtime, store: Store, board: Boards, texts: Mapping[str, str]) -> Bundle:
    """The SLOs and policies last accepted in this daemon's life, or those it was started with."""
    saved = store.state("bundle")
    if saved and saved["board"] == board.identity:
        texts = saved["texts"]
    return load_bundle_texts(texts, runtime)
