"""`sloctl backtest`: which alerts would have fired, what they would have saved, and which incidents they tell of."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from typer.testing import CliRunner, Result

from sloctl.cases.records import from_prometheus
from sloctl.cli.main import app
from sloctl.policy.trace import events_column, good_column
from sloctl.slo.objective import Objective, QueryRatio
from sloctl.slo.tiles import Points

ROOT = Path(__file__).parents[2]
SLO = ROOT / "rules/slo/availability.yaml"
SPAN = ("--from", "2026-11-01", "--to", "2026-11-02")
T = 1_793_613_600  # 2026-11-02T10:00:00Z
NAME = "digits-availability"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["backtest", *map(str, arguments)])


def trace(path: Path, minutes: Sequence[tuple[int, int]], step: int = 10) -> Path:
    """Good and bad events of each minute, spread over rows of `step` seconds."""
    lines = [f"at,offered_rate,{good_column(NAME)},{events_column(NAME)},decisions", f"{T},5,0,0,"]
    good = total = 0.0
    for minute, (fine, bad) in enumerate(minutes):
        for row in range(1, 60 // step + 1):
            good, total = good + fine * step / 60, total + (fine + bad) * step / 60
            lines.append(f"{T + 60 * minute + row * step},5,{good:g},{total:g},")
    path.write_text("\n".join(lines) + "\n")
    return path


def incidents(path: Path, *spans: tuple[str, int, int]) -> Path:
    def when(minute: int) -> str:
        return datetime.fromtimestamp(T + 60 * minute, UTC).isoformat()

    listed = [{"name": name, "start": when(start), "end": when(end)} for name, start, end in spans]
    document = {"apiVersion": "sloctl/v1", "kind": "Incidents", "metadata": {"name": "x"}}
    path.write_text(yaml.safe_dump({**document, "spec": {"incidents": listed}}))
    return path


@pytest.fixture
def outage(tmp_path: Path) -> Path:
    """A good day, ten minutes of nothing but errors, and two hours of peace."""
    return trace(tmp_path / "digits.csv", [(6000, 0)] * 1440 + [(0, 6000)] * 10 + [(6000, 0)] * 120)


def test_an_outage_pages_and_is_held_against_what_happened(outage: Path, tmp_path: Path) -> None:
    happened = incidents(tmp_path / "i.yaml", ("no answer", 1440, 1450), ("nobody saw", 600, 620))
    result = run(SLO, "--trace", outage, "--incidents", happened, "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    page = next(alert for alert in said["alerts"] if alert["tier"] == "page")
    began = datetime.fromisoformat(page["began"]).timestamp() - (T + 86400)
    assert 0 < began <= 120  # 14.4 times 0.1 % of an hour are 52 seconds
    assert page["burnRate"] > 14.4
    assert page["spentMeanwhile"] > 1  # the whole budget of a day and more
    assert not page["false"]
    assert [(each["name"], each["told"]) for each in said["incidents"]] == [("no answer", True), ("nobody saw", False)]
    assert said["incidents"][0]["delaySeconds"] == began


def test_what_was_spent_is_counted_from_the_first_moment_and_no_good_event_gives_it_back(tmp_path: Path) -> None:
    path = trace(tmp_path / "digits.csv", [(0, 6000)] * 10 + [(6000, 0)] * 120)
    said = json.loads(run(SLO, "--trace", path, "--json").stdout)
    page = next(alert for alert in said["alerts"] if alert["tier"] == "page")
    began, ended = (datetime.fromisoformat(page[end]).timestamp() - T for end in ("began", "ended"))
    assert 0 < began < 600 < ended
    assert page["spentMeanwhile"] == pytest.approx((600 - began) / (0.001 * ended), rel=1e-6)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1e18,5,9,10,", "in Unix seconds"),
        ("-5,5,9,10,", "in Unix seconds"),
        (f"{T + 9},5,1e300,1e300,", "more events than 64 bits hold"),
        (f"{T + 9},5,nan,10,", "expected numbers"),
    ],
)
def test_a_trace_of_what_cannot_be_is_refused(tmp_path: Path, row: str, said: str) -> None:
    path = trace(tmp_path / "digits.csv", [])
    path.write_text(f"{path.read_text()}{row}\n")
    result = run(SLO, "--trace", path)
    assert isinstance(result.exception, SystemExit)
    assert said in result.output


def test_in_words_and_as_a_picture_that_is_the_same_for_the_same_record(outage: Path, tmp_path: Path) -> None:
    happened = incidents(tmp_path / "i.yaml", ("[/no] answer", 1440, 1450))
    pictures = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for picture in pictures:
        result = run(SLO, "--trace", outage, "--incidents", happened, "--svg", picture)
        assert result.exit_code == 0, result.output
    assert "[/no] answer: told after" in result.output
    assert "1 of 1 incidents told (recall 100%); 0 false alerts" in result.output
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    ElementTree.parse(pictures[0])


def test_an_alert_without_an_incident_is_false(outage: Path, tmp_path: Path) -> None:
    happened = incidents(tmp_path / "i.yaml", ("long before", 60, 120))
    result = run(SLO, "--trace", outage, "--incidents", happened)
    assert "long before: missed" in result.output
    assert "0 of 1 incidents told (recall 0%)" in result.output
    assert "precision 0%" in result.output


def test_an_incident_of_an_slo_that_there_is_not_is_refused(outage: Path, tmp_path: Path) -> None:
    path = incidents(tmp_path / "i.yaml", ("x", 1, 2))
    result = run(SLO, "--trace", outage, "--incidents", ROOT / "rules/incidents/sample.yaml")
    assert result.exit_code == 0
    document = yaml.safe_load(path.read_text())
    document["spec"]["incidents"][0]["slo"] = "nobody"
    path.write_text(yaml.safe_dump(document))
    result = run(SLO, "--trace", outage, "--incidents", path)
    assert result.exit_code == 1
    assert "there is no SLO 'nobody'" in result.output


def test_other_windows_may_be_tried(outage: Path) -> None:
    said = json.loads(run(SLO, "--trace", outage, "--windows", ROOT / "rules/windows/demo.yaml", "--json").stdout)
    assert {alert["tier"] for alert in said["alerts"]} == {"page", "ticket"}


def test_peace_has_no_alerts(tmp_path: Path) -> None:
    path = trace(tmp_path / "t.csv", [(6000, 1)] * 600)
    assert "0 alerts" in run(SLO, "--trace", path).output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("at,offered_rate\n1,2\n", "the trace counts none of digits-availability"),
        (f"at,{good_column(NAME)},{events_column(NAME)}\n1,2\n", "line 2: 2 fields, expected 3 fields"),
        (f"at,{good_column(NAME)},{events_column(NAME)}\n1,2,x\n", "line 2: could not convert"),
        (f"at,{good_column(NAME)},{events_column(NAME)}\n1,2,3\n", "nothing is recorded"),
        (f"at,{good_column(NAME)},{events_column(NAME)}\n1,2,nan\n", "line 2: expected numbers"),
        (f"at,{good_column(NAME)},{events_column(NAME)}\n2,2,3\n1,2,3\n", "line 3: expected numbers, and times"),
    ],
)
def test_a_trace_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    result = run(SLO, "--trace", tmp_path / "t.csv")
    assert result.exit_code == 1
    assert message in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name either --trace or --prometheus"),
        (("--prometheus", "http://127.0.0.1:9"), "wants --from and --to"),
        (("--trace", "missing.csv"), "missing.csv: No such file"),
        (("--prometheus", "http://192.0.2.1:9", *SPAN), "expected https, or --insecure"),
        (("--prometheus", "nowhere", *SPAN), "nowhere: "),
        (("--prometheus", "http://127.0.0.1:9", *SPAN, "--step", "0.5s"), "in whole seconds"),
        (("--prometheus", "http://127.0.0.1:9", "--from", "1990-01-01", "--to", "2026-01-01"), "more than 1000000"),
    ],
)
def test_wrong_usage_says_what_is_missing(arguments: tuple[str, ...], message: str) -> None:
    result = run(SLO, *arguments)
    assert result.exit_code == 1
    assert message in result.output


def test_a_prometheus_that_is_not_there_is_told(tmp_path: Path) -> None:
    result = run(SLO, "--prometheus", "http://127.0.0.1:9", "--from", "2026-11-01", "--to", "2026-11-02")
    assert result.exit_code == 3
    assert "http://127.0.0.1:9" in result.output


def test_a_prometheus_is_asked_for_every_tile_once() -> None:
    asked: list[tuple[int, int]] = []

    def ask(query: str, start: int, end: int, step: int) -> Points:
        asked.append((start, end))
        bad = 1.0 if "bad" in query else 0.0
        return dict.fromkeys(range(start, end + 1, step), 10.0 - bad)

    objective = Objective("s", "s", "s", QueryRatio("all", bad="bad"), 0.9, 86400.0)
    record = from_prometheus(ask, [objective], T, T + 7 * 86400, 60)
    assert len(record.times) == 7 * 1440 + 1
    assert record.total[-1, 0] == 10 * 7 * 1440 * objective.unit
    ends = sorted(set(asked))
    assert [end - start for start, end in ends[:-1]] == [4999 * 60] * (len(ends) - 1)
    assert all(later[0] - earlier[1] == 60 for earlier, later in pairwise(ends))
