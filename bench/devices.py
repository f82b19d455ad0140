"""Several GPUs behind one port: what a second one adds, what the death of one costs, a variant on its own GPU.

    python bench/devices.py PLANS_FOLDER [LEAN_LIBRARY_NAME]

PLANS_FOLDER holds digits_resnet.{fp32,fp16,int8}.plan. Prints tables in Markdown; every ratio is between figures of
this run. Needs two NVIDIA GPUs of the kind that the plans were built for, and a TensorRT runtime.
"""

import argparse
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.plans import ROOT, ROWS, Connection, Daemon, daemon, import_plans, region_body, system_region
from sloctl.cli._digits import evaluation

SECONDS = 5.0
CLIENTS = 12
PROBES = 4  # clients that make a new connection for every request
HEADER = """
apiVersion: sloctl/v1
kind: Daemon
serving: {port: 0}
control: {port: 0}
"""


def gpus() -> list[str]:
    """UUIDs of the GPUs, as the driver says."""
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def config(**fields: Any) -> str:
    """A daemon's configuration; JSON is YAML."""
    return HEADER + "".join(f"{name}: {json.dumps(value)}\n" for name, value in fields.items())


@dataclass
class Seen:
    """What clients saw: when each answer came (wall time), its latency, its variant; failures in words."""

    answers: list[tuple[float, float]] = field(default_factory=list)
    variants: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[float, str]] = field(default_factory=list)

    def rate(self, since: float, until: float) -> float:
        """Images a second between two moments."""
        return ROWS * sum(since <= at < until for at, _ in self.answers) / (until - since)

    def tail(self) -> str:
        """p50 and p99 in milliseconds."""
        ordered = sorted(latency for _, latency in self.answers) or [float("nan")]
        return " / ".join(f"{ordered[int(q * len(ordered))] * 1e3:.1f}" for q in (0.5, 0.99))


def client(task: tuple[str, str, bytes, float, bool]) -> Seen:
    """Sends one request after another; on one connection, or on a `fresh` one each time."""
    url, model, body, seconds, fresh = task
    seen, end, connection = Seen(), time.time() + seconds, None
    while (began := time.time()) < end:
        try:
            connection = connection or Connection(url)
            status, head, answer = connection.exchange(connection.request(f"/v2/models/{model}/infer", body))
        except OSError as error:
            seen.failures.append((began, repr(error)))
            connection = None
            continue
        if status == 200:
            seen.answers.append((time.time(), time.time() - began))
            seen.variants[_variant(head)] += 1
        else:
            seen.failures.append((began, answer[:120].decode(errors="replace")))
        if fresh:
            connection.close()
            connection = None
            time.sleep(0.002)
    return seen


def _variant(head: bytes) -> str:
    lines = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
    return lines.get(b"sloctl-variant", b"").decode()


class Clients:
    """Client processes, started once."""

    def __init__(self) -> None:
        self._pool = multiprocessing.get_context("spawn").Pool(CLIENTS + PROBES)

    def start(self, url: str, model: str, body: bytes, *, seconds: float = SECONDS, count: int = CLIENTS,
              fresh: bool = False) -> Callable[[], Seen]:  # fmt: skip
        """Starts some; what is returned waits for them and joins what they saw."""
        result = self._pool.map_async(client, [(url, model, body, seconds, fresh)] * count, chunksize=1)

        def join() -> Seen:
            whole = Seen()
            for seen in result.get():
                whole.answers += seen.answers
                whole.variants += seen.variants
                whole.failures += seen.failures
            return whole

        return join

    def close(self) -> None:
        """Ends them."""
        self._pool.terminate()


@contextmanager
def loaded(server: Daemon) -> Iterator[bytes]:
    """The body of a request for a full batch in system shared memory."""
    rows = np.ascontiguousarray(evaluation(ROOT / "examples" / "digits").inputs["image"][:ROWS], np.float32)
    with system_region(server, "sloctl-devices", rows.tobytes()):
        yield region_body("sloctl-devices", ROWS)


def devices_of(server: Daemon) -> list[dict[str, Any]]:
    """Each device's data plane, as health tells it."""
    found: list[dict[str, Any]] = json.loads(server.get("/health"))["devices"]
    return found


def wait_all(server: Daemon, patience: float = 60.0) -> float:
    """Waits until every device is ready; returns how long that took."""
    begin = time.time()
    while not all(device["ready"] for device in devices_of(server)):
        if time.time() - begin > patience:
            raise SystemExit(f"not all devices became ready: {devices_of(server)}")
        time.sleep(0.02)
    return time.time() - begin


class Busy:
    """Samples GPU utilisation in the background."""

    def __init__(self) -> None:
        command = ["nvidia-smi", "--query-gpu=uuid,utilization.gpu", "--format=csv,noheader,nounits", "-lms", "250"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._lines: list[tuple[float, str, float]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            uuid, _, value = line.strip().partition(", ")
            self._lines.append((time.time(), uuid, float(value)))

    def mean(self, uuid: str, since: float, until: float) -> float:
        """Mean utilisation of a GPU between two moments, in percent."""
        found = [value for at, who, value in list(self._lines) if who == uuid and since <= at < until]
        return sum(found) / len(found) if found else float("nan")

    def close(self) -> None:
        """Ends the sampling."""
        self._process.terminate()


def throughput(folder: Path, clients: Clients, busy: Busy, uuids: Sequence[str]) -> None:
    """fp16 on one GPU and on two, batches of 64; then the death of one of the two."""
    print("\n## One port, one and two GPUs (fp16)\n")
    print(f"{CLIENTS} client processes, batches of {ROWS} in system shared memory, one keep-alive connection each.\n")
    print("| data planes | images/s | of one | p50 / p99 ms | GPU 0 / GPU 1 busy, % | failed |")
    print("| --- | --- | --- | --- | --- | --- |")
    models = [{"name": "digits", "variants": ["fp16"], "maxBatch": ROWS, "profile": {"interval": "0s"}}]
    alone = 0.0
    for count in (1, 2):
        with daemon(folder, config(devices=uuids[:count], models=models)) as server, loaded(server) as body:
            wait_all(server)
            clients.start(server.serving, "digits", body, seconds=1.0)()  # warm
            join, begin = clients.start(server.serving, "digits", body), time.time()
            seen = join()
            rate = seen.rate(begin + 0.5, begin + SECONDS - 0.5)
            alone = alone or rate
            shares = " / ".join(f"{busy.mean(uuid, begin + 1, begin + SECONDS):.0f}" for uuid in uuids)
            print(f"| {count} | {rate:.0f} | {rate / alone:.2f} | {seen.tail()} | {shares} | {len(seen.failures)} |")
            if count == 2:
                death(server, clients, body)


def death(server: Daemon, clients: Clients, body: bytes) -> None:
    """SIGKILL of one of two data planes under load."""
    steady = clients.start(server.serving, "digits", body, seconds=12.0, count=CLIENTS)
    fresh = clients.start(server.serving, "digits", body, seconds=12.0, count=PROBES, fresh=True)
    begin = time.time()
    time.sleep(2.0)
    killed = time.time()
    os.kill(devices_of(server)[1]["pid"], signal.SIGKILL)
    time.sleep(0.2)
    told = [device["ready"] for device in devices_of(server)]
    back = wait_all(server) + 0.2
    seen, new = steady(), fresh()
    print("\n## One of two data planes is killed under load\n")
    print("| | |\n| --- | --- |")
    print(f"| health 0.2 s after SIGKILL: devices ready | {told} |")
    print(f"| both ready again after, s | {back:.1f} |")
    print(f"| images/s on kept connections before, within 1 s after | {seen.rate(begin + 0.5, killed):.0f},"
          f" {seen.rate(killed, killed + 1):.0f} |")  # fmt: skip
    print(f"| requests on kept connections that failed, of {len(seen.answers)} | {len(seen.failures)} |")
    after = [failure for failure in new.failures if failure[0] > killed + 0.05]
    print(f"| requests on new connections, answered | {len(new.answers)} |")
    print(f"| of them failed (begun before the kill, or within 50 ms of it) | {len(new.failures) - len(after)} |")
    print(f"| of them failed (begun later) | {len(after)} |")
    for failure in [*seen.failures, *new.failures][:3]:
        print(f"\n{failure[0] - killed:+.3f} s: `{failure[1]}`")
    sys.stdout.flush()


def pinned(folder: Path, clients: Clients, busy: Busy, uuids: Sequence[str]) -> None:
    """fp32 on GPU 0, int8 pinned to GPU 1: an override moves the load to the other GPU."""
    print("\n## A variant on a GPU of its own: fp32 on GPU 0, int8 pinned to GPU 1\n")
    print("| override | images/s | p50 / p99 ms | GPU 0 / GPU 1 busy, % | served by | failed |")
    print("| --- | --- | --- | --- | --- | --- |")
    variants = ["fp32", {"name": "int8", "device": uuids[1]}]
    models = [{"name": "digits", "variants": variants, "maxBatch": ROWS, "profile": {"interval": "0s"}}]
    with daemon(folder, config(devices=uuids[:1], models=models)) as server, loaded(server) as body:
        wait_all(server)
        for variant in ("fp32", "int8", "fp32"):
            override(server, variant)
            time.sleep(0.7)
            join, begin = clients.start(server.serving, "digits", body), time.time()
            seen = join()
            rate = seen.rate(begin + 0.5, begin + SECONDS - 0.5)
            shares = " / ".join(f"{busy.mean(uuid, begin + 1, begin + SECONDS):.0f}" for uuid in uuids)
            served = ", ".join(f"{name} {count}" for name, count in seen.variants.items())
            print(
                f"| {variant} | {rate:.0f} | {seen.tail()} | {shares} | {served} | {len(seen.failures)} |", flush=True
            )


def override(server: Daemon, variant: str) -> None:
    """Holds a variant by hand."""
    body = {"model": "digits", "kind": "variant", "value": variant, "expires": "10m", "reason": "benchmark"}
    request = urllib.request.Request(
        f"{server.control}/api/v1/overrides", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=5).close()


def main() -> None:
    """Runs all parts on the first two GPUs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plans", type=Path)
    parser.add_argument("lean", nargs="?")
    arguments = parser.parse_args()
    uuids = gpus()[:2]
    if len(uuids) < 2:
        raise SystemExit("there are not two GPUs here")
    clients, busy = Clients(), Busy()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            import_plans(folder, arguments.plans, ["fp32", "fp16", "int8"], arguments.lean)
            throughput(folder, clients, busy, uuids)
            pinned(folder, clients, busy, uuids)
    finally:
        busy.close()
        clients.close()


if __name__ == "__main__":
    main()
