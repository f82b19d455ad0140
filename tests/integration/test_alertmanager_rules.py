"""The Alertmanager configuration: its routes, what keeps quiet when something else fires, and its messages."""

import json
import re
import subprocess

import pytest
import yaml
from running_daemon import until
from running_monitoring import AMTOOL, Alertmanager, needs_alertmanager

from sloctl.config.resources import resource
from sloctl.slo.prometheus import ALERT

pytestmark = [pytest.mark.integration, needs_alertmanager]

FOLDER = resource("rules") / "alertmanager"
CONFIG = FOLDER / "alertmanager.yml"
PAGE = {
    "alertname": ALERT,
    "severity": "page",
    "sloctl_tier": "page",
    "sloctl_service": "digits",
    "sloctl_slo": "a-latency",
    "model": "digits",
}
TICKET = {**PAGE, "severity": "ticket", "sloctl_tier": "ticket"}
NO_DATA = {**TICKET, "alertname": "SloctlSloNoData"}
HERE, THERE = {"instance": "a:8002"}, {"instance": "b:8002"}


def amtool(*arguments):
    done = subprocess.run([AMTOOL, *arguments], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_alertmanager_accepts_the_file_and_its_templates():
    said = amtool("check-config", str(CONFIG))
    assert "SUCCESS" in said
    assert "FAILED" not in said


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        pytest.param(PAGE, "pager", id="a page of an SLO"),
        pytest.param(TICKET, "tickets", id="a ticket of an SLO"),
        pytest.param({**PAGE, "severity": "critical"}, "pager", id="a tier with a severity of its own stays a page"),
        pytest.param({**TICKET, "severity": "low"}, "tickets", id="and a ticket a ticket"),
        pytest.param({"alertname": "SloctlDown", "severity": "page", **HERE}, "pager", id="a page of the daemon"),
        pytest.param(
            {"alertname": "SloctlPlaneRestarts", "severity": "ticket"}, "tickets", id="a ticket of the daemon"
        ),
        pytest.param({**TICKET, "sloctl_notify": "pager"}, "pager", id="an alert policy's target"),
        pytest.param({**PAGE, "sloctl_notify": "chat,tickets"}, "tickets,chat", id="several targets"),
        pytest.param({**PAGE, "sloctl_notify": "unknown"}, "chat", id="a target without a route is not lost"),
        pytest.param({**PAGE, "sloctl_notify": "pagers"}, "chat", id="a name that begins alike is another"),
        pytest.param({"alertname": "Other", "severity": "info"}, "chat", id="what no route knows"),
        pytest.param({"alertname": "SloctlWatchdog", "severity": "none"}, "nobody", id="the alert that fires always"),
    ],
)
def test_who_is_told(labels, receivers):
    words = [f"{name}={value}" for name, value in labels.items()]
    told = amtool("config", "routes", "test", f"--config.file={CONFIG}", *words)
    assert told == f"sloctl,{receivers}", "the daemon hears of everything"


def test_what_inhibits_and_what_is_inhibited_by_name_exists():
    rules = [*(FOLDER.parent / "prometheus").glob("*.yaml")]
    groups = [group for path in rules for group in yaml.load(path.read_text(), yaml.CSafeLoader)["groups"]]
    known = {rule["alert"] for group in groups for rule in group["rules"]} | {ALERT, "SloctlSloNoData"}
    text = CONFIG.read_text()
    named = {name for quoted in re.findall(r'alertname!?=~?"([^"]+)"', text) for name in quoted.split("|")}
    assert len(named) > 10
    assert [name for name in named if not any(re.fullmatch(name, alert) for alert in known)] == []


def test_there_is_no_secret_in_the_file():
    receivers = yaml.load(CONFIG.read_text(), yaml.CSafeLoader)["receivers"]
    fields = [
        field
        for receiver in receivers
        for config in receiver.values()
        if isinstance(config, list)
        for field in config[0]
    ]
    assert fields
    assert not {"api_url", "routing_key", "service_key"} & set(fields)


# --- inhibition, in a real Alertmanager


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory):
    program = Alertmanager(tmp_path_factory.mktemp("alertmanager"), CONFIG)
    yield program.start()
    program.stop()


def alert(name, **labels):
    return {"alertname": name, **labels}


DOWN, MISSING = alert("SloctlDown", **HERE), alert("SloctlGpuMissing", **HERE)
DEGRADED = alert("SloctlPrecisionDegraded", model="digits", **HERE)
XID, NOT_READY = alert("SloctlGpuXid", gpu="1", **HERE), alert("SloctlNotReady", **HERE)
QUIET = [
    (PAGE, TICKET),
    (DEGRADED, TICKET),
    (DEGRADED, {**TICKET, "sloctl_service": "another"}),
    (MISSING, XID),
    *((MISSING, alert(name, model="digits", **HERE)) for name in ("SloctlPlaneRestarts", "SloctlBreakerOpen")),
    (MISSING, alert("SloctlGpuThrottled", gpu="1", **HERE)),
    (MISSING, NOT_READY),
    (MISSING, DEGRADED),
    *((DOWN, alert(name, **HERE)) for name in ("SloctlNotReady", "SloctlGpuMissing", "SloctlReloadRefused")),
]
# Each with a witness: once that one is quiet, the source is known to the inhibitor.
LOUD = [
    (PAGE, TICKET, {**TICKET, "sloctl_slo": "another"}),
    (PAGE, TICKET, {**TICKET, "sloctl_service": "another"}),
    (PAGE, TICKET, NO_DATA),
    (PAGE, TICKET, PAGE),
    (DEGRADED, TICKET, {**PAGE, "sloctl_slo": "b-latency"}),
    (DEGRADED, TICKET, {**TICKET, "sloctl_slo": "a-availability"}),
    (DEGRADED, TICKET, {**TICKET, "model": "another"}),
    (DEGRADED, TICKET, {name: value for name, value in TICKET.items() if name != "model"}),
    (DEGRADED, TICKET, NO_DATA),
    (MISSING, XID, alert("SloctlGpuXid", **THERE)),
    (MISSING, XID, PAGE),
    (MISSING, XID, MISSING),
    (DOWN, NOT_READY, alert("SloctlNotReady", **THERE)),
    (DOWN, NOT_READY, PAGE),
    (DOWN, NOT_READY, alert("NodeFilesystemFull", **HERE)),
    (DOWN, NOT_READY, DOWN),
]


@pytest.fixture
def world(alertmanager, request):
    """Posts alerts, and tells their state: apart from other tests by what must be equal for an inhibition."""

    class World:
        def own(self, labels):
            mine = {"instance", "sloctl_service", "model"} & labels.keys()
            return labels | {name: f"{labels[name]} {request.node.name}" for name in mine}

        def post(self, *alerts):
            alertmanager.post(*({"labels": self.own(labels)} for labels in alerts))

        def state(self, labels):
            shown = [each for each in alertmanager.shown() if each["labels"] == self.own(labels)]
            return shown[0]["status"]["state"] if shown else None

    return World()


@pytest.mark.parametrize(("source", "target"), QUIET, ids=lambda labels: labels["alertname"])
def test_what_is_explained_keeps_quiet(world, source, target):
    world.post(target)
    until(lambda: world.state(target) == "active", 10, "it stands alone")
    world.post(source)
    until(lambda: world.state(target) == "suppressed", 10, "it is quiet")


@pytest.mark.parametrize(("source", "witness", "target"), LOUD, ids=lambda labels: labels["alertname"])
def test_what_is_not_explained_does_not(world, source, witness, target):
    world.post(source, witness, target)
    until(lambda: world.state(witness) == "suppressed", 10, "the source is known")
    until(lambda: world.state(target) is not None, 10, "so is the target")
    assert world.state(target) == "active"


# --- messages

ANNOTATIONS = {
    "summary": "SLO a-latency burns its error budget too fast",
    "description": "More than 14.4 times as fast as it may.",
    "burn_rate": "30.1",
    "budget_remaining": "61.5%",
    "time_to_exhaustion": "3h 2m",
    "runbook_url": "https://example.org/runbooks/burn",
}


@pytest.fixture
def render(tmp_path):
    """A template's text for alerts of a status."""

    def rendered(template, *alerts, status="firing", common=PAGE):
        data = {
            "receiver": "chat", "status": status, "externalURL": "http://localhost:9093", "groupLabels": {},
            "commonLabels": common, "commonAnnotations": ANNOTATIONS,
            "alerts": [{"status": s, "labels": PAGE, "annotations": annotations} for s, annotations in alerts],
        }  # fmt: skip
        path = tmp_path / "data.json"
        path.write_text(json.dumps(data))
        return amtool(
            "template", "render", f"--template.glob={FOLDER}/templates/*.tmpl", f"--template.data={path}",
            f'--template.text={{{{ template "{template}" . }}}}',
        )  # fmt: skip

    return rendered


def test_a_message_says_what_burns_what_is_left_and_where_to_look(render):
    assert render("sloctl.title", ("firing", ANNOTATIONS)) == f"[FIRING 1] page {ALERT}: digits a-latency"
    assert render("sloctl.text", ("firing", ANNOTATIONS)).splitlines() == [
        ANNOTATIONS["summary"],
        ANNOTATIONS["description"],
        "Burn rate: 30.1",
        "Error budget left: 61.5%",
        "Gone in: 3h 2m",
        "Runbook: https://example.org/runbooks/burn",
    ]
    assert render("sloctl.link", ("firing", ANNOTATIONS)) == ANNOTATIONS["runbook_url"]


def test_a_message_of_an_alert_without_a_budget_leaves_that_out(render):
    plain = {"summary": "the breaker is open"}
    assert render("sloctl.text", ("firing", plain), ("resolved", ANNOTATIONS)).splitlines() == [
        "the breaker is open",
        "Over: SLO a-latency burns its error budget too fast",
    ]
    title = render("sloctl.title", ("resolved", plain), status="resolved", common={"alertname": "SloctlBreakerOpen"})
    assert title == "[RESOLVED] SloctlBreakerOpen"
