"""The engine by example: what each kind of rule does over a few ticks, overrides, dry runs and restarts."""

import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from sloctl.policy.decisions import Decision, Override, State
from sloctl.policy.document import PolicyDocument
from sloctl.policy.engine import PolicyEngine
from sloctl.policy.facts import StaticFacts, Value, Vocabulary

VOCABULARY = Vocabulary(("slo",), {"digits": ("fp32", "fp16", "int8")}, ("high", "normal", "low"))
DOWN = {"name": "down", "when": "queue_length > 10", "until": "queue_length < 3", "action": {"precision": "down"}}
UP = {"name": "up", "when": "queue_length < 3", "action": {"precision": "up"}}


@dataclass
class Plant:
    """A model under control: steps the engine every 0.25 s and carries out its directives."""

    engine: PolicyEngine
    now: float = 1000.0
    state: State = field(default_factory=lambda: State("fp32", (1.0, 1.0, 1.0), "closed"))
    decisions: list[Decision] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    overrides: list[Override] = field(default_factory=list)

    def run(self, seconds: float, facts: Mapping[str, Value]) -> list[Decision]:
        """Decisions of ticks with the same facts for so long."""
        before = len(self.decisions)
        for _ in range(max(round(seconds / 0.25), 1)):
            self.now += 0.25
            outcome = self.engine.step(self.now, StaticFacts(facts), self.state, overrides=self.overrides)
            directive = outcome.directive
            self.state = State(directive.variant, directive.admit, self.state.breaker)
            self.decisions.extend(outcome.decisions)
            if directive.breaker:
                self.commands.append(directive.breaker)
        return self.decisions[before:]


def plant(*rules: Mapping[str, Any], **spec: Any) -> Plant:
    body = {"model": "digits", "ladder": ["fp32", "fp16", "int8"], "rules": list(rules)} | spec
    head = {"apiVersion": "sloctl/v1", "kind": "Policy", "metadata": {"name": "p"}}
    return Plant(PolicyEngine(PolicyDocument.model_validate(head | {"spec": body}), VOCABULARY))


def actions(decisions: list[Decision]) -> list[str]:
    return [decision.action for decision in decisions]


def test_a_step_down_says_why() -> None:
    it = plant(DOWN | {"for": "500ms"})
    (decision,) = it.run(0.75, {"queue_length": 40})
    assert decision == Decision(
        policy="p",
        model="digits",
        rule="down",
        action="precision:down",
        before="fp32",
        after="fp16",
        reason="queue_length = 40 > 10 for 0.5 s",
        facts={"queue_length": 40.0},
        dry_run=False,
        at=1000.75,
    )
    assert it.state.variant == "fp16"


def test_a_condition_that_breaks_off_starts_its_wait_anew() -> None:
    it = plant(DOWN | {"for": "1s"})
    it.run(0.75, {"queue_length": 40})
    it.run(0.25, {"queue_length": 5})
    assert it.run(1.0, {"queue_length": 40}) == []
    assert actions(it.run(0.25, {"queue_length": 40})) == ["precision:down"]


def test_between_the_levels_an_active_rule_steps_no_further_but_blocks_a_step_up() -> None:
    it = plant(DOWN, UP | {"when": "queue_length < 8"}, cooldown="2s")
    it.run(0.25, {"queue_length": 40})
    assert it.run(60, {"queue_length": 5}) == []
    assert it.state.variant == "fp16"


def test_dwell_separates_two_steps_down() -> None:
    it = plant(DOWN, dwell="2s")
    found = it.run(10, {"queue_length": 40})
    assert [decision.after for decision in found] == ["fp16", "int8"]
    assert found[1].at - found[0].at == 2.0


def test_a_step_up_waits_for_the_cooldown() -> None:
    it = plant(DOWN, UP, cooldown="1m")
    (down,) = it.run(0.25, {"queue_length": 40})
    (up,) = it.run(90, {"queue_length": 0})
    assert (up.action, up.at - down.at) == ("precision:up", 60.0)


def test_the_highest_severity_goes_first() -> None:
    mild = DOWN | {"name": "mild", "severity": 1}
    grave = DOWN | {"name": "grave", "severity": 9, "action": {"precision": "int8"}}
    it = plant(mild, grave)
    (decision,) = it.run(0.25, {"queue_length": 40})
    assert (decision.rule, decision.after) == ("grave", "int8")


def test_down_goes_before_up_whatever_the_severity() -> None:
    it = plant(UP | {"when": "queue_length > 10", "severity": 99}, DOWN)
    it.state = State("fp16", it.state.admit, "closed")
    assert it.run(0.25, {"queue_length": 40})[0].after == "int8"


def test_two_named_targets_settle_on_the_lower() -> None:
    to = [DOWN | {"name": v, "severity": s, "action": {"precision": v}} for v, s in (("fp16", 9), ("int8", 1))]
    it = plant(*to, cooldown="1s")
    assert [decision.after for decision in it.run(60, {"queue_length": 40})] == ["fp16", "int8"]


@pytest.mark.parametrize("accuracy", [0.8, math.nan], ids=["too low", "not known"])
def test_the_floor_is_refused_once_and_never_crossed(accuracy: float) -> None:
    it = plant(DOWN, accuracyFloor=0.9)
    (decision,) = it.run(30, {"queue_length": 40, 'accuracy("fp16")': accuracy})
    assert (decision.action, decision.before, decision.after) == ("refused", "fp32", "fp32")
    assert "floor is 0.9" in decision.reason
    assert it.state.variant == "fp32"


def test_a_refused_rule_leaves_the_turn_to_the_next() -> None:
    bad = DOWN | {"name": "bad", "severity": 9, "action": {"precision": "int8"}}
    it = plant(bad, DOWN, accuracyFloor=0.9)
    facts = {"queue_length": 40.0, 'accuracy("int8")': 0.1, 'accuracy("fp16")': 0.95}
    assert actions(it.run(0.25, facts)) == ["refused", "precision:down"]
    assert it.state.variant == "fp16"


def test_the_last_switch_of_the_hour_is_kept_for_a_step_down() -> None:
    it = plant(DOWN, UP, cooldown="1s", maxSwitchesPerHour=2)
    it.run(0.25, {"queue_length": 40})
    (refused,) = it.run(10, {"queue_length": 0})
    assert "kept for a step down" in refused.reason
    assert actions(it.run(1, {"queue_length": 40})) == ["precision:down"]
    it.run(3600, {"queue_length": 5})
    assert actions(it.run(10, {"queue_length": 0})) == ["precision:up", "refused"]


def test_a_step_down_repeats_once_the_wait_has_passed_again() -> None:
    it = plant(DOWN | {"for": "3s"})
    first, second = it.run(20, {"queue_length": 40})
    assert second.at - first.at == 3.0


# --- missing data


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({}, id="the fact has no data"),
        pytest.param({"queue_length": 0, "data_plane_up": False}, id="the data plane is down"),
    ],
)
def test_without_data_everything_is_held(facts: dict[str, Value]) -> None:
    shed = DOWN | {"name": "shed", "action": {"shed": {"admit": {"low": 0.2}}}}
    it = plant(DOWN, UP, shed, cooldown="1s")
    it.run(0.25, {"queue_length": 40})
    assert it.run(600, facts) == []
    assert it.state == State("fp16", (1.0, 1.0, 0.2), "closed")


def test_a_pause_of_the_data_plane_does_not_count_towards_a_wait() -> None:
    it = plant(DOWN | {"for": "1s"})
    it.run(0.75, {"queue_length": 40})
    it.run(5, {"queue_length": 40, "data_plane_up": False})
    assert it.run(1, {"queue_length": 40}) == []


# --- shedding


def shed(**how: Any) -> dict[str, Any]:
    return DOWN | {"name": "shed", "action": {"shed": how}}


def offers(high: float, normal: float, low: float, queue: float = 40) -> dict[str, Value]:
    by_class = {'offered("high")': high, 'offered("normal")': normal, 'offered("low")': low}
    return {
        "queue_length": queue,
        "capacity": 300.0,
        "request_rows": 3.0,
        "offered_rate": high + normal + low,
        **by_class,
    }


def test_a_rate_is_given_to_the_highest_classes_first() -> None:
    it = plant(shed(admitRate="0.9 * capacity / request_rows"))
    (decision,) = it.run(0.25, offers(50, 80, 20))
    assert it.state.admit == (1.0, 0.5, 0.0)
    assert (decision.action, decision.before) == ("shed:start", "high=1 normal=1 low=1")
    assert decision.after == "high=1 normal=0.5 low=0"


def test_shares_follow_the_load_and_only_large_moves_that_last_are_reported() -> None:
    it = plant(shed(admitRate=90))
    it.run(0.25, offers(50, 80, 20))
    assert it.run(60, offers(50, 84, 20)) == []
    assert it.state.admit[1] == pytest.approx(40 / 84)
    assert it.run(19, offers(50, 160, 20)) == []
    (change,) = it.run(60, offers(50, 160, 20))
    assert (change.action, change.before) == ("shed:change", "high=1 normal=0.5 low=0")
    assert change.after == "high=1 normal=0.25 low=0"


def test_a_rate_above_the_load_is_no_decision_until_it_holds_something() -> None:
    """Nor is the end of a rule that has held nothing."""
    it = plant(shed(admitRate=90))
    assert it.run(5, offers(50, 20, 10)) == []
    assert it.run(5, offers(50, 20, 10, queue=0)) == []
    it.run(5, offers(50, 20, 10))
    (start,) = it.run(5, offers(50, 40, 10))
    assert (start.action, start.before, start.after) == (
        "shed:start",
        "high=1 normal=1 low=1",
        "high=1 normal=1 low=0",
    )
    assert start.facts == {"queue_length": 40.0}
    assert actions(it.run(5, offers(50, 40, 10, queue=0))) == ["shed:end"]


def test_what_has_risen_again_before_the_rule_ends_is_told_at_its_end() -> None:
    it = plant(shed(admitRate=90))
    (start,) = it.run(1, offers(50, 40, 20))
    it.run(5, offers(50, 20, 10))
    assert it.state.admit == (1.0, 1.0, 1.0)
    (end,) = it.run(1, offers(50, 20, 10, queue=0))
    assert (start.after, end.before, end.after) == (
        "high=1 normal=1 low=0",
        "high=1 normal=1 low=0",
        "high=1 normal=1 low=1",
    )


def test_a_rule_that_takes_over_from_another_is_told_at_its_end() -> None:
    """While the harder rule holds the class, the milder one changes nothing."""
    hard = shed(admit={"low": 0.1}) | {"name": "hard"}
    mild = shed(admit={"low": 0.5}) | {"name": "mild", "when": "inflight > 10", "until": "inflight < 3"}
    it = plant(hard, mild)
    (start,) = it.run(1, {"queue_length": 40, "inflight": 0})
    assert it.run(1, {"queue_length": 40, "inflight": 40}) == []
    (end,) = it.run(1, {"queue_length": 0, "inflight": 40})
    assert (start.rule, end.rule, end.before, end.after) == (
        "hard",
        "hard",
        "high=1 normal=1 low=0.1",
        "high=1 normal=1 low=0.5",
    )
    (last,) = it.run(10, {"queue_length": 0, "inflight": 0})
    assert (last.rule, last.action, last.after) == ("mild", "shed:end", "high=1 normal=1 low=1")


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("low", [10.0, 40.0, 200.0], ids=["a narrow class", "half", "mostly shed"])
def test_noise_of_the_load_is_hardly_told_of(seed: int, low: float) -> None:
    """Poisson arrivals read over two seconds: shares follow them, the trail of decisions does not."""
    noise, it = random.Random(seed), plant(shed(admitRate=100))
    for _ in range(1800):
        high, lowest = (max(noise.gauss(rate, math.sqrt(rate / 2)), 0.0) for rate in (80.0, low))
        it.run(2.0, offers(high, 0.0, lowest))
    changes = [decision for decision in it.decisions if decision.action == "shed:change"]
    assert len(changes) <= 2  # in an hour; a share that moves by a tenth from reading to reading
    assert all(decision.before != decision.after for decision in it.decisions)


def test_several_rules_combine_to_the_least_share() -> None:
    first, second = shed(admit={"low": 0.1, "normal": 0.8}), shed(admit={"normal": 0.5}) | {"name": "other"}
    it = plant(first, second)
    it.run(0.25, {"queue_length": 40})
    assert it.state.admit == (1.0, 0.5, 0.1)


def test_shares_return_in_a_straight_line_when_the_rule_has_ended() -> None:
    it = plant(shed(admit={"low": 0.0}), restore="5s")
    it.run(1, {"queue_length": 40})
    (end,) = it.run(2.5, {"queue_length": 0})
    assert end.action == "shed:end"
    assert end.reason == "queue_length = 0 < 3; shares return within 5 s"
    assert it.state.admit[2] == pytest.approx(0.5)
    assert it.run(2.5, {"queue_length": 0}) == []
    assert it.state.admit == (1.0, 1.0, 1.0)


def test_a_rate_without_data_holds_the_shares() -> None:
    it = plant(shed(admitRate="0.9 * capacity / request_rows"))
    it.run(0.25, offers(50, 80, 20))
    it.run(5, {"queue_length": 40.0})
    assert it.state.admit == (1.0, 0.5, 0.0)


# --- breaker


def test_the_breaker_is_commanded_once_an_activation() -> None:
    it = plant(DOWN | {"name": "trip", "action": {"breaker": "trip"}})
    (decision,) = it.run(30, {"queue_length": 40})
    assert (decision.action, decision.before, decision.after) == ("breaker:trip", "closed", "open")
    it.run(1, {"queue_length": 0})
    it.run(1, {"queue_length": 40})
    assert it.commands == ["trip", "trip"]


@pytest.mark.parametrize("state", ["forced_open", "disabled", "open"])
def test_a_breaker_that_is_held_or_already_open_is_not_tripped(state: str) -> None:
    it = plant(DOWN | {"name": "trip", "action": {"breaker": "trip"}})
    it.state = State("fp32", (1.0, 1.0, 1.0), state)
    assert it.run(5, {"queue_length": 40}) == []
    assert it.commands == []


# --- dry run


def test_a_dry_run_decides_the_same_and_touches_nothing() -> None:
    rules = (DOWN, UP, shed(admit={"low": 0.3}), DOWN | {"name": "trip", "action": {"breaker": "trip"}})
    wet, dry = plant(*rules, cooldown="5s"), plant(*rules, cooldown="5s", dryRun=True)
    for queue in (40.0, 0.0, 40.0):
        wet.run(20, {"queue_length": queue})
        dry.run(20, {"queue_length": queue})
    assert actions(dry.decisions) == actions(wet.decisions)
    assert all(decision.dry_run for decision in dry.decisions)
    assert dry.state == State("fp32", (1.0, 1.0, 1.0), "closed")
    assert dry.commands == []


# --- overrides


def test_a_variant_by_hand_wins_and_gives_back() -> None:
    it = plant(DOWN | {"until": "queue_length < 20"})
    it.overrides = [Override("digits", "variant", "int8", it.now + 10)]
    assert actions(it.run(5, {"queue_length": 0})) == ["override:variant"]
    assert it.state.variant == "int8"
    (end,) = it.run(10, {"queue_length": 0})
    assert (end.rule, end.action, end.before, end.after) == ("override", "override:end", "int8", "fp32")
    assert it.state.variant == "fp32"


def test_under_load_an_expired_override_does_not_raise_the_precision() -> None:
    it = plant(DOWN)
    it.overrides = [Override("digits", "variant", "int8", it.now + 10)]
    it.run(20, {"queue_length": 40})
    assert it.state.variant == "int8"


def test_an_override_of_shares_leaves_other_classes_to_the_rules() -> None:
    it = plant(shed(admit={"low": 0.2, "normal": 0.5}))
    it.overrides = [Override("digits", "admit", {"low": 0.9}, it.now + 10)]
    it.run(5, {"queue_length": 40})
    assert it.state.admit == (1.0, 0.5, 0.9)
    it.run(10, {"queue_length": 40})
    assert it.state.admit == (1.0, 0.5, 0.2)


@pytest.mark.parametrize(
    ("command", "state"),
    [("force_open", "forced_open"), ("disable", "disabled"), ("metrics_only", "metrics_only")],
)
def test_a_breaker_held_by_hand_ignores_rules_and_closes_at_the_end(command: str, state: str) -> None:
    it = plant(DOWN | {"name": "trip", "action": {"breaker": "trip"}})
    it.overrides = [Override("digits", "breaker", command, it.now + 2)]
    it.run(0.25, {"queue_length": 40})
    it.state = State("fp32", it.state.admit, state)
    it.run(5, {"queue_length": 40})
    assert it.commands == [command, "close"]


def test_a_breaker_that_lost_its_command_is_told_again() -> None:
    it = plant()
    it.overrides = [Override("digits", "breaker", "force_open", it.now + 60)]
    it.run(3, {})  # the breaker stays closed, as after a restart of the data plane
    assert it.commands == ["force_open"] * 3


@pytest.mark.parametrize(
    "override",
    [
        pytest.param(Override("other", "variant", "int8", math.inf), id="another model's"),
        pytest.param(Override("digits", "variant", "int4", math.inf), id="of a variant that is gone"),
        pytest.param(Override("digits", "variant", "int8", 0.0), id="expired"),
    ],
)
def test_overrides_that_do_not_apply(override: Override) -> None:
    it = plant()
    it.overrides = [override]
    assert it.run(1, {}) == []
    assert it.state.variant == "fp32"


# --- restarts


def reborn(it: Plant, clock: float, make: Callable[[], Plant]) -> Plant:
    """The same plant after the control plane died, with another clock and the memory as JSON."""
    new = make()
    new.engine.restore(json.loads(json.dumps(it.engine.memory())))
    new.now, new.state, new.overrides = clock, it.state, it.overrides
    return new


def test_cooldown_and_active_rules_survive_a_restart() -> None:
    def make() -> Plant:
        return plant(DOWN, UP, DOWN | {"name": "trip", "action": {"breaker": "trip"}}, cooldown="1m")

    it = make()
    it.run(0.25, {"queue_length": 40})
    it.run(20, {"queue_length": 5})
    again = reborn(it, 5.0, make)
    again.run(0.25, {"queue_length": 5})
    assert again.engine.active_rules() == {"down": True, "up": False, "trip": True}
    assert again.commands == []
    (up,) = again.run(60, {"queue_length": 0})
    assert up.at - 5.0 == pytest.approx(40.25)


def test_an_override_that_ends_after_a_restart_gives_back() -> None:
    it = plant()
    it.overrides = [Override("digits", "variant", "int8", it.now + 10)]
    it.run(5, {})
    again = reborn(it, it.now, plant)
    assert again.run(1, {}) == []
    assert actions(again.run(10, {})) == ["override:end"]
    assert again.state.variant == "fp32"


@pytest.mark.parametrize("memory", [{"lastSwitch": "x"}, {"nonsense": 1}, {"active": ["gone"]}])
def test_a_memory_that_does_not_fit_is_forgotten(memory: dict[str, Any]) -> None:
    it = plant(DOWN)
    it.engine.restore(memory)
    assert actions(it.run(0.25, {"queue_length": 40})) == ["precision:down"]


def test_facts_are_read_once_a_tick() -> None:
    class Counting(StaticFacts):
        reads = 0

        def get(self, name: str, args: tuple[float | str, ...]) -> Value:
            Counting.reads += name == "queue_length"
            return super().get(name, args)

    it = plant(*(DOWN | {"name": f"r{index}"} for index in range(20)))
    it.engine.step(1.0, Counting({"queue_length": 1.0}), it.state)
    assert Counting.reads == 1


def test_explain_tells_every_rule() -> None:
    it = plant(DOWN, UP)
    it.run(0.25, {"queue_length": 40})
    assert it.engine.explain() == {"down": "queue_length = 40 > 10", "up": "not yet: queue_length = 40 < 3"}
    it.run(0.25, {"queue_length": 5})
    assert it.engine.explain()["down"] == "not yet: queue_length = 5 < 3"
    it.run(0.25, {})
    assert it.engine.explain()["up"] == "no data: queue_length = no data < 3"
