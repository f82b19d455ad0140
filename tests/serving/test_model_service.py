"""A model with a fake engine: batches, switches, faults, health. Engine threads run; nothing sleeps for long."""

import asyncio
import json
import math
import threading
import time
from itertools import pairwise

import pytest

from sloctl.board import BreakerCommand, Fault, LevelState, Phase
from sloctl.config.daemon import ProfileConfig
from sloctl.serving.loader import Loader
from sloctl.serving.profiling import Profiler
from sloctl.serving.worker import EngineThread
from sloctl.telemetry import catalogue as c

INLINE, THREADS = "on the loop", "in threads"


@pytest.fixture(params=[INLINE, THREADS])
async def either(request, bench):
    """A bench whose batches run on the loop, and one whose batches run in engine threads."""
    if request.param == THREADS:
        bench.in_threads()
    return bench


def values(response) -> list[float]:
    return json.loads(response.body)["outputs"][0]["data"]


async def until(condition, patience: float = 5.0) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.002)


async def test_requests_that_arrive_together_share_a_batch_and_get_their_own_rows(either):
    engine = either.engines["fp32"]
    engine.batches.clear()
    responses = await asyncio.gather(*[either.infer(*[n] * (n % 3 + 1)) for n in range(6)])
    for n, response in enumerate(responses):
        assert values(response) == [2.0 * n] * 4 * (n % 3 + 1)
    assert engine.batches == [7, 5], "1 + 2 + 3 + 1 rows, and the next 2 would not fit into 8"
    assert either.scalar(c.EXECUTED_REQUESTS, "m") == 6
    assert either.scalar(c.BATCHED_REQUESTS, "m") == 6
    assert either.scalar(c.INFERENCES, "m", "fp32") == 12
    assert either.count(c.BATCH_SIZE, "m", "fp32") == len(engine.batches)
    assert either.count(c.QUEUE_DURATION, "m", "normal") == 6
    assert either.count(c.REQUEST_DURATION, "m", "fp32") == 6
    assert either.count(c.ENGINE_DURATION, "m", "fp32") == either.count(c.ENQUEUE_DURATION, "m", "fp32") == 2
    assert either.scalar(c.REQUESTS, "m", "normal", "ok") == 6
    assert either.model.inflight == 0


async def test_requests_that_come_alone_run_at_once_until_others_come_with_one(bench):
    def send(*rows):
        return asyncio.ensure_future(bench.infer(*rows))

    for number in range(1, 8):  # a few that find nobody else
        assert values(await bench.infer(number)) == [2.0 * number] * 4
    engine = bench.engines["fp32"]
    engine.batches.clear()
    turn = [send(1), send(2)]
    await asyncio.sleep(0)
    assert engine.batches == [1, 1], "within the loop's turn"
    for _ in range(16):
        turn += [send(number) for number in range(3)]
        await asyncio.sleep(0.001)
    assert all(answer.status == 200 for answer in await asyncio.gather(*turn))
    assert engine.batches[-3:] == [3, 3, 3], "together again"
    assert bench.count(c.QUEUE_DURATION, "m", "normal") == 7 + len(turn)
    assert bench.model.inflight == 0


async def test_after_a_failure_requests_go_the_long_way_again(bench):
    for _ in range(6):
        await bench.infer(1)
    engine = bench.engines["fp32"]
    engine.fail = "broken"
    assert (await bench.infer(1)).status == 500
    engine.fail = None
    engine.batches.clear()
    turn = [asyncio.ensure_future(bench.infer(number)) for number in range(2)]
    await asyncio.gather(*turn)
    assert engine.batches == [2]


async def test_a_batch_wait_gathers_requests_and_a_full_batch_does_not_wait(make):
    bench = make(batchWait="1s", maxBatch=2)
    await bench.load()
    engine = bench.engines["fp32"]
    engine.batches.clear()
    begin = time.monotonic()
    first = asyncio.create_task(bench.infer(1))
    await asyncio.sleep(0.01)
    assert engine.batches == []
    await asyncio.gather(first, bench.infer(2))
    assert engine.batches == [2]
    assert time.monotonic() - begin < 0.9


async def test_no_request_waits_for_a_batch_until_it_is_late(make):
    bench = make(batchWait="1s")
    await bench.load()
    begin = time.monotonic()
    response = await bench.infer(1, parameters={"timeout": 200_000})
    assert response.status == 200
    assert time.monotonic() - begin < 0.9
    first = asyncio.create_task(bench.infer(1))
    await asyncio.sleep(0.01)
    both = await asyncio.gather(first, bench.infer(2, parameters={"timeout": 200_000}))
    assert [each.status for each in both] == [200, 200], "the second brings the first along"
    assert time.monotonic() - begin < 0.9


async def test_a_preferred_size_does_not_wait(make):
    bench = make(batchWait="1s", preferredBatchSizes=[2])
    await bench.load()
    engine, begin = bench.engines["fp32"], time.monotonic()
    engine.batches.clear()
    await asyncio.gather(bench.infer(1), bench.infer(2))
    assert engine.batches == [2]
    assert time.monotonic() - begin < 0.9


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_batch_is_padded_to_the_next_allowed_size_and_nobody_sees_it(make, concurrency):
    bench = make(allowedBatchSizes=[4, 8])
    engine = bench.engines["fp32"]
    engine.concurrency = concurrency
    await bench.load()
    engine.batches.clear()
    assert values(await bench.infer(1, 2)) == [2.0] * 4 + [4.0] * 4
    responses = await asyncio.gather(bench.infer(13, 1), bench.infer(1, 2, 3))
    assert [response.status for response in responses] == [500, 200], "what is not finite is in the first one alone"
    assert engine.batches == [4, 8]
    assert bench.scalar(c.INFERENCES, "m", "fp32") == 6
    assert bench.scalar(c.NONFINITE, "m", "fp32") == 1
    assert bench.scalar(c.PADDING, "m", "fp32") == 2 + 3


async def test_a_switch_takes_effect_at_the_next_batch_and_loses_nothing(either):
    assert values(await either.infer(1)) == [2.0] * 4
    either.word(variant=1)
    response = await either.infer(1)
    assert (response.headers["sloctl-variant"], values(response)) == ("int8", [3.0] * 4)
    assert either.scalar(c.VARIANT_SWITCHES, "m") == 1
    assert either.scalar(c.CONTEXT_SWITCHES, "m") == 1
    assert either.scalar(c.SERVING_VARIANT, "m", "fp32") == 0
    assert either.scalar(c.SERVING_VARIANT, "m", "int8") == 1


async def test_what_is_in_flight_during_a_switch_is_answered_by_the_old_variant(bench):
    bench.in_threads()
    bench.engines["fp32"].go.clear()
    running = asyncio.create_task(bench.infer(1))
    await until(lambda: bench.model._lane.jobs)
    bench.word(variant=1)
    waiting = asyncio.create_task(bench.infer(1))
    await asyncio.sleep(0.005)
    bench.engines["fp32"].go.set()
    assert (await running).headers["sloctl-variant"] == "fp32"
    assert (await waiting).headers["sloctl-variant"] == "int8"


async def test_an_engine_that_takes_two_batches_has_two_in_hand_and_no_more(make):
    bench = make()
    engine = bench.engines["fp32"]
    engine.concurrency = 2
    await bench.load()
    engine.go.clear()
    tasks = [asyncio.create_task(bench.infer(*[n] * 8)) for n in range(3)]
    await until(lambda: len(bench.model._lane.jobs) == 2 and bench.model._queues.length == 1)
    engine.go.set()
    assert [values(response)[0] for response in await asyncio.gather(*tasks)] == [0.0, 2.0, 4.0]
    assert engine.batches[-3:] == [8, 8, 8]


async def test_a_lone_short_batch_is_waited_for_on_the_loop_and_no_longer_than_it_should_take(make):
    bench = make()
    engine = bench.engines["fp32"]
    engine.concurrency = 2
    await bench.load()
    assert values(await bench.infer(1)) == [2.0] * 4
    assert engine.flown_in == [threading.current_thread().name]
    engine.go.clear()  # this one takes longer
    late = asyncio.create_task(bench.infer(2))
    await until(lambda: bench.model._lane.jobs)
    beside = asyncio.create_task(bench.infer(3))
    engine.go.set()
    assert values(await late) == [4.0] * 4
    assert values(await beside) == [6.0] * 4
    assert engine.flown_in[1] == "m/fp32"


async def test_a_lone_short_batch_that_fails_is_answered_as_any_other(make):
    bench = make()
    engine = bench.engines["fp32"]
    engine.concurrency = 2
    await bench.load()
    engine.fail = "CUDA error 700"
    assert (await bench.infer(1)).status == 500
    assert bench.scalar(c.ENGINE_ERRORS, "m", "fp32") == 1


@pytest.mark.parametrize("variant", [-1, 2, 99])
async def test_a_word_that_names_no_variant_changes_nothing(bench, variant):
    bench.word(variant=variant)
    assert (await bench.infer(1)).headers["sloctl-variant"] == "fp32"


async def test_a_higher_class_overtakes_a_lower_one_in_the_queue(bench):
    bench.in_threads()
    bench.engines["fp32"].go.clear()
    order = []

    async def ask(priority, rows):
        await bench.infer(*[1] * rows, parameters={"priority": priority})
        order.append(priority)

    tasks = [asyncio.create_task(ask(2, 8))]
    await until(lambda: bench.model._lane.jobs)
    tasks += [asyncio.create_task(ask(p, 8)) for p in (3, 2, 1)]
    await until(lambda: bench.model._queues.length == 3)
    bench.engines["fp32"].go.set()
    await asyncio.gather(*tasks)
    assert order == [2, 1, 2, 3]
    assert bench.scalar(c.REQUESTS, "m", "high", "ok") == 1
    assert bench.scalar(c.REQUESTS, "m", "low", "ok") == 1


async def test_an_engine_that_fails_fails_its_batch_and_is_counted(either):
    either.engines["fp32"].fail = "CUDA error 700"
    response = await either.infer(1)
    assert response.status == 500
    assert json.loads(response.body) == {
        "error": "the engine failed: CUDA error 700",
        "reason": "engine_error",
    }
    assert either.scalar(c.ENGINE_ERRORS, "m", "fp32") == 1
    assert either.scalar(c.REQUESTS, "m", "normal", "error") == 1
    either.engines["fp32"].fail = None
    assert (await either.infer(1)).status == 200


async def test_only_the_requests_whose_outputs_are_not_finite_fail(either):
    good, bad = await asyncio.gather(either.infer(1, 2), either.infer(13))
    assert (good.status, bad.status) == (200, 500)
    assert json.loads(bad.body)["reason"] == "nonfinite"
    assert either.scalar(c.NONFINITE, "m", "fp32") == 1
    assert either.scalar(c.INFERENCES, "m", "fp32") == 2


async def test_a_model_may_be_allowed_to_give_non_finite_outputs(make):
    bench = make(allowNonfinite=True)
    await bench.load()
    assert values(await bench.infer(13)) == [None] * 4


async def test_the_breaker_opens_after_failures_and_closes_after_good_probes(make):
    breaker = {
        "minimumNumberOfCalls": 4,
        "slidingWindowSize": 4,
        "waitDurationInOpenState": "20ms",
        "permittedNumberOfCallsInHalfOpenState": 2,
        "automaticTransitionFromOpenToHalfOpenEnabled": True,
        "recloseRamp": "0s",
    }
    bench = make(breaker=breaker, variants=["fp32"])
    await bench.load()
    bench.engines["fp32"].fail = "broken"
    statuses = [(await bench.infer(1)).status for _ in range(5)]
    assert statuses == [500] * 4 + [503]
    assert bench.scalar(c.BREAKER_STATE, "m", "open") == 1
    assert bench.scalar(c.REQUESTS, "m", "normal", "breaker_open") == 1
    bench.engines["fp32"].fail = None
    await asyncio.sleep(0.03)
    bench.model.tick()
    assert bench.scalar(c.BREAKER_STATE, "m", "half_open") == 1
    assert [(await bench.infer(1)).status for _ in range(2)] == [200, 200]
    assert bench.scalar(c.BREAKER_STATE, "m", "closed") == 1
    for state in ("open", "half_open", "closed"):
        assert bench.scalar(c.BREAKER_TRANSITIONS, "m", state) == 1


async def test_the_clients_mistakes_do_not_trip_the_breaker(make):
    bench = make(breaker={"minimumNumberOfCalls": 2, "slidingWindowSize": 2})
    await bench.load()
    for _ in range(5):
        await bench.call("POST", "/v2/models/m/infer", b'{"inputs":[]}')
    assert bench.scalar(c.BREAKER_STATE, "m", "closed") == 1


async def test_the_control_word_trips_sheds_and_limits(bench):
    bench.word(breaker=BreakerCommand.FORCE_OPEN, breaker_sequence=1)
    refused = await bench.infer(1)
    assert (refused.status, json.loads(refused.body)["reason"]) == (503, "breaker_open")
    assert int(refused.headers["retry-after"]) >= 1
    bench.word(breaker=BreakerCommand.AUTO, breaker_sequence=2)
    assert (await bench.infer(1)).status == 200
    bench.word(admit=(1.0, 0.5, 0.0))
    statuses = [(await bench.infer(1)).status for _ in range(4)]
    assert sorted(statuses) == [200, 200, 503, 503]
    assert (await bench.infer(1, parameters={"priority": 3})).status == 503
    assert (await bench.infer(1, parameters={"priority": 1})).status == 200
    assert bench.scalar(c.REQUESTS, "m", "normal", "shed") == 2
    assert bench.scalar(c.REQUESTS, "m", "low", "shed") == 1


async def test_a_full_queue_refuses_at_once(make):
    bench = make(maxQueue=2, maxBatch=1)
    await bench.load()
    bench.in_threads()
    bench.engines["fp32"].go.clear()
    tasks = [asyncio.create_task(bench.infer(1))]
    await until(lambda: bench.model._lane.jobs)
    tasks += [asyncio.create_task(bench.infer(1)) for _ in range(2)]
    await until(lambda: bench.model._queues.length == 2)
    refused = await bench.infer(1)
    assert json.loads(refused.body)["reason"] == "overloaded"
    bench.model.tick()
    assert bench.scalar(c.QUEUE_LENGTH, "m") == 2
    assert bench.scalar(c.INFLIGHT, "m") == 3
    bench.engines["fp32"].go.set()
    assert [r.status for r in await asyncio.gather(*tasks)] == [200] * 3


async def test_in_a_full_queue_a_higher_class_takes_the_place_of_the_newest_of_a_lower(make):
    bench = make(maxQueue=2, maxBatch=1)
    await bench.load()
    bench.in_threads()
    bench.engines["fp32"].go.clear()
    tasks = [asyncio.create_task(bench.infer(1))]
    await until(lambda: bench.model._lane.jobs)
    tasks += [asyncio.create_task(bench.infer(1, parameters={"priority": 3})) for _ in range(2)]
    await until(lambda: bench.model._queues.length == 2)
    assert (await bench.infer(1, parameters={"priority": 3})).status == 503
    tasks.append(asyncio.create_task(bench.infer(1, parameters={"priority": 1})))
    await until(tasks[2].done)
    bench.engines["fp32"].go.set()
    answers = await asyncio.gather(*tasks)
    assert [r.status for r in answers] == [200, 200, 503, 200]
    assert json.loads(answers[2].body)["reason"] == "overloaded"


@pytest.mark.parametrize(
    ("request_", "status"),
    [({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1]}]}, 400), ({}, 200)],
    ids=["malformed", "well-formed"],
)
async def test_who_cannot_run_takes_nobodys_place(make, request_, status):
    bench = make(maxQueue=1, maxBatch=1)
    await bench.load()
    bench.in_threads()
    bench.engines["fp32"].go.clear()
    running = asyncio.create_task(bench.infer(1))
    await until(lambda: bench.model._lane.jobs)
    low = asyncio.create_task(bench.infer(1, parameters={"priority": 3}))
    await until(lambda: bench.model._queues.length == 1)
    high = asyncio.create_task(bench.infer(1, parameters={"priority": 1}, **request_))
    await until(lambda: high.done() or low.done())
    bench.engines["fp32"].go.set()
    answers = await asyncio.gather(running, high, low)
    assert [answer.status for answer in answers] == [200, status, 503 if status == 200 else 200]


async def test_a_request_that_expires_in_the_queue_never_reaches_the_engine(make):
    bench = make(hang_after=60.0)
    await bench.load()
    bench.in_threads()
    engine = bench.engines["fp32"]
    engine.go.clear()
    first = asyncio.create_task(bench.infer(1))
    await until(lambda: bench.model._lane.jobs)
    ran = len(engine.batches)
    late = asyncio.create_task(bench.infer(1, parameters={"timeout": 1000}))
    await until(lambda: bench.model._queues.length == 1)
    await asyncio.sleep(0.005)
    bench.model.tick()
    response = await late
    assert (response.status, json.loads(response.body)["reason"]) == (503, "deadline")
    engine.go.set()
    assert (await first).status == 200
    assert len(engine.batches) == ran + 1
    assert bench.scalar(c.REQUESTS, "m", "normal", "deadline") == 1


async def test_a_request_that_cannot_be_done_in_time_is_refused_at_the_door(bench):
    bench.in_threads()
    for variant in bench.model.variants:
        variant.cost._correct(1e6)
    response = await bench.infer(1, parameters={"timeout": 10})
    assert (response.status, json.loads(response.body)["reason"]) == (503, "deadline")


async def test_a_cancelled_request_gives_everything_back(bench):
    bench.in_threads()
    bench.engines["fp32"].go.clear()
    tasks = [asyncio.create_task(bench.infer(1))]
    await until(lambda: bench.model._lane.jobs)
    tasks.append(asyncio.create_task(bench.infer(1)))
    await until(lambda: bench.model._queues.length == 1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert bench.model.inflight == 0
    bench.engines["fp32"].go.set()
    await until(lambda: not bench.model._lane.jobs and bench.model._queues.length == 0)
    assert bench.scalar(c.REQUESTS, "m", "normal", "cancelled") == 2
    assert (await bench.infer(1)).status == 200


# Faults and hangs


async def hang(bench):
    """One request that never comes back, until it is given up."""
    stuck = asyncio.create_task(bench.infer(1))
    await until(lambda: bench.model._lane.jobs)
    await asyncio.sleep(0.06)
    bench.model.tick()
    response = await stuck
    assert (response.status, json.loads(response.body)["reason"]) == (500, "engine_hangs")


async def test_a_hung_run_is_given_up_and_another_variant_stands_in_until_it_is_back(bench):
    bench.in_threads()
    bench.engines["fp32"].go.clear()
    await hang(bench)
    assert (await bench.infer(1)).headers["sloctl-variant"] == "int8"
    bench.engines["fp32"].go.set()
    await until(lambda: bench.model.variants[0].hung_since is None)
    bench.model.tick()
    assert (await bench.infer(1)).headers["sloctl-variant"] == "fp32"


async def test_where_every_variant_hangs_requests_fail_at_once(bench):
    bench.in_threads()
    bench.word(faults=Fault.HANG)
    bench.model.tick()
    await hang(bench)
    await hang(bench)
    assert not bench.model.ready
    assert json.loads((await bench.infer(1)).body)["reason"] == "engine_hangs"
    bench.word(faults=Fault.NONE)
    bench.model.tick()
    await until(lambda: all(variant.hung_since is None for variant in bench.model.variants))
    assert (await bench.infer(1)).status == 200


async def test_no_variant_stands_in_that_the_control_plane_does_not_allow(bench):
    bench.in_threads()
    bench.word(stand_ins=0b01)
    bench.engines["fp32"].go.clear()
    await hang(bench)
    assert json.loads((await bench.infer(1)).body)["reason"] == "engine_hangs"
    bench.word(variant=1)  # it decides otherwise
    assert (await bench.infer(1)).headers["sloctl-variant"] == "int8"


@pytest.mark.parametrize(("fault", "reason"), [(Fault.ERROR, "engine_error"), (Fault.NONFINITE, "nonfinite")])
async def test_injected_faults_look_like_real_ones(bench, fault, reason):
    bench.word(faults=fault)
    assert json.loads((await bench.infer(1)).body)["reason"] == reason
    bench.word(faults=Fault.NONE)
    assert (await bench.infer(1)).status == 200


async def test_faults_are_ignored_where_the_configuration_does_not_allow_them(bench):
    bench.model.fault_injection = False
    bench.word(faults=Fault.ERROR)
    assert (await bench.infer(1)).status == 200


# Loading


@pytest.mark.parametrize("level", ["runtime", "model", "context", "inference"])
async def test_a_variant_that_fails_says_at_which_level_and_the_other_serves(make, level):
    bench = make()
    bench.hosting.broken["fp32", level] = f"no {level} here"
    await bench.load()
    states = bench.model.variants[0].health.states
    assert states[level] is LevelState.FAILING
    passed = [name for name in c.HEALTH_LEVELS if states[name] is LevelState.PASSING]
    assert passed == list(c.HEALTH_LEVELS[: c.HEALTH_LEVELS.index(level)])
    assert bench.board.health("m", "fp32", level).read().message == f"no {level} here"
    assert (await bench.infer(1)).headers["sloctl-variant"] == "int8"
    assert (await bench.call("GET", "/v2/health/ready")).status == 200
    assert bench.scalar(c.VARIANT_SWITCHES, "m") == 0


async def test_without_any_variant_it_stays_up_and_says_why(make):
    bench = make()
    bench.hosting.broken["", "device"] = "no such device"
    await bench.load()
    for method, path in (("POST", "/v2/models/m/infer"), ("GET", "/v2/health/ready"), ("GET", "/v2/models/m")):
        response = await bench.call(method, path, b"{}")
        assert response.status == 503
    ready = await bench.call("GET", "/v2/health/ready")
    assert "no such device" in json.loads(ready.body)["error"]
    index = json.loads((await bench.call("POST", "/v2/repository/index")).body)
    assert (index[0]["state"], "no such device" in index[0]["reason"]) == ("UNAVAILABLE", True)


async def test_a_variant_with_other_tensors_is_not_taken(make):
    bench = make()
    spec = bench.engines["int8"].outputs[0]
    bench.engines["int8"].outputs = (type(spec)("y", "FP32", (-1, 5)),)
    await bench.load()
    assert bench.model.variants[1].loaded is None
    bench.word(variant=1)
    assert (await bench.infer(1)).headers["sloctl-variant"] == "fp32"


async def test_capacity_memory_and_accuracy_are_on_the_board(bench):
    assert bench.scalar(c.VARIANT_CAPACITY, "m", "fp32") > 1000
    assert bench.scalar(c.VARIANT_MEMORY, "m", "fp32") == 1000
    assert bench.scalar(c.VARIANT_ACCURACY, "m", "int8") == 0.9


async def test_accuracy_is_unknown_until_a_manifest_says(make):
    assert math.isnan(make().scalar(c.VARIANT_ACCURACY, "m", "fp32"))


# Profiles


async def test_a_profile_takes_the_last_real_batch_and_lands_on_the_board(bench):
    profiler = Profiler(EngineThread("profiler", asyncio.get_running_loop()))
    variant = bench.model.variants[0]
    config = ProfileConfig(rows=3)
    await profiler.sample(variant, config)
    await bench.infer(7, 5)
    await profiler.sample(variant, config)
    first, second = bench.engines["fp32"].profiled
    assert first["x"].tolist() == [[1.0] * 4] * 3, "before any traffic, the manifest's probe"
    assert second["x"].tolist() == [[7.0] * 4, [5.0] * 4, [7.0] * 4], "repeated to the rows asked for"
    layers = bench.board.snapshot().layers("m", "fp32")
    assert [(layer.name, layer.count) for layer in layers] == [("matmul", 2), ("relu", 2)]
    assert bench.scalar(c.PROFILES, "m", "fp32") == 2


# Recovery


def retries(bench) -> tuple[Loader, list[float]]:
    """A loader whose clock is in the test's hands."""
    now = [100.0]
    thread = EngineThread("loader", asyncio.get_running_loop())
    return Loader(bench.hosting, bench.repository, thread, lambda: now[0]), now


async def test_a_variant_that_failed_is_tried_again_with_longer_and_longer_pauses_and_joins(make):
    bench = make()
    loader, now = retries(bench)
    bench.hosting.broken["fp32", "context"] = "out of memory"
    await loader.load(bench.model)
    bench.plane.phase = Phase.RUNNING
    assert (await bench.infer(1)).headers["sloctl-variant"] == "int8"
    tried = []
    for _ in range(2000):
        now[0] += 1.0
        before = bench.hosting.asked["fp32", "context"]
        await loader.retry(bench.model)
        if bench.hosting.asked["fp32", "context"] > before:
            tried.append(now[0])
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert tried[0] == 105.0
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (10.0, 300.0)
    bench.hosting.broken.clear()
    now[0] += 300.0
    await loader.retry(bench.model)
    assert (await bench.infer(1)).headers["sloctl-variant"] == "fp32"
    assert bench.model.ready


async def test_a_change_of_its_files_is_an_attempt_at_once(make):
    bench = make()
    loader, _ = retries(bench)
    bench.hosting.broken["fp32", "model"] = "truncated"
    await loader.load(bench.model)
    await loader.retry(bench.model)
    assert bench.hosting.asked["fp32", "model"] == 1, "nothing has changed"
    bench.hosting.broken.clear()
    (bench.repository / "m" / "fp32").mkdir(parents=True)
    (bench.repository / "m" / "fp32" / "model.plan").write_bytes(b"whole")
    await loader.retry(bench.model)
    assert bench.model.variants[0].up


async def test_one_that_joins_with_other_tensors_does_not_push_the_serving_one_out(make):
    bench = make()
    loader, now = retries(bench)
    spec = bench.engines["fp32"].outputs[0]
    bench.engines["fp32"].outputs = (type(spec)("y", "FP32", (-1, 5)),)
    bench.hosting.broken["fp32", "context"] = "out of memory"
    await loader.load(bench.model)
    bench.hosting.broken.clear()
    now[0] += 5.0
    await loader.retry(bench.model)
    assert [variant.up for variant in bench.model.variants] == [False, True]


async def test_what_a_load_opened_is_closed_when_its_probe_fails(make):
    bench = make()
    bench.hosting.broken["fp32", "inference"] = "NaN"
    await bench.load()
    assert bench.engines["fp32"].closed
    assert not bench.engines["int8"].closed


@pytest.mark.parametrize(
    ("free", "budget", "says"),
    [
        (1 << 30, 67_109_864, ""),
        (1 << 30, 67_109_863, "budget 64 MiB, taken nothing"),
        (67_109_863, None, "64 MiB of the device are free"),
    ],
    ids=["it fits exactly", "the budget is a byte short", "the device is a byte short"],
)
async def test_a_load_that_does_not_fit_is_refused_with_the_arithmetic(make, free, budget, says):
    bench = make(**({"memoryBudget": budget} if budget else {}))
    bench.hosting.free = free
    bench.hosting.broken["int8", "model"] = "absent"
    await bench.load()
    assert bench.model.variants[0].up == (not says)
    message = bench.board.health("m", "fp32", "context").read().message
    assert says in message
    assert ("needs 1000 bytes (a fake) + 64 MiB margin" in message) == bool(says)
