"""Overrides by hand: they win over every rule until they expire, and then give back what they took."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

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


class Overrides:
    """Applies the overrides of one model and reports when they begin and end."""

    def __init__(self, model: str, variants: Sequence[str] | None, classes: Sequence[str], switches: Switches) -> None:
        self._model = model
        self._variants = variants
        self._classes = tuple(classes)
        self._switches = switches
        self._commanded = float("-inf")
        self.standing: dict[str, tuple[str | dict[str, float], str]] = {}  # kind → value, what was in force before

    def live(self, now: float, overrides: Sequence[Override]) -> dict[str, Override]:
        """The latest unexpired override of each kind; one naming what no longer exists is left out."""
        return {o.kind: o for o in overrides if o.model == self._model and o.expires_at > now and self._fits(o)}

    def _fits(self, override: Override) -> bool:
        if isinstance(override.value, Mapping):
            return override.kind == "admit"
        if override.kind == "variant":
            return self._variants is None or override.value in self._variants
        return override.kind == "breaker" and override.value in _HOLDS

    def release(
        self, tick: Tick, live: Mapping[str, Override], current: State, *, held_down: bool
    ) -> tuple[State, str | None]:
        """Ends what has expired: the state that the rules start from, and a command to the breaker or None.

        The variant from before comes back, unless the load now asks for less precision (`held_down`).
        """
        state, command = current, None
        for kind in sorted(self.standing.keys() - live.keys()):
            value, before = self.standing.pop(kind)
            now_in_force, after = before, before
            if kind == "variant":
                gone = self._variants is not None and before not in self._variants
                now_in_force, after = current.variant, current.variant if held_down or gone else before
                self._switches.note(tick.now, counted=False)
                state = replace(current, variant=after)
            elif kind == "admit":
                now_in_force = self._shares(current.admit)
            elif value in {"force_open", "disable", "metrics_only"}:
                now_in_force, after, command = current.breaker, "closed", "close"
            tick.decide(RULE, "override:end", (now_in_force, after), f"the {kind} set by hand expired", dry_run=False)
        return state, command

    def apply(self, tick: Tick, live: Mapping[str, Override], wanted: Directive, current: State) -> Directive:
        """The directive with the overrides in it."""
        variant, admit, breaker = wanted.variant, wanted.admit, wanted.breaker
        for override in live.values():
            if isinstance(override.value, Mapping):
                admit = self._admit(tick, override, override.value, admit, current)
            elif override.kind == "variant":
                variant = self._variant(tick, override, override.value, current)
            else:
                breaker = self._breaker(tick, override, override.value, current)
        return Directive(variant, admit, breaker)

    def _variant(self, tick: Tick, override: Override, target: str, current: State) -> str:
        self._begin(tick, override, current.variant, target)
        if target != current.variant:
            self._switches.note(tick.now, counted=False)
        return target

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
        value = dict(override.value) if isinstance(override.value, Mapping) else override.value
        held = self.standing.get(override.kind)
        if held is not None and held[0] == value:
            return False
        self.standing[override.kind] = (value, held[1] if held else before)
        reason = f"set by hand for another {number(override.expires_at - tick.now)} s"
        tick.decide(RULE, f"override:{override.kind}", (before, after), reason, dry_run=False)
        return True
