"""`sloctl convert`: what is not told to be lost is there, in the objective and in its rules."""

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from sloctl.cli.main import app
from sloctl.config.convert import Format, converted, dumped, write
from sloctl.config.documents import Bundle, Files, bundle_of, load_bundle
from sloctl.config.problems import Code
from sloctl.config.sources import Source
from sloctl.slo.calendars import Calendar
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
    Tier,
)
from sloctl.slo.prometheus import rule_groups
from sloctl.slo.windows import Alarm
from sloctl.slo.write.openslo import data_source
from sloctl.slo.write.words import NoWords

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "rules/slo").glob("*.yaml"))
WINDOWS = load_bundle([]).windows


def read(text: str) -> Bundle:
    return bundle_of(Files.of([Source.of(Path("x.yaml"), text)]))


names = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20)
mappings = st.dictionaries(names, texts, max_size=2)
queries = st.builds("sum(rate({}[{{{{.window}}}}]))".format, names)
sources = st.sampled_from(["", "", "fleet"])
latencies = st.sampled_from([0.00025, 0.001, 0.0125, 0.1, 1.0, 2.5, 90.0])
REQUESTS = "sloctl_requests_total"
indicators = st.one_of(
    st.builds(
        lambda op, value: Threshold(Selector("sloctl_engine_duration_seconds", {"model": ("m",)}), op, value),
        st.sampled_from(["lte", "lt", "gte", "gt"]),
        latencies,
    ),
    st.builds(
        lambda op, value: Threshold(Selector("sloctl_throughput_peak_ratio"), op, value),
        st.sampled_from(["lte", "gte"]),
        st.floats(0.01, 0.99).map(lambda value: round(value, 4)),
    ),
    st.sampled_from(
        [
            Ratio(Selector(REQUESTS, {"outcome": ("ok", "error")}), good=Selector(REQUESTS, {"outcome": ("ok",)})),
            Ratio(Selector(REQUESTS, {"outcome": ("ok", "error")}), bad=Selector(REQUESTS, {"outcome": ("error",)})),
            Ratio(Selector("sloctl_executed_requests_total"), good=Selector("sloctl_batched_requests_total")),
            Raw(Selector("sloctl_throughput_peak_ratio")),
            Raw(Selector("sloctl_device_memory_ratio"), failure=True),
        ]
    ),
    st.builds(QueryShare, queries, st.booleans(), sources),
    st.builds(QueryThreshold, queries, st.sampled_from(["lte", "gt"]), st.sampled_from([0.0, 0.5, 90.0]), sources),
    st.builds(
        lambda total, part, good, source: QueryRatio(total, **{good: part}, source=source),
        queries,
        queries,
        st.sampled_from(["good", "bad"]),
        sources,
    ),
)
alarms = st.builds(
    lambda name, factor, window, after, least, notify: Alarm(
        name, "page", factor, window, window, after, least, notify
    ),
    names,
    st.floats(1.5, 10).map(lambda value: round(value, 2)),
    st.sampled_from([3600.0, 21600.0, 86400.0]),
    st.sampled_from([0.0, 300.0]),
    st.booleans(),
    st.lists(names, max_size=2, unique=True).map(tuple),
)
tiers = st.dictionaries(
    st.sampled_from(["page", "ticket"]), st.one_of(st.none(), st.builds(Tier, texts, mappings, mappings)), max_size=2
)
calendars = st.builds(
    Calendar, st.integers(1, 3), st.sampled_from("dwMQ"), st.just(datetime(2026, 1, 1)), st.just("Europe/Berlin")
)


@st.composite
def written(draw: st.DrawFn) -> Objective:
    service, own = draw(names), draw(names)
    calendar = draw(st.one_of(st.none(), st.none(), calendars))
    period = calendar.nominal if calendar else draw(st.sampled_from([86400.0, 7 * 86400.0, 30 * 86400.0, 30 * 86400.0]))
    return Objective(
        name=draw(st.sampled_from([f"{service}-{own}", own])),
        service=service,
        display_name=draw(st.sampled_from([own, "Something else"])),
        indicator=draw(indicators),
        target=draw(st.sampled_from([0.95, 0.99, 0.999, 0.9965, 0.99999])),
        period_seconds=period,
        labels=draw(mappings),
        annotations=draw(st.dictionaries(st.sampled_from(["description", "x"]), texts, max_size=2)),
        calendar=calendar,
        slices=draw(st.one_of(st.none(), st.builds(Slices, st.sampled_from([60, 300]), st.sampled_from([None, 0.99])))),
        alarms=draw(
            st.one_of(st.none(), st.lists(alarms, min_size=1, max_size=2, unique_by=lambda a: a.name).map(tuple))
        ),
        tiers=draw(tiers),
        minimum_events=draw(st.sampled_from([0, 0, 100])),
    )


def rules(objective: Objective) -> object:
    return rule_groups([objective], WINDOWS)


def through(objective: Objective, to: Format) -> tuple[Objective, set[str]]:
    """The objective as it comes back from a format, and the fields that are told to be lost."""
    try:
        document, lost = write(objective, to, WINDOWS)
    except NoWords:
        assume(False)
    more = "".join(f"---\n{dumped(data_source(name))}" for name in ["fleet"] if to is Format.OPENSLO)
    (again,) = read(dumped(document) + more).objectives
    return again, {field for field, _ in lost}


@given(written(), st.sampled_from(Format))
def test_what_is_not_told_to_be_lost_is_there_and_in_the_rules(objective: Objective, to: Format) -> None:
    again, lost = through(objective, to)
    for field in set(Objective.__dataclass_fields__) - lost - {"origin", "tiers"}:
        assert getattr(again, field) == getattr(objective, field), field
    for field in lost:
        assert getattr(again, field) != getattr(objective, field), field
    if not lost:
        assert rules(again) == rules(objective)


@given(written(), st.sampled_from(Format), st.sampled_from(Format))
def test_there_and_back_is_the_same_where_nothing_is_told(objective: Objective, one: Format, other: Format) -> None:
    here, _ = through(objective, one)
    assert write(here, one, WINDOWS)[1] == (), "what a format holds it can say"
    there, lost = through(here, other)
    assume(not lost)
    back, lost = through(there, one)
    assert not lost
    assert rules(back) == rules(here)


def test_each_pair_of_formats_has_something_that_nothing_is_lost_of() -> None:
    """So that the property above is about something."""
    query = QueryRatio("sum(rate(a[{{.window}}]))", bad="sum(rate(b[{{.window}}]))")
    own = Ratio(Selector(REQUESTS, {"outcome": ("ok", "error")}), good=Selector(REQUESTS, {"outcome": ("ok",)}))
    base = Objective("x-y", "x", "y", query, 0.999, 30 * 86400.0)
    for objective, formats in ((base, "openslo sloth"), (replace(base, indicator=own), "openslo sloctl")):
        for name in formats.split():
            assert through(objective, Format(name)) == (
                replace(objective, origin=ORIGINS[name], tiers=TIERS[name]),
                set(),
            )


ORIGINS = {"openslo": "openslo/v1", "sloth": "prometheus/v1", "sloctl": "sloctl/v1"}
NAMED = {severity: Tier("SloctlErrorBudgetBurn") for severity in ("page", "ticket")}
TIERS: dict[str, dict[str, Tier]] = {"openslo": {}, "sloth": NAMED, "sloctl": {}}


@pytest.mark.parametrize("to", Format)
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_samples_become_files_without_errors_that_hold_the_same_slos(path: Path, to: Format) -> None:
    bundle = load_bundle([path])
    result = converted(bundle, to)
    again = read(result.text) if result.text else None
    assert not again or not again.problems
    unsaid = {p.message.split()[0] for p in result.problems if p.code is Code.NOT_CONVERTIBLE}
    names = {objective.name for objective in again.objectives} if again else set()
    assert names == {objective.name for objective in bundle.objectives} - unsaid


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["convert", *map(str, arguments)])


def test_the_short_form_as_the_other_ones_say_it(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("""\
apiVersion: sloctl/v1
kind: ServiceLevel
metadata: {name: digits}
spec:
  model: digits
  objectives:
  - {name: success, sli: success, target: 99.9%, minimumEvents: 200}
""")
    result = run("--to", "openslo", path)
    assert result.exit_code == 0
    assert "digits-success: minimumEvents is lost" in result.stderr
    assert re.search(r"7 \|   - \{name: success.*\n +\| +\^{13}\n", result.stderr)
    assert "budgetingMethod: Occurrences" in result.stdout
    strict = run("--to", "openslo", "--strict", path)
    assert (strict.exit_code, strict.stdout) == (1, "")
    out = tmp_path / "sloth.yaml"
    assert run("--to", "sloth", path, "-o", out).exit_code == 0
    assert "error_query: sum(increase(sloctl_requests_total{" in out.read_text()


def test_what_has_no_words_is_told_with_its_place_and_nothing_is_written(tmp_path: Path) -> None:
    out = tmp_path / "x.yaml"
    result = run("--to", "sloctl", ROOT / "rules/slo/sloth.yaml", "-o", out)
    assert (result.exit_code, out.exists()) == (1, False)
    assert "sloth.yaml:10:3: error[not-convertible]: shop-requests-availability has no words in sloctl" in result.stderr


def test_texts_that_no_objective_holds_are_told() -> None:
    messages = {
        problem.message for problem in converted(load_bundle([ROOT / "rules/slo/shared.yaml"]), Format.OPENSLO).problems
    }
    assert messages == {
        "displayName of the Service has no place in an objective",
        "description of the Service has no place in an objective",
        "target of the AlertNotificationTarget has no place in an objective",
        "displayName of the SLO has no place in an objective",
    }


@pytest.mark.parametrize("details", ["{url: http://a}", ""])
def test_a_prometheus_that_is_named_comes_along(tmp_path: Path, details: str) -> None:
    spec = f"{{type: Prometheus, connectionDetails: {details}}}" if details else "{type: Prometheus}"
    path = tmp_path / "x.yaml"
    path.write_text(f"""\
apiVersion: openslo/v1
kind: DataSource
metadata: {{name: fleet}}
spec: {spec}
---
apiVersion: openslo/v1
kind: SLO
metadata: {{name: x}}
spec:
  service: x
  indicator:
    spec:
      ratioMetric:
        rawType: failure
        raw: {{metricSource: {{metricSourceRef: fleet, spec: {{query: "errors:ratio[{{{{.window}}}}]"}}}}}}
  timeWindow: [{{duration: 30d, isRolling: true}}]
  budgetingMethod: Occurrences
  objectives: [{{displayName: x, target: 0.99}}]
""")
    bundle = load_bundle([path])
    result = converted(bundle, Format.OPENSLO)
    assert result.problems == ()
    again = read(result.text)
    assert (again.problems, again.objectives) == ((), bundle.objectives)
    assert again.files.documents[0].value == bundle.files.documents[0].value
    assert "which Prometheus to ask is lost: fleet" in str(converted(bundle, Format.SLOTH).problems)


def test_a_file_with_errors_is_not_converted(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text((ROOT / "rules/slo/latency.yaml").read_text().replace("op: lte", "op: le"))
    result = run("--to", "sloth", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "error[invalid-value]" in result.stderr
    assert run("--to", "sloth", ROOT / "rules/windows/demo.yaml").exit_code == 1
    assert run("--to", "pyrra", path).exit_code == 2


def test_slos_of_a_service_share_a_document() -> None:
    result = converted(
        load_bundle([ROOT / "rules/slo/latency.yaml", ROOT / "rules/slo/availability.yaml"]), Format.SLOCTL
    )
    assert len(read(result.text).files.documents) == 1
    assert [o.name for o in read(result.text).objectives] == ["digits-latency", "digits-availability"]
