"""Fuzzed agreement: what Prometheus makes of the generated rules is what the engine in process says.

Each example is a trace of minutes. promtool evaluates the rules over it, the evaluator counts it, and both must
give the same ratios, burn rates, budgets and alerts, to 1e-9.
"""

import shutil
import subprocess
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sloctl.config.base import format_duration
from sloctl.slo.alarms import alarms_of, grouped
from sloctl.slo.evaluate import Evaluator
from sloctl.slo.objective import Indicator, Objective, Ratio, Selector, Slices, Threshold
from sloctl.slo.prometheus import ALERT, to_yaml
from sloctl.slo.windows import AlertWindow

HOUR, DAY = 3600.0, 86400.0
REQUESTS, DURATION = "sloctl_requests_total", "sloctl_request_duration_seconds"
OK, ERROR = (Selector(REQUESTS, {"outcome": (outcome,)}) for outcome in ("ok", "error"))

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus"),
]

INDICATORS = st.sampled_from(
    [
        Ratio(Selector(REQUESTS), good=OK),
        Ratio(Selector(REQUESTS), bad=ERROR),
        Threshold(Selector(DURATION), "lte", 0.25),
        Threshold(Selector(DURATION), "gt", 0.25),
    ]
)
SLICES = st.sampled_from([None, None, Slices(60, 0.95), Slices(60), Slices(300, 0.99), Slices(300)])
TARGETS = st.sampled_from([0.95, 0.99, 0.995, 0.999])
PERIODS = st.sampled_from([6 * HOUR, DAY, 7 * DAY, 28 * DAY, 30 * DAY])
# Stretches of so many minutes alike: good and bad events a minute, and silence.
STRETCHES = st.lists(
    st.tuples(
        st.integers(1, 40),
        st.one_of(st.just((0, 0)), st.tuples(st.integers(0, 5000), st.sampled_from([0, 0, 0, 1, 7, 500]))),
    ),
    min_size=4,
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(INDICATORS, SLICES, TARGETS, PERIODS, STRETCHES)
def test_both_engines_say_the_same(
    workbook: tuple[AlertWindow, ...],
    indicator: Indicator,
    slices: Slices | None,
    target: float,
    period: float,
    stretches: list[tuple[int, tuple[int, int]]],
) -> None:
    slo = Objective("slo", "digits", "slo", indicator, target, period, slices=slices)
    minutes = [pair for length, pair in stretches for _ in range(length)]
    minutes += [(1, 0)] * (-len(minutes) % 5)  # both look at whole five minutes
    evaluator = Evaluator([slo], workbook)
    expected = _expected(evaluator, slo, workbook, minutes)
    _promtool(to_yaml([slo], workbook), minutes, expected, slices.seconds if slices else 300)


def _expected(
    evaluator: Evaluator, slo: Objective, table: Sequence[AlertWindow], minutes: list[tuple[int, int]]
) -> list[tuple[int, str]]:
    """Expressions that must be 1, with their minute, by what the engine in process says."""
    inverse = isinstance(slo.indicator, Threshold) and slo.indicator.op == "gt"
    oks, errors = (list(accumulate(side)) for side in zip(*minutes, strict=True))
    looks = {len(minutes) // 10 * 5, len(minutes)} - {0}
    expected = []
    evaluator.advance(0, np.array([0]), np.array([0]))
    for minute, (ok, error) in enumerate(zip(oks, errors, strict=True), start=1):
        evaluator.advance(minute * 60, np.array([error if inverse else ok]), np.array([ok + error]))
        if minute in looks:
            expected += [(minute, expression) for expression in _at(evaluator, slo, table, minute * 60)]
    return expected


def _at(evaluator: Evaluator, slo: Objective, table: Sequence[AlertWindow], now: int) -> list[str]:
    step = slo.slices.seconds if slo.slices else 60
    # What is read from raw series needs data over the whole range, as samples do to be the same.
    comparable = {
        window
        for window in evaluator.window_lengths("slo")
        if window % step == 0 and (window <= now or slo.slices or window > HOUR)
    }
    found = []
    for window in comparable:
        labels = f'{{sloctl_window="{format_duration(window)}"}}'
        found.append(_near(f"sloctl:slo_error:ratio{labels}", evaluator.error_ratio("slo", window)))
        found.append(_near(f"sloctl:slo_burn_rate:ratio{labels}", evaluator.burn_rate("slo", window)))
    found.append(_near("sloctl:slo_error_budget_remaining:ratio", evaluator.budget_remaining("slo")))
    found.append(_near("sloctl:slo_objective:ratio", slo.target))
    if comparable == set(evaluator.window_lengths("slo")):
        found += _alerting(evaluator, slo, table)
    return found


def _alerting(evaluator: Evaluator, slo: Objective, table: Sequence[AlertWindow]) -> list[str]:
    """One expression an alert: whether any of its pairs of windows fires."""
    pairs = {pair.window: pair for pair in evaluator.alerts()}
    margins = [min(abs(p.burn_long - p.factor), abs(p.burn_short - p.factor)) for p in pairs.values()]
    if any(margin < 1e-6 for margin in margins):
        return []
    found = []
    for together in grouped(slo, alarms_of(slo, table)):
        firing = any(pairs[alarm.name].firing for alarm in together)
        own = "" if slo.alarms is None else f', sloctl_policy="{together[0].name}"'
        alerts = f'ALERTS{{alertname="{ALERT}", sloctl_tier="{together[0].severity}"{own}}}'
        found.append(f"(count({alerts}) or vector(0)) == bool {int(firing)}")
    return found


def _near(series: str, value: float) -> str:
    return f"abs({series} - {value!r}) <= bool {1e-9 * max(1.0, abs(value))!r}"


def _promtool(rules: str, minutes: list[tuple[int, int]], expected: list[tuple[int, str]], step: int) -> None:
    oks, errors = (list(accumulate(side, initial=0)) for side in zip(*minutes, strict=True))
    both = [ok + error for ok, error in zip(oks, errors, strict=True)]
    series: dict[str, list[int]] = {
        f'{REQUESTS}{{outcome="ok"}}': oks,
        f'{REQUESTS}{{outcome="error"}}': errors,
        f'{DURATION}_bucket{{le="0.25"}}': oks,
        f"{DURATION}_count": both,
    }
    case: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": name, "values": " ".join(map(str, values))} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": f"sum({text})", "eval_time": f"{minute}m", "exp_samples": [{"value": 1, "labels": "{}"}]}
            for minute, text in expected
        ],
    }
    names = [group["name"] for group in yaml.load(rules, yaml.CSafeLoader)["groups"]]
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": f"{step}s", "group_eval_order": names}
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rules.yaml").write_text(rules)
        (folder / "test.yaml").write_text(yaml.safe_dump({**document, "tests": [case]}))
        command = ["promtool", "test", "rules", "test.yaml"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
