"""Whole simulations: the same for a seed, and the planner keeps its promises on every course."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml

from sloctl.policy.trace import read
from sloctl.simulate.facts import SimulatedFacts
from sloctl.simulate.load import Course, Scale, Shape, length_of, recorded, synthetic
from sloctl.simulate.plant import Plant
from sloctl.simulate.run import simulate

ROOT = Path(__file__).parents[2]
SCALE = Scale.of([500.0, 1000.0], margin=0.15, cooldown=300.0)


def course(shape: Shape, seed: int, length: float | None = None, dt: float = 1.0) -> Course:
    return synthetic(shape, SCALE, 3, length or length_of(shape), dt, seed)


def ups_and_downs(result):
    return [decision for decision in result.decisions if decision.action.startswith("precision:")]


def test_a_seed_gives_the_same_result_and_another_another(setup) -> None:
    first, again, other = (simulate(setup, course(Shape.FLASH_CROWD, seed)) for seed in (1, 1, 2))
    assert (first.decisions, first.points, first.offered) == (again.decisions, again.points, again.offered)
    assert first.offered != other.offered


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("shape", "least", "most"), [("step", 1, 1), ("ramp", 1, 1), ("noise", 0, 2)])
def test_a_rise_gives_one_switch_and_noise_at_most_two_an_hour(setup, shape, least, most, seed) -> None:
    result = simulate(setup, course(Shape(shape), seed))
    assert least <= result.switches <= most


@pytest.mark.slow
@pytest.mark.parametrize("shape", list(Shape))
def test_no_course_brings_anything_back_inside_the_cooldown(setup, shape) -> None:
    result = simulate(setup, course(shape, seed=7, length=2 * 3600.0))
    for first, second in pairwise(ups_and_downs(result)):
        assert second.action == "precision:down" or second.at - first.at >= 300.0


@pytest.mark.parametrize("shape", list(Shape))
def test_everything_offered_is_accounted_for(setup, shape) -> None:
    result = simulate(setup, course(shape, seed=3, length=1800.0))
    assert sum(result.outcomes.values()) == pytest.approx(result.offered, rel=0.01)
    assert sum(share.seconds for share in result.shares.values()) == pytest.approx(result.seconds)
    assert 0.97 <= result.effective_accuracy <= 0.98
    assert all(used >= 0 for used in result.budgets.values())


@pytest.mark.parametrize("seed", range(3))
def test_a_slow_device_costs_one_switch_there_and_one_back(setup, seed) -> None:
    result = simulate(setup, course(Shape.SLOW_DEVICE, seed))
    down, up = ups_and_downs(result)
    assert (down.after, up.after) == ("int8", "fp32")
    assert down.at == pytest.approx(1200, abs=60)
    assert up.at == pytest.approx(2400, abs=120)
    assert "slower than measured" in down.reason


def test_planning_beats_both_pinned_variants_on_a_ramp(setup) -> None:
    """More accurate than the fastest alone, and more in time than the most accurate alone."""
    planned = simulate(setup, course(Shape.RAMP, 1))
    pinned = {}
    for variant in setup.variants:
        spec = setup.policy.spec.model_copy(update={"planner": None, "ladder": ()})
        policy = setup.policy.model_copy(update={"spec": spec})
        others = [each for each in setup.variants if each is not variant]
        alone = type(setup)(
            **{f: getattr(setup, f) for f in setup.__slots__} | {"policy": policy, "variants": (variant, *others)}
        )
        pinned[variant.name] = simulate(alone, course(Shape.RAMP, 1))
    assert planned.effective_accuracy > pinned["int8"].effective_accuracy
    assert planned.in_time > 1.1 * pinned["fp32"].in_time
    assert planned.budgets["digits-latency"] < pinned["fp32"].budgets["digits-latency"]


def test_a_trace_gives_its_load_and_what_the_plant_does_not_model(setup) -> None:
    hot = {"name": "hot", "when": "gpu_temperature > 80", "action": {"precision": "down"}}
    spec = setup.policy.spec.model_dump(by_alias=True) | {"rules": [hot]}
    policy = setup.policy.model_validate(setup.policy.model_dump(by_alias=True) | {"spec": spec})
    hotter = type(setup)(**{f: getattr(setup, f) for f in setup.__slots__} | {"policy": policy})
    rows = [
        {("offered", ("high",)): 30.0, ("offered_rate", ()): 90.0, ("gpu_temperature", ()): 50.0 + second}
        for second in range(60)
    ]
    trace = recorded([1000.0 + second for second in range(60)], rows, setup.classes, 1.0)
    assert np.allclose(trace.arrivals, 30.0)
    (decision,) = ups_and_downs(simulate(hotter, trace))
    assert (decision.rule, decision.reason) == ("hot", "gpu_temperature = 81 > 80")


@pytest.mark.parametrize("when", ['!failing("int8")', 'health_ok("int8")', 'health("int8") == 5', "data_plane_up"])
def test_without_a_trace_all_is_well(setup, when) -> None:
    rule = {"name": "r", "when": when, "action": {"precision": "down"}}
    spec = setup.policy.spec.model_dump(by_alias=True) | {"planner": None, "rules": [rule]}
    policy = setup.policy.model_validate(setup.policy.model_dump(by_alias=True) | {"spec": spec})
    result = simulate(replace(setup, policy=policy), course(Shape.STEP, 1))
    assert result.switches == 1


@pytest.mark.parametrize("when", ["!health_ok", "failing", "health < 5"])
@pytest.mark.parametrize("ill", ["fp32", "int8"])
def test_without_a_name_the_health_that_was_recorded_is_that_of_the_serving_variant(setup, when, ill) -> None:
    rule = {"name": "r", "when": when, "action": {"shed": {"admit": {"low": 0}}}}
    spec = setup.policy.spec.model_dump(by_alias=True) | {"planner": None, "rules": [rule], "healthFallback": False}
    policy = setup.policy.model_validate(setup.policy.model_dump(by_alias=True) | {"spec": spec})
    rows = [{("offered_rate", ()): 30.0} for _ in range(30)]
    for row in rows:
        for variant in ("fp32", "int8"):
            row[("health", (variant,))] = 3.0 if variant == ill else 5.0
            row[("health_ok", (variant,))], row[("failing", (variant,))] = variant != ill, variant == ill
    result = simulate(replace(setup, policy=policy), recorded([*map(float, range(30))], rows, setup.classes, 1.0))
    assert [each.action for each in result.decisions] == ["shed:start"] * (ill == "fp32")


@pytest.mark.parametrize(("state", "switches"), [("open", 0), ("closed", 1)])
def test_the_breaker_of_a_variant_is_as_it_was_recorded(setup, state, switches) -> None:
    rows = [{("offered_rate", ()): 600.0, ("breaker", ("int8",)): state} for _ in range(30)]
    result = simulate(setup, recorded([1000.0 + second for second in range(30)], rows, setup.classes, 1.0))
    assert result.switches == switches


@pytest.mark.parametrize(
    "name", ["rules/policies/planner", "rules/policies/precision-and-shed", "examples/digits/policy"]
)
def test_what_is_shipped_gives_up_precision_before_requests_where_the_device_is_slow(setup, name) -> None:
    """A faster variant carries all of it, also while the device runs at 60 %."""
    text = (ROOT / f"{name}.yaml").read_text()
    policy = setup.policy.model_validate(yaml.load(text, yaml.CSafeLoader))
    result = simulate(replace(setup, policy=policy), synthetic(Shape.SLOW_DEVICE, SCALE, 3, 1200.0, 0.25, 0))
    assert ups_and_downs(result)[0].action == "precision:down"
    assert result.in_time >= 0.995 * result.offered


def test_a_dry_run_decides_and_switches_nothing(setup) -> None:
    spec = setup.policy.spec.model_copy(update={"dry_run": True})
    policy = setup.policy.model_copy(update={"spec": spec})
    course = recorded([0.0, 30.0], [{("offered_rate", ()): 600.0}] * 2, setup.classes, 1.0)
    result = simulate(replace(setup, policy=policy), course)
    assert [decision.dry_run for decision in ups_and_downs(result)] == [True]
    assert (result.switches, result.shares["int8"].seconds) == (0, 0.0)


def test_a_row_of_a_trace_without_the_load_has_that_of_the_row_before(setup) -> None:
    rates = [np.nan, 30.0, np.nan, np.nan, 60.0]
    rows = [{("offered_rate", ()): rate} for rate in rates]
    trace = recorded([float(second) for second in range(5)], rows, setup.classes, 1.0)
    assert trace.arrivals.sum(axis=1) == pytest.approx([0.0, 30.0, 30.0, 30.0, 60.0])


def trace_of(rate: float, rows: str | None) -> list[str]:
    """A minute of requests at one rate; `rows` of each, None: the column is not there, as in older traces."""
    named = "" if rows is None else ",request_rows"
    return [f"at,offered_rate{named}", *(f"{t},{rate}" + ("" if rows is None else f",{rows}") for t in range(60))]


@pytest.mark.parametrize(
    ("rows", "variant"),
    [(None, "fp32"), ("", "fp32"), ("1", "fp32"), ("4", "int8"), ("0", "fp32")],
    ids=["a trace without the column", "no data", "one row", "four rows", "no rows"],
)
@pytest.mark.parametrize("by", ["planner", "rules"])
def test_requests_of_several_rows_take_as_much_of_the_capacity(setup, by, rows, variant) -> None:
    """200 requests/s: fp32 carries 425 rows/s, and int8 850."""
    rule = {"name": "down", "when": 'offered_rows > 0.85 * capacity("fp32")', "action": {"precision": "down"}}
    change = {} if by == "planner" else {"planner": None, "rules": [rule]}
    spec = setup.policy.spec.model_dump(by_alias=True) | change
    policy = setup.policy.model_validate(setup.policy.model_dump(by_alias=True) | {"spec": spec})
    result = simulate(replace(setup, policy=policy), recorded(*read(trace_of(200.0, rows), 99), setup.classes, 1.0))
    assert [each.after for each in ups_and_downs(result)] == [variant] * (variant == "int8")
    assert result.in_time >= 0.95 * result.offered


def test_what_a_variant_answers_of_larger_requests_is_as_much_less(setup) -> None:
    plant = Plant(setup.variants, setup.limits)
    done = []
    for plant.rows in (1.0, 4.0):
        for _ in range(20):
            flow = plant.step(1.0, (3000.0, 0.0, 0.0), "fp32", (1.0, 1.0, 1.0), open_=False, errors=0.0)
        done.append(flow.answered)
    assert done == [pytest.approx(500.0), pytest.approx(125.0)]


def test_rates_are_unknown_in_the_first_second_as_in_the_daemon(setup) -> None:
    plant = Plant(setup.variants, setup.limits)
    facts, seen = SimulatedFacts(plant, None, setup.classes, setup.max_batch), []
    for _ in range(6):
        facts.push(plant.step(0.25, (25.0, 0.0, 0.0), "fp32", (1.0, 1.0, 1.0), open_=False, errors=0.0))
        names = (("offered_rate", ()), ("offered_rows", ()), ("offered", ("high",)), ("served_rate", ()))
        seen.append([facts.get(*name) for name in names])
    assert np.isnan(seen[:3]).all()
    assert seen[3:] == [[pytest.approx(100.0)] * 4] * 3
