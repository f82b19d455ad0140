"""Sloth's files, and rules with Sloth's names, labels and expressions."""

import copy
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from sloctl.cli.main import app
from sloctl.config.documents import Bundle, load_bundle
from sloctl.config.problems import Code
from sloctl.config.project import examine
from sloctl.slo.objective import Objective, QueryRatio, QueryShare, Ratio, Selector, Slices
from sloctl.slo.prometheus import to_yaml
from sloctl.slo.sloth_rules import rule_groups
from sloctl.slo.windows import AlertWindow

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "rules/slo/sloth.yaml"
IDS = '{sloth_id="shop-requests-availability", sloth_service="shop", sloth_slo="requests-availability"}'
LABELS = {
    "owner": "sre",
    "sloth_id": "shop-requests-availability",
    "sloth_service": "shop",
    "sloth_slo": "requests-availability",
}


def sample() -> Any:
    return yaml.load(SAMPLE.read_text(), yaml.CSafeLoader)


def camel(value: Any) -> Any:
    """Fields as the Kubernetes resource writes them."""
    names = {"error_query": "errorQuery", "total_query": "totalQuery", "error_ratio_query": "errorRatioQuery"}
    names |= {"page_alert": "pageAlert", "ticket_alert": "ticketAlert"}
    if isinstance(value, dict):
        return {names.get(key, key): camel(inner) for key, inner in value.items()}
    return [camel(inner) for inner in value] if isinstance(value, list) else value


def load(folder: Path, document: Any) -> Bundle:
    (folder / "slo.yaml").write_text(yaml.safe_dump(document))
    return load_bundle([folder / "slo.yaml"])


def rules_of(bundle: Bundle, group: str) -> dict[str, Any]:
    groups = {found["name"]: found["rules"] for found in rule_groups(bundle.objectives, bundle.windows)["groups"]}
    found = groups[f"sloth-slo-{group}-shop-requests-availability"]
    return {rule.get("record") or rule["alert"]: rule for rule in found}


def test_the_sample_becomes_an_objective_as_it_is() -> None:
    bundle = load_bundle([SAMPLE])
    assert bundle.problems == ()
    (objective,) = bundle.objectives
    query = 'sum(rate(http_requests_total{job="shop"%s}[{{.window}}]))'
    assert objective.indicator == QueryRatio(query % "", bad=query % ', code=~"5.."')
    assert (objective.name, objective.target, objective.period_seconds) == (
        "shop-requests-availability", 0.999, 30 * 86400
    )  # fmt: skip


def test_the_kubernetes_resource_says_the_same(tmp_path: Path) -> None:
    document = sample()
    del document["version"]
    metadata = {"name": "shop", "namespace": "monitoring"}
    head = {"apiVersion": "sloth.slok.dev/v1", "kind": "PrometheusServiceLevel", "metadata": metadata}
    bundle = load(tmp_path, head | {"spec": camel(document)})
    assert bundle.problems == ()
    (found,), (expected,) = bundle.objectives, load_bundle([SAMPLE]).objectives
    assert found.indicator == expected.indicator
    assert found.tiers == expected.tiers
    assert (found.origin, expected.origin) == ("sloth.slok.dev/v1", "prometheus/v1")


def test_a_raw_ratio_is_a_query_of_bad(tmp_path: Path) -> None:
    document = sample()
    document["slos"][0]["sli"] = {"raw": {"error_ratio_query": "1 - x[{{ .window }}]"}}
    (objective,) = load(tmp_path, document).objectives
    assert objective.indicator == QueryShare("1 - x[{{ .window }}]", failure=True)


# --- as Sloth writes it


def test_ratios_have_sloths_names_labels_and_expressions() -> None:
    rules = rules_of(load_bundle([SAMPLE]), "sli-recordings")
    windows = ["5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d"]
    assert list(rules) == [f"slo:sli_error:ratio_rate{window}" for window in windows]
    assert rules["slo:sli_error:ratio_rate2h"] == {
        "record": "slo:sli_error:ratio_rate2h",
        "expr": '(sum(rate(http_requests_total{job="shop", code=~"5.."}[2h])))\n/\n'
        '(sum(rate(http_requests_total{job="shop"}[2h])))\n',
        "labels": LABELS | {"sloth_window": "2h"},
    }
    assert rules["slo:sli_error:ratio_rate30d"]["expr"] == (
        f"sum_over_time(slo:sli_error:ratio_rate5m{IDS}[30d])\n/ ignoring (sloth_window)\n"
        f"count_over_time(slo:sli_error:ratio_rate5m{IDS}[30d])\n"
    )


def test_meta_recordings_have_sloths_names_and_expressions() -> None:
    rules = rules_of(load_bundle([SAMPLE]), "meta-recordings")
    budget = f"{IDS}\n/ on(sloth_id, sloth_slo, sloth_service) group_left\nslo:error_budget:ratio{IDS}\n"
    assert {name: rule["expr"] for name, rule in rules.items()} == {
        "slo:objective:ratio": "vector(0.9990000000000001)",
        "slo:error_budget:ratio": "vector(1-0.9990000000000001)",
        "slo:time_period:days": "vector(30)",
        "slo:current_burn_rate:ratio": f"slo:sli_error:ratio_rate5m{budget}",
        "slo:period_burn_rate:ratio": f"slo:sli_error:ratio_rate30d{budget}",
        "slo:period_error_budget_remaining:ratio": f"1 - slo:period_burn_rate:ratio{IDS}",
        "sloth_slo_info": "vector(1)",
    }
    info = rules["sloth_slo_info"]["labels"]
    assert {"sloth_mode", "sloth_version"} < set(info)
    assert (info["sloth_spec"], info["sloth_objective"]) == ("prometheus/v1", "99.9")


def test_the_page_is_sloths_and_a_disabled_ticket_is_not_there() -> None:
    (page,) = rules_of(load_bundle([SAMPLE]), "alerts").values()

    def over(window: str, factor: str) -> str:
        series = f"slo:sli_error:ratio_rate{window}{IDS}"
        return f"    max({series} > ({factor} * 0.0009999999999999432)) without (sloth_window)\n"

    assert page == {
        "alert": "ShopHighErrorRate",
        "expr": f"(\n{over('5m', '14.4')}    and\n{over('1h', '14.4')})\nor\n"
        f"(\n{over('30m', '6')}    and\n{over('6h', '6')})\n",
        "labels": {"category": "availability", "severity": "pageteam", "sloth_severity": "page"},
        "annotations": {
            "summary": "{{ $labels.sloth_slo }} of the shop fails",
            "title": "(page) {{$labels.sloth_service}} {{$labels.sloth_slo}} SLO error budget burn rate is too fast.",
        },
    }


def test_slos_of_sloctls_own_metrics_have_sloths_rules_too(workbook: tuple[AlertWindow, ...]) -> None:
    ok = Selector("sloctl_requests_total", {"outcome": ("ok",)})
    own = Objective("digits", "digits", "d", Ratio(Selector("sloctl_requests_total"), good=ok), 0.99, 28 * 86400.0)
    groups = rule_groups([own], workbook)["groups"]
    assert [group["name"].removesuffix("-digits-digits") for group in groups] == [
        "sloth-slo-sli-recordings", "sloth-slo-meta-recordings", "sloth-slo-alerts"
    ]  # fmt: skip
    assert groups[0]["rules"][-1]["record"] == "slo:sli_error:ratio_rate4w"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus")
@pytest.mark.integration
@pytest.mark.parametrize("options", [[], ["--compat", "sloth"]], ids=["exact", "sloth"])
def test_promtool_accepts_the_rules(tmp_path: Path, options: list[str]) -> None:
    output = tmp_path / "rules.yaml"
    done = CliRunner().invoke(app, ["rules", str(SAMPLE), *options, "-o", str(output)])
    assert done.exit_code == 0, done.output
    checked = subprocess.run(["promtool", "check", "rules", output], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_time_slices_are_more_than_sloth_can_say(workbook: tuple[AlertWindow, ...]) -> None:
    (plain,) = load_bundle([SAMPLE]).objectives
    with pytest.raises(ValueError, match="has time slices, which Sloth's rules cannot express"):
        rule_groups([replace(plain, slices=Slices(60))], workbook)


# --- in the exact form


def test_the_exact_alerts_keep_names_and_labels_of_the_file() -> None:
    bundle = load_bundle([SAMPLE])
    groups = yaml.load(to_yaml(bundle.objectives, bundle.windows), yaml.CSafeLoader)["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert [(alert["alert"], alert["labels"]["sloctl_tier"]) for alert in alerts] == [
        ("ShopHighErrorRate", "page"),
        ("SloctlSloNoData", "ticket"),
    ]
    assert alerts[0]["labels"]["severity"] == "pageteam"
    assert alerts[0]["annotations"]["summary"] == "{{ $labels.sloth_slo }} of the shop fails"


# --- what is refused


def _set(*path: str | int, to: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "field", "code", "message"),
    [
        pytest.param(
            _set("slos", 0, "sli", to={"plugin": {"id": "x"}}), "slos[0].sli.plugin", Code.INVALID_VALUE,
            "plug-ins are programs", id="a plug-in",
        ),
        pytest.param(
            _set("slo_plugins", to={"chain": []}), "slo_plugins", Code.INVALID_VALUE, "plug-ins are programs",
            id="a chain of plug-ins",
        ),
        pytest.param(
            _set("slos", 0, "sli", "events", "error_query", to="rate(x[5m])"), "slos[0].sli.events.error_query",
            Code.INVALID_VALUE, "no {{.window}}", id="a query for one window",
        ),
        pytest.param(
            _set("slos", 0, "objective", to=100), "slos[0].objective", Code.OUT_OF_RANGE, "objective is 100",
            id="an objective without a budget",
        ),
        pytest.param(
            _set("slos", 0, "alerting", "name", to=""), "slos[0].alerting", Code.INVALID_VALUE, "have no name",
            id="alerts without a name",
        ),
        pytest.param(
            _set("slos", 0, "alerting", "labels", to={"cat.egory": "x"}), "slos[0].alerting.labels",
            Code.INVALID_VALUE, "is no name", id="a label that Prometheus would refuse",
        ),
        pytest.param(
            _set("slos", 0, "alerting", "page_alert", to={"annotations": {"help": 'all {{ "{{" }}, {{ $labels.foo'}}),
            "slos[0].alerting.page_alert.annotations", Code.INVALID_VALUE, "does not end", id="half a template",
        ),
        pytest.param(
            _set("slos", 0, "slo", to=1), "slos[0].slo", Code.UNKNOWN_FIELD, "unknown field", id="an unknown field"
        ),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_refused_by_its_field(
    tmp_path: Path, change: Callable[[Any], None], field: str, code: Code, message: str
) -> None:
    document = copy.deepcopy(sample())
    change(document)
    found = [(p.field, p.code, p.message) for p in load(tmp_path, document).problems]
    assert any((f, c) == (field, code) and message in text for f, c, text in found), found


def test_two_slos_of_one_name_are_told_at_their_names(tmp_path: Path) -> None:
    document = sample()
    document["slos"] *= 2
    (problem,) = load(tmp_path, document).problems
    assert (problem.code, problem.field) == (Code.DUPLICATE_NAME, "slos[1].name")


def test_a_daemon_judges_no_queries(tmp_path: Path) -> None:
    (tmp_path / "slo.yaml").write_text(SAMPLE.read_text())
    models = "models: [{name: digits, variants: [fp32]}]"
    (tmp_path / "d.yaml").write_text(f"apiVersion: sloctl/v1\nkind: Daemon\nslos: [slo.yaml]\n{models}\n")
    (problem,) = examine(tmp_path / "d.yaml")[2]
    assert problem.code is Code.PROMETHEUS_SOURCE
