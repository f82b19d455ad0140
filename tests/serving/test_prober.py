"""Probes and the verdict on the process, with time and threads in the test's hands."""

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.board import Ending, Fault, LevelState
from sloctl.config.daemon import HealthConfig
from sloctl.engines.base import DeviceLostError
from sloctl.serving.liveness import Liveness
from sloctl.serving.prober import Attempt, Prober, _Probe, attempt
from sloctl.telemetry import catalogue as c

INTERVAL, TIMEOUT = 4.0, 1.0
PASSING, MISSED, FAILING, DEGRADED = LevelState.PASSING, LevelState.MISSED, LevelState.FAILING, LevelState.DEGRADED


class Thread:
    """Runs a call when it is told to."""

    def __init__(self):
        self.calls = []

    def submit(self, call, done):
        self.calls.append((call, done))

    def run(self):
        calls, self.calls = self.calls, []
        for call, done in calls:
            done(call())


class Probing:
    """A prober of the bench's model; `step` lets time pass and, unless it is told not to, the probes come back."""

    def __init__(self, bench, now=1000.0):
        self.now = now
        self.threads = {}
        self.lost = []
        config = HealthConfig.model_validate({"interval": INTERVAL, "timeout": TIMEOUT})
        self.prober = Prober([bench.model], config, bench.hosting, self.lost.append, self._thread, lambda: self.now)
        self.variants = {variant.name: variant for variant in bench.model.variants}

    def _thread(self, name):
        self.threads[name.rpartition("/")[2]] = Thread()
        return self.threads[name.rpartition("/")[2]]

    def step(self, seconds=0.0, stuck=()):
        end = self.now + seconds
        while True:
            self.prober.tick()
            for name, thread in self.threads.items():
                if name not in stuck:
                    thread.run()
            if self.now >= end:
                return
            self.now = min(self.now + 0.1, end)

    def state(self, variant="fp32", level="inference"):
        return self.variants[variant].health.states[level]


@pytest.fixture
async def probing(bench):
    made = Probing(bench)
    made.step()
    return made


async def test_a_probe_that_fails_is_missed_once_and_fails_within_one_interval(bench, probing):
    assert probing.state() is PASSING
    bench.engines["fp32"].bad_check = "off its reference"
    seen = []
    for _ in range(round(INTERVAL / 0.1)):
        probing.step(0.1)
        seen.append(probing.state())
    assert MISSED in seen
    assert seen[-1] is FAILING
    assert probing.state("int8") is PASSING
    response = await bench.call("GET", "/v2/health/ready")
    assert (response.status, "off its reference" in json.loads(response.body)["error"]) == (503, True)
    bench.engines["fp32"].bad_check = ""
    probing.step(INTERVAL)
    assert probing.state() is PASSING
    assert bench.scalar(c.PROBE_SECONDS, "m") > 0


async def test_a_single_miss_does_not_end_readiness(bench, probing):
    bench.engines["fp32"].bad_check = "once"
    while probing.state() is PASSING:
        probing.step(0.1)
    bench.engines["fp32"].bad_check = ""
    assert bench.model.ready
    probing.step(INTERVAL)
    assert probing.state() is PASSING


async def test_a_probe_that_stays_away_fails_and_counts_as_a_hang(bench, probing):
    probing.step(INTERVAL / 2 - 0.05)
    probing.step(TIMEOUT + 0.2, stuck=("fp32",))
    assert probing.state() is MISSED
    started = probing.prober.hung_since(probing.variants["fp32"])
    assert started is not None
    probing.step(INTERVAL / 10, stuck=("fp32",))
    assert probing.state() is FAILING
    assert probing.state("int8") is PASSING, "the other one is probed all the while"
    probing.step()
    assert probing.state() is PASSING, "it came back, and was asked again"
    assert probing.prober.hung_since(probing.variants["fp32"]) is None


async def test_load_alone_never_ends_readiness(bench, probing):
    for _ in range(8):  # a slow machine: each probe takes three times its limit, while batches succeed
        for _ in range(30):
            probing.variants["fp32"].last_success = probing.now
            probing.step(0.1, stuck=("fp32",))
            assert probing.state() is PASSING
        probing.step()
        assert probing.prober.hung_since(probing.variants["fp32"]) is None


async def test_a_probe_that_never_comes_back_fails_even_where_batches_succeed(bench, probing):
    for _ in range(100):
        probing.variants["fp32"].last_success = probing.now
        probing.step(0.1, stuck=("fp32",))
    assert probing.state() is FAILING


async def test_batches_that_fail_are_not_hidden_by_probes_that_pass(bench, probing):
    bench.engines["fp32"].fail = "the hot context is broken"
    for _ in range(3):
        assert (await bench.infer(1)).status == 500
    probing.variants["fp32"].last_failure = probing.now  # the bench's batches run on the real clock
    probing.step(INTERVAL)
    assert probing.state() is FAILING
    assert "the hot context is broken" in bench.board.health("m", "fp32", "inference").read().message
    bench.engines["fp32"].fail = None
    assert (await bench.infer(1)).status == 200
    probing.step(INTERVAL)
    assert probing.state() is PASSING


async def test_a_run_that_hangs_is_told_at_once(bench, probing):
    probing.variants["fp32"].hung_since = probing.now
    probing.step()
    assert probing.state() is FAILING
    assert not bench.model.ready
    probing.variants["fp32"].hung_since = None
    probing.step(0.1)
    assert probing.state() is PASSING


async def test_a_lost_device_fails_its_own_level(bench, probing):
    bench.hosting.broken["", "device"] = "GPU is gone"
    probing.step(INTERVAL)
    assert probing.state(level="device") is FAILING
    assert "GPU is gone" in json.loads((await bench.call("GET", "/v2/health/ready")).body)["error"]


async def test_lost_monitoring_is_told_and_does_not_end_readiness(bench, probing):
    bench.hosting.broken["", "monitoring"] = "driver not loaded"
    probing.step(INTERVAL)
    assert probing.state(level="device") is DEGRADED
    assert "driver not loaded" in bench.board.health("m", "fp32", "device").read().message
    assert (await bench.call("GET", "/v2/health/ready")).status == 200
    bench.hosting.broken.clear()
    for variant in bench.model.variants:
        variant.switch.faults = Fault.NVML
    probing.step(INTERVAL)
    assert probing.state(level="device") is DEGRADED
    for variant in bench.model.variants:
        variant.switch.faults = Fault.NONE
    probing.step(INTERVAL)
    assert probing.state(level="device") is PASSING


@given(seconds=st.lists(st.floats(1e-4, 0.5), min_size=1, max_size=6))
def test_probes_take_no_more_than_their_share_of_time(seconds):
    passing = SimpleNamespace(health=SimpleNamespace(states={"inference": PASSING}))
    probes = [_Probe(None, passing, None, Path(), seconds=each) for each in seconds]
    prober = Prober([], HealthConfig.model_validate({"interval": 0.5}), None, None, None)
    prober._probes = probes
    for probe in probes:
        prober._pace(probe, 100.0)
        assert sum(seconds) <= 0.005 * (probe.due - 100.0) * 1.000001


async def test_a_probe_that_was_held_up_puts_off_the_next_one_no_more_than_any_other(probing):
    (probe,) = [each for each in probing.prober._probes if each.variant.name == "fp32"]
    probe.started = probing.now
    probing.now += 6.0
    probing.prober._back(probe, Attempt("a device", seconds=6.0))
    assert probe.due <= probing.now + INTERVAL


# The verdict on the process


def liveness(bench, probing, limit=30.0):
    return Liveness([bench.model], probing.prober.hung_since, limit)


async def test_a_lost_device_ends_the_process_whether_a_batch_or_a_probe_finds_it(bench, probing):
    verdicts = liveness(bench, probing)
    assert verdicts.verdict(probing.now) is None
    verdicts.lose("illegal address")
    ending, why = verdicts.verdict(probing.now)
    assert (ending, "illegal address" in why) == (Ending.DEVICE_LOST, True)

    def lost(_):
        raise DeviceLostError("sticky")

    bench.engines["int8"].check = lost
    probing.step(INTERVAL)
    assert probing.lost
    bench.model.completion.lost = probing.lost.append
    bench.engines["fp32"].infer = lambda *_: lost(_)
    probing.lost.clear()
    assert (await bench.infer(1)).status == 500
    assert probing.lost == ["sticky"]


async def test_only_a_hang_of_every_variant_ends_the_process(bench, probing):
    verdicts = liveness(bench, probing, limit=10.0)
    fp32, int8 = probing.variants.values()
    fp32.hung_since = probing.now
    probing.now += 60.0
    assert verdicts.verdict(probing.now) is None, "the other one serves"
    int8.hung_since = probing.now - 5.0
    assert verdicts.verdict(probing.now) is None, "not yet"
    ending, why = verdicts.verdict(probing.now + 6.0)
    assert (ending, "model m" in why) == (Ending.ENGINE_HANGS, True)


async def test_a_variant_that_fails_every_batch_is_returned_to_ever_more_rarely(probing):
    variant, waits = probing.variants["fp32"], []
    for _ in range(9):
        variant.failures, variant.last_failure = variant.failures + 3, probing.now
        failed = probing.now
        probing.step(2 * INTERVAL)
        assert probing.state() is FAILING
        while probing.state() is not PASSING:
            probing.now += INTERVAL
            probing.step()
        waits.append(probing.now - failed)
    assert all(later > 1.5 * sooner for sooner, later in pairwise(waits[:6]))
    assert waits[-1] < 1.1 * waits[-2], "there is a bound"


async def test_a_slow_minute_does_not_space_probes_for_long(bench, probing, monkeypatch):
    """What batches and probes take of late is mostly waiting; a probe's cost is held against what was measured."""

    def slow(*about):
        found = attempt(*about)
        found.seconds = 0.2
        return found

    monkeypatch.setattr("sloctl.serving.prober.attempt", slow)
    for variant in bench.model.variants:
        for _ in range(200):
            variant.cost.observe(1, 0.2)
    probing.step(INTERVAL)
    bench.engines["fp32"].bad_check = "off its reference"
    probing.step(INTERVAL)
    assert probing.state() is FAILING
