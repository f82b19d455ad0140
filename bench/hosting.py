"""What hosting costs on a GPU: the raw enqueue loop, the engine and the daemon, side by side, in one run.

    python bench/hosting.py PLANS_FOLDER [LEAN_LIBRARY_NAME] [--parts raw,throughput,…]

PLANS_FOLDER holds digits_resnet.{fp32,tf32,fp16,int8}.plan. Prints tables in Markdown; every ratio is between
figures of this run. Needs an NVIDIA GPU that the plans were built for, and a TensorRT runtime.
"""

import argparse
import json
import multiprocessing
import re
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.plans import (
    IMAGE_BYTES,
    ROOT,
    ROWS,
    Connection,
    Daemon,
    binary_body,
    cuda_region,
    daemon,
    import_plans,
    region_body,
    system_region,
)
from sloctl.cli._digits import evaluation
from sloctl.engines import cuda, tensorrt_runtime
from sloctl.engines.tensorrt import TensorRTEngine

PRECISIONS = ("fp32", "tf32", "fp16", "int8")
SIZES = (1, 8, 32, 64)
LAUNCHES = 200
SECONDS = 4.0
CLIENTS = 4
TURNS = 2
CONFIG = """
apiVersion: sloctl/v1
kind: Daemon
serving: {port: 0}
control: {port: 0}
device: cuda:0
models:
"""


def quantile(values: Sequence[float], q: float) -> float:
    """The value at rank q."""
    return sorted(values)[min(int(q * len(values)), len(values) - 1)]


def images(rows: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Held-out digits."""
    return np.ascontiguousarray(evaluation(ROOT / "examples" / "digits").inputs["image"][:rows], np.float32)


# --- the raw loop


class Raw:
    """A plan with one context and one stream, enqueued as fast as Python can: the bare limit."""

    def __init__(self, plan: Path, lean: str | None) -> None:
        cuda.select("cuda:0")
        self.engine = tensorrt_runtime.runtime(lean, plan.parent).deserialize_cuda_engine(plan.read_bytes())
        if self.engine is None:
            raise SystemExit(f"{plan}: {tensorrt_runtime.reason()}")
        self.context = self.engine.create_execution_context()
        self.stream = cuda.new_stream()
        self.buffers = [int(cuda.call("Malloc", ROWS * size)) for size in (IMAGE_BYTES, 40)]
        for name, buffer in zip(("image", "logits"), self.buffers, strict=True):
            self.context.set_tensor_address(name, buffer)

    def shape(self, rows: int) -> None:
        """Sets the batch and warms up."""
        self.context.set_input_shape("image", (rows, 1, 64, 64))
        for _ in range(20):
            self.launch()
        self.wait()

    def launch(self) -> None:
        """Enqueues one batch."""
        self.context.execute_async_v3(int(self.stream))

    def wait(self) -> None:
        """Waits for all that was enqueued."""
        cuda.call("StreamSynchronize", self.stream)

    def loop(self, launches: int = LAUNCHES) -> tuple[float, float]:
        """Seconds a launch takes the host, and seconds a launch takes in all, back to back."""
        begin = time.perf_counter()
        for _ in range(launches):
            self.launch()
        enqueued = time.perf_counter() - begin
        self.wait()
        return enqueued / launches, (time.perf_counter() - begin) / launches

    def one_by_one(self) -> float:
        """Median seconds of a launch that is waited for."""
        return median(timed(self._launched_and_waited_for) for _ in range(LAUNCHES))

    def _launched_and_waited_for(self) -> None:
        self.launch()
        self.wait()

    def close(self) -> None:
        """Frees it."""
        self.context = self.engine = None
        for buffer in self.buffers:
            cuda.call("Free", buffer)


def timed(call: Callable[[], object]) -> float:
    """Seconds of a call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def raw_and_engine(plans: Path, lean: str | None) -> None:
    """The raw loop beside `TensorRTEngine`, by precision and batch."""
    print("\n## Raw loop and engine\n")
    print("One launch, µs. `raw`: back to back without copies. `waited for`: one at a time, without copies. `engine`:")
    print("one at a time with copies in and out, by a CUDA graph. `two threads`: a batch with two in hand.\n")
    print("| plan | batch | raw, host | raw | images/s | waited for | engine | host share | two threads | of raw |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for precision in PRECISIONS:
        plan = plans / f"digits_resnet.{precision}.plan"
        raw, engine = Raw(plan, lean), TensorRTEngine(plan, device="cuda:0", max_batch=ROWS, lean_runtime=lean)
        for rows in SIZES:
            raw.shape(rows)
            host, each = raw.loop()
            waited = raw.one_by_one()
            single, handed_over = one_thread(engine, rows)
            both = two_threads(engine, rows)
            cells = [f"{s * 1e6:.0f}" for s in (host, each)] + [f"{rows / each:.0f}"]
            cells += [f"{s * 1e6:.0f}" for s in (waited, single, handed_over, both)]
            print(f"| {precision} | {rows} | {' | '.join(cells)} | {each / both:.1%} |", flush=True)
        raw.close()
        engine.close()


def one_thread(engine: TensorRTEngine, rows: int) -> tuple[float, float]:
    """Median seconds of a run, and of the host's part of it."""
    batch = {"image": images(rows)}
    runs = []
    for _ in range(LAUNCHES):
        begin = time.perf_counter()
        handed_over = engine.infer(batch).enqueue_seconds
        runs.append((time.perf_counter() - begin, handed_over))
    return median(run[0] for run in runs), median(run[1] for run in runs)


def two_threads(engine: TensorRTEngine, rows: int) -> float:
    """Seconds a batch while two threads keep the engine busy."""
    batch = {"image": images(rows)}

    def work() -> None:
        for _ in range(LAUNCHES):
            engine.infer(batch)

    threads = [threading.Thread(target=work) for _ in range(engine.concurrency)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - begin) / (LAUNCHES * len(threads))


# --- clients


@dataclass(frozen=True)
class Load:
    """What a client did: `done` moments and their `latencies`, and answers that were not 200."""

    latencies: list[float]
    failed: int
    seconds: float
    errors: tuple[str, ...] = ()


def client(url: str, model: str, body: bytes, json_length: int | None, seconds: float, pause: float) -> Load:
    """Sends one request after another, `pause` seconds apart at least, for some seconds."""
    connection = Connection(url)
    request = connection.request(f"/v2/models/{model}/infer", body, json_length)
    latencies, errors = [], []
    begin = due = time.perf_counter()
    while (now := time.perf_counter()) - begin < seconds:
        if now < due:
            time.sleep(due - now)
            now = time.perf_counter()
        due += pause
        status, _, answer = connection.exchange(request)
        if status == 200:
            latencies.append(time.perf_counter() - now)
        else:
            errors.append(answer[:120].decode(errors="replace"))
    connection.close()
    return Load(latencies, len(errors), time.perf_counter() - begin, tuple(errors[:2]))


def _task(arguments: tuple[Any, ...]) -> Load:
    return client(*arguments)


class Clients:
    """Processes that send requests, started once."""

    def __init__(self, count: int) -> None:
        self._pool = multiprocessing.get_context("spawn").Pool(count)
        self._count = count

    def start(
        self,
        url: str,
        model: str,
        body: bytes,
        json_length: int | None = None,
        *,
        seconds: float = SECONDS,
        count: int | None = None,
        pause: float = 0.0,
    ) -> Callable[[], Load]:
        """Starts `count` clients; what is returned waits for them and joins what they saw."""
        task = (url, model, body, json_length, seconds, pause)
        result = self._pool.map_async(_task, [task] * (count or self._count), chunksize=1)

        def join() -> Load:
            loads = result.get()
            latencies = [latency for load in loads for latency in load.latencies]
            errors = tuple(error for load in loads for error in load.errors)
            return Load(latencies, sum(load.failed for load in loads), max(load.seconds for load in loads), errors)

        return join

    def close(self) -> None:
        """Ends them."""
        self._pool.terminate()


def tail(load: Load) -> str:
    """Median and p99 in milliseconds."""
    return " / ".join(f"{quantile(load.latencies, q) * 1e3:.2f}" for q in (0.5, 0.99))


def told(load: Load) -> str:
    """Failures, if there were any."""
    return f", {load.failed} FAILED: {load.errors[0]}" if load.failed else ""


# --- the daemon


def throughput(server: Daemon, clients: Clients, plans: Path, lean: str | None) -> None:
    """Images a second at batch 64 through the daemon, beside the raw loop."""
    print("\n## fp16 at batch 64 through the daemon\n")
    batch = images(ROWS)
    body, json_length = binary_body(batch)
    data = batch.tobytes()
    rows = []
    with raw_loop(plans / "digits_resnet.fp16.plan", lean) as raw:
        raw.shape(ROWS)
        before = ROWS / raw.loop(1000)[1]
        with system_region(server, "sloctl-bench", data):
            rows.append(
                ("system shared memory", clients.start(server.serving, "fp16", region_body("sloctl-bench", ROWS))())
            )
        try:
            with cuda_region(server, "sloctl-bench-cuda", data):
                shared = region_body("sloctl-bench-cuda", ROWS)
                rows.append(("CUDA shared memory", clients.start(server.serving, "fp16", shared)()))
        except OSError as error:
            print(f"CUDA shared memory: {error}: {getattr(error, 'read', lambda: b'')()[:300]!r}")
        rows.append(("HTTP binary", clients.start(server.serving, "fp16", body, json_length)()))
        limit = (before + ROWS / raw.loop(1000)[1]) / 2
    print(f"{CLIENTS} clients, each with one request of 64 images at a time; raw loop {limit:.0f} images/s\n")
    print("| by | images/s | of the raw loop | p50 ms | p99 ms |\n| --- | --- | --- | --- | --- |")
    for name, load in rows:
        rate = ROWS * len(load.latencies) / load.seconds
        p50, p99 = (quantile(load.latencies, q) * 1e3 for q in (0.5, 0.99))
        print(f"| {name}{told(load)} | {rate:.0f} | {rate / limit:.1%} | {p50:.2f} | {p99:.2f} |", flush=True)


@contextmanager
def raw_loop(plan: Path, lean: str | None) -> Iterator[Raw]:
    """The raw loop's plan, loaded while needed."""
    raw = Raw(plan, lean)
    yield raw
    raw.close()


def latency(server: Daemon, clients: Clients, plans: Path, lean: str | None) -> None:
    """Batch 1 over HTTP binary, one request at a time."""
    print("\n## Batch 1 over HTTP binary, one client\n")
    body, json_length = binary_body(images(1))
    print("| plan | raw, waited for, µs | HTTP p50 µs | added | HTTP p99 µs |\n| --- | --- | --- | --- | --- |")
    for precision in ("fp16", "int8"):
        with raw_loop(plans / f"digits_resnet.{precision}.plan", lean) as raw:
            raw.shape(1)
            alone = raw.one_by_one()
        load = clients.start(server.serving, precision, body, json_length, count=1)()
        p50, p99 = (quantile(load.latencies, q) for q in (0.5, 0.99))
        cells = " | ".join(f"{s * 1e6:.0f}" for s in (alone, p50, p50 - alone, p99))
        print(f"| {precision}{told(load)} | {cells} |", flush=True)


def profiling(folder: Path, clients: Clients) -> None:
    """Profiler off, at its defaults, sixty times as often and always on: a daemon for each, in turns."""
    print("\n## Profiling\n")
    settings: dict[str, dict[str, Any]] = {
        "off": {"interval": "0s"},
        "default (every 60 s)": {},
        "every second": {"interval": "1s"},
        "always": {"interval": "1ms", "share": 1.0},
    }
    found: dict[str, list[tuple[Load, float]]] = {name: [] for name in settings}
    for _ in range(TURNS):
        for name, setting in settings.items():
            with daemon(folder, config({"fp16": {"variants": ["fp16"], "profile": setting}})) as server:
                with system_region(server, "sloctl-bench", images(ROWS).tobytes()):
                    load = clients.start(server.serving, "fp16", region_body("sloctl-bench", ROWS))()
                found[name].append((load, server.metric("sloctl_layer_profiles_total")))
    print(f"fp16, batch 64 in system shared memory, a daemon of its own for each, {TURNS} turns of {SECONDS:g} s each;")
    print("best turn's rate, lowest p99.\n")
    print("| profiler | profiles a turn | images/s | of off | p99 ms | of off |\n| --- | --- | --- | --- | --- | --- |")
    rates = {name: max(ROWS * len(load.latencies) / load.seconds for load, _ in turns) for name, turns in found.items()}
    tails = {name: min(quantile(load.latencies, 0.99) for load, _ in turns) for name, turns in found.items()}
    for name, turns in found.items():
        rate, tail = rates[name], tails[name]
        cells = f"{rate:.0f} | {rate / rates['off']:.1%} | {tail * 1e3:.2f} | {tail / tails['off']:.1%}"
        print(f"| {name} | {median(count for _, count in turns):.0f} | {cells} |", flush=True)


def busy(stop: threading.Event) -> None:
    """Holds the interpreter's lock whenever it can."""
    while not stop.is_set():
        for _ in range(1000):
            pass


def lock(server: Daemon, clients: Clients, plans: Path, lean: str | None) -> None:
    """What the interpreter's lock does to enqueuing: the trap, and the daemon under HTTP load."""
    print("\n## The interpreter's lock\n")
    print("| where | host time of a launch at batch 64: p50 µs | p99 µs |\n| --- | --- | --- |")
    with raw_loop(plans / "digits_resnet.fp16.plan", lean) as raw:
        raw.shape(ROWS)
        for title, beside in (("raw, alone", False), ("raw, beside a busy Python thread at 5 ms", True)):
            stop = threading.Event()
            thread = threading.Thread(target=busy, args=(stop,))
            if beside:
                thread.start()
            times = []
            for _ in range(LAUNCHES):
                times.append(timed(raw.launch))
                raw.wait()
            stop.set()
            if beside:
                thread.join()
            print(f"| {title} | {quantile(times, 0.5) * 1e6:.0f} | {quantile(times, 0.99) * 1e6:.0f} |")
    small, json_length = binary_body(images(1))
    with system_region(server, "sloctl-bench", images(ROWS).tobytes()):
        for title, noise in (("daemon, alone", 0), ("daemon, under HTTP load", CLIENTS)):
            before = histogram(server, "sloctl_enqueue_duration_seconds", "fp16")
            join = clients.start(server.serving, "other", small, json_length, count=noise) if noise else None
            load = clients.start(server.serving, "fp16", region_body("sloctl-bench", ROWS), count=2)()
            other = f", {len(join().latencies) / SECONDS:.0f} other requests/s" if join else ""
            after = histogram(server, "sloctl_enqueue_duration_seconds", "fp16")
            counts = {bound: after[bound] - before.get(bound, 0) for bound in after}
            p50, p99 = (upper(counts, q) for q in (0.5, 0.99))
            where = f"{title} ({ROWS * len(load.latencies) / load.seconds:.0f} images/s{other}{told(load)})"
            print(f"| {where} | ≤ {p50 * 1e6:.0f} | ≤ {p99 * 1e6:.0f} |", flush=True)


def histogram(server: Daemon, name: str, model: str) -> dict[float, float]:
    """Cumulative counts by upper bound."""
    lines = [line for line in server.get("/metrics").splitlines() if line.startswith(f"{name}_bucket")]
    mine = [line for line in lines if f'model="{model}"' in line]
    return {float(re.findall('le="([^"]+)"', line)[0]): float(line.rpartition(" ")[2]) for line in mine}


def upper(counts: dict[float, float], q: float) -> float:
    """The upper bound of the bucket that holds the quantile."""
    total = counts[float("inf")]
    return next(bound for bound, count in sorted(counts.items()) if count >= q * total)


def switch(server: Daemon, clients: Clients) -> None:
    """A switch of variant under load: how long it takes, and what the requests around it felt."""
    print("\n## A switch of variant under load\n")
    print("Two clients of batch 64 load the model while a third asks one request after another. The order is given")
    print("by hand; the control plane takes it at once, the data plane at its next batch.\n")
    print("| from | to | order to first answer, ms | slowest before | slowest within 50 ms of it | failed |")
    print("| --- | --- | --- | --- | --- | --- |")
    with system_region(server, "sloctl-bench", images(ROWS).tobytes()):
        body = region_body("sloctl-bench", ROWS)
        order(server, "fp32")
        time.sleep(1)
        for before, after in (("fp32", "int8"), ("int8", "fp32"), ("fp32", "fp16")):
            join = clients.start(server.serving, "ladder", body, count=2)
            time.sleep(0.5)
            ordered, answers, failed = watch(server, body, after)
            first = next((moment for moment, _, variant in answers if variant == after), float("nan"))
            near = max((latency for moment, latency, _ in answers if abs(moment - first) < 0.05), default=float("nan"))
            calm = max(latency for moment, latency, _ in answers if moment < ordered)
            cells = " | ".join(f"{s * 1e3:.1f}" for s in (first - ordered, calm, near))
            print(f"| {before} | {after} | {cells} | {join().failed + failed} |", flush=True)


def order(server: Daemon, variant: str) -> None:
    """An override by hand."""
    body = {"model": "ladder", "kind": "variant", "value": variant, "expires": "10m", "reason": "benchmark"}
    request = urllib.request.Request(
        f"{server.control}/api/v1/overrides", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=5).close()


def watch(server: Daemon, body: bytes, after: str) -> tuple[float, list[tuple[float, float, str]], int]:
    """When the switch was ordered; each answer's moment, latency and variant, before and after it; failures."""
    connection = Connection(server.serving)
    request = connection.request("/v2/models/ladder/infer", body)
    answers, failed, ordered = [], 0, float("inf")
    begin = time.perf_counter()
    while (now := time.perf_counter()) - begin < SECONDS / 2:
        if now - begin > SECONDS / 4 and ordered == float("inf"):
            ordered = time.perf_counter()
            threading.Thread(target=order, args=(server, after)).start()
        asked = time.perf_counter()
        status, head, _ = connection.exchange(request)
        done = time.perf_counter()
        found = re.search(rb"sloctl-variant: (\S+)", head)
        answers.append((done, done - asked, found[1].decode() if found else ""))
        failed += status != 200
    connection.close()
    return ordered, answers, failed


def mixed(server: Daemon, clients: Clients) -> None:
    """Single images beside full batches, paced, at about half and three quarters of the capacity of fp16."""
    print("\n## Mixed load on fp16: single images and batches of 64\n")
    print("| batches of 64 /s | single images /s | p50 / p99 ms of a batch | p50 / p99 ms of an image | failed |")
    print("| --- | --- | --- | --- | --- |")
    one, json_length = binary_body(images(1))
    with system_region(server, "sloctl-bench", images(ROWS).tobytes()):
        for share in (0.5, 0.75):
            pace = 2 / (share * 1200)
            large = clients.start(server.serving, "fp16", region_body("sloctl-bench", ROWS), count=2, pause=pace)
            single = clients.start(server.serving, "fp16", one, json_length, count=2, pause=0.005)
            loads = large(), single()
            rates = " | ".join(f"{len(load.latencies) / load.seconds:.0f}" for load in loads)
            tails = " | ".join(tail(load) for load in loads)
            print(f"| {rates} | {tails} | {sum(load.failed for load in loads)} |", flush=True)


def main() -> None:
    """Runs the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plans", type=Path)
    parser.add_argument("lean", nargs="?")
    parser.add_argument("--parts", default="raw,throughput,latency,lock,switch,mixed,profiling")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    if "raw" in parts:
        raw_and_engine(arguments.plans, arguments.lean)
    if set(parts) - {"raw"}:
        hosted(arguments.plans, arguments.lean, parts)


def config(models: dict[str, dict[str, Any]]) -> str:
    """A daemon's configuration."""
    lines = (json.dumps({"name": name, "maxBatch": ROWS, **setting}) for name, setting in models.items())
    return CONFIG + "".join(f"  - {line}\n" for line in lines)


def hosted(plans: Path, lean: str | None, parts: Sequence[str]) -> None:
    """The parts that need a daemon: one serves them all but for profiling."""
    off = {"interval": "0s"}
    models: dict[str, dict[str, Any]] = {
        "fp16": {"variants": ["fp16"], "profile": off},
        "int8": {"variants": ["int8"], "profile": off},
        "ladder": {"variants": ["fp32", "int8", "fp16"], "profile": off},
        "other": {"variants": ["tf32"], "profile": off},
    }
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        for model, setting in models.items():
            import_plans(folder, plans, setting["variants"], lean, [model])
        clients = Clients(2 * CLIENTS)
        stack.callback(clients.close)
        with daemon(folder, config(models)) as server:
            run: dict[str, Callable[[], None]] = {
                "throughput": lambda: throughput(server, clients, plans, lean),
                "latency": lambda: latency(server, clients, plans, lean),
                "lock": lambda: lock(server, clients, plans, lean),
                "switch": lambda: switch(server, clients),
                "mixed": lambda: mixed(server, clients),
            }
            for part in parts:
                if part in run:
                    run[part]()
        if "profiling" in parts:
            profiling(folder, clients)


if __name__ == "__main__":
    main()
