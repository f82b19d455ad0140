"""Load for the serving benches: wrk over HTTP, h2load over gRPC; both are closed loops of so many connections."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sloctl.serving.rpc.messages import message

CONNECTIONS = 16


@dataclass(frozen=True)
class Payload:
    """One row of `width` floats for a model, as JSON or as it lies in memory."""

    model: str
    width: int
    json: bool = False

    @property
    def path(self) -> str:
        """Where HTTP takes it."""
        return f"/v2/models/{self.model}/infer"

    @property
    def rows(self) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
        """The tensor."""
        return (np.arange(self.width, dtype=np.float32) % 16).reshape(1, -1)

    def http(self) -> tuple[dict[str, str], bytes]:
        """Headers and body."""
        given = f'{{"name":"x","shape":[1,{self.width}],"datatype":"FP32"'
        if self.json:
            numbers = ",".join(f"{value:g}" for value in self.rows.ravel())
            return {"Content-Type": "application/json"}, f'{{"inputs":[{given},"data":[{numbers}]}}]}}'.encode()
        raw = self.rows.tobytes()
        said = f'{given},"parameters":{{"binary_data_size":{len(raw)}}}}}'
        head = f'{{"inputs":[{said}],"parameters":{{"binary_data_output":true}}}}'.encode()
        return {"Inference-Header-Content-Length": str(len(head))}, head + raw

    def grpc(self) -> bytes:
        """A length-prefixed message (gRPC over HTTP/2, Length-Prefixed-Message)."""
        given = {"name": "x", "datatype": "FP32", "shape": [1, self.width]}
        request = message("ModelInferRequest")(
            model_name=self.model, inputs=[given], raw_input_contents=[self.rows.tobytes()]
        )
        body: bytes = request.SerializeToString()
        return b"\0" + len(body).to_bytes(4, "big") + body


@dataclass(frozen=True)
class Row:
    """What a round gave: times in seconds, the processor time of the server for each request."""

    rate: float
    p50: float
    p99: float
    cpu: float


def need(*programs: str) -> None:
    """Ends the bench where a program is missing."""
    packages = {"wrk": "wrk", "h2load": "nghttp2-client"}
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise SystemExit(f"{', '.join(missing)} is needed: apt-get install {' '.join(packages[m] for m in missing)}")


def over_http(payload: Payload, port: int, pid: int, folder: Path, seconds: int, *, refused: bool = False) -> Row:
    """A round over HTTP in which every request is answered with a result, or every one is `refused`."""
    headers, body = payload.http()
    (folder / "body").write_bytes(body)
    script = folder / "post.lua"
    lines = [f'wrk.headers["{name}"]="{value}"' for name, value in headers.items()]
    script.write_text(
        "\n".join(['wrk.method="POST"', *lines, f'wrk.body=io.open("{folder / "body"}", "rb"):read("*a")\n'])
    )
    begin = processor_seconds(pid)
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script)]
    out = _run([*command, f"http://127.0.0.1:{port}{payload.path}"])
    bad = re.findall(r"Non-2xx.*: (\d+)", out)
    if bad != (re.findall(r"(\d+) requests in", out) if refused else []):
        raise SystemExit(f"some requests {'were answered' if refused else 'failed'}:\n{out}")
    rate = float(re.findall(r"Requests/sec: +(\S+)", out)[0])
    p50, p99 = (_seconds(re.findall(rf"^ *{share}% +(\S+)$", out, re.MULTILINE)[0]) for share in (50, 99))
    requests = int(re.findall(r"(\d+) requests in", out)[0])
    return Row(rate, p50, p99, (processor_seconds(pid) - begin) / requests)


def over_grpc(payload: Payload, port: int, pid: int, folder: Path, seconds: int) -> Row:
    body, log = folder / "message", folder / "times"
    body.write_bytes(payload.grpc())
    log.unlink(missing_ok=True)
    begin = processor_seconds(pid)
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    command = ["h2load", "-t1", f"-c{CONNECTIONS}", "-m1", f"-D{seconds}", f"--log-file={log}", "-d", str(body)]
    out = _run([*command, *headers, f"http://127.0.0.1:{port}/inference.GRPCInferenceService/ModelInfer"])
    times = np.array([int(line.split("\t")[2]) for line in log.read_text().splitlines()]) * 1e-6
    received = int(re.findall(r"\((\d+)\) data", out)[0])
    if not len(times) or received < 0.9 * len(times) * payload.rows.nbytes:  # a refusal has no tensor
        raise SystemExit(f"some requests failed:\n{out}")
    p50, p99 = np.quantile(times, [0.5, 0.99])
    return Row(len(times) / seconds, float(p50), float(p99), (processor_seconds(pid) - begin) / len(times))


def processor_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _seconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]  # as wrk prints it
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[unit]
