"""A connection to a data plane without a socket: what is sent to it, and what it writes."""

import asyncio
import json
import re
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from sloctl.serving.exchange import ServingConnection
from sloctl.serving.refusing import Refuser
from sloctl.serving.tracing import RequestTracer

INPUT = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}


class Wire(asyncio.Transport):
    """What a connection writes to, and how often it wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Caller:
    """A connection to a bench; what comes back, each answer as status, headers and body."""

    def __init__(self, bench: Any, tracer: RequestTracer | None = None) -> None:
        config = uvicorn.Config(
            bench.app, ws="none", log_config=None, server_header=False, date_header=False, proxy_headers=False
        )
        config.load()
        self.wire = Wire()
        self.connection = ServingConnection(config, ServerState(), bench.app, Refuser(bench.plane, bench.app, tracer))
        self.connection.connection_made(self.wire)

    def close(self) -> None:
        self.connection.connection_lost(None)

    async def send(self, *parts: bytes, answers: int = 1) -> list[tuple[int, dict[str, str], bytes]]:
        """The answers to what is sent, each part in a read of its own."""
        self.wire.written.clear()
        for part in parts:
            self.connection.data_received(part)
        for _ in range(1000):
            found = taken_apart(b"".join(self.wire.written))
            if len(found) >= answers:
                return found
            await asyncio.sleep(0.001)
        raise TimeoutError(f"{self.wire.written} instead of {answers} answers")


def taken_apart(data: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    found = []
    while match := re.match(rb"HTTP/1.1 (\d+) [^\r]*\r\n((?:[^\r]+\r\n)*)\r\n", data):
        headers = dict(line.split(": ", 1) for line in match[2].decode().splitlines())
        end = match.end() + int(headers["content-length"])
        if len(data) < end:
            break
        found.append((int(match[1]), headers, data[match.end() : end]))
        data = data[end:]
    return found


def request(parameters: Any = None, *headers: str, body: bytes | None = None, version: str = "1.1") -> bytes:
    if body is None:
        body = json.dumps({"inputs": [INPUT], "parameters": parameters or {}}).encode()
    head = [f"POST /v2/models/m/infer HTTP/{version}", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body
