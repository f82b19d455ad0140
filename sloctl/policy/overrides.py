"""Overrides by hand: they win over every rule until they expire, and then give back what they took."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sloctl.policy.decisions import Directive, Override, State, Tick
from sloctl.policy.explain import number
from sloctl.policy.ladder import Switches
from sloctl.policy.shed_report import Shares, describe

RULE = "override"
_HOLDS = {
    "force_open": "forced_open",
    "disable": "disabled",
    "metrics_only": "metrics_only",
    "close": "closed",
    "trip": "open",
}
_AGAIN = 1.0  # seconds between two commands to a breaker that did not follow


def held_by_hand(live: Mapping[str, Override]) -> frozenset[str]:
    """Of live overrides, the classes whose variant they hold, and "" where they hold that of the model."""
    tiers = live["tiers"].value if "tiers" in live else ()
    return frozenset(tiers) | ({""} if "variant" in live else frozenset())


class Overrides:
    """Applies the overrides of one model and reports when they begin and end."""

    def __init__(self, model: str, variants: Sequence[str] | None, classes: Sequence[str], switches: Switches) -> None:
        self._model = model
        self._variants = variants
        self._classes = tuple(classes)
        self._switches = switches
        self._commanded = float("-inf")
        # kind → value, what was in force before
        self.standing: dict[str, tuple[str | dict[str, float | str], str]] = {}

    def live(self, now: float, overrides: Sequence[Override]) -> dict[str, Override]:
        """The latest unexpired override of each kind; one naming what no longer exists is left out."""
        return {o.kind: o for o in overrides if o.model == self._model and o.expires_at > now and self._fits(o)}

    def _fits(self, override: Override) -> bool:
        if override.kind == "tiers":
            return isinstance(override.value, Mapping) and self._known(override.value)
        if isinstance(override.value, Mapping):
            return override.kind == "admit"
        if override.kind == "variant":
            return self._variants is None or override.value in self._variants
        return override.kind == "breaker" and override.value in _HOLDS

    def _known(self, tiers: Mapping[str, Any]) -> bool:
        variants = tiers.values() if self._variants is None else self._variants
        return set(tiers) <= set(self._classes) and set(tiers.values()) <= set(variants)

    def release(
        self, tick: Tick, live: Mapping[str, Override], current: State, *, opposed: Callable[[str], bool]
    ) -> tuple[State, str | None]:
        """Ends what has expired: the state that the rules start from, and a command to the breaker or None.

        The variant from before comes back, unless the load now asks for less precision (`opposed`).
        """
        state, command = current, None
        for kind in sorted(self.standing.keys() - live.keys()):
            value, before = self.standing.pop(kind)
            now_in_force, after = before, before
            if kind == "variant":
                gone = self._variants is not None and before not in self._variants
                now_in_force, after = current.variant, current.variant if gone or opposed(before) else before
                self._switches.note(tick.now, counted=False)
                state = replace(state, variant=after)
            elif kind == "tiers" and isinstance(value, Mapping):
                state = replace(state, tiers={name: v for name, v in state.tiers.items() if name not in value})
                now_in_force, after = describe(current.tiers), describe(state.tiers)
            elif kind == "admit":
                now_in_force = self._shares(current.admit)
            elif value in {"force_open", "disable", "metrics_only"}:
                now_in_force, after, command = current.breaker, "closed", "close"
            tick.decide(RULE, "override:end", (now_in_force, after), f"the {kind} set by hand expired", dry_run=False)
        return state, command

    def apply(self, tick: Tick, live: Mapping[str, Override], wanted: Directive, current: State) -> Directive:
        """The directive with the overrides in it."""
        variant, admit, breaker, tiers = wanted.variant, wanted.admit, wanted.breaker, wanted.tiers
        for override in live.values():
            if isinstance(override.value, Mapping) and override.kind == "tiers":
                tiers = self._tiers(tick, override, _variants(override.value), tiers, current)
            elif isinstance(override.value, Mapping):
                admit = self._admit(tick, override, _numbers(override.value), admit, current)
            elif override.kind == "variant":
                variant = self._variant(tick, override, override.value, current)
            else:
                breaker = self._breaker(tick, override, override.value, current)
        return Directive(variant, admit, breaker, tiers)

    def _variant(self, tick: Tick, override: Override, target: str, current: State) -> str:
        self._begin(tick, override, current.variant, target)
        if target != current.variant:
            self._switches.note(tick.now, counted=False)
        return target

    def _tiers(
        self, tick: Tick, override: Override, named: Mapping[str, str], wanted: Mapping[str, str], current: State
    ) -> dict[str, str]:
        self._begin(tick, override, describe(current.tiers), describe(named))
        if any(current.tiers.get(name) != variant for name, variant in named.items()):
            self._switches.note(tick.now, counted=False)
        return {**wanted, **named}

    def _admit(
        self, tick: Tick, override: Override, named: Mapping[str, float], wanted: Shares, current: State
    ) -> Shares:
        self._begin(tick, override, self._shares(current.admit), describe(named))
        return tuple(named.get(name, share) for name, share in zip(self._classes, wanted, strict=True))

    def _breaker(self, tick: Tick, override: Override, command: str, current: State) -> str | None:
        begun = self._begin(tick, override, current.breaker, _HOLDS[command])
        lost = command != "trip" and current.breaker != _HOLDS[command]
        if begun or (lost and tick.now - self._commanded >= _AGAIN):
            self._commanded = tick.now
            return command
        return None

    def _shares(self, admit: Shares) -> str:
        return describe(dict(zip(self._classes, admit, strict=True)))

    def _begin(self, tick: Tick, override: Override, before: str, after: str) -> bool:
        value: str | dict[str, float | str]
        value = dict(override.value.items()) if isinstance(override.value, Mapping) else override.value
        held = self.standing.get(override.kind)
        if held is not None and held[0] == value:
            return False
        self.standing[override.kind] = (value, held[1] if held else before)
        reason = f"set by hand for another {number(override.expires_at - tick.now)} s"
        tick.decide(RULE, f"override:{override.kind}", (before, after), reason, dry_run=False)
        return True


def _variants(value: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(variant) for name, variant in value.items()}


def _numbers(value: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(share) for name, share in value.items()}
