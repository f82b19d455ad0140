"""The demo's plan, verdict, screen and report, over runs written down here."""

import dataclasses
import io
import json
import math
from collections import Counter

import pytest
import yaml
from rich.console import Console

from sloctl.cli import demo_plan, demo_report, demo_screen, demo_verdict
from sloctl.cli.demo_daemon import write_run
from sloctl.cli.demo_run import Decided, Run, Sample, View
from sloctl.config.project import load_project
from sloctl.config.resources import resource
from sloctl.load.results import Fate, Record

SCENARIO = demo_plan.Scenario(
    model="digits",
    slo="digits-latency",
    priorities=("high", "normal", "low"),
    variants=("fp32", "int8"),
    objective=0.25,
    target=0.99,
    deadline=2.0,
)
SCHEDULE = SCENARIO.schedule(demo_plan.phases(20.0, 60.0))  # small numbers keep it quick
RISE, SURGE, FAULTS, LAST = (
    SCHEDULE.span(n)[0] for n in (demo_plan.RISE, demo_plan.SURGE, demo_plan.FAULTS, demo_plan.LAST)
)
EVERYBODY = {"high": 1.0, "normal": 1.0, "low": 1.0}


def decision(at, action, before="", after="", rule="rule"):
    return Decided(at, rule, action, before, after, "because")


DECISIONS = [
    decision(RISE + 3, "precision:down", "fp32", "int8"),
    decision(SURGE + 1, "shed:start"),
    decision(FAULTS + 1, "shed:end"),
    decision(LAST + 2, "precision:up", "int8", "fp32"),
]


def samples():
    """Two a second: the breaker opens a second after the first fault and closes a second after the last."""
    opened = FAULTS + demo_plan.FAULTS_AFTER + 1
    closed = FAULTS + demo_plan.FAULTS_AFTER + demo_plan.FAULTS_FOR + 1
    for at in (tick / 2 for tick in range(int(SCHEDULE.seconds * 2) + 1)):
        breaker = "open" if opened <= at < closed else "closed"
        variant = "int8" if RISE + 3 <= at < LAST + 2 else "fp32"
        phase = SCHEDULE.phase_at(at).name
        yield Sample(at, phase, True, variant, breaker, EVERYBODY, 20.0, 20.0, 0.02)


def answered(arrival, took=0.1, status=200, variant="int8"):
    ended = arrival.at + took
    named = variant if status == 200 else None
    return Record(arrival.phase, arrival.priority, arrival.at, arrival.at + 0.001, ended, status, named)


def with_controller(arrival):
    if RISE + 2 <= arrival.at < RISE + 4:
        return answered(arrival, took=0.6)
    if arrival.phase == demo_plan.SURGE and arrival.priority == "low":
        return answered(arrival, took=0.01, status=503)
    return answered(arrival)


def without_controller(arrival):
    return answered(arrival, took=1.0 if arrival.phase in (demo_plan.RISE, demo_plan.SURGE) else 0.1)


def run(answer, *, controller):
    return Run(
        controller=controller,
        scenario=SCENARIO,
        schedule=SCHEDULE,
        capacities={"fp32": 20.0, "int8": 60.0},
        accuracies={"fp32": 0.996, "int8": None},
        records=[answer(arrival) for arrival in SCHEDULE.arrivals],
        samples=list(samples()),
        decisions=list(DECISIONS) if controller else [],
    )


@pytest.fixture
def on():
    return run(with_controller, controller=True)


@pytest.fixture
def off():
    return run(without_controller, controller=False)


def failed(on, off):
    return {check.name for check in demo_verdict.verdict(on, off) if not check.passed}


# --- the plan


@pytest.mark.parametrize(("fp32", "int8"), [(60, 190), (60, 120), (15, 300), (1000, 3000)])
def test_the_rise_needs_the_faster_variant_and_the_surge_more_than_that(fp32, int8):
    rates = {phase.name: phase.rate for phase in demo_plan.phases(fp32, int8)}
    assert rates[demo_plan.CALM] < 0.5 * fp32
    assert fp32 < rates[demo_plan.RISE] < 0.9 * int8
    assert rates[demo_plan.SURGE] > 1.2 * int8
    assert rates[demo_plan.LAST] < 0.5 * fp32


def test_the_faults_are_over_before_their_phase_is():
    (faults,) = (phase for phase in demo_plan.phases(60, 190) if phase.name == demo_plan.FAULTS)
    assert faults.seconds > demo_plan.FAULTS_AFTER + demo_plan.FAULTS_FOR


def test_both_runs_fit_into_three_minutes():
    assert 2 * SCHEDULE.seconds < 130


# --- the verdict


def test_a_controller_that_does_all_its_work_passes(on, off):
    assert failed(on, off) == set()


def replace_record(run, match, **changes):
    index = next(i for i, record in enumerate(run.records) if match(record))
    run.records[index] = dataclasses.replace(run.records[index], **changes)


def without(action):
    def spoil(on, _):
        on.decisions = [d for d in on.decisions if d.action != action]

    return spoil


def late_switch(on, _):
    on.decisions[0] = decision(RISE + 4.5, "precision:down", "fp32", "int8")


def switch_before_the_rise(on, _):
    on.decisions[0] = decision(RISE - 1, "precision:down", "fp32", "int8")


def high_class_refused(on, _):
    on.records = [
        dataclasses.replace(r, status=503) if (r.phase, r.priority) == (demo_plan.SURGE, "high") else r
        for r in on.records
    ]


def nobody_refused(on, _):
    on.records = [dataclasses.replace(r, status=200) for r in on.records]


def breaker_always(state):
    def spoil(on, _):
        on.samples = [dataclasses.replace(sample, breaker=state) for sample in on.samples]

    return spoil


def breaker_opens_early_only(on, _):
    on.samples = [dataclasses.replace(s, breaker="open" if s.at < RISE else "closed") for s in on.samples]


def never_back(on, _):
    on.samples = [dataclasses.replace(s, variant="int8") if s.at >= RISE + 3 else s for s in on.samples]


def back_too_early(on, _):
    on.decisions[-1] = decision(RISE + 5, "precision:up", "int8", "fp32")


def last_sample(**changes):
    def spoil(on, _):
        on.samples[-1] = dataclasses.replace(on.samples[-1], **changes)

    return spoil


def a_request_without_answer(on, _):
    replace_record(on, lambda r: r.phase == demo_plan.CALM, status=0)


def a_request_without_record(on, _):
    on.records.pop(0)


def equal_goodput(phase):
    def spoil(on, off):
        off.records = [r for r in off.records if r.phase != phase] + [r for r in on.records if r.phase == phase]

    return spoil


def sluggish_driver(which):
    def spoil(on, off):
        found = on if which == "with" else off
        found.records = [dataclasses.replace(r, sent=r.scheduled + 0.06) for r in found.records]

    return spoil


SWITCH = "switched to the faster precision under load"
IN_TIME = "switched within 2 s of the first bad second"
OPENED, CLOSED = "breaker opened during the engine faults", "breaker closed again by itself"
BACK = "returned to fp32 in the calm"
LIFTED, ANSWERED = "admitted everybody again in the end", "no request was left without an answer"
GAIN = "goodput in the {} at least 1.2 times that without"
PUNCTUAL = "the driver kept to its schedule {} the controller"


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        pytest.param(without("precision:down"), {SWITCH, IN_TIME}, id="it never switches"),
        pytest.param(switch_before_the_rise, {SWITCH, IN_TIME}, id="it switches before there is any need"),
        pytest.param(late_switch, {IN_TIME}, id="it switches too late"),
        pytest.param(without("shed:start"), {"shed load in the surge"}, id="it never decides to shed"),
        pytest.param(nobody_refused, {"shed load in the surge"}, id="its shedding refuses nobody"),
        pytest.param(high_class_refused, {"kept high priority whole in the surge"}, id="it sheds the wrong class"),
        pytest.param(breaker_always("closed"), {OPENED, CLOSED}, id="the breaker stays closed"),
        pytest.param(breaker_always("open"), {CLOSED}, id="the breaker stays open"),
        pytest.param(breaker_opens_early_only, {OPENED}, id="the breaker opens without faults"),
        pytest.param(last_sample(breaker="half_open"), {CLOSED}, id="the breaker wedges half-open"),
        pytest.param(
            last_sample(admit={**EVERYBODY, "low": 0.4}),
            {LIFTED},
            id="it sheds for ever",
        ),
        pytest.param(never_back, {BACK}, id="it decides to return and stays on int8"),
        pytest.param(without("precision:up"), {BACK}, id="it never decides to return"),
        pytest.param(back_too_early, {BACK}, id="it returns before the surge and never again"),
        pytest.param(a_request_without_answer, {ANSWERED}, id="a request times out"),
        pytest.param(a_request_without_record, {ANSWERED}, id="a request is lost"),
        pytest.param(
            equal_goodput(demo_plan.RISE),
            {GAIN.format("rise")},
            id="no gain in the rise",
        ),
        pytest.param(
            equal_goodput(demo_plan.SURGE),
            {GAIN.format("surge")},
            id="nor in the surge",
        ),
        pytest.param(sluggish_driver("with"), {PUNCTUAL.format("with")}, id="the first driver lags"),
        pytest.param(sluggish_driver("without"), {PUNCTUAL.format("without")}, id="the second lags"),
    ],
)
def test_each_check_fails_when_it_should(on, off, spoil, expected):
    spoil(on, off)
    assert failed(on, off) == expected


def test_a_switch_before_any_bad_second_is_in_time(on, off):
    on.records = [
        answered(arrival) if arrival.phase == demo_plan.RISE else with_controller(arrival)
        for arrival in SCHEDULE.arrivals
    ]
    (check,) = (c for c in demo_verdict.verdict(on, off) if c.name == IN_TIME)
    assert check.passed
    assert "before" in check.measured


def test_a_run_in_which_the_daemon_said_nothing_fails_without_falling_over(on, off):
    on.samples, on.decisions, on.records = [], [], []
    assert SWITCH in failed(on, off)


# --- the screen

STATUS = {
    "ready": True,
    "models": [
        {
            "name": "digits",
            "variant": "int8",
            "offeredRate": 97.4,
            "servedRate": 96.2,
            "latency": {"p50": 0.004, "p99": 0.0312},
            "admit": {"high": 1.0, "normal": 0.8, "low": 0.0},
            "breaker": "half_open",
            "queue": 3,
        }
    ],
    "slos": [
        {
            "name": "digits-latency",
            "budgetRemaining": 0.42,
            "burnRates": {"2s": 12.5, "10s": 3.0},
            "alerts": [{"severity": "page", "window": "page", "firing": True}],
        }
    ],
}


def view(on, status=STATUS, at=RISE + 3.5):
    recent = tuple(sample for sample in on.samples if sample.at <= at)
    return View(on, at, status, Counter({Fate.GOOD: 41, Fate.REFUSED: 7}), recent, tuple(on.decisions[:1]))


def rendered(part, width=100):
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(part)
    return console.export_text()


@pytest.mark.parametrize("width", [60, 100, 160])
def test_the_screen_shows_all_that_matters(on, width):
    text = rendered(demo_screen.screen(view(on)), width)
    for word in ("controller on", "rise", "int8", "half_open", "97/s", "96/s", "31 ms", "12.5", "42.0%", "page"):
        assert word in text
    for word in ("normal 80%", "good 41", "refused 7", "precision:down", "because", "█"):
        assert word in text


def test_a_line_shows_the_same_in_short(on):
    text = demo_screen.line(view(on))
    for word in ("rise", "int8", "97/s", "31 ms", "2s 12.5", "low 0%", "half_open"):
        assert word in text
    assert "NOT READY" not in text
    assert "NOT READY" in demo_screen.line(view(on, STATUS | {"ready": False}))


def test_a_daemon_that_does_not_answer_is_shown_as_such(on):
    assert "does not answer" in demo_screen.line(view(on, None))
    assert "does not answer" in rendered(demo_screen.screen(view(on, None)))


def test_plain_lines_come_once_a_second_and_decisions_once(on):
    written = []
    with demo_screen.plain(written.append) as show:
        for at in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25):
            show(view(on, at=at))
    assert [text for text in written if "▸" in text] == [written[0]]
    assert len(written) == 3


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([], "", id="nothing yet"),
        pytest.param([0, 0], "▁▁", id="nothing but zeros"),
        pytest.param([0, 5, 10], "▁▅█", id="from zero to the largest"),
        pytest.param([100, 1, 1, 1], "███", id="only the last values count"),
    ],
)
def test_sparklines(values, expected):
    assert demo_screen.sparkline(values, 3) == expected


# --- the report


def test_the_report_names_every_phase_decision_and_check(on, off):
    checks = demo_verdict.verdict(on, off)
    console = Console(width=160, file=io.StringIO(), record=True)
    demo_report.show(console, on, off, checks)
    text = console.export_text()
    for phase in SCHEDULE.phases:
        assert phase.name in text
    for word in [d.action for d in DECISIONS] + [check.name for check in checks] + ["0.996", "not measured"]:
        assert word in text


def test_the_json_holds_what_was_measured_and_no_nan(on, off):
    off.records = []
    found = json.loads(demo_report.as_json(on, off, demo_verdict.verdict(on, off)), parse_constant=pytest.fail)
    assert found["passed"] is False
    assert found["firstBadSecond"] == pytest.approx(RISE + 2)
    assert found["firstSwitch"] == pytest.approx(RISE + 3)
    with_it, without_it = found["runs"]
    assert sum(phase["offered"] for phase in with_it["phases"]) == len(SCHEDULE.arrivals)
    assert len(with_it["requests"]["rows"]) == len(SCHEDULE.arrivals)
    assert without_it["driverLag"]["p99"] is None


def test_the_picture_is_an_svg(on, off, tmp_path):
    demo_report.picture(tmp_path / "demo.svg", on, off, demo_verdict.verdict(on, off))
    assert (tmp_path / "demo.svg").read_text().startswith("<svg")


# --- the run's folder


@pytest.mark.parametrize("controller", [True, False])
def test_a_run_gets_valid_files_of_its_own(tmp_path, controller):
    folder, repository = tmp_path / "on", tmp_path / "repository"
    (folder / "state").mkdir(parents=True)
    (folder / "state" / "old.db").write_text("of the run before")
    project = load_project(write_run(folder, resource("examples/digits"), repository, controller=controller))
    daemon = project.daemon
    assert (daemon.serving.port, daemon.control.port, daemon.fault_injection) == (0, 0, True)
    assert daemon.control.enabled is controller
    assert daemon.models[0].breaker.enabled is controller
    assert project.runtime.repository == repository
    assert not (folder / "state").exists()
    assert [objective.name for objective in project.bundle.objectives] == ["digits-latency", "digits-availability"]


def test_the_example_is_safe_to_copy():
    daemon = yaml.load((resource("examples/digits") / "sloctl.yaml").read_text(), Loader=yaml.CSafeLoader)
    assert daemon["faultInjection"] is False
    assert daemon["serving"]["host"] == daemon["control"]["host"] == "127.0.0.1"
    project = load_project(resource("examples/digits") / "sloctl.yaml")
    assert [policy.metadata.name for policy in project.bundle.policies] == ["digits"]
    assert math.isclose(project.bundle.objectives[0].target, 0.99)
