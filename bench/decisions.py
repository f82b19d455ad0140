"""From a fault to the decision that it leads to: `python -m bench.decisions`.

A daemon under a steady load, as it comes but for short windows: a policy reads the burn rate over two seconds and sheds
the lowest class (of which there is nothing, so that the load stays the same). Each round injects engine errors, waits
for the decision, and lets the daemon calm down by its own rule. The time is from the first bad answer to the decision
as the audit log has it, to the millisecond. BENCH_ROUNDS changes how often.
"""

import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.alerts import Load, get
from bench.plans import Daemon, daemon
from bench.serving import make_model

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "100"))
PATIENCE = 30.0
CONFIG = """
apiVersion: sloctl/v1
kind: Daemon
serving: {port: 0}
control: {port: 0}
slos: [slo.yaml]
policies: [policy.yaml]
faultInjection: true
models: [{name: tiny, variants: [fp32], profile: {interval: 0s}, breaker: {enabled: false}}]
"""
SLO = """
apiVersion: sloctl/v1
kind: ServiceLevel
metadata: {name: tiny}
spec:
  model: tiny
  objectives: [{name: success, sli: success, target: 99.9%}]
"""
POLICY = """
apiVersion: sloctl/v1
kind: Policy
metadata: {name: tiny}
spec:
  model: tiny
  ladder: [fp32]
  healthFallback: false
  restore: 100ms
  rules:
  - name: shed
    when: burn_rate("tiny-success", "2s") > 14.4
    until: burn_rate("tiny-success", "2s") < 1
    action: {shed: {admit: {low: 0}}}
"""


def fault(node: Daemon, *names: str) -> None:
    body = json.dumps({"model": "tiny", "faults": names}).encode()
    headers = {"content-type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{node.control}/api/v1/faults", body, headers)).close()


def decision(node: Daemon, action: str, after: int) -> dict[str, Any]:
    """The first decision of an action with a number above `after`."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = get(f"{node.control}/api/v1/decisions?limit=5")["decisions"]
        for each in reversed(found):
            if each["id"] > after and each["action"] == action:
                return dict(each)
        time.sleep(0.02)
    raise SystemExit(f"no {action} within {PATIENCE:g} s")


def play(node: Daemon, load: Load, after: int) -> tuple[float, int]:
    """Seconds from the first bad answer to the decision, and the number of the last decision."""
    load.first_bad = None
    fault(node, "error")
    begun = decision(node, "shed:start", after)
    if load.first_bad is None:
        raise SystemExit("a decision without a bad answer")
    skew = time.time() - time.monotonic()
    took = datetime.fromisoformat(begun["at"]).timestamp() - (load.first_bad + skew)
    fault(node)
    return took, int(decision(node, "shed:end", begun["id"])["id"])


def main() -> None:
    """Prints the quantiles."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_model("tiny", folder / "repository" / "tiny" / "fp32")
        (folder / "slo.yaml").write_text(SLO)
        (folder / "policy.yaml").write_text(POLICY)
        found, last = [], 0
        with daemon(folder, CONFIG) as node, Load(node) as load:
            time.sleep(3)
            for number in range(ROUNDS):
                took, last = play(node, load, last)
                found.append(took)
                print(f"▸ {number + 1} of {ROUNDS}: {took:.2f} s", file=sys.stderr, flush=True)
    cuts = statistics.quantiles(found, n=100, method="inclusive")
    print(f"{ROUNDS} faults on {os.cpu_count()} cores, ticks of 0.25 s, 50 requests/s.\n")
    print("| seconds from the first bad answer to the decision | median | p99 | most |\n| --- | --- | --- | --- |")
    print(f"| burn rate over 2 s, in process | {cuts[49]:.2f} | {cuts[98]:.2f} | {max(found):.2f} |")


if __name__ == "__main__":
    main()
