"""Two variants at once: by class, and by what requests ask for. Engines are fake; fp32 doubles, int8 trebles."""

import asyncio
import json
import time

import pytest

from sloctl.admission.breaker import Command
from sloctl.telemetry import catalogue as c

HIGH, NORMAL, LOW = 1, 2, 3
AS_MODEL = -1


async def until(condition, patience: float = 5.0) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.002)


@pytest.fixture
async def tiered(make):
    """Low is served with int8, the others with fp32; every request may choose."""
    bench = make(clientPrecision=True, hang_after=30.0)
    bench.hosting.accuracies = {"fp32": 0.99, "int8": 0.9}
    await bench.load()
    bench.word(tiers=(AS_MODEL, AS_MODEL, 1))
    bench.model.tick()
    return bench


async def ask(bench, priority=NORMAL, **parameters):
    return await bench.infer(1, parameters={"priority": priority, **parameters})


async def served(bench, priority=NORMAL, **parameters) -> str:
    answer = await ask(bench, priority, **parameters)
    assert answer.status == 200, answer.body
    value = json.loads(answer.body)["outputs"][0]["data"][0]
    assert value == {"fp32": 2.0, "int8": 3.0}[answer.headers["sloctl-variant"]]
    return answer.headers["sloctl-variant"]


def refusal(answer) -> tuple[int, str, str]:
    said = json.loads(answer.body)
    return answer.status, said["reason"], said["error"]


async def test_each_class_is_answered_by_its_variant_and_the_board_says_so(tiered):
    assert [await served(tiered, p) for p in (HIGH, NORMAL, LOW)] == ["fp32", "fp32", "int8"]
    assert tiered.scalar(c.SERVING_VARIANT, "m", "fp32") == 1
    shown = {(p, v): tiered.scalar(c.CLASS_VARIANT, "m", p, v) for p in ("high", "low") for v in ("fp32", "int8")}
    assert shown == {("high", "fp32"): 1, ("high", "int8"): 0, ("low", "fp32"): 0, ("low", "int8"): 1}


async def test_requests_of_two_variants_share_no_batch_and_lose_nothing(tiered):
    tiered.in_threads()
    for engine in tiered.engines.values():
        engine.batches.clear()
    answers = await asyncio.gather(*[served(tiered, (HIGH, LOW)[n % 2]) for n in range(40)])
    assert answers == ["fp32", "int8"] * 20
    assert sum(tiered.engines["fp32"].batches) == sum(tiered.engines["int8"].batches) == 20
    assert tiered.model.inflight == 0


async def test_a_variant_that_takes_nothing_holds_up_nobody_elses_line(make):
    bench = make(hang_after=30.0)
    bench.hosting.accuracies = {"fp32": 0.99, "int8": 0.9}
    for engine in bench.engines.values():
        engine.concurrency = 2
    await bench.load()
    bench.in_threads()
    bench.model.soon_below = 0.0
    bench.word(tiers=(AS_MODEL, AS_MODEL, 1))
    bench.engines["fp32"].go.clear()
    stuck = [asyncio.create_task(bench.infer(*[1] * 8, parameters={"priority": HIGH})) for _ in range(4)]
    await until(lambda: len(bench.model._lane.jobs) == 2 and bench.model._queues.length == 2)
    assert await served(bench, LOW) == "int8"
    bench.engines["fp32"].go.set()
    assert [(await each).status for each in stuck] == [200] * 4


async def test_on_one_device_the_variants_take_turns(tiered):
    """With equal classes neither starves, however much waits for the other."""
    tiered.in_threads()
    order = []

    async def note(variant):
        await ask(tiered, NORMAL, sloctl_precision=variant)
        order.append(variant)

    tiered.engines["fp32"].go.clear()
    first = asyncio.create_task(ask(tiered))
    await until(lambda: tiered.model._lane.jobs)
    tasks = [asyncio.create_task(note(v)) for v in ["fp32"] * 24 + ["int8"] * 8]
    await until(lambda: tiered.model._queues.length == 32)
    tiered.engines["fp32"].go.set()
    await asyncio.gather(first, *tasks)
    assert "int8" in order[:16], "its batch of 8 was the first or the second"


async def test_a_switch_moves_what_waits_and_fails_nothing(tiered):
    tiered.in_threads()
    tiered.engines["fp32"].go.clear()
    running = asyncio.create_task(served(tiered, HIGH))
    await until(lambda: tiered.model._lane.jobs)
    low = [asyncio.create_task(served(tiered, LOW)) for _ in range(3)]
    high = [asyncio.create_task(served(tiered, HIGH)) for _ in range(3)]
    pinned = asyncio.create_task(served(tiered, LOW, sloctl_precision="fp32"))
    await until(lambda: tiered.model._queues.length == 7)
    tiered.word(variant=1, tiers=(0, AS_MODEL, AS_MODEL))
    tiered.model.tick()
    tiered.word(tiers=(AS_MODEL,) * 3)
    tiered.model.tick()
    tiered.engines["fp32"].go.set()
    assert await running == "fp32"
    assert await asyncio.gather(*low, *high) == ["int8"] * 6
    assert await pinned == "fp32"
    assert tiered.scalar(c.REQUESTS, "m", "low", "ok") == 4


async def test_no_class_is_served_more_accurately_than_a_higher_one(tiered):
    tiered.word(variant=1, tiers=(AS_MODEL, AS_MODEL, 0))
    assert [await served(tiered, p) for p in (HIGH, LOW)] == ["int8", "int8"]
    tiered.word(variant=1, tiers=(0, AS_MODEL, 0))
    assert [await served(tiered, p) for p in (HIGH, NORMAL, LOW)] == ["fp32", "int8", "int8"]


@pytest.mark.parametrize("tiers", [(2, 99, -5), (AS_MODEL,) * 3])
async def test_a_word_that_names_no_variant_for_a_class_leaves_it_to_the_model(tiered, tiers):
    tiered.word(tiers=tiers)
    assert [await served(tiered, p) for p in (HIGH, LOW)] == ["fp32", "fp32"]


async def test_a_class_whose_variant_hangs_follows_the_model(tiered):
    tiered.model.variants[1].hung_since = 1.0
    assert await served(tiered, LOW) == "fp32"
    tiered.model.variants[1].hung_since = None
    tiered.model.tick()
    assert await served(tiered, LOW) == "int8"


# What requests ask for


async def test_a_request_names_its_precision_or_a_minimum_accuracy(tiered):
    assert await served(tiered, sloctl_precision="int8") == "int8"
    assert await served(tiered, LOW, sloctl_precision="fp32") == "fp32"
    assert await served(tiered, LOW, sloctl_min_accuracy=0.95) == "fp32"
    assert await served(tiered, LOW, sloctl_min_accuracy=0.9) == "int8", "its class's has as much"
    assert await served(tiered, HIGH, sloctl_min_accuracy=0.5) == "fp32", "its class's has more"


async def test_headers_say_the_same_and_stand_above_parameters(tiered):
    async def by(headers, **parameters):
        row = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1] * 4}
        body = json.dumps({"inputs": [row], "parameters": parameters} if parameters else {"inputs": [row]})
        answer = await tiered.call("POST", "/v2/models/m/infer", body.encode(), headers=headers)
        return answer.headers["sloctl-variant"] if answer.status == 200 else answer.status

    assert await by({"x-sloctl-precision": "int8"}) == "int8"
    assert await by({"x-sloctl-min-accuracy": "0.95"}, priority=LOW) == "fp32"
    assert await by({"x-sloctl-precision": "int8"}, sloctl_precision="fp32") == "int8"
    assert await by({"x-sloctl-min-accuracy": "much"}) == 400


@pytest.mark.parametrize(
    ("parameters", "status", "reason", "words"),
    [
        ({"sloctl_precision": "int4"}, 400, "invalid", "there is no variant 'int4'; there is fp32, int8"),
        ({"sloctl_precision": 8}, 400, "invalid", "parameter 'sloctl_precision' is 8; expected a string"),
        ({"sloctl_min_accuracy": 0.999}, 400, "invalid", "no variant has an accuracy of 0.999"),
        ({"sloctl_min_accuracy": 95}, 400, "invalid", "is '95'; expected a number from 0 to 1"),
        ({"sloctl_min_accuracy": True}, 400, "invalid", "expected a number from 0 to 1"),
        ({"sloctl_precision": "int8", "sloctl_min_accuracy": 0.95}, 400, "invalid", "does not have an accuracy of"),
    ],
)
async def test_what_cannot_be_met_is_refused_in_words(tiered, parameters, status, reason, words):
    found = refusal(await ask(tiered, **parameters))
    assert found[:2] == (status, reason)
    assert words in found[2]


async def test_a_named_variant_that_is_not_up_is_worth_another_attempt_and_a_minimum_has_a_stand_in(tiered):
    tiered.model.variants[1].hung_since = 1.0
    answer = await ask(tiered, sloctl_precision="int8")
    assert refusal(answer) == (503, "no_variant", "variant 'int8' is not up")
    assert int(answer.headers["retry-after"]) >= 1
    assert await served(tiered, LOW, sloctl_min_accuracy=0.5) == "fp32"
    assert tiered.scalar(c.REQUESTS, "m", "normal", "unavailable") == 1


async def test_what_waits_for_a_variant_that_goes_is_told_or_served_by_a_stand_in_that_meets_it(tiered):
    tiered.in_threads()
    tiered.engines["fp32"].go.clear()
    running = asyncio.create_task(ask(tiered))
    await until(lambda: tiered.model._lane.jobs)
    named = asyncio.create_task(ask(tiered, sloctl_precision="int8"))
    least = asyncio.create_task(ask(tiered, LOW, sloctl_min_accuracy=0.5))
    await until(lambda: tiered.model._queues.length == 2)
    tiered.model.variants[1].hung_since = 1.0
    tiered.model.tick()
    assert refusal(await named)[:2] == (503, "no_variant")
    tiered.engines["fp32"].go.set()
    assert (await least).headers["sloctl-variant"] == "fp32"
    assert (await running).status == 200
    assert tiered.model.inflight == 0


async def test_a_variant_that_its_breaker_keeps_out_serves_neither_its_class_nor_who_names_it(tiered):
    variant = tiered.model.variants[1]
    variant.breaker.command(Command.TRIP, time.monotonic())
    tiered.model.tick()
    assert await served(tiered, LOW) == "fp32"
    assert refusal(await ask(tiered, sloctl_precision="int8"))[:2] == (503, "no_variant")
    assert await served(tiered, LOW, sloctl_min_accuracy=0.5) == "fp32"
    variant.breaker.command(Command.HALF_OPEN, time.monotonic())
    answers = await asyncio.gather(*[ask(tiered, LOW) for _ in range(30)])
    variants = [answer.headers["sloctl-variant"] for answer in answers]
    probes = tiered.model.config.breaker.permitted_number_of_calls_in_half_open_state
    assert probes <= variants.count("int8") < 30, "the probes, and a share of the others"
    assert variants.count("int8") + variants.count("fp32") == 30


async def test_a_half_open_variant_gets_none_while_its_health_probes_fail(tiered):
    variant = tiered.model.variants[1]
    variant.breaker.command(Command.HALF_OPEN, time.monotonic())
    tiered.model.probed(variant, passed=False, within=1e9)
    assert await served(tiered, LOW) == "fp32"
    assert refusal(await ask(tiered, sloctl_precision="int8"))[:2] == (503, "no_variant")
    tiered.model.probed(variant, passed=True, within=1e9)
    tiered.model.tick()
    assert await served(tiered, LOW) == "int8"


@pytest.mark.parametrize(("allowed", "status"), [(False, 403), (["high"], 403), (["normal"], 200), (True, 200)])
async def test_who_may_choose_is_configured(make, allowed, status):
    bench = make(clientPrecision=allowed)
    await bench.load()
    answer = await ask(bench, NORMAL, sloctl_precision="int8")
    assert answer.status == status
    if status == 403:
        assert "does not let these requests choose their precision" in refusal(answer)[2]
