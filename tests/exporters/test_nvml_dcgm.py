"""dcgm-exporter's names: the values in its units, its labels, and the dashboard that everybody has."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import promql_parser
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sloctl.telemetry.families import Family
from sloctl_exporters.nvml import NVML_METRICS, NvmlSource
from sloctl_exporters.nvml_dcgm import ALIASES
from sloctl_exporters.prometheus import render

PROMTOOL = shutil.which("promtool")
PAGE = (Path(__file__).parents[2] / "docs" / "nvml-exporter.md").read_text()
UUID = "GPU-6f1d2c3b-0000-4000-8000-000000000000"
WHO = {
    "gpu": "0",
    "UUID": UUID,
    "pci_bus_id": "00000000:1B:00.0",
    "device": "nvidia0",
    "modelName": "NVIDIA H200",
    "Hostname": "gpu-node-1",
    "DCGM_FI_DRIVER_VERSION": "580.159.04",
}
# The queries of Grafana's dashboard 12239 (NVIDIA DCGM Exporter Dashboard), as dcgm-exporter's repository has it
# in grafana/dcgm-exporter-dashboard.json; its variables are label_values(DCGM_FI_DEV_FB_FREE, Hostname) and gpu.
DASHBOARD_12239 = (
    'max(DCGM_FI_DEV_GPU_TEMP{Hostname=~"$Hostname", gpu=~"$gpu"}) by (Hostname, gpu, uuid)',
    'avg(DCGM_FI_DEV_GPU_TEMP{Hostname=~"$Hostname", gpu=~"$gpu"})',
    'max(DCGM_FI_DEV_POWER_USAGE{Hostname=~"$Hostname", gpu=~"$gpu"}) by (Hostname, gpu, uuid)',
    'sum(max(DCGM_FI_DEV_POWER_USAGE{Hostname=~"$Hostname", gpu=~"$gpu"}) by (gpu))',
    'max(DCGM_FI_DEV_SM_CLOCK{Hostname=~"$Hostname", gpu=~"$gpu"} * 1000000) by (Hostname, UUID, gpu)',
    'max(DCGM_FI_PROF_GR_ENGINE_ACTIVE{Hostname=~"$Hostname", gpu=~"$gpu"})'
    " by (Hostname, gpu, GPU_I_ID, GPU_I_PROFILE)",
    'max(DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{Hostname=~"$Hostname", gpu=~"$gpu"})'
    " by (Hostname, gpu, GPU_I_ID, GPU_I_PROFILE)",
    'max(DCGM_FI_DEV_FB_USED{Hostname=~"$Hostname", gpu=~"$gpu"}) by (Hostname, gpu, GPU_I_ID, GPU_I_PROFILE)',
    "DCGM_FI_DEV_FB_FREE",
)
# Labels that the dashboard groups by and that dcgm-exporter does not have either (`uuid`), or has under MIG only.
_NOT_ALWAYS = {"uuid", "GPU_I_ID", "GPU_I_PROFILE"}


def read(nvml: Any, **more: Any) -> list[Family]:
    now = [0.0]
    source = NvmlSource(nvml, lambda: now[0], visible="", hostname="gpu-node-1", **{"names": "dcgm", **more})
    source.read()
    now[0] += 1
    return source.read()


def samples(families: Sequence[Family]) -> list[tuple[str, dict[str, str], float]]:
    text = render(families)[0].decode()
    # The parser puts `_total` on every counter.
    names = {alias.name for alias in ALIASES}
    found = [s for family in parse_text(text) for s in family.samples]
    return [(bare if (bare := s.name.removesuffix("_total")) in names else s.name, s.labels, s.value) for s in found]


def one(families: Sequence[Family], name: str) -> tuple[dict[str, str], float]:
    ((labels, value),) = [(labels, value) for found, labels, value in samples(families) if found == name]
    return labels, value


@pytest.fixture
def nvml(fake_nvml: ModuleType) -> Any:
    return fake_nvml.FakeNvml()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEV_SM_CLOCK", 1425),
        ("DEV_MEM_CLOCK", 3201),
        ("DEV_GPU_TEMP", 61),
        ("DEV_MEMORY_TEMP", 50),
        ("DEV_POWER_USAGE", 691.649),
        ("DEV_TOTAL_ENERGY_CONSUMPTION", 6845269),
        ("DEV_PCIE_REPLAY_COUNTER", 0),
        ("DEV_GPU_UTIL", 99),
        ("DEV_MEM_COPY_UTIL", 22),
        ("DEV_ENC_UTIL", 0),
        ("DEV_DEC_UTIL", 0),
        ("DEV_FB_USED", 925696000 / 1024**2),
        ("DEV_FB_FREE", 149184184320 / 1024**2),
        ("DEV_FB_RESERVED", 644939776 / 1024**2),
        ("DEV_UNCORRECTABLE_REMAPPED_ROWS", 0),
        ("DEV_ROW_REMAP_FAILURE", 0),
        ("DEV_ECC_SBE_AGG_TOTAL", 1),
        ("DEV_POWER_VIOLATION", 5648624704),
        ("PROF_GR_ENGINE_ACTIVE", 0.9969576487908897),
        ("PROF_PIPE_TENSOR_ACTIVE", 0.9341401957709475),
        ("PROF_DRAM_ACTIVE", 0.15348240992797207),
        ("PROF_PCIE_RX_BYTES", 24.9344253274148 * 1024**2),
    ],
)
def test_values_are_in_dcgms_units_and_labels_are_its_own(nvml: Any, name: str, value: float) -> None:
    labels, found = one(read(nvml), f"DCGM_FI_{name}")
    assert labels == WHO
    assert found == pytest.approx(value, rel=1e-12)


def test_the_last_xid_has_its_code_and_text(nvml: Any) -> None:
    assert one(read(nvml), "DCGM_FI_DEV_XID_ERRORS") == (WHO | {"err_code": "0", "err_msg": "No Error"}, 0)
    nvml.events.append((0, 79))
    labels, value = one(read(nvml), "DCGM_FI_DEV_XID_ERRORS")
    assert (labels["err_code"], labels["err_msg"], value) == ("79", "GPU has fallen off the bus", 79)
    nvml.events.append((0, 173))
    assert one(read(nvml), "DCGM_FI_DEV_XID_ERRORS")[0]["err_msg"] == "Unknown Error"


def test_the_label_of_the_host_may_be_written_small(nvml: Any) -> None:
    labels, _ = one(read(nvml, hostname_label="hostname"), "DCGM_FI_DEV_GPU_TEMP")
    assert labels["hostname"] == "gpu-node-1"
    assert "Hostname" not in labels


def test_instances_stand_in_their_parents_place_where_they_have_a_value_of_their_own(
    nvml: Any, fake_nvml: ModuleType
) -> None:
    mib = 1024**2
    nvml.instances = [
        fake_nvml.Instance(1, "NVIDIA H200 MIG 3g.71gb", "MIG-a", 10 * mib, 71000 * mib),
        fake_nvml.Instance(5, "NVIDIA H200 MIG 1g.18gb", "MIG-c", 3 * mib, 18000 * mib),
    ]
    found = samples(read(nvml))

    def of(name: str) -> dict[tuple[str, str], float]:
        own = [(labels, value) for n, labels, value in found if n == name]
        assert all(labels["UUID"] == UUID for labels, _ in own)
        return {(labels["GPU_I_ID"], labels["GPU_I_PROFILE"]): value for labels, value in own}

    assert of("DCGM_FI_DEV_FB_USED") == {("1", "3g.71gb"): 10, ("5", "1g.18gb"): 3}
    assert of("DCGM_FI_DEV_FB_FREE") == {("1", "3g.71gb"): 70990, ("5", "1g.18gb"): 17997}
    assert set(of("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE")) == {("1", "3g.71gb"), ("5", "1g.18gb")}
    assert of("DCGM_FI_DEV_GPU_TEMP") == {("", ""): 61}  # an empty label is none to Prometheus


@pytest.mark.parametrize("expr", DASHBOARD_12239)
def test_every_query_of_dashboard_12239_finds_its_metrics_and_labels(nvml: Any, expr: str) -> None:
    promql_parser.parse(expr)
    found = samples(read(nvml))
    (name,) = set(re.findall(r"DCGM_\w+", expr))
    wanted = set(re.findall(r"(\w+)=~", expr))
    wanted |= {label.strip() for group in re.findall(r"by \(([^)]*)\)", expr) for label in group.split(",")}
    labels = [labels for n, labels, _ in found if n == name]
    assert labels
    assert wanted - _NOT_ALWAYS <= set(labels[0])


@pytest.mark.parametrize(
    ("names", "base", "dcgm"),
    [
        pytest.param("base", True, False, id="base"),
        pytest.param("dcgm", False, True, id="dcgm"),
        pytest.param("both", True, True, id="both"),
    ],
)
def test_the_names_asked_for_and_no_others(nvml: Any, names: str, base: bool, dcgm: bool) -> None:
    found = {family.metric.name for family in read(nvml, names=names)}
    assert ("sloctl_gpu_temperature_celsius" in found) == base
    assert ("DCGM_FI_DEV_GPU_TEMP" in found) == dcgm
    assert {"sloctl_nvml_up", "sloctl_gpus_present"} <= found  # how the reading goes, always


def test_openmetrics_calls_foreign_counters_unknown_and_stays_valid(nvml: Any) -> None:
    text, kind = render(read(nvml, names="both"), "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    kinds = {family.name: family.type for family in parse_openmetrics(text.decode())}
    assert kinds["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"] == "unknown"
    assert kinds["DCGM_FI_DEV_GPU_TEMP"] == "gauge"
    assert kinds["sloctl_gpu_energy_joules"] == "counter"


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool here: apt-get install prometheus")
def test_promtool_has_nothing_against_ours_and_only_style_against_dcgms(nvml: Any) -> None:
    def check(names: str) -> list[str]:
        text = render(read(nvml, names=names))[0]
        done = subprocess.run([str(PROMTOOL), "check", "metrics"], input=text, capture_output=True, check=False)
        assert done.returncode in {0, 3}, done.stderr  # 3: style
        return done.stderr.decode().splitlines()

    assert check("base") == []
    style = r"DCGM_\w+ (label names should be written in|counter metrics should have \"_total\"|metric name should)"
    assert [line for line in check("dcgm") if not re.match(style, line)] == []


def test_the_page_has_every_alias_with_what_it_is_made_of() -> None:
    rows = dict(re.findall(r"^\| `(DCGM_\w+)` \| ([^|]+) \|", PAGE, re.MULTILINE))
    assert set(rows) == {alias.name for alias in ALIASES} | {"DCGM_FI_DEV_XID_ERRORS"}
    for alias in ALIASES:
        assert all(f"`{term.metric.name}" in rows[alias.name] for term in alias.terms), alias.name
    named = set(re.findall(r"sloctl_\w+(?!…)\b", PAGE))
    assert named <= {metric.name for metric in NVML_METRICS}
