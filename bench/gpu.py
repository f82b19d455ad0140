"""The whole loop on a GPU: TensorRT plans behind the daemon, driven past the most accurate one's capacity.

    python bench/gpu.py PLANS_FOLDER [LEAN_LIBRARY_NAME]

PLANS_FOLDER holds digits_resnet.fp32.plan and digits_resnet.int8.plan. Each request carries 64 images in one
binary tensor of 1 MiB, so that a single client can saturate the device. Prints a transcript in Markdown.
"""

import asyncio
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.plans import ROOT, ROWS, Daemon, daemon, import_plans, sloctl
from sloctl.cli._digits import evaluation
from sloctl.load.driver import drive
from sloctl.load.results import Record, by_phase, first_bad_second, lag
from sloctl.load.schedule import Phase, Schedule, plan
from sloctl.load.v2 import bodies, sender

OBJECTIVE = 0.05
PRIORITIES = ("high", "normal", "low")
DAEMON = f"""
apiVersion: sloctl/v1
kind: Daemon
serving: {{port: 0}}
control: {{port: 0}}
device: cuda:0
slos: [slo.yaml]
policies: [policy.yaml]
windows: {ROOT}/rules/windows/demo.yaml
models:
  - {{name: digits, variants: [fp32, int8], maxBatch: {ROWS}, deadline: 2s, profile: {{interval: 5s}}}}
"""
SLO = f"""
apiVersion: openslo/v1
kind: SLO
metadata: {{name: digits-latency}}
spec:
  service: digits
  indicator:
    metadata: {{name: latency}}
    spec:
      thresholdMetric:
        metricSource: {{type: sloctl, spec: {{metric: sloctl_request_duration_seconds, labels: {{model: digits}}}}}}
  timeWindow: [{{duration: 1h, isRolling: true}}]
  budgetingMethod: Occurrences
  objectives: [{{op: lte, value: {OBJECTIVE}, target: 0.99}}]
"""
POLICY = """
apiVersion: sloctl/v1
kind: Policy
metadata: {name: digits}
spec:
  model: digits
  ladder: [fp32, int8]
  accuracyFloor: 0.95
  dwell: 1s
  cooldown: 6s
  rules:
  - name: less-precision
    when: burn_rate("digits-latency", "2s") > 6 || queue_delay(0.9) > 0.02 || gpu_temperature > 90
    action: {precision: down}
  - name: more-precision
    when: offered_rows < 0.65 * capacity("fp32") && burn_rate("digits-latency", "2s") < 1 && health_ok("fp32")
    for: 3s
    action: {precision: up}
"""


def prepare(folder: Path, plans: Path, lean: str | None) -> None:
    """Imports both plans, measured on the evaluation set, and writes what the daemon's file names."""
    import_plans(folder, plans, ("fp32", "int8"), lean)
    for name, text in (("slo", SLO), ("policy", POLICY)):
        (folder / f"{name}.yaml").write_text(text)


async def play(server: Daemon, schedule: Schedule) -> list[Record]:
    """Drives the schedule, with a line of the daemon's own view each second."""
    records: list[Record] = []
    images = evaluation(ROOT / "examples" / "digits").inputs["image"][:ROWS].astype(np.float32)
    made = bodies("image", [images], PRIORITIES, 2.0)

    async def watch() -> None:
        started = time.monotonic()
        while True:
            await asyncio.sleep(1)
            model: dict[str, Any] = await asyncio.to_thread(server.status)
            p99 = (model["latency"]["p99"] or 0) * 1e3
            rates = f"offered {model['offeredRate']:6.1f}/s served {model['servedRate']:6.1f}/s"
            print(f"{time.monotonic() - started:5.1f} s  {model['variant']:5s} {rates} p99 {p99:7.2f} ms", flush=True)

    async with sender(server.serving, "digits", made, 2.0) as send:
        watcher = asyncio.create_task(watch())
        await drive(schedule, send, records.append)
        watcher.cancel()
    return records


def report(records: list[Record], schedule: Schedule, server: Daemon) -> None:
    """Prints the tables."""
    print("\n| phase | offered | good | late | refused | failed | p50 ms | p99 ms | served by |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, s in by_phase(records, schedule, OBJECTIVE).items():
        shares = ", ".join(f"{variant} {share:.0%}" for variant, share in s.variants.items())
        figures = (
            f"{s.offered} | {s.good} | {s.late} | {s.refused} | {s.failed} | {s.p50 * 1e3:.1f} | {s.p99 * 1e3:.1f}"
        )
        print(f"| {name} | {figures} | {shares} |")
    bad = first_bad_second(records, schedule.span("rise")[0], OBJECTIVE, 0.99)
    print(f"\nfirst bad second at {bad} s; the driver's own lag p99 {lag(records) * 1e3:.1f} ms\n\nDecisions:\n")
    for record in reversed(json.loads(server.get("/api/v1/decisions"))["decisions"]):
        print(f"- {record['at']} {record['action']}: {record['before']} → {record['after']}, {record['reason']}")


def main() -> None:
    """Prepares, serves, drives, reports."""
    plans, lean = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(folder, plans, lean)
        with daemon(folder, DAEMON) as server:
            run(server)
            print("\nThe daemon's log:\n\n```\n" + server.log.read_text()[-6000:] + "```")


def run(server: Daemon) -> None:
    """One schedule against the running daemon."""
    variants: Any = server.status()["variants"]
    capacity = {variant["name"]: variant["capacity"] for variant in variants}
    print(f"capacities, images/s: {capacity}\n")
    fp32 = capacity["fp32"] / ROWS
    phases = [Phase("calm", 6, 0.4 * fp32), Phase("rise", 12, 1.5 * fp32), Phase("calm again", 14, 0.4 * fp32)]
    schedule = plan(phases, {"high": 0.2, "normal": 0.5, "low": 0.3}, seed=1)
    records = asyncio.run(play(server, schedule))
    report(records, schedule, server)
    print("\n```\n" + sloctl("layers", "digits", "-n", "8", "--url", server.control) + "```\n\n```")
    wanted = re.compile(r"^sloctl_(gpu_|enqueue_duration_seconds_(sum|count)|engine_duration_seconds_(sum|count))")
    print("\n".join(line for line in server.get("/metrics").splitlines() if wanted.match(line)) + "\n```")


if __name__ == "__main__":
    main()
