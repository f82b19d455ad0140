"""What the benchmarks on a GPU share: a repository of the digits plans, a daemon over it, and a plain client."""

import base64
import ctypes
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from sloctl.cli._digits import evaluation

ROOT = Path(__file__).resolve().parent.parent
ROWS = 64
IMAGE_BYTES = 64 * 64 * 4


@dataclass(frozen=True)
class Daemon:
    """A running daemon: its URLs, its process and its log."""

    serving: str
    control: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def get(self, path: str) -> str:
        """A GET on the control plane."""
        with urllib.request.urlopen(f"{self.control}{path}", timeout=5) as response:
            return str(response.read().decode())

    def post(self, path: str, body: Mapping[str, object]) -> None:
        """A POST on the serving port."""
        urllib.request.urlopen(f"{self.serving}{path}", json.dumps(body).encode(), timeout=5).close()

    def status(self) -> dict[str, object]:
        """The daemon's own view of its first model."""
        found: dict[str, object] = json.loads(self.get("/api/v1/status"))["models"][0]
        return found

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = [line for line in self.get("/metrics").splitlines() if re.match(rf"{name}[ {{]", line)]
        return sum(float(line.rpartition(" ")[2]) for line in lines if all(part in line for part in wanted))


def sloctl(*arguments: str) -> str:
    """Runs a command of sloctl and returns what it prints."""
    command = [sys.executable, "-m", "sloctl.cli.main", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"sloctl {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def import_plans(
    folder: Path, plans: Path, precisions: Sequence[str], lean: str | None, models: Sequence[str] = ("digits",)
) -> None:
    """Imports `digits_resnet.<precision>.plan` of each precision into `folder/repository`, measured."""
    held_out = evaluation(ROOT / "examples" / "digits")
    np.savez(folder / "eval.npz", labels=held_out.labels, image=held_out.inputs["image"])
    for variant in precisions:
        options = ["--device", "cuda:0", "--max-batch", str(ROWS), "--evaluate", str(folder / "eval.npz")]
        options += ["--lean-runtime", lean] if lean else []
        source = str(plans / f"digits_resnet.{variant}.plan")
        for model in models:
            repository = ["--repository", str(folder / "repository")]
            print(sloctl("import", source, "--model", model, "--variant", variant, *repository, *options), flush=True)


@contextmanager
def daemon(folder: Path, text: str, module: str = "sloctl.cli.main") -> Iterator[Daemon]:
    """A daemon over `folder` with this configuration, ready; its log is printed if it is not, or fails.

    `module` is the `sloctl` command that it is started with.
    """
    (folder / "sloctl.yaml").write_text(text)
    log = folder / "log"
    command = [sys.executable, "-m", module, "serve", "-c", str(folder / "sloctl.yaml")]
    with log.open("wb") as file, subprocess.Popen(command, stderr=file) as process:
        try:
            found = Daemon(*_urls(log), process, log)
            _wait_ready(found)
            yield found
        except BaseException:
            print(log.read_text()[-6000:], file=sys.stderr)
            raise
        finally:
            process.terminate()
            process.wait(30)


def _urls(log: Path) -> tuple[str, str]:
    for _ in range(200):
        found = dict(re.findall(r"sloctl: (serving|control) on (http://\S+)", log.read_text()))
        if len(found) == 2:
            return found["serving"], found["control"]
        time.sleep(0.1)
    raise SystemExit("the daemon did not say where it listens")


def _wait_ready(found: Daemon) -> None:
    for _ in range(900):
        try:
            found.get("/health/ready")
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the daemon did not become ready")


class Connection:
    """One keep-alive connection that sends a prepared request and reads the answer, with as little Python as can be."""

    def __init__(self, url: str, timeout: float | None = None) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def request(self, path: str, body: bytes, json_length: int | None = None) -> bytes:
        """The bytes of a POST."""
        head = [f"POST {path} HTTP/1.1", f"host: {self.host}", f"content-length: {len(body)}"]
        if json_length is not None:
            head.append(f"inference-header-content-length: {json_length}")
        return "\r\n".join([*head, "", ""]).encode() + body

    def exchange(self, request: bytes) -> tuple[int, bytes, bytes]:
        """Status, headers and body of the answer."""
        self._socket.sendall(request)
        data = self._socket.recv(65536)
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        length = int(re.search(rb"content-length: (\d+)", data[:end], re.IGNORECASE)[1])  # type: ignore[index]
        while len(data) < end + 4 + length:
            data += self._more()
        return int(data[9:12]), data[:end], data[end + 4 :]

    def _more(self) -> bytes:
        more = self._socket.recv(65536)
        if not more:
            raise ConnectionError("the server closed the connection")
        return more

    def close(self) -> None:
        """Closes it."""
        self._socket.close()


def binary_body(images: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> tuple[bytes, int]:
    """A request with the images as one binary tensor, and the length of its JSON."""
    raw = images.tobytes()
    tensor = {"name": "image", "datatype": "FP32", "shape": images.shape}
    given = {"inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}], **_BINARY_OUT}
    head = json.dumps(given).encode()
    return head + raw, len(head)


_BINARY_OUT = {"parameters": {"binary_data_output": True}}


def region_body(region: str, rows: int, offset: int = 0) -> bytes:
    """A request whose images lie in a shared memory region."""
    parameters = {
        "shared_memory_region": region,
        "shared_memory_byte_size": rows * IMAGE_BYTES,
        "shared_memory_offset": offset,
    }
    tensor = {"name": "image", "datatype": "FP32", "shape": [rows, 1, 64, 64], "parameters": parameters}
    return json.dumps({"inputs": [tensor], **_BINARY_OUT}).encode()


@contextmanager
def system_region(server: Daemon, name: str, data: bytes) -> Iterator[None]:
    """A registered region of POSIX shared memory that holds `data`."""
    path = Path("/dev/shm") / name
    path.write_bytes(data)
    try:
        server.post(
            f"/v2/systemsharedmemory/region/{name}/register",
            {"key": f"/{name}", "offset": 0, "byte_size": len(data)},
        )
        yield
        server.post(f"/v2/systemsharedmemory/region/{name}/unregister", {})
    finally:
        path.unlink()


@contextmanager
def cuda_region(server: Daemon, name: str, data: bytes) -> Iterator[None]:
    """A registered region of GPU memory that holds `data`."""
    from sloctl.engines import cuda

    cuda.select("cuda:0")
    pointer = int(cuda.call("Malloc", len(data)))
    source = np.frombuffer(data, np.uint8)
    stream = cuda.new_stream()
    cuda.copy_in(pointer, source, stream)
    cuda.call("StreamSynchronize", stream)
    raw = (ctypes.c_char * 64).from_address(cuda.call("IpcGetMemHandle", pointer).getPtr())
    handle = base64.b64encode(bytes(raw)).decode()
    server.post(
        f"/v2/cudasharedmemory/region/{name}/register",
        {"raw_handle": {"b64": handle}, "device_id": 0, "byte_size": len(data)},
    )
    yield
    server.post(f"/v2/cudasharedmemory/region/{name}/unregister", {})
    cuda.call("Free", pointer)


def pin_to(core: int) -> None:
    """Keeps this process on one core, where there are enough."""
    if (count := os.cpu_count() or 1) > 8:
        os.sched_setaffinity(0, {core % count})
