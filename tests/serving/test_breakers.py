"""Breakers of a model and of its variants, by a data plane around fake engines."""

import asyncio
import json

import pytest

from sloctl.admission.breaker import BreakerState, Command
from sloctl.board import BreakerCommand
from sloctl.serving import model
from sloctl.serving.worker import execute
from sloctl.telemetry import catalogue as c

MINIMUM, PERMITS = 6, 3
BREAKER = {
    "minimumNumberOfCalls": MINIMUM,
    "slidingWindowSize": 40,
    "waitDurationInOpenState": "10s",
    "permittedNumberOfCallsInHalfOpenState": PERMITS,
    "recloseRamp": "10s",
}


@pytest.fixture
async def bench(make):
    """Its clock is in the test's hands: `pass_time`."""
    made = make(breaker=BREAKER)
    await made.load()
    return Timed(made)


async def until(holds):
    """Lets the loop turn until something holds; pytest's timeout ends it."""
    while not holds():  # noqa: ASYNC110  nobody sets an event for what it looks at
        await asyncio.sleep(0.001)


class Timed:
    def __init__(self, bench):
        self.bench, self.model, self.engines, self.ahead = bench, bench.model, bench.engines, 0.0
        self.fp32, self.int8 = bench.model.variants
        self.scalar = bench.scalar
        clock = bench.model._clock
        bench.model._clock = bench.model.completion._clock = bench.plane.clock = lambda: clock() + self.ahead

    def pass_time(self, seconds):
        self.ahead += seconds
        self.model.tick()

    async def infer(self, count=1, **parameters):
        """Variant, or else reason, of so many requests, one after another."""
        asked = {"parameters": parameters} if parameters else {}
        found = []
        for _ in range(count):
            response = await self.bench.infer(1, **asked)
            found.append(response.headers.get("sloctl-variant") or json.loads(response.body)["reason"])
        return found

    @property
    def states(self):
        """Of the model's breaker and of the variants'."""
        return tuple(
            str(b) for b in (self.model._guard.breaker.state, self.fp32.breaker.state, self.int8.breaker.state)
        )

    async def leave(self):
        """fp32 fails until it is left."""
        self.engines["fp32"].fail = "broken"
        await self.infer(MINIMUM)
        assert self.states == ("closed", "open", "closed")


async def test_a_failing_variant_is_left_within_its_minimum_of_calls_and_the_next_serves(bench):
    bench.engines["fp32"].fail = "broken"
    assert await bench.infer(MINIMUM + 20) == ["engine_error"] * MINIMUM + ["int8"] * 20
    assert bench.states == ("closed", "open", "closed")
    assert bench.scalar(c.VARIANT_BREAKER.state, "m", "fp32", "open") == 1
    assert bench.scalar(c.SERVING_VARIANT, "m", "int8") == 1
    assert bench.model.ready, "by the variant that serves"


async def test_at_most_one_batch_beyond_the_minimum_fails(bench):
    bench.engines["fp32"].fail = "broken"
    responses = await asyncio.gather(*[bench.bench.infer(1) for _ in range(40)])
    failed = sum(response.status == 500 for response in responses)
    assert MINIMUM <= failed <= MINIMUM + bench.engines["fp32"].max_batch
    assert sum(response.status == 200 for response in responses) == 40 - failed


async def test_it_comes_back_by_its_permits_of_real_requests_and_then_gradually(bench):
    await bench.leave()
    bench.engines["fp32"].fail = None
    assert set(await bench.infer(5)) == {"int8"}
    bench.pass_time(10)
    assert await bench.infer(PERMITS) == ["fp32"] * PERMITS
    assert bench.states == ("closed", "closed", "closed")
    shares = []
    for _ in range(6):
        shares.append((await bench.infer(50)).count("fp32"))
        bench.pass_time(2)
    assert shares == [pytest.approx(share, abs=3) for share in (5, 10, 20, 30, 40, 50)]
    assert set(await bench.infer(5)) == {"fp32"}
    assert bench.scalar(c.SERVING_VARIANT, "m", "fp32") == 1
    assert bench.scalar(c.REQUESTS, "m", "normal", "error") == MINIMUM


async def test_one_that_fails_still_costs_its_permits_and_no_more(bench):
    await bench.leave()
    for _ in range(3):
        bench.pass_time(10)
        assert await bench.infer(10) == ["engine_error"] * PERMITS + ["int8"] * (10 - PERMITS)
    assert bench.states == ("closed", "open", "closed")
    assert bench.scalar(c.VARIANT_BREAKER.transitions, "m", "fp32", "open") == 4


async def test_a_batch_is_split_between_the_probed_variant_and_the_one_that_stands_in(bench):
    await bench.leave()
    bench.engines["fp32"].fail = None
    bench.pass_time(10)
    responses = await asyncio.gather(*[bench.bench.infer(n) for n in range(6)])
    served = [response.headers["sloctl-variant"] for response in responses]
    assert served == ["fp32"] * PERMITS + ["int8"] * 3
    factors = {"fp32": 2.0, "int8": 3.0}
    for n, response in enumerate(responses):
        assert json.loads(response.body)["outputs"][0]["data"] == [n * factors[served[n]]] * 4


async def test_one_whose_health_probes_fail_gets_no_requests(bench):
    await bench.leave()
    bench.fp32.answers = False
    bench.pass_time(10)
    assert set(await bench.infer(10)) == {"int8"}
    bench.fp32.answers = True
    assert "engine_error" in await bench.infer(1)


async def test_when_all_fail_the_models_breaker_opens_and_recovers_gradually(bench):
    await bench.infer(12)  # the model's window is full of successes
    for engine in bench.engines.values():
        engine.fail = "broken"
    found = await bench.infer(40)
    assert set(found) == {"engine_error", "breaker_open"}
    assert found.count("engine_error") == 12 + MINIMUM, "half of what fp32 has seen, and int8's minimum"
    assert bench.states == ("open", "open", "open")
    for engine in bench.engines.values():
        engine.fail = None
    bench.pass_time(10)
    assert "breaker_open" not in await bench.infer(PERMITS)
    assert bench.states[0] == "closed"
    served = await bench.infer(50)
    assert 3 <= len(served) - served.count("breaker_open") <= 10
    bench.pass_time(10)
    assert "breaker_open" not in await bench.infer(50)


async def test_of_variants_that_all_failed_each_has_its_turn(bench):
    """Or one that is well again would never be found while the first one fails."""
    for engine in bench.engines.values():
        engine.fail = "broken"
    await bench.infer(2 * MINIMUM + 1)
    assert bench.states == ("open", "open", "open")
    bench.engines["int8"].fail = None
    bench.pass_time(10)
    assert await bench.infer(PERMITS) == ["engine_error"] * PERMITS, "fp32 opened first"
    bench.pass_time(10)
    assert await bench.infer(PERMITS) == ["int8"] * PERMITS
    assert bench.states[0] == "closed"


async def test_probes_that_are_commanded_are_those_of_the_variant_too(bench):
    for engine in bench.engines.values():
        engine.fail = "broken"
    await bench.infer(2 * MINIMUM)
    bench.engines["fp32"].fail = None
    bench.bench.word(breaker=BreakerCommand.HALF_OPEN, breaker_sequence=1)
    assert await bench.infer(PERMITS) == ["fp32"] * PERMITS
    assert bench.states == ("closed", "closed", "open")


async def test_only_variants_that_may_stand_in_count_as_left(bench):
    bench.bench.word(stand_ins=0b01)
    bench.engines["fp32"].fail = "broken"
    assert await bench.infer(MINIMUM + 1) == ["engine_error"] * MINIMUM + ["breaker_open"]
    assert bench.states == ("open", "open", "closed")
    bench.bench.word(variant=1)  # the control plane decides otherwise
    bench.pass_time(10)
    assert await bench.infer(PERMITS) == ["int8"] * PERMITS


@pytest.fixture
async def bereft(make):
    """No variant may stand in for fp32, which is broken; requests may name int8, which is well."""
    made = make(breaker=BREAKER, clientPrecision=True)
    made.hosting.accuracies = {"fp32": 0.99, "int8": 0.9}
    await made.load()
    made.word(stand_ins=0b01)
    timed = Timed(made)
    timed.engines["fp32"].fail = "broken"
    await timed.infer(MINIMUM)
    assert timed.states == ("open", "open", "closed")
    return timed


INT8 = {"sloctl_precision": "int8"}


async def test_who_names_a_variant_that_is_well_is_served_while_the_models_breaker_is_open(bereft):
    assert await bereft.infer(**INT8) == ["int8"]
    assert await bereft.infer() == ["breaker_open"]
    bereft.engines["int8"].fail = "broken"
    assert set(await bereft.infer(MINIMUM - 1, **INT8)) == {"engine_error"}
    assert await bereft.infer(1, **INT8) == ["no_variant"], "now its own breaker is open"


async def test_a_class_with_a_variant_that_is_well_is_served_while_the_models_breaker_is_open(bereft):
    bereft.bench.word(tiers=(-1, -1, 1))
    assert await bereft.infer(10, priority=3) == ["int8"] * 10
    assert await bereft.infer(priority=2) == ["breaker_open"]


async def test_a_variant_that_is_named_serves_on_where_it_becomes_the_models(bereft):
    bereft.bench.word(variant=1)
    assert await bereft.infer(10, **INT8) == ["int8"] * 10
    assert await bereft.infer() == ["breaker_open"], "its own wait has to end, and its probes"


@pytest.mark.parametrize("order", [BreakerCommand.FORCE_OPEN, BreakerCommand.TRIP])
async def test_a_breaker_that_is_open_by_order_keeps_out_who_names_a_variant(bereft, order):
    bereft.bench.word(breaker=order, breaker_sequence=1)
    assert await bereft.infer(5, **INT8) == ["breaker_open"] * 5


async def test_a_variant_that_is_named_is_no_probe_of_the_models_breaker(bereft):
    bereft.pass_time(10)
    assert await bereft.infer(PERMITS + 1, **INT8) == ["int8"] * (PERMITS + 1)
    assert await bereft.infer(PERMITS + 1) == ["engine_error"] * PERMITS + ["breaker_open"]


async def test_who_falls_back_to_the_models_variant_needs_a_permit_of_its_breaker(bereft):
    bereft.bench.word(tiers=(-1, -1, 1))
    bereft.bench.in_threads()
    bereft.engines["int8"].go.clear()
    ahead = asyncio.create_task(bereft.infer(priority=3))
    await until(lambda: bereft.model._lane.jobs)
    waits = asyncio.create_task(bereft.infer(priority=3))
    await until(lambda: bereft.model._queues.length)
    bereft.int8.breaker.command(Command.TRIP, bereft.model._clock())
    bereft.engines["int8"].go.set()
    assert await ahead == ["int8"]
    assert await waits == ["breaker_open"]
    assert bereft.model.inflight == 0


async def test_the_control_word_and_the_data_plane_do_not_fight(bench):
    """The control plane leaves the variant, too, and later returns: neither costs a switch that gains nothing."""
    await bench.leave()
    await bench.infer(1)
    assert bench.scalar(c.VARIANT_SWITCHES, "m") == 1
    bench.bench.word(variant=1)
    assert set(await bench.infer(5)) == {"int8"}
    bench.pass_time(60)
    assert set(await bench.infer(20)) == {"int8"}, "nobody wants fp32, so nobody is sent there"
    bench.engines["fp32"].fail = None
    bench.bench.word(variant=0)
    assert (await bench.infer(20)).count("fp32") in (PERMITS + 1, PERMITS + 2)
    bench.pass_time(10)
    assert set(await bench.infer(5)) == {"fp32"}
    assert bench.scalar(c.VARIANT_SWITCHES, "m") == 2


async def test_a_switch_to_a_variant_whose_breaker_is_open_waits_for_its_probes(bench):
    bench.bench.word(variant=1)
    bench.engines["int8"].fail = "broken"
    assert (await bench.infer(MINIMUM + 1))[-1] == "fp32"
    bench.bench.word(variant=0)
    await bench.infer(1)
    bench.bench.word(variant=1)
    assert set(await bench.infer(5)) == {"fp32"}


async def test_without_requests_health_probes_take_their_place(bench):
    for engine in bench.engines.values():
        engine.fail = "broken"
    await bench.infer(2 * MINIMUM)
    bench.pass_time(10)
    for variant in bench.model.variants * PERMITS:
        bench.model.probed(variant, passed=True, within=5.0)
    assert [variant.breaker.state for variant in bench.model.variants] == [BreakerState.CLOSED] * 2
    assert bench.states[0] == "closed"
    bench.model.probed(bench.fp32, passed=False, within=5.0)
    assert not bench.fp32.answers


async def test_with_requests_health_probes_tell_a_breaker_nothing(bench):
    await bench.leave()
    bench.pass_time(10)
    await bench.infer(1)
    for _ in range(PERMITS):
        bench.model.probed(bench.fp32, passed=True, within=5.0)
    assert bench.fp32.breaker.state is BreakerState.HALF_OPEN


async def test_one_that_the_control_word_left_is_half_open_after_its_wait_for_the_planner_to_see(bench):
    await bench.leave()
    bench.engines["fp32"].fail = None
    bench.bench.word(variant=1)
    bench.pass_time(5)
    assert await bench.infer(3) == ["int8"] * 3
    assert bench.states == ("closed", "open", "closed")
    bench.pass_time(6)
    assert await bench.infer(3) == ["int8"] * 3
    assert bench.states == ("closed", "half_open", "closed")
    bench.bench.word(variant=0)
    assert await bench.infer(PERMITS) == ["fp32"] * PERMITS
    assert bench.states == ("closed", "closed", "closed")


async def test_what_says_nothing_about_an_engine_is_neutral(bench):
    for _ in range(2 * MINIMUM):
        await bench.bench.call("POST", "/v2/models/m/infer", b'{"inputs":[]}')
    bench.pass_time(0)
    assert bench.scalar(c.MODEL_BREAKER.buffered, "m") == 0
    assert bench.states == ("closed", "closed", "closed")


async def test_nonfinite_outputs_count_for_the_variant(bench):
    bench.engines["fp32"].bad = True
    assert (await bench.infer(MINIMUM + 1))[-1] == "int8"


async def test_counts_and_rates_are_on_the_board(bench):
    await bench.infer(MINIMUM - 2)
    bench.engines["fp32"].fail = "broken"
    await bench.infer(2)
    bench.pass_time(0)
    calls = {kind: bench.scalar(c.VARIANT_BREAKER.calls, "m", "fp32", kind) for kind in c.BREAKER_KINDS}
    assert calls == {"successful": MINIMUM - 2, "failed": 2, "ignored": 0, "not_permitted": 0}
    assert bench.scalar(c.VARIANT_BREAKER.buffered, "m", "fp32") == MINIMUM
    assert bench.scalar(c.VARIANT_BREAKER.failure_ratio, "m", "fp32") == pytest.approx(2 / MINIMUM)
    assert bench.scalar(c.VARIANT_BREAKER.slow_call_ratio, "m", "fp32") == 0
    ended = {kind: bench.scalar(c.MODEL_BREAKER.calls, "m", kind) for kind in c.BREAKER_KINDS}
    assert ended == {"successful": MINIMUM - 2, "failed": 0, "ignored": 2, "not_permitted": 0}, "int8 was left"


async def test_a_forced_open_breaker_counts_what_it_keeps_out(bench):
    bench.bench.word(breaker=BreakerCommand.FORCE_OPEN, breaker_sequence=1)
    assert await bench.infer(3) == ["breaker_open"] * 3
    bench.pass_time(0)
    assert bench.scalar(c.MODEL_BREAKER.calls, "m", "not_permitted") == 3
    assert bench.states == ("forced_open", "closed", "closed")


@pytest.mark.parametrize("command", [BreakerCommand.DISABLE, BreakerCommand.METRICS_ONLY])
async def test_neither_disabled_nor_metrics_only_takes_a_variant_off(bench, command):
    bench.bench.word(breaker=command, breaker_sequence=1)
    bench.engines["fp32"].fail = "broken"
    assert set(await bench.infer(3 * MINIMUM)) == {"engine_error"}
    bench.bench.word(breaker=BreakerCommand.AUTO, breaker_sequence=2)
    assert (await bench.infer(MINIMUM + 1))[-1] == "int8"


async def test_close_by_hand_brings_a_variant_back_at_once(bench):
    await bench.leave()
    bench.engines["fp32"].fail = None
    bench.bench.word(breaker=BreakerCommand.CLOSE, breaker_sequence=1)
    assert set(await bench.infer(5)) == {"fp32"}


async def test_a_slow_variant_is_left_and_tells_nothing_against_the_model(make, monkeypatch):
    made = make(breaker=BREAKER | {"slowCallDurationThreshold": "1s", "slowCallRateThreshold": 50})
    await made.load()
    bench = Timed(made)

    def slow(engine, *more):
        result = execute(engine, *more)
        result.seconds = 1.0 if engine is bench.fp32.loaded.engine else 0.001
        bench.ahead += result.seconds
        return result

    monkeypatch.setattr(model, "execute", slow)
    assert await bench.infer(2 * MINIMUM) == ["fp32"] * MINIMUM + ["int8"] * MINIMUM
    assert bench.states == ("closed", "open", "closed")
    bench.pass_time(0)
    assert bench.scalar(c.VARIANT_BREAKER.slow_calls, "m", "fp32") == MINIMUM
    assert bench.scalar(c.MODEL_BREAKER.slow_call_ratio, "m") == 0
