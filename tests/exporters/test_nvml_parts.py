"""What NVML tells of faults, activity, time and MIG, from the recorded H200 and through its failures."""

import itertools
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.telemetry.catalogue import CLOCKS_EVENT_REASONS
from sloctl.telemetry.families import Family
from sloctl_exporters.nvml import NvmlSource
from sloctl_exporters.nvml_fields import COUNTED_REASONS, FIELDS
from sloctl_exporters.nvml_reasons import ReasonClock
from sloctl_exporters.nvml_xid import KINDS, NAMES

MIB = 1024**2
GPU = ("0", "GPU-6f1d2c3b-0000-4000-8000-000000000000")
WALL = 1.8e9
SECONDS = "sloctl_gpu_clocks_event_seconds_total"
ACTIVITY = "sloctl_gpu_activity_ratio"
XIDS = "sloctl_gpu_xid_errors_total"


class Machine:
    """A source over the fake library, and a clock that tests move."""

    def __init__(self, fake_nvml: ModuleType, gpus: int = 1, **more: Any) -> None:
        self.now = 100.0
        self.nvml = fake_nvml.FakeNvml(gpus)
        self.source = NvmlSource(self.nvml, lambda: self.now, visible="", wall=lambda: WALL + self.now, **more)

    def tick(self, seconds: float = 1.0) -> dict[tuple[str, tuple[str, ...]], Any]:
        self.now += seconds
        return table(self.source.read())


def table(families: list[Family]) -> dict[tuple[str, tuple[str, ...]], Any]:
    return {(f.metric.name, labels): value for f in families for labels, value in f.samples}


@pytest.fixture
def machine(fake_nvml: ModuleType) -> Machine:
    return Machine(fake_nvml)


# --- fields


def test_slow_fields_take_turns_and_keep_their_values_in_between(machine: Machine) -> None:
    machine.tick()
    assert set(machine.nvml.asked_fields) == {field.number for field in FIELDS}  # all of them at first
    machine.nvml.asked_fields.clear()
    seen = set()
    for _ in range(5):
        before = machine.nvml.asked_fields.copy()
        machine.nvml.energy += 1000
        found = machine.tick()
        seen.add(found["sloctl_gpu_energy_joules_total", GPU])
        assert sum((machine.nvml.asked_fields - before).values()) < len(FIELDS) / 2
    told = {f.number for f in FIELDS} - {138, 139}  # this GPU has no NVLink
    assert {n: machine.nvml.asked_fields[n] for n in told} == {n: 5 if n in (82, 186) else 1 for n in told}
    assert 0 < len(seen) <= 2


def test_a_field_that_an_older_driver_does_not_know_is_refused_alone(machine: Machine) -> None:
    machine.nvml.fields[230] = (0, 2)  # as field 289 was recorded: invalid argument
    assert machine.nvml.answers["fields"]["289"]["return"] == 2
    found = machine.tick()
    assert ("sloctl_gpu_recovery_action", GPU) not in found
    assert found["sloctl_gpu_unsupported_info", (*GPU, "recovery action", "Invalid Argument")] == 1
    assert found["sloctl_gpu_energy_joules_total", GPU] > 0


def test_a_field_that_fails_in_passing_comes_back(machine: Machine) -> None:
    machine.nvml.fields[82] = (0, 999)
    assert ("sloctl_gpu_memory_temperature_celsius", GPU) not in machine.tick()
    del machine.nvml.fields[82]
    assert machine.tick()["sloctl_gpu_memory_temperature_celsius", GPU] == 50


def test_a_field_tells_that_the_gpu_is_lost(machine: Machine) -> None:
    machine.tick()
    machine.nvml.fields[82] = (0, 15)
    assert machine.tick()["sloctl_gpus_present", ()] == 0


# --- clock event reasons


def test_time_is_the_drivers_where_it_counts_and_sampled_elsewhere(machine: Machine) -> None:
    machine.nvml.reasons = 0x1 | 0x4  # idle, and the power cap that the driver counts
    machine.tick()
    found = machine.tick(2.5)
    sources = {labels[2]: labels[3] for name, labels in found if name == SECONDS}
    assert sources == {r: "driver" if r in COUNTED_REASONS else "sampled" for r in CLOCKS_EVENT_REASONS}
    assert found[SECONDS, (*GPU, "gpu_idle", "sampled")] == 2.5
    assert found[SECONDS, (*GPU, "sw_power_cap", "driver")] == 5.648624704  # what was recorded, in seconds


def test_a_driver_that_does_not_count_is_sampled_throughout(machine: Machine, fake_nvml: ModuleType) -> None:
    machine.nvml.broken["nvmlDeviceGetFieldValues"] = fake_nvml.NVMLError(13)
    machine.nvml.reasons = 0x4
    machine.tick()
    assert machine.tick(3)[SECONDS, (*GPU, "sw_power_cap", "sampled")] == 3


def test_time_without_an_answer_counts_for_no_reason_and_totals_outlive_the_driver(
    machine: Machine, fake_nvml: ModuleType
) -> None:
    machine.nvml.reasons = 0x1
    machine.tick()
    machine.tick()
    machine.nvml.broken["nvmlDeviceGetTemperature"] = fake_nvml.NVMLError(1)
    machine.tick(50)
    machine.nvml.broken.clear()
    assert machine.tick(100)[SECONDS, (*GPU, "gpu_idle", "sampled")] == 1
    assert machine.tick(2)[SECONDS, (*GPU, "gpu_idle", "sampled")] == 3


@given(st.lists(st.tuples(st.integers(0, 0x1FF), st.floats(0, 1000)), min_size=1, max_size=20))
def test_no_reason_holds_longer_than_there_was_time(steps: list[tuple[int, float]]) -> None:
    clock, now = ReasonClock(), 0.0
    before = dict.fromkeys(CLOCKS_EVENT_REASONS, 0.0)
    for bits, seconds in steps:
        now += seconds
        nvml = type("Nvml", (), {"nvmlDeviceGetCurrentClocksEventReasons": staticmethod(lambda _, b=bits: b)})
        read = [(m.name, labels, value) for m, labels, value in clock.read(nvml, None, now, ())]
        after = {labels[0]: value for name, labels, value in read if name == SECONDS}
        assert all(before[reason] <= after[reason] <= now for reason in CLOCKS_EVENT_REASONS)
        before = after
    assert all(value <= now - steps[0][1] + 1e-6 for value in before.values())  # the first reading adds nothing


# --- activity


def test_activity_is_told_from_the_second_reading_on_and_never_by_waiting(machine: Machine) -> None:
    assert not [name for name, _ in machine.tick() if name == ACTIVITY]
    found = machine.tick()
    assert found[ACTIVITY, (*GPU, "sm")] == pytest.approx(0.9621788480669554)
    calls = machine.nvml.calls["nvmlGpmSampleGet"]
    again = machine.tick(0.05)  # NVML wants 100 ms between two samples; the recorded GPU gave zeros at 20 ms
    assert again[ACTIVITY, (*GPU, "sm")] == found[ACTIVITY, (*GPU, "sm")]
    assert machine.nvml.calls["nvmlGpmSampleGet"] == calls


def test_a_number_that_is_none_is_left_out(machine: Machine) -> None:
    machine.nvml.gpm = {1: (float("nan"), 0), 2: (50.0, 0), 5: (0.0, 3), 10: (0.0, 999)}
    machine.tick()
    found = machine.tick()
    engines = {labels[2] for name, labels in found if name == ACTIVITY}
    assert engines == {"sm", "integer", "fp64", "fp32", "fp16"}
    # Unsupported is for good and said, a failure in passing is not.
    assert [what for _, what in machine.source.unsupported if "activity" in what] == ["activity tensor"]
    machine.nvml.gpm = {}
    engines = {labels[2] for name, labels in machine.tick() if name == ACTIVITY}
    assert engines == {"graphics", "sm", "dram", "integer", "fp64", "fp32", "fp16"}


def test_a_gpu_before_hopper_says_why_it_has_no_activity(machine: Machine) -> None:
    machine.nvml.has_gpm = False
    machine.tick()
    found = machine.tick()
    assert found["sloctl_gpu_unsupported_info", (*GPU, "activity", "GPM is there from Hopper on")] == 1
    assert machine.nvml.calls["nvmlGpmQueryDeviceSupport"] == 1


def test_a_sample_that_fails_is_not_taken_for_one(machine: Machine, fake_nvml: ModuleType) -> None:
    machine.tick()
    machine.nvml.broken["nvmlGpmSampleGet"] = fake_nvml.NVMLError(999)
    assert not [name for name, _ in machine.tick() if name == ACTIVITY]
    machine.nvml.broken.clear()
    assert not [name for name, _ in machine.tick() if name == ACTIVITY]  # the first of two again
    assert [name for name, _ in machine.tick() if name == ACTIVITY]


def test_samples_are_given_back(machine: Machine) -> None:
    machine.tick()
    machine.tick()
    assert machine.nvml.samples == 2
    machine.source.close()
    assert machine.nvml.samples == 0
    assert machine.nvml.open == 0


# --- XIDs


def test_xid_counters_begin_at_0_and_count(machine: Machine) -> None:
    found = machine.tick()
    assert {labels[2:]: v for (name, labels), v in found.items() if name == XIDS} == {
        (str(code), kind): 0 for code, kind in KINDS.items()
    }
    machine.nvml.events.extend([(0, 31), (0, 79), (0, 31)])
    machine.tick()
    found = machine.tick()
    assert found[XIDS, (*GPU, "31", "application")] == 2
    assert found[XIDS, (*GPU, "79", "critical")] == 1
    last = "sloctl_gpu_xid_last_timestamp_seconds"
    assert found[last, (*GPU, "79", "critical")] == WALL + machine.now - 1
    assert (last, (*GPU, "48", "critical")) not in found


def test_xids_belong_to_the_gpu_that_had_them_even_when_it_is_lost(fake_nvml: ModuleType) -> None:
    machine = Machine(fake_nvml, gpus=2)
    machine.tick()
    machine.nvml.lost = {1}
    machine.nvml.events.append((1, 79))
    machine.tick()
    machine.nvml.lost = set()
    found = machine.tick()
    second = ("1", "GPU-6f1d2c3b-0000-4000-8000-000000000001")
    assert found[XIDS, (*second, "79", "critical")] == 1
    assert found[XIDS, (*GPU, "79", "critical")] == 0


def test_xids_are_kept_when_the_driver_goes_and_comes(machine: Machine, fake_nvml: ModuleType) -> None:
    machine.tick()
    machine.nvml.events.append((0, 119))
    machine.tick()
    machine.nvml.broken["nvmlDeviceGetTemperature"] = fake_nvml.NVMLError(1)
    machine.tick()
    machine.nvml.broken.clear()
    assert machine.tick(60)[XIDS, (*GPU, "119", "critical")] == 1
    assert machine.nvml.registered == {1}


def test_a_code_that_nobody_knows_is_counted_and_a_wild_one_makes_one_series(machine: Machine) -> None:
    machine.nvml.events.extend([(0, 173), (0, 10**9), (0, 10**12)])
    machine.tick()
    found = machine.tick()
    assert found[XIDS, (*GPU, "173", "other")] == 1
    assert found[XIDS, (*GPU, "1023", "other")] == 2


def test_a_storm_of_events_is_taken_in_portions(machine: Machine) -> None:
    machine.nvml.events.extend([(0, 31)] * 100)
    machine.tick()
    assert 0 < len(machine.nvml.events) < 100
    machine.tick()
    machine.tick()
    assert machine.tick()[XIDS, (*GPU, "31", "application")] == 100


@pytest.mark.parametrize("missing", ["the event", "the event set"])
def test_a_gpu_without_xids_says_so_instead_of_0(machine: Machine, fake_nvml: ModuleType, missing: str) -> None:
    if missing == "the event":
        machine.nvml.supported_events = 0x7
    else:
        machine.nvml.broken["nvmlEventSetCreate"] = fake_nvml.NVMLError(3)
    found = machine.tick()
    assert not [name for name, _ in found if name == XIDS]
    assert [what for _, what in machine.source.unsupported if "XID" in what] == ["XID events"]


def test_every_code_of_a_kind_has_a_name() -> None:
    assert set(KINDS) <= set(NAMES)


# --- GPUs that go


def test_a_missing_gpu_is_seen_against_what_is_expected(fake_nvml: ModuleType) -> None:
    machine = Machine(fake_nvml, gpus=2, expected=2)
    found = machine.tick()
    assert (found["sloctl_gpus_expected", ()], found["sloctl_gpus_present", ()]) == (2, 2)
    machine.nvml.lost = {1}
    found = machine.tick()
    assert (found["sloctl_gpus_expected", ()], found["sloctl_gpus_present", ()]) == (2, 1)


def test_a_missing_gpu_is_looked_for_ever_more_seldom_and_found_again(fake_nvml: ModuleType) -> None:
    machine = Machine(fake_nvml, gpus=2)
    machine.tick()
    machine.nvml.lost = {1}
    begun, tried = machine.now, []
    for _ in range(130):
        before = machine.nvml.calls["nvmlInit"]
        machine.tick()
        if machine.nvml.calls["nvmlInit"] > before:
            tried.append(machine.now - begun)
    gaps = [later - earlier for earlier, later in itertools.pairwise(tried)]
    assert 4 <= len(tried) <= 8
    assert gaps == sorted(gaps)
    assert max(gaps) <= 60
    machine.nvml.lost = set()
    assert max(machine.tick()["sloctl_gpus_present", ()] for _ in range(61)) == 2
    assert machine.nvml.open == 1


def test_only_a_driver_that_came_anew_is_asked_again_for_what_it_did_not_tell(
    machine: Machine, fake_nvml: ModuleType
) -> None:
    def asked() -> int:
        count: int = machine.nvml.calls["nvmlDeviceGetRetiredPages"]
        return count

    machine.tick()
    machine.tick(3600)
    assert asked() == 1
    machine.nvml.broken["nvmlDeviceGetTemperature"] = fake_nvml.NVMLError(1)
    machine.tick()
    machine.nvml.broken.clear()
    machine.tick(60)
    assert asked() == 2


def test_the_last_success_stands_still_while_nothing_answers(machine: Machine) -> None:
    machine.tick()
    machine.nvml.lost = {0}
    machine.tick(30)
    found = machine.tick(30)
    assert found["sloctl_nvml_last_success_timestamp_seconds", ()] == WALL + 101


# --- MIG


def cut(machine: Machine, fake_nvml: ModuleType) -> None:
    """Two GPU instances, the first of which holds two compute instances."""
    make = fake_nvml.Instance
    machine.nvml.instances = [
        make(1, "NVIDIA H200 MIG 1c.3g.71gb", "MIG-a", 10 * MIB, 71000 * MIB),
        make(1, "NVIDIA H200 MIG 2c.3g.71gb", "MIG-b", 10 * MIB, 71000 * MIB),
        make(5, "NVIDIA H200 MIG 1g.18gb", "MIG-c", 3 * MIB, 18000 * MIB),
    ]


def test_an_instance_has_what_is_its_own_and_nothing_of_its_parent(machine: Machine, fake_nvml: ModuleType) -> None:
    cut(machine, fake_nvml)
    machine.tick()
    found = machine.tick()
    assert found["sloctl_gpu_mig_mode", GPU] == 1
    assert found["sloctl_gpu_instance_info", (*GPU, "1", "3g.71gb", "MIG-a")] == 1
    assert found["sloctl_gpu_instance_info", (*GPU, "5", "1g.18gb", "MIG-c")] == 1
    assert found["sloctl_gpu_instance_memory_used_bytes", (*GPU, "5")] == 3 * MIB
    assert found["sloctl_gpu_instance_memory_total_bytes", (*GPU, "1")] == 71000 * MIB
    assert found["sloctl_gpu_instance_activity_ratio", (*GPU, "5", "tensor")] == pytest.approx(0.9341401957709475)
    assert len([1 for name, _ in found if name == "sloctl_gpu_temperature_celsius"]) == 1
    assert len([1 for name, _ in found if name == "sloctl_gpu_instance_info"]) == 2


def test_policies_see_the_memory_of_the_instance_that_serves(machine: Machine, fake_nvml: ModuleType) -> None:
    cut(machine, fake_nvml)
    machine.tick()
    facts = machine.source.facts("MIG-c")
    assert facts
    assert (facts.memory_used, facts.memory_total, facts.temperature) == (3 * MIB, 18000 * MIB, 61)
    assert machine.source.facts("MIG-x") is None


def test_an_instance_that_is_taken_away_leaves_nothing(machine: Machine, fake_nvml: ModuleType) -> None:
    cut(machine, fake_nvml)
    machine.tick()
    machine.tick()
    samples = machine.nvml.samples
    del machine.nvml.instances[-1]
    found = machine.tick()
    assert {labels[2] for name, labels in found if "instance" in name} == {"1"}
    assert machine.nvml.samples == samples - 2


def test_instances_without_activity_keep_their_memory(machine: Machine, fake_nvml: ModuleType) -> None:
    cut(machine, fake_nvml)
    machine.nvml.broken["nvmlGpmMigSampleGet"] = fake_nvml.NVMLError(3)
    machine.tick()
    found = machine.tick()
    assert found["sloctl_gpu_instance_memory_used_bytes", (*GPU, "1")] == 10 * MIB
    assert "activity of instances" in {what for _, what in machine.source.unsupported}
    assert machine.nvml.calls["nvmlGpmMigSampleGet"] == 1


def test_a_change_of_the_mig_mode_makes_everything_worth_asking_again(machine: Machine, fake_nvml: ModuleType) -> None:
    machine.nvml.broken["nvmlDeviceGetUtilizationRates"] = fake_nvml.NVMLError(3)  # as under MIG
    cut(machine, fake_nvml)
    machine.tick()
    machine.nvml.broken.clear()
    machine.nvml.instances = []
    machine.tick()
    assert machine.tick()["sloctl_gpu_utilization_ratio", GPU] == 0.99


def test_no_recorded_file_names_the_gpu_that_it_came_from() -> None:
    text = (Path(__file__).parent / "recorded" / "h200-nvml.json").read_text()
    assert text.count("GPU-6f1d2c3b-0000-4000-8000-000000000000") == text.count('"GPU-') > 0
    assert "Serial" not in text
