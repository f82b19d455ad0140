"""The alerts on sloctl itself: one table of series, on which promtool and the daemon's own evaluation must agree."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from sloctl.config.resources import resource
from sloctl.control.builtin import RULES, AlertRule, to_yaml
from sloctl.control.watching import Watch
from sloctl.slo.alerting import AlertStates, Instance, State
from sloctl.slo.prometheus import ALERT, BUDGET_LOW, NO_DATA
from sloctl.telemetry import catalogue as c
from sloctl.telemetry.catalogue import Kind, Metric
from sloctl.telemetry.families import Family
from sloctl_exporters import nvml_metrics as m
from sloctl_exporters.nvml import NVML_METRICS

ROOT = Path(__file__).parents[2]
FILE = resource("rules") / "prometheus" / "sloctl.yaml"
PAGES = ROOT / "docs" / "runbooks"
STEP = 15  # seconds between scrapes and evaluations
INSTANCE = "node:8002"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool here: scripts/tools.sh")
BY_NAME = {rule.name: rule for rule in RULES}


@dataclass(frozen=True)
class Case:
    """Series in promtool's notation, and when (in seconds) the alert fires and does not."""

    what: str
    alert: str
    series: dict[tuple[str, str], str]  # metric and labels (`a=b, c=d`) to values
    fires: tuple[int, ...] = ()
    quiet: tuple[int, ...] = ()


def of(metric: Metric | str, labels: str, values: str) -> dict[tuple[str, str], str]:
    return {(metric if isinstance(metric, str) else metric.name, labels): values}


VARIANT, GPU = "model=digits, variant=int8", "gpu=3, uuid=GPU-3"
CASES = (
    Case("a failed scrape is forgiven, a minute of them is not", "SloctlDown", of("up", "", "1 0x20"), (120,), (45,)),
    Case(
        "ticks that stand still",
        "SloctlControlStale",
        of(f"{c.TICK_DURATION.name}_count", "", "0+60x40 2400x60"),
        (1200,),
        (300, 600),
    ),
    Case("not ready for a minute", "SloctlNotReady", of(c.READY, "", "1x4 0x20"), (150,), (90,)),
    Case("a short absence is forgiven", "SloctlNotReady", of(c.READY, "", "1x4 0x2 1x10"), (), (75, 180)),
    Case("one of two devices", "SloctlDeviceDown", of(c.DEVICE_UP, "device=cuda:1", "1x4 0x40"), (300,), (60, 120)),
    Case(
        "restarts in a row, for whatever reasons",
        "SloctlPlaneRestarts",
        of(c.PLANE_RESTARTS, "plane=data, reason=exit", "0x4 1x4 2x40 2x100")
        | of(c.PLANE_RESTARTS, "plane=data, reason=signal", "0x14 2x130"),
        (480,),
        (120, 3600 // 2),
    ),
    Case(
        "a variant that fails its probes",
        "SloctlHealthLevelLost",
        of(c.HEALTH_LEVEL, f"{VARIANT}, level=inference", "1x4 0.5x20 0x60"),
        (795,),
        (60, 360),
    ),
    Case(
        "a lower level says nothing of itself",
        "SloctlHealthLevelLost",
        of(c.HEALTH_LEVEL, f"{VARIANT}, level=device", "0x60"),
        (),
        (795,),
    ),
    Case(
        "less precision, for an hour",
        "SloctlPrecisionDegraded",
        of(c.VARIANT_RANK, "model=digits", "0x4 1x200 2x100 0x4"),
        (4005,),
        (60, 3600, 4620),
    ),
    Case(
        "an open breaker",
        "SloctlBreakerOpen",
        of(c.BREAKER_STATE, "model=digits, state=open", "0x4 1x40"),
        (300,),
        (60, 120),
    ),
    Case(
        "a closed breaker is no news",
        "SloctlBreakerOpen",
        of(c.BREAKER_STATE, "model=digits, state=closed", "1x40"),
        (),
        (300,),
    ),
    Case(
        "a variant that its breaker takes off, until it has stayed for a while",
        "SloctlVariantBreakerOpen",
        of(c.VARIANT_BREAKER.transitions, f"{VARIANT}, state=open", "0x4 1x20 2x160"),
        (120, 600, 1200),
        (45, 1800),
    ),
    Case(
        "one that returns is no news",
        "SloctlVariantBreakerOpen",
        of(c.VARIANT_BREAKER.transitions, f"{VARIANT}, state=closed", "0x4 1x60"),
        (),
        (300,),
    ),
    Case("failed batches", "SloctlEngineErrors", of(c.ENGINE_ERRORS, VARIANT, "0x4 0+2x20 40x60"), (300,), (60, 1260)),
    Case("a few failed batches", "SloctlEngineErrors", of(c.ENGINE_ERRORS, VARIANT, "0x4 3x60"), (), (300,)),
    Case("NaN", "SloctlNonfiniteOutputs", of(c.NONFINITE, VARIANT, "7x4 8x80"), (120,), (60, 900)),
    Case(
        "a layer that stays slower, not one that was for a while",
        "SloctlLayerDrift",
        of(c.LAYER_DRIFT, f"{VARIANT}, layer=conv1", "1x10 1.4x20 1.1x10 1.4x60"),
        (1440,),
        (540,),
    ),
    Case(
        "device memory that is nearly full",
        "SloctlDeviceMemoryShort",
        of(c.DEVICE_MEMORY_RATIO, "device=cuda:0", "0.94x20 0.96x60"),
        (960,),
        (300, 840),
    ),
    Case(
        "memory that nobody owns up to",
        "SloctlDeviceMemoryUnaccounted",
        of(c.DEVICE_MEMORY_UNACCOUNTED, "device=cuda:0", "10x20 30x200")
        | of(c.DEVICE_MEMORY_TOTAL, "device=cuda:0", "100x220"),
        (2400,),
        (300, 1800),
    ),
    Case(
        "a device that tells of no memory",
        "SloctlDeviceMemoryUnaccounted",
        of(c.DEVICE_MEMORY_UNACCOUNTED, "device=cpu", "10x200") | of(c.DEVICE_MEMORY_TOTAL, "device=cpu", "0x200"),
        (),
        (2400,),
    ),
    Case("a refused reload", "SloctlReloadRefused", of(c.CONFIG_LAST_RELOAD_OK, "", "1x4 0x60"), (600,), (60, 300)),
    Case(
        "a full disk",
        "SloctlStoreFailing",
        of(c.STORE_FAILURES, "", "0x4 0+15x20 300x60"),
        (120, 360),
        (60, 900),
    ),
    Case("one write that failed", "SloctlStoreFailing", of(c.STORE_FAILURES, "", "0x4 1x60"), (), (300,)),
    Case("an override", "SloctlOverrideForgotten", of(c.OVERRIDES_ACTIVE, "", "0x4 1x1000"), (14_505,), (60, 14_400)),
    Case(
        "an Alertmanager that is down",
        "SloctlAlertsNotSent",
        of(c.ALERTS_FAILED, "alertmanager=http://am", "0x4 0+1x20 20x60"),
        (240,),
        (60, 900),
    ),
    Case("one of eight GPUs", "SloctlGpuMissing", of(m.GPUS_PRESENT, "", "8x20 7x40"), (600,), (300,)),
    Case("a machine without GPUs misses none", "SloctlGpuMissing", of(m.GPUS_PRESENT, "", "0x60"), (), (600,)),
    Case(
        "fewer than there should be from the start",
        "SloctlGpuMissing",
        of(m.GPUS_PRESENT, "", "7x60") | of(m.GPUS_EXPECTED, "", "8x60"),
        (600,),
        (60,),
    ),
    Case(
        "a GPU falls off the bus",
        "SloctlGpuXid",
        of(m.XID_ERRORS, f"{GPU}, xid=79, kind=critical", "0x8 1x80"),
        (300,),
        (60, 900),
    ),
    Case(
        "a program's own fault pages nobody",
        "SloctlGpuXid",
        of(m.XID_ERRORS, f"{GPU}, xid=31, kind=application", "0x8 5x80"),
        (),
        (300,),
    ),
    Case(
        "a contained error",
        "SloctlGpuXidWarning",
        of(m.XID_ERRORS, f"{GPU}, xid=94, kind=warning", "0x8 1x300"),
        (300,),
        (60, 4005),
    ),
    Case(
        "an error that was not corrected",
        "SloctlGpuEccUncorrected",
        of(m.ECC_ERRORS, f"{GPU}, error=uncorrected, lifetime=volatile", "2x8 3x300"),
        (300,),
        (60, 4005),
    ),
    Case(
        "an old error of the GPU's life",
        "SloctlGpuEccUncorrected",
        of(m.ECC_ERRORS, f"{GPU}, error=uncorrected, lifetime=aggregate", "2x8 3x300"),
        (),
        (300,),
    ),
    Case(
        "corrected errors, many",
        "SloctlGpuEccCorrected",
        of(m.ECC_ERRORS, f"{GPU}, error=corrected, lifetime=volatile", "0x8 0+10x30 300x300"),
        (600,),
        (60, 5010),
    ),
    Case(
        "corrected errors, a few",
        "SloctlGpuEccCorrected",
        of(m.ECC_ERRORS, f"{GPU}, error=corrected, lifetime=volatile", "0x8 60x300"),
        (),
        (600,),
    ),
    Case("a row to remap", "SloctlGpuRowRemapPending", of(m.REMAP_PENDING, GPU, "0x4 1x60"), (600,), (60, 300)),
    Case("a remapping that failed", "SloctlGpuRowRemapFailed", of(m.REMAP_FAILED, GPU, "0x4 1x60"), (90,), (60,)),
    Case("a reset is needed", "SloctlGpuRecoveryNeeded", of(m.RECOVERY_ACTION, GPU, "0x4 2x60"), (600,), (60, 300)),
    Case("heat slows it", "SloctlGpuThrottled", of(m.CLOCKS_THROTTLED, GPU, "0x4 1x60"), (600,), (60, 300)),
    Case("heat", "SloctlGpuHot", of(m.TEMPERATURE, GPU, "84x20 86x60"), (720,), (300, 600)),
    Case("a hot memory", "SloctlGpuMemoryHot", of(m.MEMORY_TEMPERATURE, GPU, "92x20 94x60"), (720,), (300, 600)),
    Case(
        "a full GPU",
        "SloctlGpuMemoryShort",
        of(m.MEMORY_USED, GPU, "90x20 98x60") | of(m.MEMORY_TOTAL, GPU, "100x80"),
        (960,),
        (300, 840),
    ),
    Case("a loose card", "SloctlGpuPcieReplays", of(m.PCIE_REPLAYS, GPU, "0x8 0+10x30 300x300"), (600,), (60, 5010)),
    Case("a few replays", "SloctlGpuPcieReplays", of(m.PCIE_REPLAYS, GPU, "0x8 50x300"), (), (600,)),
)


def pairs(labels: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in labels.split(", ")) if labels else {}


def expanded(values: str) -> Iterator[float]:
    """Promtool's notation: `a`, `axn` and `a+bxn` are one, n + 1 and n + 1 values."""
    for part in values.split():
        start, _, times = part.partition("x")
        first, _, step = start.partition("+")
        for number in range(int(times or 0) + 1):
            yield float(first) + number * float(step or 0)


def families(case: Case) -> Iterator[list[Family]]:
    """What is known at each scrape."""
    traces = [(name, pairs(labels), list(expanded(values))) for (name, labels), values in case.series.items()]
    for number in range(min(len(values) for _, _, values in traces)):
        found = []
        for name in dict.fromkeys(name for name, _, _ in traces):
            same = [(labels, values) for known, labels, values in traces if known == name]
            metric = Metric(name, Kind.GAUGE, "1", tuple(same[0][0]), "")
            found.append(Family(metric, [(tuple(labels.values()), values[number]) for labels, values in same]))
        yield found


def in_process(case: Case) -> dict[int, list[Instance]]:
    """By seconds: the alerts that fire."""
    watch, states = Watch("docs/runbooks", INSTANCE, RULES), AlertStates()
    fires = {}
    for number, found in enumerate(families(case)):
        states.step(number * STEP, watch.read(number * STEP, found))
        fires[number * STEP] = [each for each in states.instances() if each.state is State.FIRING]
    return fires


def promtool(*arguments: str) -> str:
    done = subprocess.run([str(PROMTOOL), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.what}")
def test_the_daemon_fires_when_it_should_and_promtool_agrees(tmp_path: Path, case: Case) -> None:
    fires = in_process(case)
    for moment in case.fires:
        assert [each.labels["alertname"] for each in fires[moment]] == [case.alert], moment
    for moment in case.quiet:
        assert fires[moment] == [], moment
    if PROMTOOL is None:
        pytest.skip("no promtool here: scripts/tools.sh")
    identity = {"job": "sloctl", "instance": INSTANCE}
    cases = []
    for moment in (*case.fires, *case.quiet):
        expected = [
            {
                "exp_labels": {k: v for k, v in each.labels.items() if k != "alertname"},
                "exp_annotations": dict(each.annotations),
            }
            for each in fires[moment]
        ]
        cases.append({"eval_time": f"{moment}s", "alertname": case.alert, "exp_alerts": expected})
    series = []
    for (name, labels), values in case.series.items():
        written = ", ".join(f'{label}="{value}"' for label, value in (identity | pairs(labels)).items())
        series.append({"series": f"{name}{{{written}}}", "values": values})
    test = {"interval": f"{STEP}s", "input_series": series, "alert_rule_test": cases}
    document = {"rule_files": [str(FILE)], "evaluation_interval": f"{STEP}s", "tests": [test]}
    path = tmp_path / "test.yaml"
    path.write_text(yaml.dump(document))
    promtool("test", "rules", str(path))


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    assert {case.alert for case in CASES if case.fires} == {case.alert for case in CASES if case.quiet} == set(BY_NAME)


@needs_promtool
def test_prometheus_accepts_the_file() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", str(FILE))


def test_the_file_is_current() -> None:
    assert FILE.read_text() == to_yaml(), "write it anew: sloctl rules --builtin -o rules/prometheus/sloctl.yaml"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_an_alert_names_metrics_that_exist_and_says_what_to_do(rule: AlertRule) -> None:
    known = {each.name for each in (*c.all_metrics(), *NVML_METRICS)} | {"up", f"{c.TICK_DURATION.name}_count"}
    lexed = promql_parser.parse(rule.condition.promql()).prettify()
    assert any(f"{word}{{" in lexed or f"{word} " in lexed or f"{word}[" in lexed for word in known)
    assert rule.summary
    assert rule.description.endswith(".")


def test_only_what_no_daemon_can_know_of_itself_is_left_to_prometheus() -> None:
    assert [rule.name for rule in RULES if rule.outside] == ["SloctlDown", "SloctlControlStale"]


# --- runbooks


def alerts_of_files() -> set[str]:
    """Every alert of every rule file that is shipped."""
    files = chain.from_iterable((ROOT / "rules").glob(f"**/*.{kind}") for kind in ("yaml", "yml"))
    found = set()
    for path in files:
        for document in yaml.load_all(path.read_text(), yaml.CSafeLoader):
            groups: list[dict[str, Any]] = document.get("groups", []) if isinstance(document, dict) else []
            found |= {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    return found


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    assert {path.stem for path in PAGES.glob("Sloctl*.md")} == alerts_of_files() | {ALERT, BUDGET_LOW, NO_DATA}


@pytest.mark.parametrize("name", sorted(path.stem for path in PAGES.glob("Sloctl*.md")))
def test_a_page_says_what_it_means_how_to_look_and_what_to_do(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    sections = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert sections == ["What it means", "What users notice", "How to look", "What to do", "What silences it"]
    assert "```" in text.split("## How to look")[1].split("## What to do")[0], "a command to look with"
