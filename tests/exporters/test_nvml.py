"""The NVML source against a library that answers as an H200's did, and that fails as drivers do."""

import builtins
import importlib
import math
from types import ModuleType
from typing import Any

import pytest

from sloctl.telemetry.families import Family
from sloctl_exporters.nvml import NVML_METRICS, GpuFacts, NvmlSource

MIB = 1024**2
UUID = "GPU-6f1d2c3b-0000-4000-8000-000000000000"
GPU = ("0", UUID)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def nvml(fake_nvml: ModuleType) -> Any:
    return fake_nvml.FakeNvml()


@pytest.fixture
def source(nvml: Any, clock: Clock) -> NvmlSource:
    return NvmlSource(nvml, clock, visible="")


def table(families: list[Family]) -> dict[tuple[str, tuple[str, ...]], Any]:
    return {(f.metric.name, labels): value for f in families for labels, value in f.samples}


def test_every_value_comes_in_base_units(source: NvmlSource, clock: Clock) -> None:
    source.read()
    clock.now += 1
    found = table(source.read())
    expected = {
        ("sloctl_nvml_up", ()): 1,
        ("sloctl_nvml_errors_total", ()): 0,
        ("sloctl_gpus_present", ()): 1,
        ("sloctl_gpu_memory_used_bytes", GPU): 925696000 + 644939776,
        ("sloctl_gpu_memory_free_bytes", GPU): 149184184320,
        ("sloctl_gpu_memory_reserved_bytes", GPU): 644939776,
        ("sloctl_gpu_memory_total_bytes", GPU): 143771 * MIB,
        ("sloctl_gpu_temperature_celsius", GPU): 61,
        ("sloctl_gpu_memory_temperature_celsius", GPU): 50,
        ("sloctl_gpu_power_watts", GPU): 691.649,
        ("sloctl_gpu_power_instant_watts", GPU): 684.096,
        ("sloctl_gpu_power_limit_watts", GPU): 700,
        ("sloctl_gpu_energy_joules_total", GPU): 6845.269,
        ("sloctl_gpu_utilization_ratio", GPU): 0.99,
        ("sloctl_gpu_memory_utilization_ratio", GPU): 0.22,
        ("sloctl_gpu_codec_utilization_ratio", (*GPU, "decoder")): 0,
        ("sloctl_gpu_clock_hertz", (*GPU, "sm")): 1.425e9,
        ("sloctl_gpu_clock_hertz", (*GPU, "memory")): 3.201e9,
        ("sloctl_gpu_clock_max_hertz", (*GPU, "sm")): 1.98e9,
        ("sloctl_gpu_throttled", GPU): 0,
        ("sloctl_gpu_clocks_event_reason", (*GPU, "sw_power_cap")): 1,
        ("sloctl_gpu_clocks_event_reason", (*GPU, "hw_thermal_slowdown")): 0,
        ("sloctl_gpu_clocks_event_seconds_total", (*GPU, "sw_power_cap", "driver")): 5.648624704,
        ("sloctl_gpu_clocks_event_seconds_total", (*GPU, "gpu_idle", "sampled")): 0,
        ("sloctl_gpu_activity_ratio", (*GPU, "tensor")): 0.9341401957709475,
        ("sloctl_gpu_activity_ratio", (*GPU, "dram")): 0.15348240992797207,
        ("sloctl_gpu_sm_occupancy_ratio", GPU): 0.14218811275407178,
        ("sloctl_gpu_bus_bytes_per_second", (*GPU, "pcie", "rx")): 24.9344253274148 * MIB,
        ("sloctl_gpu_ecc_errors_total", (*GPU, "corrected", "aggregate")): 1,
        ("sloctl_gpu_pcie_replays_total", GPU): 0,
        ("sloctl_gpu_row_remap_pending", GPU): 0,
        ("sloctl_gpu_row_remap_failed", GPU): 0,
        ("sloctl_gpu_recovery_action", GPU): 0,
        ("sloctl_gpu_mig_mode", GPU): 0,
        ("sloctl_gpu_remapped_rows", (*GPU, "uncorrectable")): 0,
        ("sloctl_gpu_xid_errors_total", (*GPU, "79", "critical")): 0,
        ("sloctl_gpu_info", (*GPU, "NVIDIA H200", "580.159.04", "00000000:1B:00.0", "9.0")): 1,
        ("sloctl_gpu_unsupported_info", (*GPU, "retired pages", "Not Supported")): 1,
    }
    assert {key: found.get(key) for key in expected} == pytest.approx(expected)
    assert source.state == "1 GPU, driver 580.159.04"


def test_all_families_are_there_with_the_labels_that_they_declare(source: NvmlSource, clock: Clock) -> None:
    source.read()
    clock.now += 1
    families = source.read()
    assert tuple(f.metric for f in families) == NVML_METRICS
    assert all(len(labels) == len(f.metric.labels) for f in families for labels, _ in f.samples)
    silent = {f.metric.name for f in families if not f.samples}
    # An H200 answers 'Not Supported' to pages, this one has no NVLink, no XID was seen and nothing is expected.
    assert silent == {
        "sloctl_gpu_retired_pages",
        "sloctl_gpu_nvlink_bytes_total",
        "sloctl_gpu_xid_last_timestamp_seconds",
        "sloctl_gpus_expected",
        *(f"sloctl_gpu_instance_{what}" for what in ("info", "memory_used_bytes", "memory_total_bytes")),
        "sloctl_gpu_instance_activity_ratio",
    }


def test_each_supported_value_is_asked_once_a_tick_and_an_unsupported_one_once_in_all(
    source: NvmlSource, nvml: Any, clock: Clock
) -> None:
    source.read()
    clock.now += 1
    nvml.calls.clear()
    nvml.asked_fields.clear()
    source.read()
    assert nvml.calls.pop("nvmlDeviceGetClockInfo") == 2  # two clocks
    assert not {"nvmlDeviceGetRetiredPages", "nvmlDeviceGetMaxClockInfo"} & set(nvml.calls)
    assert set(nvml.calls.values()) == {1}
    assert set(nvml.asked_fields.values()) == {1}
    assert source.unsupported == {
        (0, what): "Not Supported" for what in ("retired pages", "NVLink bytes sent", "NVLink bytes received")
    }


def test_what_blocks_is_never_called(source: NvmlSource, nvml: Any, clock: Clock) -> None:
    recorded = nvml.answers["calls"]["nvmlDeviceGetPcieThroughput/0"]["microseconds"]["median"]
    assert recorded > 20_000
    for _ in range(12):
        source.read()
        clock.now += 1
    assert "nvmlDeviceGetPcieThroughput" not in nvml.calls


def test_a_failure_in_passing_is_asked_again_at_the_next_tick(
    source: NvmlSource, nvml: Any, fake_nvml: ModuleType
) -> None:
    nvml.broken["nvmlDeviceGetTemperature"] = fake_nvml.NVMLError(999, "Unknown Error")
    found = table(source.read())
    assert ("sloctl_gpu_temperature_celsius", GPU) not in found
    assert found["sloctl_nvml_errors_total", ()] == 1
    assert math.isnan(source.facts("cuda:0").temperature)  # type: ignore[union-attr]
    del nvml.broken["nvmlDeviceGetTemperature"]
    found = table(source.read())
    assert found["sloctl_gpu_temperature_celsius", GPU] == 61
    assert found["sloctl_nvml_errors_total", ()] == 1


@pytest.mark.parametrize(
    ("bits", "throttled"),
    [
        pytest.param(0x1, 0, id="an idle GPU is not throttled"),
        pytest.param(0x4, 0, id="nor is one at its power cap"),
        pytest.param(0x8, 1, id="hardware slowdown"),
        pytest.param(0x20, 1, id="software's thermal slowdown"),
        pytest.param(0x44, 1, id="hardware's thermal slowdown beside the power cap"),
        pytest.param(0x80, 1, id="power brake"),
    ],
)
def test_throttling(source: NvmlSource, nvml: Any, bits: int, throttled: int) -> None:
    nvml.reasons = bits
    found = table(source.read())
    assert found["sloctl_gpu_throttled", GPU] == throttled
    assert source.facts("cuda:0").throttled is bool(throttled)  # type: ignore[union-attr]
    shown = sum(value for (name, _), value in found.items() if name == "sloctl_gpu_clocks_event_reason")
    assert shown == bits.bit_count()


def test_facts_for_policies(source: NvmlSource, nvml: Any, clock: Clock) -> None:
    source.read()
    clock.now += 5
    nvml.events.append((0, 31))
    source.read()
    used, total = 925696000 + 644939776, 143771 * MIB
    expected = GpuFacts(used, total, 61.0, 0.99, 691.649, False, frozenset({"sw_power_cap"}), xid_times=(clock.now,))
    assert source.facts("cuda:0") == expected
    assert source.facts(UUID) == expected


@pytest.mark.parametrize(
    ("device", "visible", "index"),
    [
        pytest.param("cuda:1", "", 1, id="CUDA and NVML count alike"),
        pytest.param("cuda:0", "1", 1, id="only the second is visible, so that CUDA calls it the first"),
        pytest.param("cuda:1", "1, 0", 0, id="visible in another order"),
        pytest.param("cuda:0", "GPU-6f1d2c3b-0000-4000-8000-000000000001", 1, id="visible by UUID"),
        pytest.param("cuda:1", "0", None, id="not visible"),
        pytest.param("cuda:7", "", None, id="not there"),
        pytest.param("GPU-f", "", None, id="another UUID"),
        pytest.param("cpu", "", None, id="no GPU at all"),
    ],
)
def test_which_gpu_a_device_is(
    fake_nvml: ModuleType, clock: Clock, device: str, visible: str, index: int | None
) -> None:
    nvml = fake_nvml.FakeNvml(gpus=2)
    source = NvmlSource(nvml, clock, visible=visible)
    nvml.events.append((1, 13))
    source.read()
    facts = source.facts(device)
    assert (len(facts.xid_times) if facts else None) == index  # the second one has seen an XID


def test_without_a_driver_it_says_so_and_tries_again_ever_more_seldom(
    source: NvmlSource, nvml: Any, clock: Clock, fake_nvml: ModuleType
) -> None:
    nvml.init_error = fake_nvml.NVMLError(9, "Driver Not Loaded")
    attempts = []
    for _ in range(300):
        before = nvml.calls["nvmlInit"]
        found = table(source.read())
        if nvml.calls["nvmlInit"] > before:
            attempts.append(clock.now - 1000)
        clock.now += 1
    assert found["sloctl_nvml_up", ()] == found["sloctl_gpus_present", ()] == 0
    assert found["sloctl_nvml_last_success_timestamp_seconds", ()] == 0
    assert not [name for name, _ in found if name.startswith("sloctl_gpu_")]
    assert source.state == "no driver: Driver Not Loaded"
    assert source.facts("cuda:0") is None
    assert attempts == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]


def test_it_recovers_when_the_driver_comes_back(
    source: NvmlSource, nvml: Any, clock: Clock, fake_nvml: ModuleType
) -> None:
    source.read()
    nvml.broken["nvmlDeviceGetPowerUsage"] = fake_nvml.NVMLError(1, "Uninitialized")
    assert table(source.read())["sloctl_nvml_up", ()] == 0
    assert source.state == "no driver: Uninitialized"
    assert nvml.open == 0
    del nvml.broken["nvmlDeviceGetPowerUsage"]
    clock.now += 1
    found = table(source.read())
    assert found["sloctl_nvml_up", ()] == 1
    assert found["sloctl_gpu_power_watts", GPU] == 691.649
    assert nvml.open == 1


def test_a_lost_gpu_is_missed_without_taking_the_others_along(fake_nvml: ModuleType, clock: Clock) -> None:
    nvml = fake_nvml.FakeNvml(gpus=2)
    source = NvmlSource(nvml, clock, visible="")
    source.read()
    nvml.lost = {0}
    found = table(source.read())
    assert found["sloctl_gpus_present", ()] == 1
    assert {labels[0] for _, labels in found if labels} == {"1"}
    assert source.facts("cuda:0") is None
    nvml.lost = set()
    assert table(source.read())["sloctl_gpus_present", ()] == 2


def test_a_failure_in_the_midst_of_connecting_leaves_nothing_open(
    source: NvmlSource, nvml: Any, monkeypatch: pytest.MonkeyPatch, fake_nvml: ModuleType
) -> None:
    def fail() -> int:
        raise fake_nvml.NVMLError(999, "Unknown Error")

    monkeypatch.setattr(nvml, "nvmlDeviceGetCount", fail)
    source.read()
    assert source.state == "no driver: Unknown Error"
    assert nvml.open == 0


def test_a_missing_pynvml_is_a_reason_like_any_other(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def refuse(name: str, package: str | None = None) -> ModuleType:
        if name == "pynvml":
            raise builtins.ImportError("No module named 'pynvml'")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", refuse)
    source = NvmlSource(None, clock)
    source.read()
    assert source.state == "no driver: nvidia-ml-py cannot be imported (No module named 'pynvml')"


def test_the_fake_stands_in_for_names_that_pynvml_really_has(fake_nvml: ModuleType) -> None:
    pynvml = importlib.import_module("pynvml")
    fake = fake_nvml.FakeNvml()
    recorded = {name.split("/")[0] for name in fake.answers["calls"]}
    names = [name for name in (*dir(fake), *recorded) if name.startswith(("nvml", "NVML_", "c_nvml"))]
    assert len(names) > 40
    assert [name for name in names if not hasattr(pynvml, name)] == []
    constants = {name: value for name in names if isinstance(value := getattr(type(fake), name, None), int)}
    assert len(constants) > 10
    assert constants == {name: getattr(pynvml, name) for name in constants}
    wanted = pynvml.c_nvmlGpmMetricsGet_t()
    assert {"version", "numMetrics", "sample1", "sample2"} <= set(dir(wanted))
    assert {"metricId", "nvmlReturn", "value"} <= set(dir(wanted.metrics[0]))
