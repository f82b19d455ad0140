"""The rules that `sloctl rules` writes, judged by Prometheus' own tool and against the engine in process."""

import math
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sloctl.config.base import format_duration
from sloctl.slo.evaluate import Evaluator
from sloctl.slo.exclusions import Once
from sloctl.slo.objective import (
    Objective,
    QueryRatio,
    QueryShare,
    QueryThreshold,
    Ratio,
    Raw,
    Selector,
    Slices,
    Threshold,
)
from sloctl.slo.prometheus import rule_groups, to_yaml
from sloctl.slo.promql import events, matchers
from sloctl.slo.windows import Alarm, AlertWindow

HOUR, DAY = 3600.0, 86400.0
REQUESTS, DURATION = "sloctl_requests_total", "sloctl_request_duration_seconds"
BOTH = Selector(REQUESTS, {"model": ("digits",), "outcome": ("ok", "error")})
BAD = Ratio(BOTH, bad=Selector(REQUESTS, {"model": ("digits",), "outcome": ("error",)}))
GOOD = Ratio(BOTH, good=Selector(REQUESTS, {"model": ("digits",), "outcome": ("ok",)}))
FAST = Threshold(Selector(DURATION, {"model": ("digits",)}), "lte", 0.25)
QUEUE = Threshold(Selector("sloctl_queue_length", {"model": ("digits",)}), "lte", 8)


def objective(indicator: Any = GOOD, name: str = "avail", period: float = 30 * DAY, **more: Any) -> Objective:
    return Objective(name, "digits", name, indicator, 0.99, period, **more)


# --- the expressions


@pytest.mark.parametrize(
    ("indicator", "good", "total"),
    [
        pytest.param(
            GOOD,
            'sum(increase(sloctl_requests_total{model="digits", outcome="ok"}[5m]))',
            'sum(increase(sloctl_requests_total{model="digits", outcome=~"ok|error"}[5m]))',
            id="good events are counted",
        ),
        pytest.param(
            Ratio(Selector(REQUESTS), bad=Selector(REQUESTS, {"outcome": ("error",)})),
            'sum(increase(sloctl_requests_total[5m])) - sum(increase(sloctl_requests_total{outcome="error"}[5m]))',
            "sum(increase(sloctl_requests_total[5m]))",
            id="bad events are taken from the total",
        ),
        pytest.param(
            FAST,
            f'sum(increase({DURATION}_bucket{{le="0.25", model="digits"}}[5m]))',
            f'sum(increase({DURATION}_count{{model="digits"}}[5m]))',
            id="the bucket of the threshold holds the good ones",
        ),
        pytest.param(
            Threshold(Selector(DURATION), "gt", 1),
            f'sum(increase({DURATION}_count[5m])) - sum(increase({DURATION}_bucket{{le="1.0"}}[5m]))',
            f"sum(increase({DURATION}_count[5m]))",
            id="a whole number is written as the exposition writes it",
        ),
        pytest.param(
            QUEUE,
            'sum_over_time(((max(sloctl_queue_length{model="digits"}) >= -Inf) <= bool 8)[299500ms:1s])',
            'count_over_time((max(sloctl_queue_length{model="digits"}) >= -Inf)[299500ms:1s])',
            id="a gauge is sampled once a second and NaN is no sample",
        ),
    ],
)
def test_events_in_promql(indicator: Any, good: str, total: str) -> None:
    assert events(indicator, 300) == (good, total)


def test_label_values_are_quoted_and_taken_literally() -> None:
    selector = Selector("x", {"model": ('a"b\\c',), "variant": ("int8.v1", "a|b")})
    assert matchers(selector) == r'{model="a\"b\\c", variant=~"int8\\.v1|a\\|b"}'


# --- the rule file


def test_no_raw_range_is_longer_than_an_hour(workbook: tuple[AlertWindow, ...]) -> None:
    for group in rule_groups([objective(), objective(FAST, "fast", 28 * DAY)], workbook)["groups"]:
        for rule in group["rules"]:
            if "increase(sloctl_" in rule["expr"]:
                raw = {part.split("]")[0] for part in rule["expr"].split("[")[1:]}
                assert raw <= {"5m", "30m", "1h", "280s", "4m40s", "28m", "56m"}


def test_a_period_within_an_hour_needs_no_recorded_increases(demo: tuple[AlertWindow, ...]) -> None:
    names = [group["name"] for group in rule_groups([objective(period=3600)], demo)["groups"]]
    assert names == ["sloctl-slo-avail"]


@pytest.mark.parametrize("slices", [None, Slices(60, 0.95), Slices(300), Slices(7200, 0.99)], ids=str)
@pytest.mark.parametrize("indicator", [GOOD, BAD, FAST, QUEUE])
@pytest.mark.parametrize("period", [HOUR, DAY, 30 * DAY, 366 * DAY])
def test_an_slo_takes_at_most_17_rules(
    workbook: tuple[AlertWindow, ...], indicator: Any, slices: Slices | None, period: float
) -> None:
    groups = rule_groups([objective(indicator, period=period, slices=slices)], workbook)["groups"]
    most = 17 + (
        period > 30 * DAY and slices == Slices(7200, 0.99)
    )  # no two windows fall together, and all is recorded
    assert sum(len(group["rules"]) for group in groups) <= most


def test_the_text_is_the_same_every_time_and_has_no_anchors(workbook: tuple[AlertWindow, ...]) -> None:
    text = to_yaml([objective(), objective(FAST, "fast")], workbook)
    assert text == to_yaml([objective(), objective(FAST, "fast")], workbook)
    assert "&id" not in text
    assert yaml.load(text, yaml.CSafeLoader)["groups"]


def test_the_file_says_how_often_it_wants_scrapes(demo: tuple[AlertWindow, ...]) -> None:
    assert "scrape interval of at most 500ms" in to_yaml([objective(period=3600)], demo)


def test_own_labels_come_along_but_never_replace_those_of_the_rules(workbook: tuple[AlertWindow, ...]) -> None:
    labels = {"team/name": "sre", "sloctl_slo": "forged", "severity": "none", "9lives": "cat"}
    groups = rule_groups([objective(labels=labels)], workbook)["groups"]
    found = groups[0]["rules"][0]["labels"]
    assert found == {"sloctl_slo": "avail", "sloctl_service": "digits", "team_name": "sre", "_9lives": "cat"}


# --- promtool

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus"
)


def promtool(*arguments: str, cwd: Path) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def unit_test(folder: Path, rules: str, **case: Any) -> None:
    """Runs one promtool unit test; `is_true` are expressions that must give 1 at their time in minutes."""
    expressions = case.pop("is_true", [])
    asked = [
        {"expr": f"sum({e})", "eval_time": f"{at}m", "exp_samples": [{"value": 1, "labels": "{}"}]}
        for at, e in expressions
    ]
    step = case.pop("step", "5m")
    test = {"interval": "1m", "promql_expr_test": asked, **case}
    (folder / "rules.yaml").write_text(rules)
    order = [group["name"] for group in yaml.load(rules, yaml.CSafeLoader)["groups"]]
    document = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": step,
        "group_eval_order": order,
        "tests": [test],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(document))
    promtool("test", "rules", "test.yaml", cwd=folder)


def near(series: str, value: float) -> str:
    return f"abs({series} - {value!r}) < bool 1e-9"


NO_NAN = "absent(sloctl:slo_error:ratio != sloctl:slo_error:ratio)"


def error_ratio(window: str) -> str:
    return f'sloctl:slo_error:ratio{{sloctl_window="{window}"}}'


def requests(outcome: str, values: str) -> dict[str, str]:
    return {"series": f'{REQUESTS}{{model="digits", outcome="{outcome}"}}', "values": values}


@pytest.mark.integration
@needs_promtool
@pytest.mark.parametrize("table", ["workbook", "demo"])
def test_promtool_accepts_the_rules_of_every_kind_of_indicator(
    tmp_path: Path, table: str, request: pytest.FixtureRequest
) -> None:
    annotations = {"run.book": "see {{ this }}", "description": 'a "quoted" text'}
    slos = [
        objective(indicator, f"slo-{number}", period, annotations=annotations, labels={"a.b": "c"})
        for number, (indicator, period) in enumerate(
            (i, p) for i in (GOOD, BAD, FAST, QUEUE) for p in (3600, DAY, 30 * DAY)
        )
    ]
    (tmp_path / "rules.yaml").write_text(to_yaml(slos, request.getfixturevalue(table)))
    promtool("check", "rules", "rules.yaml", cwd=tmp_path)


@pytest.mark.integration
@needs_promtool
def test_a_busy_bad_hour_and_23_quiet_ones_give_the_true_ratio_and_not_an_average_of_averages(
    tmp_path: Path, workbook: tuple[AlertWindow, ...]
) -> None:
    true = 3000 / 73800  # 4.07 %; averaging hourly ratios gives 0.21 %
    unit_test(
        tmp_path,
        to_yaml([objective()], workbook),
        input_series=[requests("ok", "0+950x60 57010+10x1379"), requests("error", "0+50x60 3000+0x1379")],
        is_true=[
            (1440, near(error_ratio("1d"), true)),
            (1440, near(error_ratio("30d"), true)),
            (1440, near("sloctl:slo_error_budget_remaining:ratio", 1 - true / 0.01)),
        ],
    )


@pytest.mark.integration
@needs_promtool
def test_half_an_hour_without_traffic_leaves_no_nan_behind(tmp_path: Path, workbook: tuple[AlertWindow, ...]) -> None:
    unit_test(
        tmp_path,
        to_yaml([objective()], workbook),
        input_series=[requests("ok", "0+99x60 5940+0x30 6039+99x30"), requests("error", "0+1x60 60+0x30 61+1x30")],
        is_true=[
            (90, near(error_ratio("5m"), 0)),
            (90, near(error_ratio("30m"), 0)),
            (90, near(error_ratio("1h"), 0.01)),
            (120, near(error_ratio("30d"), 0.01)),
            (120, near("sloctl:slo_error_budget_remaining:ratio", 0)),
            *((at, NO_NAN) for at in (60, 90, 120)),
        ],
    )


@pytest.mark.integration
@needs_promtool
@pytest.mark.parametrize("side", ["bad", "good"])
def test_a_query_that_divides_by_no_traffic_spoils_no_long_window(
    tmp_path: Path, workbook: tuple[AlertWindow, ...], side: str
) -> None:
    every, some = (f"sum(increase({name}_total[{{{{.window}}}}]))" for name in ("all", "some"))
    indicator = QueryRatio(every, **{side: f"{every} * ({some} / {every})"})
    unit_test(
        tmp_path,
        to_yaml([objective(indicator)], workbook),
        input_series=[
            {"series": "all_total", "values": "0+100x60 6000x30 6100+100x59"},
            {"series": "some_total", "values": "0+20x60 1200x30 1220+20x59"},
        ],
        is_true=[(150, near(error_ratio(window), 0.2 if side == "bad" else 0.8)) for window in ("2h", "30d")],
    )


@pytest.mark.integration
@needs_promtool
def test_prometheus_and_the_engine_in_process_agree_on_every_window(
    tmp_path: Path, workbook: tuple[AlertWindow, ...]
) -> None:
    rng = random.Random(7)
    # Six hours of minutes: bursts, errors now and then, and silences longer than the short windows.
    minutes = [(0, 0) if 100 <= m < 140 else (rng.randrange(200), rng.choice([0, 0, 0, 1, 30])) for m in range(1, 361)]
    oks, errors = np.cumsum([g for g, _ in minutes]).tolist(), np.cumsum([b for _, b in minutes]).tolist()
    evaluator = Evaluator([objective()], workbook)
    evaluator.advance(0, np.array([0]), np.array([0]))
    expected = []
    for minute in range(1, 361):
        good, bad = oks[minute - 1], errors[minute - 1]
        evaluator.advance(minute * 60, np.array([good]), np.array([good + bad]))
        if minute in (60, 135, 200, 360):
            windows = [w for w in evaluator.window_lengths("avail") if w <= minute * 60 or w == 30 * DAY]
            for window in windows:
                ratio = evaluator.error_ratio("avail", window)
                assert not math.isnan(ratio)
                expected.append((minute, near(error_ratio(format_duration(window)), ratio)))
    assert len(expected) > 15
    unit_test(
        tmp_path,
        to_yaml([objective()], workbook),
        input_series=[
            requests("ok", " ".join(map(str, [0, *oks]))),
            requests("error", " ".join(map(str, [0, *errors]))),
        ],
        is_true=expected,
    )


@pytest.mark.integration
@needs_promtool
@pytest.mark.parametrize("slices", [Slices(60, 0.9), Slices(60), Slices(300, 0.99)], ids=str)
def test_prometheus_and_the_engine_in_process_agree_on_time_slices(
    tmp_path: Path, workbook: tuple[AlertWindow, ...], slices: Slices
) -> None:
    sliced = objective(slices=slices)
    rng = random.Random(slices.seconds)
    minutes = [(0, 0) if 40 <= m < 60 else (rng.randrange(99), rng.choice([0, 0, 1, 30])) for m in range(1, 181)]
    oks, errors = np.cumsum([g for g, _ in minutes]).tolist(), np.cumsum([b for _, b in minutes]).tolist()
    evaluator = Evaluator([sliced], workbook)
    evaluator.advance(0, np.array([0]), np.array([0]))
    expected = []
    for minute in range(1, 181):
        good, bad = oks[minute - 1], errors[minute - 1]
        evaluator.advance(minute * 60, np.array([good]), np.array([good + bad]))
        if minute in (60, 120, 180):
            for window in [w for w in evaluator.window_lengths("avail") if w <= minute * 60 or w == 30 * DAY]:
                ratio = evaluator.error_ratio("avail", window)
                expected.append((minute, near(error_ratio(format_duration(window)), ratio)))
            remaining = evaluator.budget_remaining("avail")
            expected.append((minute, near("sloctl:slo_error_budget_remaining:ratio", remaining)))
    assert len(expected) > 12
    unit_test(
        tmp_path,
        to_yaml([sliced], workbook),
        step=f"{slices.seconds}s",
        input_series=[
            requests("ok", " ".join(map(str, [0, *oks]))),
            requests("error", " ".join(map(str, [0, *errors]))),
        ],
        is_true=expected,
    )


@pytest.mark.integration
@needs_promtool
def test_an_alert_policy_of_its_own_holds_for_a_while_and_names_whom_it_is_for(tmp_path: Path) -> None:
    alarm = Alarm("own", "sev1", 10, 300, 300, after=120, at_least=True, notify=("on-call",))
    labels = {"sloctl_slo": "avail", "sloctl_service": "digits", "sloctl_tier": "sev1", "sloctl_policy": "own"}
    alert = {
        "exp_labels": labels | {"severity": "sev1", "sloctl_notify": "on-call"},
        "exp_annotations": {
            "summary": "SLO avail burns its error budget too fast",
            "description": "The budget burns over 5m at least 10 times as fast as it may.",
            "burn_rate": "100.0",
            "budget_remaining": "-1425%",
            "time_to_exhaustion": "0s",
            "runbook_url": "docs/runbooks/SloctlErrorBudgetBurn.md",
        },
    }
    unit_test(
        tmp_path,
        to_yaml([objective(period=3600, alarms=(alarm,))], ()),
        step="1m",
        input_series=[requests("ok", "0+10x70 700+0x20"), requests("error", "0+0x70 0+10x20")],
        alert_rule_test=[
            {"eval_time": "72m", "alertname": "SloctlErrorBudgetBurn", "exp_alerts": []},
            {"eval_time": "80m", "alertname": "SloctlErrorBudgetBurn", "exp_alerts": [alert]},
        ],
    )


@pytest.mark.integration
@needs_promtool
@pytest.mark.parametrize(
    ("indicator", "error"),
    [
        pytest.param(Ratio(Selector("b"), good=Selector("a"), sampled=True), 0.75, id="gauges that count"),
        pytest.param(Raw(Selector("r")), 0.8, id="a share of good"),
        pytest.param(Raw(Selector("r"), failure=True), 0.2, id="a share of bad"),
        pytest.param(QueryRatio("rate(b[{{.window}}])", bad="rate(a[{{ .window }}])"), 0.25, id="queries"),
        pytest.param(QueryRatio("rate(b[{{.window}}])", bad="rate(none[{{.window}}])"), 0, id="no series is zero"),
        pytest.param(QueryShare("avg_over_time(r[{{.window}}])", failure=True), 0.2, id="a query of a share"),
        pytest.param(QueryThreshold("r", "lte", 0.5), 0, id="a query within its threshold"),
        pytest.param(QueryThreshold("r", "gt", 0.5), 1, id="a query beyond it"),
    ],
)
def test_every_other_indicator_gives_its_ratio_over_short_and_long_windows(
    tmp_path: Path, workbook: tuple[AlertWindow, ...], indicator: Any, error: float
) -> None:
    unit_test(
        tmp_path,
        to_yaml([objective(indicator)], workbook),
        input_series=[
            {"series": "a", "values": "0+25x300"},
            {"series": "b", "values": "0+100x300"},
            {"series": "r", "values": "0.2x300"},
        ],
        is_true=[(240, near(error_ratio(window), error)) for window in ("5m", "1h", "2h", "30d")],
    )


@pytest.mark.integration
@needs_promtool
def test_a_total_outage_pages_with_its_labels_and_a_calm_service_does_not(
    tmp_path: Path, workbook: tuple[AlertWindow, ...]
) -> None:
    fast = objective(FAST, "fast")
    rules = to_yaml([fast], [w for w in workbook if w.name == "page-fast"])
    bucket, count = f'{DURATION}_bucket{{model="digits", le="0.25"}}', f'{DURATION}_count{{model="digits"}}'
    alert = {
        "exp_labels": {
            "sloctl_slo": "fast",
            "sloctl_service": "digits",
            "sloctl_tier": "page",
            "severity": "page",
        },
        "exp_annotations": {
            "summary": "SLO fast burns its error budget too fast",
            "description": "The budget burns over 1h and 5m more than 14.4 times as fast as it may.",
            "burn_rate": "25.0",
            "budget_remaining": "65.4%",
            "time_to_exhaustion": "4h 42m 31s",
            "runbook_url": "docs/runbooks/SloctlErrorBudgetBurn.md",
        },
    }
    unit_test(
        tmp_path,
        rules,
        input_series=[
            {"series": bucket, "values": "0+100x4320 432000+0x20"},
            {"series": count, "values": "0+100x4400"},
        ],
        alert_rule_test=[
            {"eval_time": "4320m", "alertname": "SloctlErrorBudgetBurn", "exp_alerts": []},
            {"eval_time": "4335m", "alertname": "SloctlErrorBudgetBurn", "exp_alerts": [alert]},
        ],
    )


@pytest.mark.integration
@needs_promtool
def test_a_page_stays_one_alert_while_one_pair_of_windows_takes_over_from_another(
    tmp_path: Path, workbook: tuple[AlertWindow, ...]
) -> None:
    count = 'count(ALERTS{alertname="SloctlErrorBudgetBurn", sloctl_tier="page"})'
    unit_test(
        tmp_path,
        to_yaml([objective()], workbook),
        input_series=[requests("ok", "0+100x60 6000+0x200"), requests("error", "0+0x60 0+100x200")],
        is_true=[(minute, f"{count} == bool 1") for minute in (75, 120, 200)],  # both pairs of a page burn by now
    )


@pytest.mark.integration
@needs_promtool
def test_what_is_left_out_is_left_out_minute_by_minute_and_is_data(
    tmp_path: Path, workbook: tuple[AlertWindow, ...]
) -> None:
    left_out = objective(exclusions=(Once(0, 60),))  # the daemon's metric says when
    silent = 'absent(ALERTS{alertname="SloctlSloNoData", alertstate="firing"})'
    unit_test(
        tmp_path,
        to_yaml([left_out], workbook),
        step="1m",
        input_series=[
            requests("ok", "0+90x60 5400+0x30 5400+90x60"),
            requests("error", "0+10x60 600+100x30 3600+10x60"),
            {"series": 'sloctl_slo_excluded{slo="avail"}', "values": "0x60 1x30 0x60"},
        ],
        # Half an hour of nothing but errors meanwhile; the minutes of its two ends are left out, too.
        is_true=[(90, near(error_ratio("5m"), 0)), (149, near(error_ratio("1d"), 0.1)), (80, silent)],
    )


@pytest.mark.integration
@needs_promtool
def test_series_that_are_gone_are_told_and_silence_is_not(tmp_path: Path, workbook: tuple[AlertWindow, ...]) -> None:
    alerts = 'ALERTS{alertname="SloctlSloNoData", alertstate="firing", sloctl_slo="avail", severity="ticket"}'
    unit_test(
        tmp_path,
        to_yaml([objective()], workbook),
        input_series=[requests("ok", "0+9x60 540x60 _x60"), requests("error", "0x120 _x60")],
        is_true=[(115, f"absent({alerts})"), (140, alerts)],
    )


@pytest.mark.integration
@needs_promtool
def test_a_gauge_is_good_while_every_series_keeps_the_threshold_and_nan_is_no_sample(
    tmp_path: Path, workbook: tuple[AlertWindow, ...]
) -> None:
    first, second = (f'sloctl_queue_length{{model="digits", instance="{name}"}}' for name in "ab")
    unit_test(
        tmp_path,
        to_yaml([objective(QUEUE, "queue")], workbook),
        step="1m",
        input_series=[{"series": first, "values": "1x29 9x10"}, {"series": second, "values": " ".join(["NaN"] * 40)}],
        is_true=[
            (29, near(error_ratio("5m"), 0)),
            (35, near(error_ratio("5m"), 1)),
        ],
    )
