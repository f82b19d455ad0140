"""A daemon with its SLOs and policies: what is wrong where, and what a reload accepts."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sloctl.config.documents import Files, bundle_of, load_bundle
from sloctl.config.problems import Code, ConfigError
from sloctl.config.project import examine, load_bundle_texts, load_project, reload_bundle
from sloctl.config.runtime import Runtime
from sloctl.config.sources import Source
from sloctl.config.urls import is_loopback

# which file, what is replaced by what, and the one problem that follows
SPOILT = {
    "an unknown field with a suggestion": (
        "slo", "budgetingMethod:", "budgettingMethod:", 15, 3, Code.UNKNOWN_FIELD, 'did you mean "budgetingMethod"?'),
    "a field in snake case is the same field, so its value is checked": (
        "daemon", "models:", "default_priority: urgent\nmodels:", 5, 19, Code.INVALID_VALUE, "'urgent' is not among"),
    "a missing field, at the mapping that lacks it": (
        "policy", "  model: digits\n", "", 4, 1, Code.MISSING_FIELD, 'missing field "model" in spec'),
    "a missing field of an item of a list": (
        "daemon", "- name: digits\n  variants: [fp32, int8]", "- name: digits", 6, 3, Code.MISSING_FIELD, "variants"),
    "text where a number is wanted": (
        "slo", "value: 0.0123", "value: '0.0123'", 17, 22, Code.WRONG_TYPE, 'value is the text "0.0123"'),
    "a number where text is wanted": (
        "daemon", "[fp32, int8]", "[fp32, 8]", 7, 20, Code.WRONG_TYPE, "is the number 8"),
    "what YAML takes for a boolean": (
        "daemon", "name: digits", "name: no", 6, 9, Code.WRONG_TYPE, "name is false (YAML takes no for it)"),
    "a list where a mapping is wanted": (
        "daemon", "models:", "serving: []\nmodels:", 5, 10, Code.WRONG_TYPE, "serving is a list"),
    "nothing where a mapping is wanted": (
        "daemon", "models:", "serving:\nmodels:", 5, 9, Code.WRONG_TYPE, "serving is empty"),
    "a duration without a unit": (
        "policy", "for: 2s", "for: 2", 10, 10, Code.INVALID_VALUE, "for is 2"),
    "a fractional duration without a unit": (
        "policy", "for: 2s", "for: 2.5", 10, 10, Code.INVALID_VALUE, "for is 2.5"),
    "a duration beyond its bounds": (
        "daemon", "models:", "control: {tick: 10s}\nmodels:", 5, 17, Code.OUT_OF_RANGE, 'tick is "10s"'),
    "a port beyond its bounds": (
        "daemon", "models:", "serving: {port: 65536}\nmodels:", 5, 17, Code.OUT_OF_RANGE, "port is 65536"),
    "a number that is not finite": (
        "slo", "value: 0.0123", "value: .inf", 17, 22, Code.INVALID_VALUE, "value is Infinity"),
    "an unsupported choice": (
        "slo", "Occurrences", "Weekly", 15, 20, Code.INVALID_VALUE, 'budgetingMethod is "Weekly"'),
    "a misspelt choice": (
        "slo", "op: lte", "op: letter", 17, 10, Code.INVALID_VALUE, 'did you mean "lte"?'),
    "a misspelt choice deep inside": (
        "daemon", "models:", "telemetry: {gpu: {names: dgcm}}\nmodels:", 5, 26, Code.INVALID_VALUE, '"dcgm"'),
    "fewer GPUs than none": (
        "daemon", "models:", "telemetry: {gpu: {expected: -1}}\nmodels:", 5, 29, Code.OUT_OF_RANGE, "expected is -1"),
    "a name with a space": (
        "daemon", "name: digits", "name: di gits", 6, 9, Code.INVALID_VALUE, 'name is "di gits"'),
    "an empty list": ("daemon", "[fp32, int8]", "[]", 7, 13, Code.INVALID_VALUE, "variants is empty"),
    "a threshold beyond the histogram": (
        "slo", "value: 0.0123", "value: 101", 17, 22, Code.INVALID_SLO, "101"),
    "a metric that there is not": (
        "slo", "sloctl_request_duration_seconds", "sloctl_request_seconds", 12, 21, Code.INVALID_SLO, "unknown metric"),
    "an SLO's model that there is not": (
        "slo", "{model: digits}", "{model: digit}", 13, 29, Code.UNKNOWN_MODEL, 'did you mean "digits"?'),
    "one of an SLO's variants that there is not": (
        "slo", "{model: digits}", "{variant: [fp32, fp16]}", 13, 38, Code.UNKNOWN_VARIANT, 'no variant "fp16"'),
    "an unknown SLO inside a plain expression": (
        "policy", '"digits-latency"', '"digits-latncy"', 9, 21, Code.INVALID_EXPRESSION, "unknown SLO 'digits-latncy'"),
    "an unknown SLO inside a single-quoted expression": (
        "policy", 'burn_rate("digits-latency", "5m") > 14.4', "'burn_rate(''x'', \"5m\") > 14.4'",
        9, 22, Code.INVALID_EXPRESSION, "unknown SLO 'x'"),
    "an unknown SLO inside a double-quoted expression": (
        "policy", 'burn_rate("digits-latency", "5m") > 14.4', r'"1 > 0 && burn_rate(\"x\", \"5m\") > 14.4"',
        9, 31, Code.INVALID_EXPRESSION, "unknown SLO 'x'"),
    "an unknown SLO inside a block expression, at its start": (
        "policy", 'burn_rate("digits-latency", "5m") > 14.4', '|\n      burn_rate("x", "5m") > 14.4',
        9, 11, Code.INVALID_EXPRESSION, "unknown SLO 'x'"),
    "an expression that does not parse": (
        "policy", "> 14.4", "> 14.4 and true", 9, 52, Code.INVALID_EXPRESSION, "'and' is written &&"),
    "a policy's model that there is not": (
        "policy", "model: digits", "model: digit", 5, 10, Code.UNKNOWN_MODEL, "unknown model 'digit'"),
    "a ladder with a missing variant": (
        "policy", "int8]", "int4]", 6, 18, Code.INVALID_LADDER, "has no variant 'int4'; did you mean 'int8'?"),
    "a step to a variant that is not on the ladder": (
        "policy", "precision: down", "precision: dwn", 11, 25, Code.INVALID_POLICY, "'dwn' is not on the ladder"),
    "shedding a class that there is not": (
        "policy", "precision: down", "shed: {admit: {lowest: 0}}", 11, 37, Code.UNKNOWN_PRIORITY, "'lowest'"),
    "a tier of a class that there is not": (
        "policy", "precision: down", "tiers: {lowest: int8}", 11, 30, Code.INVALID_POLICY, "'lowest'"),
    "a tier that is not on the ladder": (
        "policy", "precision: down", "tiers: {low: int4}", 11, 27, Code.INVALID_POLICY, "did you mean 'int8'?"),
    "a tier above that of a higher class": (
        "policy", "precision: down", "tiers: {high: int8, low: fp32}", 11, 39, Code.INVALID_POLICY, "more accurately"),
    "a glob that matches nothing": (
        "daemon", "slos: [slos/*.yaml]", "slos: [slos/*.yaml, sols/*.yaml]", 3, 21, Code.NO_SUCH_FILE,
        '"sols/*.yaml" matches no file'),
    "a file that is not there": (
        "daemon", "slos: [slos/*.yaml]", "slos: [slos/*.yaml, x.yaml]", 3, 21, Code.NO_SUCH_FILE, "is not a file"),
    "a windows file that is not there": (
        "daemon", "models:", "windows: w.yaml\nmodels:", 5, 10, Code.NO_SUCH_FILE, '"w.yaml" is not a file'),
    "an open control plane": (
        "daemon", "models:", "control: {host: 0.0.0.0}\nmodels:", 5, 17, Code.OPEN_CONTROL, "without a token"),
    "a token file that is not there": (
        "daemon", "models:", "control: {host: 0.0.0.0, tokenFile: t}\nmodels:", 5, 37, Code.TOKEN_FILE, "no such file"),
    "plain HTTP to an Alertmanager elsewhere": (
        "daemon", "models:", "alerts: {alertmanagers: [{url: 'http://am:9093'}]}\nmodels:", 5, 26, Code.INVALID_VALUE,
        "plain HTTP to another machine"),
    "an Alertmanager's address that is none": (
        "daemon", "models:", "alerts: {alertmanagers: [{url: 'am:9093'}]}\nmodels:", 5, 32, Code.INVALID_VALUE,
        'url is "am:9093"'),
    "an Alertmanager's password in its address": (
        "daemon", "models:", "alerts: {alertmanagers: [{url: 'https://me:secret@am'}]}\nmodels:", 5, 32,
        Code.INVALID_VALUE, "holds no user or password"),
    "an Alertmanager's token that is not there": (
        "daemon", "models:", "alerts: {alertmanagers: [{url: 'https://am', tokenFile: t}]}\nmodels:", 5, 57,
        Code.TOKEN_FILE, "no such file"),
    "an Alertmanager's certificates that are not there": (
        "daemon", "models:", "alerts: {alertmanagers: [{url: 'https://am', caFile: ca.pem}]}\nmodels:", 5, 54,
        Code.NO_SUCH_FILE, "ca.pem is not a file"),
    "an Alertmanager twice": (
        "daemon", "models:", "alerts: {alertmanagers: [{url: 'https://a'}, {url: 'https://a/'}]}\nmodels:", 5, 9,
        Code.INVALID_VALUE, "twice"),
    "a kind that is not supported": ("slo", "kind: SLO", "kind: SLA", 2, 7, Code.UNKNOWN_DOCUMENT, 'kind "SLA"'),
    "a version that is not supported": (
        "slo", "openslo/v1", "openslo/v2", 1, 13, Code.UNKNOWN_DOCUMENT, 'apiVersion "openslo/v2"'),
    "a document without a kind": ("slo", "kind: SLO\n", "", 1, 1, Code.UNKNOWN_DOCUMENT, "has no kind"),
    "a window that no SLO keeps": (
        "policy", '"5m") > 14.4', '"31d") > 14.4', 9, 39, Code.INVALID_EXPRESSION, "the longest window kept is 30d"),
    "a planner for an SLO that is not over request times": (
        "policy", "ladder: [fp32, int8]", "ladder: [fp32, int8]\n  planner: {objective: digits-latncy}", 7, 24,
        Code.INVALID_POLICY, "did you mean 'digits-latency'"),
    "a zone that there is not": (
        "policy", 'burn_rate("digits-latency", "5m")', 'time_of_day("Europe/Bonn")', 9, 23,
        Code.INVALID_EXPRESSION, "is no time zone here"),
    "a share for a class that there is not": (
        "daemon", "models:", "models:\n- {name: m, variants: [a], admission: {reserved: {high: 0.1, vip: 0.1}}}", 6, 67,
        Code.INVALID_VALUE, "'vip', which is not among priorities"),
    "a precision of one's own for a class that there is not": (
        "daemon", "models:", "models:\n- {name: m, variants: [a], clientPrecision: [high, vip]}", 6, 52,
        Code.INVALID_VALUE, "'vip' is not among priorities"),
    "a default class that there is not": (
        "daemon", "models:", "defaultPriority: vip\nmodels:", 5, 18, Code.INVALID_VALUE, "'vip' is not among"),
    "a batch beyond the largest": (
        "daemon", "models:", "models:\n- {name: m, variants: [a], maxBatch: 8, preferredBatchSizes: [4, 16]}", 6, 66,
        Code.INVALID_VALUE, "preferredBatchSizes has 16"),
    "a model twice": (
        "daemon", "models:", "models:\n- {name: digits, variants: [a]}", 1, 1, Code.INVALID_VALUE, "named twice"),
}  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "line", "column", "code", "message"), SPOILT.values(), ids=SPOILT)
def test_each_mistake_is_found_at_its_place(
    project: Any, file: str, old: str, new: str, line: int, column: int, code: Code, message: str
) -> None:
    path = getattr(project, file)
    project.spoil(path, old, new)
    problems = [p for p in examine(project.daemon)[2] if p.path == path and p.code is code]
    assert [(p.line, p.column) for p in problems] == [(line, column)], examine(project.daemon)[2]
    assert message in problems[0].message
    with pytest.raises(ConfigError):
        load_project(project.daemon)


@pytest.mark.parametrize("name", ["x" * 5000, '"\\0"', '"*\\0"', '"["', "slos", '""'])
def test_a_name_that_no_file_can_have_is_a_problem(project: Any, name: str) -> None:
    project.spoil(project.daemon, "slos: [slos/*.yaml]", f"slos: [slos/*.yaml, {name}]")
    assert [p.code for p in examine(project.daemon)[2]] == [Code.NO_SUCH_FILE]


def test_what_may_stand_in_place_of_an_unknown_field_is_listed(project: Any) -> None:
    project.spoil(project.slo, "- {op: lte, value: 0.0123, target: 0.99}", "- {targt: 0.99}")
    (problem,) = examine(project.daemon)[2]
    assert problem.expected == "one of displayName, op, target, targetPercent, timeSliceTarget, timeSliceWindow, value"


def test_a_right_project_loads(project: Any) -> None:
    loaded = load_project(project.daemon)
    assert [o.name for o in loaded.bundle.objectives] == ["digits-latency"]
    assert [p.metadata.name for p in loaded.bundle.policies] == ["digits"]
    assert [w.name for w in loaded.bundle.windows] == ["page-fast", "page-slow", "ticket-fast", "ticket-slow"]
    assert 0.0123 in loaded.runtime.topology.bounds
    assert Runtime.from_json(loaded.runtime.to_json()) == loaded.runtime


def test_all_problems_of_all_files_come_at_once_and_in_order(project: Any) -> None:
    project.spoil(project.daemon, "models:", "serving: {port: -1, prt: 2}\nmodels:")
    project.spoil(project.slo, "target: 0.99", "target: 2")
    project.spoil(project.policy, "for: 2s", "for: x")
    project.spoil(project.policy, "14.4", "qeue_length")
    problems = examine(project.daemon)[2]
    assert [(p.path.name, p.line, str(p.code)) for p in problems] == [
        ("digits.yaml", 9, "invalid-expression"),  # though the policy has another problem, too
        ("digits.yaml", 10, "invalid-value"),
        ("sloctl.yaml", 5, "out-of-range"),
        ("sloctl.yaml", 5, "unknown-field"),
        ("latency.yaml", 17, "invalid-value"),  # slos/ sorts after sloctl.yaml
    ]


def test_a_broken_slo_is_not_reported_as_unknown_where_a_policy_names_it(project: Any) -> None:
    project.spoil(project.slo, "  service: digits\n", "")
    assert [p.code for p in examine(project.daemon)[2]] == [Code.MISSING_FIELD]


def test_slos_of_a_file_that_cannot_be_read_are_not_reported_as_unknown(project: Any) -> None:
    project.slo.write_text("a: [")
    assert [p.code for p in examine(project.daemon)[2]] == [Code.YAML_SYNTAX]


def test_two_slos_of_one_name_are_reported_with_both_places(project: Any) -> None:
    shutil.copy(project.slo, project.root / "slos/more.yaml")
    (problem,) = examine(project.daemon)[2]
    assert (problem.path.name, problem.line, problem.column) == ("more.yaml", 3, 18)
    assert problem.code is Code.DUPLICATE_NAME
    assert "the first is at latency.yaml:3:18" in problem.message


def test_two_policies_for_a_model_are_reported_with_both_places(project: Any) -> None:
    project.write("policies/more.yaml", project.policy.read_text().replace("name: digits}", "name: more}"))
    (problem,) = examine(project.daemon)[2]
    assert (problem.code, problem.line, problem.column) == (Code.SECOND_POLICY, 5, 10)
    assert "the first is at digits.yaml:5:10" in problem.message


def test_a_file_that_two_globs_match_is_read_once(project: Any) -> None:
    project.spoil(project.daemon, "slos: [slos/*.yaml]", "slos: [slos/*.yaml, slos/latency.yaml, '*/*.yaml']")
    assert examine(project.daemon)[2] == ()


def test_a_daemon_that_a_glob_matches_is_misplaced(project: Any) -> None:
    project.spoil(project.daemon, "slos: [slos/*.yaml]", "slos: ['**/*.yaml']")
    (problem,) = examine(project.daemon)[2]
    assert (problem.path.name, problem.code) == ("sloctl.yaml", Code.MISPLACED_DOCUMENT)


def test_a_windows_file_takes_the_place_of_the_workbooks(project: Any) -> None:
    windows = (Path(__file__).parents[2] / "rules/windows/demo.yaml").read_text()
    project.write("w.yaml", windows)
    project.spoil(project.daemon, "models:", "windows: w.yaml\nmodels:")
    loaded = load_project(project.daemon)
    assert [w.name for w in loaded.bundle.windows] == ["page", "ticket"]
    assert load_bundle_texts(loaded.texts(), loaded.runtime).windows == loaded.bundle.windows


def test_a_token_opens_the_control_plane(project: Any) -> None:
    project.write("token", "secret\n")
    project.spoil(project.daemon, "models:", "control: {host: 0.0.0.0, tokenFile: token}\nmodels:")
    assert load_project(project.daemon).daemon.control.host == "0.0.0.0"


def test_an_empty_token_opens_nothing(project: Any) -> None:
    project.write("token", " \n")
    project.spoil(project.daemon, "models:", "control: {host: 0.0.0.0, tokenFile: token}\nmodels:")
    assert [p.code for p in examine(project.daemon)[2]] == [Code.TOKEN_FILE]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "")),
    ],
)
def test_which_hosts_are_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_the_bundle_comes_back_from_texts_while_the_files_are_broken(project: Any) -> None:
    loaded = load_project(project.daemon)
    texts = json.loads(json.dumps(loaded.texts()))
    project.slo.write_text("a: [")
    project.policy.unlink()
    again = load_bundle_texts(texts, loaded.runtime)
    assert again.objectives == loaded.bundle.objectives
    assert again.policies == loaded.bundle.policies
    assert again.texts() == texts


def test_a_reload_takes_new_files(project: Any) -> None:
    runtime = load_project(project.daemon).runtime
    project.write("slos/more.yaml", project.slo.read_text().replace("name: digits-latency", "name: second"))
    assert [o.name for o in reload_bundle(runtime).objectives] == ["digits-latency", "second"]


def test_a_reload_goes_by_the_running_configuration_and_not_by_the_file(project: Any) -> None:
    runtime = load_project(project.daemon).runtime
    project.daemon.write_text("nonsense: [")
    assert [o.name for o in reload_bundle(runtime).objectives] == ["digits-latency"]


def test_a_reload_accepts_a_threshold_that_is_a_bound_already(project: Any) -> None:
    runtime = load_project(project.daemon).runtime
    project.spoil(project.slo, "0.0123", "0.25")
    assert len(reload_bundle(runtime).objectives) == 1


def test_a_reload_refuses_a_threshold_that_the_running_board_cannot_count(project: Any) -> None:
    runtime = load_project(project.daemon).runtime
    project.spoil(project.slo, "0.0123", "0.0124")
    with pytest.raises(ConfigError) as error:
        reload_bundle(runtime)
    (problem,) = error.value.problems
    assert (problem.code, problem.line, problem.column) == (Code.RESTART_NEEDED, 17, 22)
    assert "restart" in problem.expected


def test_a_reload_refuses_a_folder_that_went_empty(project: Any) -> None:
    runtime = load_project(project.daemon).runtime
    project.policy.unlink()
    with pytest.raises(ConfigError, match=r'"policies/\*.yaml" matches no file'):
        reload_bundle(runtime)


def test_without_a_daemon_only_what_the_files_know_is_checked(project: Any) -> None:
    project.spoil(project.policy, "model: digits", "model: other")
    assert load_bundle([project.policy]).problems == ()
    project.spoil(project.policy, "digits-latency", "latency")
    assert [p.code for p in load_bundle([project.policy, project.slo]).problems] == [Code.INVALID_EXPRESSION]


def test_one_missing_file_does_not_hide_the_problems_of_the_others(project: Any) -> None:
    project.spoil(project.slo, "op: lte", "op: le")
    problems = load_bundle([project.root / "missing.yaml", project.slo]).problems
    assert {p.code for p in problems} == {Code.INVALID_VALUE, Code.FILE_UNREADABLE}


_KEYS = st.sampled_from(
    ["apiVersion", "kind", "metadata", "spec", "name", "models", "model", "rules", "labels", "indicator", "objectives",
     "thresholdMetric", "metricSource", "slos", "ladder", "when", "action", "shed", "admit", "variants", "x"]
)  # fmt: skip
_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(["openslo/v1", "SLO", "5m", "a", ""])
)
_TREES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=20
)
_HEADS = st.sampled_from(
    [("openslo/v1", "SLO"), ("sloctl/v1", "Policy"), ("sloctl/v1", "AlertWindows"), ("sloctl/v1", "Daemon")]
)


@given(_HEADS, st.dictionaries(_KEYS, _TREES, max_size=6))
@settings(max_examples=200, deadline=None)
def test_any_tree_of_values_gives_problems_and_never_raises(head: tuple[str, str], tree: dict[str, Any]) -> None:
    text = json.dumps({**tree, "apiVersion": head[0], "kind": head[1]})
    bundle = bundle_of(Files.of([Source.of(Path("any.yaml"), text)]))
    for problem in bundle.problems:
        assert problem.line == 1
        assert problem.render()


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_text_gives_problems_and_never_raises(content: bytes) -> None:
    text = content.decode("utf-8", "replace")
    assert bundle_of(Files.of([Source.of(Path("any.yaml"), text)])).problems
