"""The planner: the most accurate variant that carries the load, said with its numbers, and never flapping."""

import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sloctl.policy.decisions import Decision, Override, State
from sloctl.policy.delay import late_share
from sloctl.policy.document import PolicyDocument, check
from sloctl.policy.engine import PolicyEngine
from sloctl.policy.facts import StaticFacts, Value, Vocabulary

CAPACITY = {"fp32": 100.0, "fp16": 200.0, "int8": 400.0}
ACCURACY = {"fp32": 0.99, "fp16": 0.98, "int8": 0.9}
LADDER = tuple(CAPACITY)
RUNS = (Phase.explicit, Phase.reuse, Phase.generate)  # shrinking hours of load would take hours
VOCABULARY = Vocabulary(("slo",), {"m": LADDER}, ("high", "low"))
STATIC: dict[str, Value] = {
    'objective("slo")': 0.25,
    'error_budget("slo")': 0.01,
    **{f'capacity("{v}")': c for v, c in CAPACITY.items()},
    **{f'accuracy("{v}")': a for v, a in ACCURACY.items()},
    **{f'health_ok("{v}")': True for v in LADDER},
    **{f'batch_time("{v}")': 4 / c for v, c in CAPACITY.items()},
}
MARGIN = HYSTERESIS = 0.15
DOWN, UP = 1 - MARGIN, 1 - MARGIN - HYSTERESIS  # of a capacity: the levels that the planner acts at


def document(planner: dict[str, Any] | None = None, **spec: Any) -> PolicyDocument:
    head = {"apiVersion": "sloctl/v1", "kind": "Policy", "metadata": {"name": "p"}}
    body = {"model": "m", "ladder": LADDER, "cooldown": "1m", "planner": {"objective": "slo"} | (planner or {})} | spec
    return PolicyDocument.model_validate(head | {"spec": body})


class Run:
    """An engine under a course of offered load, a tick every `step` seconds."""

    def __init__(self, start: str = "fp32", step: float = 0.5, **spec: Any) -> None:
        self.engine = PolicyEngine(document(**spec), VOCABULARY)
        self.state = State(start, (1.0, 1.0), "closed")
        self.step = step
        self.now = 0.0
        self.decisions: list[Decision] = []
        self.slow: Callable[[str], float] = lambda _: 1.0  # by the serving variant

    def go(
        self, seconds: float, offered: Callable[[float], float], overrides: Sequence[Override] = (), **facts: Value
    ) -> list[Decision]:
        before = len(self.decisions)
        for _ in range(round(seconds / self.step)):
            self.now += self.step
            seen = {f'slowdown("{self.state.variant}")': self.slow(self.state.variant)}
            now = StaticFacts({**STATIC, **seen, **facts, "offered_rate": offered(self.now)})
            outcome = self.engine.step(self.now, now, self.state, overrides=overrides)
            self.decisions += outcome.decisions
            self.state = State(outcome.directive.variant, outcome.directive.admit, "closed")
        return self.decisions[before:]


def moves(decisions: list[Decision]) -> list[tuple[str, str]]:
    return [(decision.before, decision.after) for decision in decisions if decision.action.startswith("precision")]


def test_it_says_why_with_the_numbers() -> None:
    run = Run()
    run.go(30, lambda _: 50.0)
    (decision,) = run.go(10, lambda now: min(50.0 * (now - 29), 150.0))
    assert (decision.rule, decision.action) == ("planner", "precision:down")
    assert decision.reason == (
        "150 rows/s expected within 60 s (150 rows/s now, steady); "
        "fp32 carries 85 of 100 with 15% to spare, expected burn 100; "
        "fp16 carries 170 of 200 with 15% to spare, expected burn under 0.001"
    )
    assert decision.facts["offered_rate"] == 150.0
    assert decision.facts['capacity("fp16")'] == 200.0


@settings(deadline=None, phases=RUNS, max_examples=30)
@given(st.floats(1, 600), st.sampled_from(LADDER), st.sampled_from([None, 0.95]))
def test_a_steady_load_ends_in_the_most_accurate_variant_that_carries_it(
    load: float, start: str, floor: float | None
) -> None:
    usable = [v for v in LADDER if floor is None or ACCURACY[v] >= floor]
    start = start if start in usable else "fp32"
    run = Run(start, accuracyFloor=floor)
    run.go(400, lambda _: load)
    carry = [v for v in usable if load <= DOWN * CAPACITY[v]]
    surely = [v for v in usable if load <= UP * CAPACITY[v]]
    most = LADDER.index(carry[0] if carry else usable[-1])
    least = LADDER.index(surely[0] if surely else usable[-1])
    assert most <= LADDER.index(run.state.variant) <= least
    assert all(ACCURACY[after] >= (floor or 0) for _, after in moves(run.decisions))


@settings(deadline=None, phases=RUNS, max_examples=8)
@given(st.integers(0, 2**32), st.sampled_from([0.02, 0.05, 0.1]), st.sampled_from([DOWN, UP]), st.sampled_from(LADDER))
def test_noise_at_95_percent_of_a_threshold_switches_at_most_twice_an_hour(
    seed: int, sigma: float, level: float, variant: str
) -> None:
    noise, load = random.Random(seed), 0.95 * level * CAPACITY[variant]
    run = Run(variant, maxSwitchesPerHour=1000)
    run.go(3600, lambda _: noise.gauss(load, sigma * load))
    assert len(moves(run.decisions)) <= 2


@settings(deadline=None, phases=RUNS, max_examples=20)
@given(
    st.floats(5, 60),
    st.floats(100, 600),
    st.floats(0, 1),
)
def test_a_clean_step_gives_exactly_one_switch(low: float, high: float, phase: float) -> None:
    """A reading is the mean of two seconds, and so rises in a line."""
    run = Run()

    def offered(now: float) -> float:
        passed = now - 100 - phase
        return low + (high - low) * min(max(passed / 2, 0.0), 1.0)

    run.go(1200, offered)
    carry = [v for v in LADDER[1:] if high <= DOWN * CAPACITY[v]]
    assert moves(run.decisions) == [("fp32", carry[0] if carry else "int8")]
    assert run.decisions[0].at - 100 <= 6


def test_a_jump_is_met_before_the_whole_of_it_is_in_a_reading() -> None:
    run = Run(step=0.25)
    run.go(30, lambda _: 50.0)
    (decision,) = run.go(10, lambda now: min(50 + 275 * (now - 30), 600.0))
    assert (decision.before, decision.after) == ("fp32", "int8")
    assert decision.at - 30 <= 0.75
    assert decision.facts["offered_rate"] < 300, "which by itself the one in the middle would carry"


def arriving(rate: Callable[[float], float], seed: int, step: float) -> Callable[[float], float]:
    """Readings over two seconds of Poisson arrivals, for a minute."""
    numbers = np.random.default_rng(seed)
    counts = numbers.poisson([rate(hundredth * 0.01) * 0.01 for hundredth in range(6000)])
    ticks = np.add.reduceat(counts, np.arange(0, 6000, round(step / 0.01)))
    return lambda now: float(ticks[max(round((now - 2) / step), 0) : round(now / step)].sum()) / min(now, 2.0)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("high", "variant"), [(100, "fp16"), (120, "fp16"), (150, "fp16"), (200, "int8"), (300, "int8"), (900, "int8")]
)
def test_a_step_is_met_within_a_second_by_the_variant_that_is_right_for_it(high: int, variant: str, seed: int) -> None:
    """Also where that is one in the middle of the ladder, if so many requests come that chance does not hide it."""
    run, many = Run(step=0.25), {f'capacity("{v}")': 100 * c for v, c in CAPACITY.items()}
    begins = 30 + 0.04 * seed  # between two ticks
    offered = arriving(lambda now: 100.0 * (high if now >= begins else 40), seed, run.step)
    run.go(50, offered, **many)
    (decision,) = run.decisions
    assert decision.after == variant
    assert 0 < decision.at - begins <= 1.0


@pytest.mark.parametrize("seed", range(6))
def test_a_rise_that_goes_on_is_not_taken_for_its_beginning(seed: int) -> None:
    """From 40 to 300 within two seconds: at half of that fp16 would do, and only int8 carries the whole."""
    run, many = Run(step=0.25), {f'capacity("{v}")': 100 * c for v, c in CAPACITY.items()}
    offered = arriving(lambda now: 100.0 * (40 + 130 * min(max(now - 30.1, 0.0), 2.0)), seed, run.step)
    run.go(50, offered, **many)
    assert moves(run.decisions) == [("fp32", "int8")]


@pytest.mark.parametrize("seed", range(3))
def test_who_settles_for_longer_rides_out_a_rise_of_several_seconds(seed: int) -> None:
    """After two seconds readings lose as much as they gained a moment before, which says nothing of a rise's end."""
    run, many = Run(step=0.25, planner={"settle": "10s"}), {f'capacity("{v}")': 100 * c for v, c in CAPACITY.items()}
    offered = arriving(lambda now: 100.0 * (40 + 43 * min(max(now - 30.1, 0.0), 6.0)), seed, run.step)
    run.go(50, offered, **many)
    assert moves(run.decisions) == [("fp32", "int8")]


@settings(deadline=None, phases=RUNS, max_examples=15)
@given(st.sampled_from([30.0, 60.0, 120.0, 300.0]), st.floats(1.2, 4), st.integers(0, 2**32))
def test_nothing_comes_back_inside_the_cooldown(period: float, high: float, seed: int) -> None:
    """A square wave at, below and above the cooldown's period, with noise on it."""
    noise = random.Random(seed)
    run = Run(maxSwitchesPerHour=1000)
    run.go(1800, lambda now: noise.gauss(30 if now % period < period / 2 else high * 100, 5))
    switches = [decision for decision in run.decisions if decision.action.startswith("precision")]
    assert switches
    for first, second in pairwise(switches):
        if second.action == "precision:up":
            assert second.at - first.at >= 60.0


def test_a_rise_is_met_before_the_variant_is_overrun() -> None:
    run = Run()
    run.go(60, lambda _: 40.0)
    (decision,) = run.go(100, lambda now: 40 + 0.5 * (now - 60))
    assert 40 + 0.5 * (decision.at - 60) < DOWN * CAPACITY["fp32"]
    assert "rising by" in decision.reason


def test_a_tight_objective_counts_as_much_as_capacity() -> None:
    """At 80 % of fp32's capacity the queue alone breaks 40 ms, so fp16 serves although fp32 would carry the load."""
    run = Run()
    (decision,) = run.go(60, lambda _: 80.0, **{'objective("slo")': 0.1})
    assert decision.after == "fp16"
    assert moves(Run().go(60, lambda _: 80.0)) == []


def test_a_device_that_slows_down_to_60_percent_carries_as_much_less_and_gets_it_back() -> None:
    """fp32 carries 85 rows/s, and 51 while all variants take 1 / 0.6 of their time."""
    run, patient = Run(), {'objective("slo")': 1.0}
    run.go(100, lambda _: 49.0, **patient)
    run.slow = lambda _: 1 / 0.6
    assert run.go(300, lambda _: 49.0, **patient) == []
    (down,) = run.go(60, lambda _: 54.0, **patient)
    assert (down.before, down.after) == ("fp32", "fp16")
    assert "fp32 carries 51 of 60 with 15% to spare, 1.67 times slower than measured" in down.reason
    assert down.facts['slowdown("fp32")'] == pytest.approx(1 / 0.6)
    assert run.go(1200, lambda _: 54.0) == []
    run.slow = lambda _: 1.0
    (up,) = run.go(600, lambda _: 54.0)
    assert (up.before, up.after) == ("fp16", "fp32")
    assert up.at - run.decisions[0].at > 1200


def test_a_variant_that_alone_is_slow_is_not_returned_to_at_every_cooldown() -> None:
    """fp16 shows that the device is well, so it was fp32; the cooldown is a minute."""
    run = Run()
    run.go(100, lambda _: 60.0)
    run.slow = lambda serving: 2.5 if serving == "fp32" else 1.0
    run.go(3600, lambda _: 60.0)
    assert 1 <= len(moves(run.decisions)) <= 5
    assert len(moves(run.go(3600, lambda _: 60.0))) <= 3
    run.slow = lambda _: 1.0
    run.go(7200, lambda _: 60.0)
    assert run.state.variant == "fp32"


@settings(deadline=None, phases=RUNS, max_examples=4)
@given(st.integers(0, 2**32), st.floats(1.0, 2.0))
def test_noise_of_what_is_seen_does_not_flap(seed: int, slower: float) -> None:
    noise = random.Random(seed)
    run = Run()
    run.slow = lambda _: slower * math.exp(noise.gauss(0, 0.3))
    run.go(3600, lambda _: noise.gauss(0.95 * DOWN * 100 / slower, 2))
    assert len(moves(run.decisions)) <= 2


def test_requests_of_several_rows_weigh_as_much() -> None:
    assert moves(Run().go(60, lambda _: 40.0, request_rows=4.0)) == [("fp32", "fp16")]


def test_smaller_requests_are_a_fall_of_the_load_and_followed_as_one_before_a_step_up() -> None:
    run = Run()
    run.go(300, lambda _: 40.0, request_rows=4.0)
    (up,) = run.go(300, lambda _: 40.0, request_rows=1.0)
    assert (up.before, up.after) == ("fp16", "fp32")
    assert up.at - 300 >= 50, "the window is a minute"


@pytest.mark.parametrize(
    "facts",
    [
        {'capacity("fp32")': math.nan},
        {'objective("slo")': math.nan},
        {"data_plane_up": False},
    ],
    ids=["no capacity", "no latency objective", "no data plane"],
)
def test_without_data_nothing_is_planned(facts: dict[str, Value]) -> None:
    assert Run().go(120, lambda _: 500.0, **facts) == []


def test_without_a_reading_of_the_load_nothing_is_planned() -> None:
    run = Run("int8")
    assert run.go(300, lambda _: math.nan) == []
    assert run.engine.explain()["planner"] == "no plan: offered_rate has no data"


@pytest.mark.parametrize("state", [False, math.nan], ids=["ill", "not known"])
def test_a_variant_that_does_not_stand_is_passed_over(state: Value) -> None:
    assert moves(Run().go(60, lambda _: 150.0, **{'health_ok("fp16")': state})) == [("fp32", "int8")]


def test_a_variant_whose_breaker_is_open_is_passed_over() -> None:
    assert moves(Run().go(60, lambda _: 150.0, **{'breaker("fp16")': "open"})) == [("fp32", "int8")]
    assert moves(Run().go(60, lambda _: 150.0, **{'breaker("fp16")': "half_open"})) == [("fp32", "fp16")]


def test_a_pending_rule_stands_above_it() -> None:
    """A guard rail on the queue goes down by itself, and holds the planner there while it is active."""
    rail = {"name": "rail", "when": "queue_length > 10", "until": "queue_length < 1", "action": {"precision": "down"}}
    run = Run(rules=[rail])
    run.go(100, lambda _: 20.0, queue_length=0.0)
    (decision,) = run.go(0.5, lambda _: 20.0, queue_length=50.0)
    assert (decision.rule, decision.after) == ("rail", "fp16")
    assert run.go(600, lambda _: 20.0, queue_length=5.0) == []
    assert moves(run.go(300, lambda _: 20.0, queue_length=0.0)) == [("fp16", "fp32")]


EVEN = {"fp32": 0.99, "fp16": 0.985, "int8": 0.9}
STEEP = {"fp32": 0.99, "fp16": 0.8, "int8": 0.5}


@pytest.mark.parametrize(
    ("accuracies", "objective", "load", "carrying", "effective"),
    [
        pytest.param(EVEN, 0.25, 40.0, "fp32", "fp32", id="all is well: the most accurate"),
        pytest.param(EVEN, 0.138, 70.0, "fp32", "fp16", id="fp32 carries, but is late more often than fp16 is wrong"),
        pytest.param(EVEN, 0.25, 95.0, "fp16", "fp16", id="fp32 would have to refuse more than fp16 gets wrong"),
        pytest.param(STEEP, 0.25, 95.0, "fp16", "fp32", id="fp16 would get more wrong than fp32 has to refuse"),
        pytest.param(STEEP, 0.25, 3000.0, "int8", "int8", id="far beyond all: whatever answers most"),
    ],
)
def test_the_highest_effective_accuracy_is_not_always_what_carries(
    accuracies: dict[str, float], objective: float, load: float, carrying: str, effective: str
) -> None:
    facts: dict[str, Value] = {f'accuracy("{v}")': a for v, a in accuracies.items()} | {'objective("slo")': objective}
    for goal, expected in (({"maxBurn": 2}, carrying), ({"maxBurn": 2, "maximise": "accuracy"}, effective)):
        run = Run(planner=goal)
        run.go(120, lambda _: load, **facts)
        assert run.state.variant == expected


@settings(deadline=None, phases=RUNS, max_examples=15)
@given(st.floats(1, 600), st.floats(0.08, 0.5), st.sampled_from(LADDER), st.tuples(*[st.floats(0.3, 1)] * 3))
def test_maximising_ends_within_the_hysteresis_of_the_best_and_stays(
    load: float, objective: float, start: str, accuracies: tuple[float, float, float]
) -> None:
    ordered = sorted(accuracies, reverse=True)
    facts: dict[str, Value] = {f'accuracy("{v}")': a for v, a in zip(LADDER, ordered, strict=True)}
    run = Run(start, planner={"maximise": "accuracy"})
    run.go(600, lambda _: load, **facts, **{'objective("slo")': objective})

    def worth(variant: str, at: float) -> float:
        accuracy, capacity = ordered[LADDER.index(variant)], CAPACITY[variant]
        served = min(1.0, DOWN * capacity / at)
        return accuracy * (1 - late_share(at * served, capacity, 4 / capacity, objective)) * served

    ended = LADDER.index(run.state.variant)
    below, above = LADDER[ended + 1 :], LADDER[:ended]
    assert all(worth(v, load) <= worth(run.state.variant, load) + 1e-9 for v in below)
    assert all(worth(v, load * DOWN / UP) <= worth(run.state.variant, load * DOWN / UP) + 1e-9 for v in above)
    assert len(moves(run.decisions)) <= 2


def test_it_says_what_it_expects_of_each() -> None:
    facts: dict[str, Value] = {f'accuracy("{v}")': a for v, a in STEEP.items()}
    (decision,) = Run("fp16", planner={"maximise": "accuracy"}).go(120, lambda _: 70.0, **facts)
    assert "; fp16 gives 0.8000 (accuracy 0.8, 1 served, 1 in time); fp32 gives 0.9" in decision.reason


@given(st.floats(0.01, 1.5), st.floats(1, 1e4), st.floats(0, 0.1), st.floats(0.001, 1))
def test_late_answers_rise_with_the_load_and_fall_with_the_objective(
    busy: float, capacity: float, batch: float, objective: float
) -> None:
    late = late_share(busy * capacity, capacity, batch, objective)
    assert 0 <= late <= 1
    assert late <= late_share(1.1 * busy * capacity, capacity, batch, objective) + 1e-12
    assert late >= late_share(busy * capacity, capacity, batch, 1.1 * objective) - 1e-12
    assert busy < 1 or late == 1.0


def test_what_is_wrong_with_a_planner_is_said_at_its_place() -> None:
    found = check(
        document(
            {"objective": "sol"},
            ladder=["fp32"],
            rules=[{"name": "planner", "when": "queue_length > 1", "action": {"breaker": "trip"}}],
        ),
        VOCABULARY,
    )
    assert [problem.loc for problem in found] == [
        ("spec", "planner", "objective"),
        ("spec", "planner"),
        ("spec", "rules", 0, "name"),
    ]
    timed = Vocabulary(("slo", "fast"), {"m": LADDER}, ("high", "low"), timed=("fast",))
    (problem,) = check(document(), timed)
    assert problem.message == "'slo' is no SLO over sloctl_request_duration_seconds; there is fast"
    unmeasured = check(document({"maximise": "accuracy"}), VOCABULARY, {"fp32": 0.9, "fp16": 0.8})
    assert [problem.message for problem in unmeasured] == [
        "no accuracy was measured for 'int8', so the planner never chooses it"
    ]
    with pytest.raises(ValueError, match="margin and hysteresis"):
        document({"margin": 0.6, "hysteresis": 0.5})


def failing(*names: str) -> dict[str, Value]:
    return {
        **{f'failing("{v}")': v in names for v in LADDER},
        **{f'health_ok("{v}")': v not in names for v in LADDER},
        **{f'health("{v}")': 4.0 if v in names else 5.0 for v in LADDER},
    }


@pytest.mark.parametrize("load", [50.0, 150.0])
def test_a_variant_that_is_well_again_is_returned_to_only_if_it_carries_the_load(load: float) -> None:
    run = Run()
    run.go(90, lambda _: 50.0, **failing())
    assert moves(run.go(30, lambda _: 50.0, **failing("fp32"))) == [("fp32", "fp16")]
    run.go(150, lambda _: load, **failing("fp32"))
    assert moves(run.go(150, lambda _: load, **failing())) == ([("fp16", "fp32")] if load < 100 else [])


@pytest.mark.parametrize("load", [50.0, 150.0])
def test_after_an_override_the_variant_from_before_comes_back_only_if_it_carries_the_load(load: float) -> None:
    run = Run()
    run.go(90, lambda _: 50.0)
    by_hand = [Override("m", "variant", "fp16", run.now + 60)]
    run.go(30, lambda _: load, overrides=by_hand)
    run.go(60, lambda _: load, overrides=by_hand)
    assert run.state.variant == ("fp32" if load < 100 else "fp16")
    assert moves(run.decisions) == []


def test_the_first_readings_after_a_restart_move_nothing_by_their_noise() -> None:
    numbers, switched, mean = random.Random(1), 0, 0.95 * DOWN * CAPACITY["fp32"]
    for _ in range(200):  # restarts at 95 % of what fp32 carries, with the noise of counting over two seconds
        run = Run(step=0.25)
        switched += bool(moves(run.go(2, lambda _: numbers.gauss(mean, math.sqrt(mean / 2)))))
    assert switched <= 10
