"""A live daemon and a live Prometheus that scrapes it say the same of an SLO, to the scrape's own error.

`increase()` stretches what lies between the first and the last scrape of a range to its ends: at the end by the same
factor for every series, since they are scraped together; at the beginning not at all for a counter that was zero then.
So once no request has come for longer than a scrape, good and valid events of the whole time are stretched alike, and
their ratio is that of the counters: the two must agree to rounding. While requests come, the daemon is ahead by at
most a scrape, an evaluation and a tick.
"""

import json
import subprocess
import sys
import urllib.parse

import pytest
from running_daemon import MODEL, SLOS, request, until
from running_monitoring import Prometheus, get, needs_prometheus

from sloctl.config.resources import resource

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180), needs_prometheus]
WINDOWS = resource("rules") / "windows" / "demo.yaml"


def asked(prometheus, expression):
    """The value of an expression, or None."""
    query = urllib.parse.urlencode({"query": expression})
    found = get(f"{prometheus.url}/api/v1/query?{query}")["data"]["result"]
    return float(found[0]["value"][1]) if found else None


@pytest.mark.slow
def test_ratios_burn_rates_budget_and_alerts_are_the_same(daemon, tmp_path):
    models = [{**MODEL, "breaker": {"enabled": False}}]
    hourly = SLOS.replace("30d", "1h")
    served = daemon(slos=hourly, windows=str(WINDOWS), models=models, faultInjection=True)
    rules = tmp_path / "rules.yaml"
    command = [sys.executable, "-m", "sloctl.cli.main", "rules", str(tmp_path / "slo.yaml"), str(WINDOWS)]
    subprocess.run([*command, "-o", str(rules)], check=True, capture_output=True)
    target = f"127.0.0.1:{served.control}"
    prometheus = Prometheus(tmp_path / "prometheus", target=target, rules=[rules], alertmanager="127.0.0.1:9").start()
    try:
        until(lambda: asked(prometheus, "sum(sloctl_requests_total)") == 0, 20, "a scrape before the first request")
        for count, faults in ((150, []), (60, ["error"]), (90, [])):
            body = json.dumps({"model": "tiny", "faults": faults})
            assert request(served.control, "POST", "/api/v1/faults", json.loads(body))[0] == 200
            for _ in range(count):
                served.infer()
        paging = 'ALERTS{sloctl_tier="page", alertstate="firing"}'
        until(lambda: asked(prometheus, f"count({paging})") == 1, 30, "Prometheus pages")
        assert pages(served)
        counted = slo(served)["errorRatios"]["1h"]
        assert counted == pytest.approx(60 / 300, abs=0.01)  # a batch may hold requests of both times
        ratio = 'sloctl:slo_error:ratio{sloctl_window="1h"}'
        until(
            lambda: same(asked(prometheus, ratio), counted),
            20,
            f"{counted} over an hour, not {asked(prometheus, ratio)}",
        )
        found = slo(served)
        assert same(asked(prometheus, 'sloctl:slo_burn_rate:ratio{sloctl_window="1h"}'), found["burnRates"]["1h"])
        assert same(asked(prometheus, "sloctl:slo_error_budget_remaining:ratio"), found["budgetRemaining"])
        assert asked(prometheus, "sloctl:slo_objective:ratio") == found["target"]
        # Silence: the short windows empty in both, and the page ends in both.
        until(lambda: asked(prometheus, f"count({paging})") is None, 60, "Prometheus is quiet")
        # Prometheus' window ends at its last scrape, and so may empty a scrape, an evaluation and a tick before.
        until(lambda: not pages(served), 5, "the daemon is quiet")
    finally:
        prometheus.stop()


def slo(served):
    (found,) = served.status()["slos"]
    return found


def pages(served):
    return any(alert["firing"] and alert["severity"] == "page" for alert in slo(served)["alerts"])


def same(one, other):
    return one is not None and abs(one - other) <= 1e-9 * max(1.0, abs(other))
