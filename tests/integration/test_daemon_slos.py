"""Every form of SLO in a running daemon: counted, shown, and continued after a restart."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from running_daemon import SLOS, until

pytestmark = pytest.mark.integration

RULES = Path(__file__).parents[2] / "rules/slo"


def sample(name):
    """A sample, for the model and the variants of these tests."""
    return (RULES / name).read_text().replace("digits", "tiny").replace("variant: fp32", "variant: exact")


def slos(served):
    return {slo["name"]: slo for slo in served.status()["slos"]}


def counted(served, name):
    return served.metric("sloctl_slo_events_total", slo=name)


def test_the_samples_are_judged_and_their_history_goes_on_after_a_restart(daemon):
    served = daemon(slos=f"{sample('shared.yaml')}---\n{sample('service-level.yaml')}")
    assert all(served.infer()[0] == 200 for _ in range(20))
    seconds = ("tiny-busy", "tiny-memory", "tiny-healthy")
    until(lambda: all(counted(served, name) >= 2 for name in seconds), 20, "seconds are counted")
    assert counted(served, "tiny-quick-engine") >= 20
    found = slos(served)
    assert found["tiny-memory"]["periodBegan"] is None
    assert [alert["window"] for alert in found["tiny-month"]["alerts"]] == ["tiny-month-page"]
    began = found["tiny-month"]["periodBegan"]
    assert began.endswith(("T22:00:00.000+00:00", "T23:00:00.000+00:00")), "midnight in Berlin"
    before = counted(served, "tiny-quick-engine")
    assert served.stop() == 0
    served.start()
    assert counted(served, "tiny-quick-engine") >= before
    assert slos(served)["tiny-month"]["periodBegan"] == began


def test_an_slo_that_counts_something_else_from_a_reload_on_leaves_no_counts_of_before(daemon):
    served, name = daemon(), "tiny-availability"
    assert all(served.infer()[0] == 200 for _ in range(40))
    served.wait_metric(40, "sloctl_slo_events_total", slo=name)
    until(lambda: _kept(served, name).count(40) > 1, 10, "slots before the last one are kept")
    (served.config.parent / "slo.yaml").write_text(SLOS.replace("[ok, error]", "[ok, error, invalid]"))
    assert served.post("/api/v1/reload", {})[0] == 200
    assert served.infer({"inputs": []})[0] == 400
    served.wait_metric(1, "sloctl_slo_events_total", slo=name)
    assert served.stop() == 0
    assert 40 not in _kept(served, name), "cumulative counts of both together would make windows negative"


def _kept(served, name):
    with closing(sqlite3.connect(served.config.parent / "state/sloctl.db")) as db:
        query = "SELECT total FROM history WHERE slo = ? AND ring = 1"
        return [total for (total,) in db.execute(query, (name,))]
