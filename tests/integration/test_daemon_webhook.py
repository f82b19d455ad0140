"""Alerts sent to a running daemon, as an Alertmanager sends them."""

from datetime import UTC, datetime, timedelta

import pytest
from running_daemon import IDLE_POLICY, request, until

from sloctl.control.webhook import MOST_ALERTS

pytestmark = pytest.mark.integration

TOKEN = "open-sesame"
ZERO = "0001-01-01T00:00:00Z"
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = IDLE_POLICY.replace(
    "  rules: []\n",
    """\
  accuracyFloor: 0.9
  dwell: 100ms
  cooldown: 100ms
  rules:
    - name: paged
      when: alert("SloctlErrorBudgetBurn", "sloctl_slo", "tiny-availability", "severity", "page") > 0
      action: {precision: down}
""",
)


def alert(status="firing", began=0, ended=None, fingerprint="4b1e", **labels):
    def time(minutes):
        return (BEGAN + timedelta(minutes=minutes)).isoformat()

    named = {"alertname": "SloctlErrorBudgetBurn", "severity": "page", "sloctl_slo": "tiny-availability"}
    ends = ZERO if ended is None else time(ended)
    return {
        "status": status, "labels": named | labels, "annotations": {}, "fingerprint": fingerprint,
        "startsAt": time(began), "endsAt": ends,
    }  # fmt: skip


def message(*alerts, **fields):
    return {"version": "4", "groupKey": "{}", "receiver": "sloctl", "status": "firing", "alerts": alerts, **fields}


def send(served, *alerts, **fields):
    return served.post("/api/v1/alerts", message(*alerts, **fields))


def firing(served):
    return {each["fingerprint"] for each in served.status()["receivedAlerts"]}


def test_an_alert_is_a_fact_until_its_end_and_survives_a_restart(daemon):
    served = daemon(policy=POLICY)
    assert served.status()["receivedAlerts"] == []
    assert send(served, alert(severity="ticket", fingerprint="other")) == (200, {"alerts": {"firing": 1}})
    assert served.infer()[1]["sloctl-variant"] == "exact", "the ticket is none that the policy names"

    assert send(served, alert(), truncatedAlerts=3) == (200, {"alerts": {"firing": 1, "truncated": 3}})
    until(lambda: served.infer()[1]["sloctl-variant"] == "rough", 5, "the policy acts on it")
    decision = served.get("/api/v1/decisions?limit=1")[1]["decisions"][0]
    fact = 'alert("SloctlErrorBudgetBurn", "sloctl_slo", "tiny-availability", "severity", "page")'
    assert decision["facts"] == {fact: 1}
    assert f"{fact} = 1 > 0" in decision["reason"]
    assert "SloctlErrorBudgetBurn" in served.cli("status").stdout
    assert served.metric("sloctl_received_alerts_firing", alertname="SloctlErrorBudgetBurn", severity="page") == 1
    assert served.metric("sloctl_received_alert_notices_total", result="truncated") == 3
    assert "truncated=3" in served.output

    served.kill()
    served.start()
    assert firing(served) == {"other", "4b1e"}
    assert send(served, alert()) == (200, {"alerts": {"repeated": 1}})
    assert send(served, alert("resolved", ended=5)) == (200, {"alerts": {"resolved": 1}})
    assert served.stop() == 0
    served.start()
    assert send(served, alert()) == (200, {"alerts": {"late": 1}}), "a retry from before the end"
    assert firing(served) == {"other"}
    until(lambda: served.metric("sloctl_policy_rule_active", rule="paged") == 0, 5, "the rule has ended")


def test_an_alert_that_is_not_told_of_again_expires(daemon):
    served = daemon(control={"port": 0, "tick": "100ms", "webhook": {"timeToLive": "1s", "maxAlerts": 2}})
    alerts = [alert(fingerprint=str(i)) for i in range(3)]
    assert send(served, *alerts) == (200, {"alerts": {"firing": 2, "dropped": 1}})
    until(lambda: served.metric("sloctl_received_alert_notices_total", result="expired") == 2, 10, "they expire")
    assert firing(served) == set()
    assert "expired without its end" in served.output


def test_what_alertmanager_must_not_retry_is_refused_with_4xx_and_words(daemon, tmp_path):
    (tmp_path / "token").write_text(TOKEN + "\n")
    served = daemon(control={"port": 0, "tick": "100ms", "tokenFile": "token"})
    token = {"authorization": f"Bearer {TOKEN}"}

    def refused(body, **headers):
        status, answer = served.post("/api/v1/alerts", body, **headers)
        return status, answer["error"]

    assert refused(message(alert()))[0] == 401
    assert refused(message(alert()), authorization="Bearer wrong")[0] == 401
    status, why = refused(message(alert(), version="3"), **token)
    assert (status, "version 4" in why, "$.version" in why) == (400, True, True)
    assert refused([], **token)[0] == 400
    assert refused(message(*[alert()] * (MOST_ALERTS + 1)), **token)[0] == 400
    assert refused({"version": "4", "alerts": [], "more": "x" * (2 << 20)}, **token)[0] == 413
    assert refused(message(), **token, **{"content-type": "text/plain"})[0] == 415
    assert firing(served) == set()
    assert served.metric("sloctl_received_notifications_total", result="refused") == 3
    status, _, _ = request(served.control, "POST", "/api/v1/alerts", message(alert()), token)
    assert status == 200
    assert firing(served) == {"4b1e"}
