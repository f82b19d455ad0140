"""Faults on a GPU, played on a running daemon under a light load: what health said, what the policy did, who noticed.

    python bench/faults.py PLANS_FOLDER [LEAN_LIBRARY_NAME] [--only NAME,NAME] [--device cpu]

PLANS_FOLDER holds digits_resnet.fp32.plan and digits_resnet.int8.plan. Faults: truncated, flipped, version, sticky,
hang, nan, memory, nvml. Prints Markdown. With --device cpu the digits model's ONNX variants stand in, for the faults
that a CPU can have; PLANS_FOLDER is then not looked at.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.hosting import images
from bench.plans import ROOT, Connection, Daemon, binary_body, daemon, import_plans

PERIOD = 0.1  # seconds between two looks
PATIENCE = 30.0  # seconds for a fault to show, and again for it to be over
SETTLE = 2.0
CONFIG = """
apiVersion: sloctl/v1
kind: Daemon
serving: {{port: 0}}
control: {{port: 0}}
device: {device}
health: {{interval: 1s, timeout: 500ms, hangLimit: 3s}}
policies: [policy.yaml]
faultInjection: true
models:
  - {{name: digits, variants: [fp32, int8], maxBatch: 64, profile: {{interval: 0s}}}}
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
  cooldown: 2s
"""


@dataclass(frozen=True)
class Look:
    """What was to be seen at one moment: the control plane's verdict, V2's, the serving variant, and why not ready."""

    at: float
    ready: bool
    v2_ready: bool
    variant: str
    restarts: int
    reasons: tuple[str, ...]
    failing: tuple[str, ...]  # "variant: level: message" of every level that does not stand


@dataclass
class Watch:
    """Looks ten times a second and sends a request each time, in threads of its own."""

    server: Daemon
    looks: list[Look] = field(default_factory=list)
    answers: list[tuple[float, int, str]] = field(default_factory=list)  # moment, status (0: none), variant
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begins."""
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._look, self._ask)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends."""
        self._stop.set()
        for thread in self._threads:
            thread.join(5)

    def _look(self) -> None:
        while not self._stop.wait(PERIOD):
            with suppress(OSError, ValueError):
                self.looks.append(look(self.server))

    def _ask(self) -> None:
        body, length = binary_body(images(1))
        connection: Connection | None = None
        while not self._stop.wait(PERIOD / 2):
            status, variant = 0, ""
            try:
                connection = connection or Connection(self.server.serving, timeout=3.0)
                status, head, _ = connection.exchange(connection.request("/v2/models/digits/infer", body, length))
                variant = head.partition(b"sloctl-variant: ")[2].partition(b"\r\n")[0].decode()
            except (OSError, TypeError):
                if connection is not None:
                    connection.close()
                connection = None
            self.answers.append((time.monotonic(), status, variant))

    def wait_for(self, wanted: Callable[[Look], bool], seconds: float = PATIENCE) -> Look | None:
        """The first look from now on that is as wanted, or None."""
        begin, seen = time.monotonic(), len(self.looks)
        while time.monotonic() - begin < seconds:
            for found in self.looks[seen:]:
                if wanted(found):
                    return found
            time.sleep(PERIOD / 2)
        return None


def look(server: Daemon) -> Look:
    """One look."""
    told = json.loads(server.get("/health"))
    levels = [
        f"{each['variant']}: {level['level']}: {level['message']}"
        for each in told["variants"]
        for level in each["levels"]
        if level["state"] in ("failing", "degraded", "missed")
    ]
    serving = next((each["variant"] for each in told["variants"] if each["serving"]), "")
    restarts = sum(told["dataPlane"]["restarts"].values())
    end = told["dataPlane"]["lastEnd"]
    reasons = (*told["reasons"], *([f"last end: {end}"] if end and restarts else []))
    return Look(time.monotonic(), told["ready"], answers(server), serving, restarts, reasons, tuple(levels))


def answers(server: Daemon) -> bool:
    """Whether V2 says that it is ready."""
    try:
        with urllib.request.urlopen(f"{server.serving}/v2/health/ready", timeout=1) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


# --- the faults


@dataclass(frozen=True)
class Scenario:
    """A fault: how it is made, for as long as the block lasts; `cpu` says whether a CPU can have it."""

    name: str
    what: str
    play: Callable[["Stage"], AbstractContextManager[None]]
    shows: Callable[[Look], bool]
    cpu: bool = True


@dataclass(frozen=True)
class Stage:
    """Where faults are played."""

    server: Daemon
    folder: Path
    device: str

    @property
    def variant(self) -> Path:
        """The folder of the variant that is damaged: the one that serves."""
        return self.folder / "repository" / "digits" / "fp32"

    def model(self) -> Path:
        """Its model file."""
        return next(path for path in self.variant.iterdir() if path.suffix in (".plan", ".onnx"))

    def reload(self) -> None:
        """Ends the data plane, so that the next one loads what lies there now."""
        os.kill(json.loads(self.server.get("/health"))["dataPlane"]["pid"], signal.SIGKILL)

    def inject(self, *faults: str) -> None:
        """Faults that the daemon brings about itself, on the device."""
        body = json.dumps({"model": "digits", "faults": faults}).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.server.control}/api/v1/faults", body, headers)
        urllib.request.urlopen(request, timeout=5).close()


@contextmanager
def changed(stage: Stage, change: Callable[[bytes], bytes], *, rehash: bool = False) -> Iterator[None]:
    """The serving variant's file is another while the block lasts; `rehash` makes the manifest agree with it."""
    model, manifest = stage.model(), stage.variant / "manifest.yaml"
    before, told = model.read_bytes(), manifest.read_bytes()
    model.write_bytes(change(before))
    if rehash:
        edit(manifest, {"sha256": digest(model)})
    stage.reload()
    try:
        yield
    finally:
        model.write_bytes(before)
        manifest.write_bytes(told)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    from sloctl.engines.manifest import digest as of

    return of(path)


def edit(manifest: Path, changes: dict[str, Any]) -> None:
    """Changes fields of a manifest; None takes one out."""
    found = yaml.load(manifest.read_bytes(), yaml.CSafeLoader) | changes
    manifest.write_text(yaml.safe_dump({key: value for key, value in found.items() if value is not None}))


def truncated(stage: Stage) -> AbstractContextManager[None]:
    """Half of the file."""
    return changed(stage, lambda data: data[: len(data) // 2])


def flipped(stage: Stage) -> AbstractContextManager[None]:
    """64 bytes in the middle, all bits turned over; the manifest's hash as it was."""
    return changed(stage, lambda data: flip(data, len(data) // 2))


def flip(data: bytes, at: int) -> bytes:
    """64 bytes at `at` with all bits turned over."""
    return data[:at] + bytes(byte ^ 0xFF for byte in data[at : at + 64]) + data[at + 64 :]


def nan_weights(stage: Stage) -> AbstractContextManager[None]:
    """NaN in place of weights, and a manifest that agrees with the file."""
    return changed(stage, with_nan, rehash=True)


def with_nan(data: bytes) -> bytes:
    """A file whose longest run of plain float32 numbers, which is what weights look like, is NaN.

    Weights may begin at any byte, so all four alignments are looked at.
    """
    import numpy as np

    def longest(offset: int) -> tuple[int, int, int]:
        values = np.frombuffer(data[offset : offset + (len(data) - offset) // 4 * 4], "<f4")
        with np.errstate(invalid="ignore"):
            plain = (np.abs(values) > 1e-12) & (np.abs(values) < 10)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], plain, [False])).astype(np.int8)))
        lengths = edges[1::2] - edges[::2]
        at = int(np.argmax(lengths))
        return int(lengths[at]), offset + 4 * int(edges[2 * at]), offset + 4 * int(edges[2 * at + 1])

    _, start, end = max(longest(offset) for offset in range(4))
    return data[:start] + np.float32(np.nan).tobytes() * ((end - start) // 4) + data[end:]


@contextmanager
def version(stage: Stage) -> Iterator[None]:
    """A manifest of TensorRT 10.3.0, without a lean runtime."""
    manifest = stage.variant / "manifest.yaml"
    told = manifest.read_bytes()
    edit(manifest, {"runtimeVersion": "10.3.0", "leanRuntime": None})
    stage.reload()
    try:
        yield
    finally:
        manifest.write_bytes(told)


def injected(fault: str) -> Callable[[Stage], AbstractContextManager[None]]:
    """A fault that the daemon brings about."""

    @contextmanager
    def play(stage: Stage) -> Iterator[None]:
        stage.inject(fault)
        try:
            if fault == "sticky":  # one kernel is enough; a new process must not be hit again
                time.sleep(1)
                stage.inject()
            yield
        finally:
            stage.inject()

    return play


_HOG = """
import select, sys
from sloctl.engines import cuda
cuda.select(sys.argv[1])

def take(size):
    taken = 0
    while size >= 1 << 20:
        try:
            cuda.call("Malloc", size)
            taken += size
        except Exception:
            size >>= 1
    return taken

print(take(1 << 30), flush=True)
while not select.select([sys.stdin], [], [], 0.02)[0]:
    take(16 << 20)  # what others give back
"""


@contextmanager
def memory(stage: Stage) -> Iterator[None]:
    """Another process takes what memory the device has left and what becomes free; the data plane is started anew."""
    command = [sys.executable, "-c", _HOG, stage.device]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as hog:
        assert hog.stdin is not None
        assert hog.stdout is not None
        print(f"(another process took {int(hog.stdout.readline()) / 2**30:.1f} GiB)", file=sys.stderr)
        stage.reload()
        try:
            yield
        finally:
            hog.stdin.close()
            hog.wait()


def not_standing(found: Look) -> bool:
    """The first variant has a level that fails."""
    return any(text.startswith("fp32: ") for text in found.failing)


SCENARIOS = (
    Scenario(
        "truncated", "half of the serving variant's plan is gone, data plane started anew", truncated, not_standing
    ),
    Scenario("flipped", "64 bytes of it turned over, likewise", flipped, not_standing),
    Scenario("version", "a plan for TensorRT 10.3.0, likewise", version, not_standing, cpu=False),
    Scenario("nan", "NaN in place of weights, hash made to agree, likewise", nan_weights, not_standing),
    Scenario("sticky", "a kernel writes to address 0: a sticky CUDA error", injected("sticky"), lambda s: not s.ready),
    Scenario("hang", "a kernel that does not end fills the GPU", injected("hang"), lambda s: not s.ready),
    Scenario("memory", "another process takes all memory, data plane started anew", memory, not_standing, cpu=False),
    Scenario("nvml", "NVML does not answer", injected("nvml"), lambda s: any("NVML" in text for text in s.failing)),
)


# --- what came of them


def play(stage: Stage, scenario: Scenario) -> str:
    """Plays one fault and returns its row."""
    watch = Watch(stage.server)
    decided = len(json.loads(stage.server.get("/api/v1/decisions?limit=500"))["decisions"])
    watch.start()
    time.sleep(SETTLE)
    try:
        begin = time.monotonic()
        with scenario.play(stage):
            shown = watch.wait_for(scenario.shows)
            time.sleep(4.0)  # what follows from it
            mended = time.monotonic()
        back = watch.wait_for(lambda found: found.ready and found.v2_ready and not not_standing(found))
        time.sleep(SETTLE)
        home = watch.wait_for(lambda found: found.variant == "fp32", 15.0)
    finally:
        watch.stop()
    decisions = json.loads(stage.server.get("/api/v1/decisions?limit=500"))["decisions"]
    return row(scenario, watch, begin, mended, shown, back, home, decisions[: len(decisions) - decided])


def row(
    scenario: Scenario,
    watch: Watch,
    begin: float,
    mended: float,
    shown: Look | None,
    back: Look | None,
    home: Look | None,
    decisions: list[dict[str, Any]],
) -> str:
    """A row of the table."""
    told = "nothing"
    if shown is not None:
        texts = shown.failing or shown.reasons
        told = f"after {shown.at - begin:.1f} s: {texts[0][:180] if texts else ''}"
        restarts = max((found.restarts for found in watch.looks if found.at < begin), default=0)
        after = [found for found in watch.looks if found.at > begin and found.restarts > restarts]
        later = [text for found in after for text in found.reasons if text.startswith("last end")]
        told += f"; {later[-1][:120]}" if later else ""
    away = {name: spans([(s.at, getattr(s, name)) for s in watch.looks], begin) for name in ("ready", "v2_ready")}
    policy = "; ".join(f"{d['rule']}: {d['before']} → {d['after']}" for d in reversed(decisions)) or "nothing"
    statuses = [status for at, status, _ in watch.answers if at >= begin]
    counts = [sum(map(wanted, statuses)) for wanted in ((200).__eq__, (503).__eq__, lambda s: s not in (200, 503))]
    served = sorted({variant for at, status, variant in watch.answers if at >= begin and status == 200})
    again = f"{back.at - mended:.1f} s after it was mended" if back else f"not within {PATIENCE:g} s"
    again += f", fp32 serves {home.at - mended:.1f} s after it" if home else ", fp32 does not serve again"
    requests = f"{counts[0]} ok ({', '.join(served)}), {counts[1]} refused, {counts[2]} failed"
    ready = f"{away['ready']:.1f} / {away['v2_ready']:.1f} s"
    told = re.sub(r"/\S+/repository/", "", told).replace("|", "\\|").replace("\n", " ")
    return f"| {scenario.what} | {told} | {ready} | {policy} | {requests} | {again} |"


def spans(seen: list[tuple[float, bool]], begin: float) -> float:
    """Seconds in which it was not so, from `begin` on."""
    total = 0.0
    for (at, good), (later, _) in pairwise(seen):
        if at >= begin and not good:
            total += later - at
    return total


def preflights(plans: Path, lean: str | None, device: str) -> None:
    """What TensorRT itself makes of plans that are wrong, each in a process of its own."""
    print("\n## Wrong plans in a preflight\n\n| plan | what the preflight said |\n| --- | --- |")
    good = (plans / "digits_resnet.fp32.plan").read_bytes()
    size = len(good)
    cases = {"as it is": good, "its first half": good[: size // 2], "empty": b""}
    cases |= {f"64 bytes turned over at {at / size:.0%}": flip(good, at) for at in range(64, size, size // 12)}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "case.plan"
        for name, data in cases.items():
            path.write_bytes(data)
            print(f"| {name} | {said(path, lean, device)} |", flush=True)
        path.write_bytes(good)
        print(f"| as it is, without the lean runtime that it needs | {said(path, None, device)} |", flush=True)


def said(path: Path, lean: str | None, device: str) -> str:
    """A preflight's finding."""
    options = ["--lean-runtime", lean] if lean else []
    command = [sys.executable, "-m", "sloctl.cli.main", "preflight", str(path), "--device", device, "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        (found,) = json.loads(done.stdout)["preflights"]
    except ValueError:
        return f"exit status {done.returncode}: {(done.stderr or done.stdout)[-200:]}".replace("\n", " ")
    failed = found["failed"]
    text = f"{failed}: {found['reason']}" if failed else f"passes, {found['seconds']:.1f} s"
    return text.replace(str(path), "PLAN").replace("|", "\\|").replace("\n", " ")[:220]


def prepare(folder: Path, plans: Path, lean: str | None, device: str) -> None:
    """The repository and the configuration."""
    if device == "cpu":
        from sloctl.cli._digits import prepare as prepare_digits

        prepare_digits(folder / "repository", ROOT / "examples" / "digits", lambda _: None)
    else:
        import_plans(folder, plans, ("fp32", "int8"), lean)
    (folder / "policy.yaml").write_text(POLICY)


def main() -> None:
    """Plays what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plans", type=Path)
    parser.add_argument("lean", nargs="?")
    parser.add_argument("--only", default=",".join(scenario.name for scenario in SCENARIOS))
    parser.add_argument("--device", default="cuda:0")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    on_cpu = arguments.device == "cpu"
    if not on_cpu and "flipped" in chosen:
        preflights(arguments.plans, arguments.lean, arguments.device)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(folder, arguments.plans, arguments.lean, arguments.device)
        print("\n## Faults under 20 requests a second, one image each\n")
        print("Not ready: as the control plane says / as V2 says.\n")
        print("| fault | what health said | not ready | what the policy did | requests | how it came back |")
        print("| --- | --- | --- | --- | --- | --- |")
        with daemon(folder, CONFIG.format(device=arguments.device)) as server:
            stage = Stage(server, folder, arguments.device)
            for scenario in SCENARIOS:
                if scenario.name in chosen and (scenario.cpu or not on_cpu):
                    try:
                        print(play(stage, scenario), flush=True)
                    except Exception as error:  # one fault must not keep the others from being played
                        print(f"| {scenario.what} | not played: {type(error).__name__}: {error} | | | | |", flush=True)
            print("\nThe daemon's log:\n\n```\n" + server.log.read_text()[-5000:] + "```", file=sys.stderr)


if __name__ == "__main__":
    main()
