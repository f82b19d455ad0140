"""The daemon's own alerts, as its users meet them: in the API, in `sloctl status`, in metrics, over restarts."""

import pytest
from running_daemon import SLOS, until

pytestmark = pytest.mark.integration

OUTAGE = {"model": "tiny", "faults": ["error"]}
PAGE = ("SloctlErrorBudgetBurn", "page")


def named(served):
    """The alerts by name and severity."""
    found = served.get("/api/v1/alerts")[1]["data"]["alerts"]
    return {(each["labels"]["alertname"], each["labels"]["severity"]): each for each in found}


def fail(served, times=20):
    """Requests that the engine fails."""
    assert served.post("/api/v1/faults", OUTAGE)[0] == 200
    for _ in range(times):
        served.infer()


def test_a_total_outage_fires_and_a_restart_neither_resolves_it_nor_forgets_when_it_began(daemon):
    served = daemon(slos=SLOS, faultInjection=True)
    assert PAGE not in named(served)
    assert served.metric("sloctl_alerts", alertname=PAGE[0], severity="page", state="firing") == 0
    fail(served)
    until(lambda: PAGE in named(served), 10, "the alert fires")
    page = named(served)[PAGE]
    assert page["state"] == "firing"
    assert page["labels"]["sloctl_slo"] == "tiny-availability"
    assert float(page["annotations"]["burn_rate"]) > 14.4
    served.wait_metric(1, "sloctl_alerts", alertname=PAGE[0], severity="page", state="firing")
    served.wait_metric(1, "sloctl_slo_alert_firing", slo="tiny-availability", severity="page")
    told = served.cli("status").stdout
    assert "firing SloctlErrorBudgetBurn (page)" in told
    assert "SLO tiny-availability burns its error budget too fast" in " ".join(told.split())
    assert served.stop() == 0
    served.start()
    assert named(served)[PAGE]["activeAt"] == page["activeAt"]
    served.kill()
    served.start()
    assert named(served)[PAGE]["activeAt"] == page["activeAt"]


def test_an_slo_that_a_reload_takes_away_alerts_no_more(daemon):
    served = daemon(slos=SLOS, faultInjection=True)
    fail(served)
    until(lambda: PAGE in named(served), 10, "the alert fires")
    (served.config.parent / "slo.yaml").write_text(SLOS.replace("tiny-availability", "another"))
    assert served.post("/api/v1/reload", {})[0] == 200
    until(lambda: PAGE not in named(served), 5, "the alert is gone")


def test_the_daemon_tells_of_itself_and_the_alert_outlives_a_restart(daemon):
    served = daemon(alerts={"externalUrl": "https://node-1:8443"})
    override = {"model": "tiny", "kind": "variant", "value": "rough", "expires": "1h"}
    assert served.post("/api/v1/overrides", override)[0] == 201
    forgotten = ("SloctlOverrideForgotten", "ticket")
    until(lambda: forgotten in named(served), 5, "an override makes the alert pending")
    found = named(served)[forgotten]
    assert found["state"] == "pending"
    assert (found["labels"]["job"], found["labels"]["instance"]) == ("sloctl", "node-1:8443")
    assert found["annotations"]["runbook_url"] == "docs/runbooks/SloctlOverrideForgotten.md"
    served.wait_metric(1, "sloctl_alerts", alertname=forgotten[0], state="pending")
    assert served.stop() == 0
    served.start()
    assert named(served)[forgotten]["activeAt"] == found["activeAt"]


def test_a_refused_reload_and_less_precision_are_seen_in_process(daemon):
    served = daemon()
    (served.config.parent / "slo.yaml").write_text("nonsense")
    assert served.post("/api/v1/reload", {})[0] == 422
    served.cli("override", "tiny", "--variant", "rough")
    wanted = {("SloctlReloadRefused", "ticket"), ("SloctlPrecisionDegraded", "ticket")}
    until(lambda: wanted <= set(named(served)), 10, "both are pending")
    served.wait_metric(1, "sloctl_serving_variant_rank", model="tiny")
    assert named(served)["SloctlPrecisionDegraded", "ticket"]["labels"]["model"] == "tiny"
