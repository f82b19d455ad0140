"""The goals under overload in short, against a real daemon on an emulated accelerator, by bounds that are relative.

`make bench-overload` measures them in full; here is only what must hold on any machine, however busy.
"""

import pytest

from bench.overload import beds, breaking, goodput, handover, spike, storm, switching
from bench.overload.nodes import OWN, UNBOUNDED
from bench.overload.options import Options

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]
SHORT = Options(seconds=2.0, storm=10.0, seeds=(1,), ramp=1.0)


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    return beds.emulated(tmp_path_factory.mktemp("emulated"))


def test_goodput_at_one_precision_stands_where_an_unbounded_queue_has_none(bed) -> None:
    found = goodput.measure(bed, SHORT, (OWN, UNBOUNDED), times=(4,))
    own, peer = (found.cells[setting.name][4].goodput[0] for setting in (OWN, UNBOUNDED))
    assert own > 2 * peer
    assert own > 0.5 * found.peak


def test_switching_serves_more_than_the_most_accurate_variant_alone(bed) -> None:
    found = switching.measure(bed, SHORT)
    assert found.steered[0] > 1.5 * found.pinned["fp32"]


def test_high_priority_is_kept_in_a_spike_of_low(bed) -> None:
    found = spike.measure(bed, SHORT, (OWN, UNBOUNDED))
    (own, *_), (peer, *_) = (found.found[setting.name][0] for setting in (OWN, UNBOUNDED))
    assert own > 0.9
    assert own > 3 * peer


def test_the_breaker_opens_after_its_minimum_of_calls_and_what_was_in_hand(bed) -> None:
    (failures,) = breaking.measure(bed, SHORT).failures
    assert breaking.MINIMUM <= failures <= breaking.MINIMUM + 3 * bed.max_batch


def test_a_switch_under_load_fails_no_request(bed) -> None:
    found = handover.measure(bed, SHORT)
    assert found.failed == (0.0,)
    assert found.switches[0] >= 2


def test_goodput_comes_back_after_a_storm_of_retries(bed, tmp_path) -> None:
    slow = beds.emulated(tmp_path, slower=100.0)
    found = storm.measure(slow, 96.0, SHORT.storm, storm.cases(SHORT, slow.patience)[:1], at_once=1)
    assert found.runs[0].after > 0.9
