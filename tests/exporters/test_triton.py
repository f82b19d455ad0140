"""Triton's names: the same counts, Triton's labels, and the dashboard that Triton ships."""

import re
from types import ModuleType
from typing import Any

import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.telemetry import catalogue as c
from sloctl.telemetry.families import Family
from sloctl_exporters.triton import ALIASES, FAILURE, TRITON_METRICS, triton_families

# The queries of deploy/k8s-onprem/dashboard.json in Triton's repository, and that of its autoscaler's example.
DASHBOARD = (
    "count(count(nv_inference_count) by (instance))",
    "sum by (pod) (rate(nv_inference_count[1m])) / ignoring(pod) group_left sum (rate(nv_inference_count[1m]))",
    "sum(nv_inference_request_success) by (pod)",
    "sum(nv_inference_request_failure) by (pod)",
    "sum(rate(nv_inference_compute_infer_duration_us[30s])) by (model) / 1000",
    "avg(rate(nv_inference_queue_duration_us[30s])/(1+rate(nv_inference_request_success[30s]))) by (pod)",
)


@pytest.fixture
def board(living_board: ModuleType, fake_nvml: ModuleType) -> Any:
    living = living_board.LivingBoard(fake_nvml)
    for _ in range(3):
        living.work()
    return living


def values(families: list[Family]) -> dict[str, float]:
    """Sums by name."""
    return {family.metric.name: sum(value for _, value in family.samples) for family in families}


def test_counts_and_times_are_ours_in_tritons_units(board: Any) -> None:
    found = values(triton_families(board.families()))
    batches, queued = 3 * 2, 3  # of two variants
    assert found == pytest.approx(
        {
            "nv_inference_request_success": 27,
            "nv_inference_request_failure": 3,
            "nv_inference_count": 2 * batches,
            "nv_inference_exec_count": batches,
            "nv_inference_request_duration_us": 30_000 * batches,
            "nv_inference_queue_duration_us": 2_000 * queued,
            "nv_inference_compute_input_duration_us": 100 * batches,
            "nv_inference_compute_infer_duration_us": 20_000 * batches,
            "nv_inference_pending_request_count": 0,
        }
    )


def test_each_model_has_each_metric_once_from_the_start(living_board: ModuleType, fake_nvml: ModuleType) -> None:
    for family in triton_families(living_board.LivingBoard(fake_nvml).families()):
        if family.metric is FAILURE:
            reasons = [labels[2] for labels, _ in family.samples]
            assert sorted(reasons) == sorted(set(c.OUTCOMES) - {"ok"})
        else:
            assert [labels for labels, _ in family.samples] == [("digits", "1")]


@given(st.dictionaries(st.tuples(st.sampled_from(["high", "low"]), st.sampled_from(c.OUTCOMES)), st.integers(0, 10**9)))
def test_success_and_failures_are_all_requests_and_each_reason_has_one_of_tritons(counts: dict) -> None:
    requests = Family(c.REQUESTS, [(("digits", *labels), value) for labels, value in counts.items()])
    found = triton_families([requests])
    sums = values(found)
    assert sums["nv_inference_request_success"] + sums[FAILURE.name] == sum(counts.values())
    failures = {labels[2:]: value for labels, value in found[-1].samples}
    for (reason, tritons), value in failures.items():
        assert tritons in {"REJECTED", "CANCELED", "BACKEND", "OTHER"}
        assert value == sum(count for (_, outcome), count in counts.items() if outcome == reason)
    assert len({reason for reason, _ in failures}) == len(failures)


def test_admission_is_rejection_to_triton_and_the_rest_is_not(board: Any) -> None:
    tritons = dict(labels[2:] for labels, _ in triton_families(board.families())[-1].samples)
    assert {reason for reason, word in tritons.items() if word != "REJECTED"} == {"invalid", "error", "cancelled"}


@pytest.mark.parametrize("query", DASHBOARD)
def test_tritons_own_dashboard_finds_its_metrics_and_labels(query: str) -> None:
    promql_parser.parse(query)
    known = {metric.name: metric.labels for metric in TRITON_METRICS}
    assert set(re.findall(r"nv_\w+", query)) <= set(known)
    grouped = {label for group in re.findall(r"by \((\w+)\)", query) for label in (group,)}
    assert grouped <= {"model", "pod", "instance"}, "the scraper adds the last two"


def test_names_are_unlike_ours_and_one_each() -> None:
    names = [metric.name for metric in TRITON_METRICS]
    assert len(set(names)) == len(names) == len(ALIASES) + 1
    assert all(c.find(name) is None for name in names)
