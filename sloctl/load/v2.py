"""An Open Inference Protocol V2 client for load: bodies made once, binary tensors both ways.

A 64×64 image is 16 KiB as a binary tensor and about 80 KiB as JSON, whose writing would cost the driver more
time than the request takes.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sloctl.load.driver import Answer, Send
from sloctl.load.schedule import Arrival

if TYPE_CHECKING:
    import aiohttp

_GRACE = 0.5  # seconds beyond its deadline in which the server may still say that it was missed


@dataclass(frozen=True, slots=True)
class Body:
    """A request as it goes over the wire."""

    headers: Mapping[str, str]
    data: bytes


def infer_body(name: str, tensor: NDArray[np.float32], priority: int, timeout: float) -> Body:
    """A request for one float32 tensor with V2's `priority` (1 highest) and `timeout` (given in seconds)."""
    raw = np.ascontiguousarray(tensor, dtype="<f4").tobytes()
    # `name` is the only input; every output comes back in binary.
    request = {
        "inputs": [
            {
                "name": name,
                "shape": list(tensor.shape),
                "datatype": "FP32",
                "parameters": {"binary_data_size": len(raw)},
            }
        ],
        "parameters": {"priority": priority, "timeout": round(timeout * 1e6), "binary_data_output": True},
    }
    head = json.dumps(request, separators=(",", ":")).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return Body(headers, head + raw)


def bodies(
    name: str, tensors: Sequence[NDArray[np.float32]], priorities: Sequence[str], timeout: float
) -> dict[str, list[Body]]:
    """A body for each tensor and each priority class (highest first)."""
    return {
        priority: [infer_body(name, tensor, number, timeout) for tensor in tensors]
        for number, priority in enumerate(priorities, start=1)
    }


@asynccontextmanager
async def sender(url: str, model: str, bodies: Mapping[str, Sequence[Body]], patience: float) -> AsyncIterator[Send]:
    """A `Send` that posts to a model at a data plane's `url`; gives up half a second after `patience` seconds."""
    import aiohttp

    # No limit on connections: a pool that runs dry would make requests wait for answers, and close the loop.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    limit = aiohttp.ClientTimeout(total=patience + _GRACE)
    endless = {priority: cycle(made) for priority, made in bodies.items()}
    address = f"{url.rstrip('/')}/v2/models/{model}/infer"
    async with aiohttp.ClientSession(connector=connector, timeout=limit) as session:

        async def send(arrival: Arrival) -> Answer:
            body = next(endless[arrival.priority])
            try:
                async with session.post(address, data=body.data, headers=body.headers) as response:
                    return await _answer(response)
            except TimeoutError:
                return Answer(0, reason="timeout")
            except (aiohttp.ClientError, OSError) as error:
                return Answer(0, reason=type(error).__name__)

        yield send


async def _answer(response: "aiohttp.ClientResponse") -> Answer:
    content = await response.read()
    if response.status == 200:
        return Answer(200, variant=response.headers.get("sloctl-variant"))
    after = response.headers.get("retry-after", "")
    return Answer(response.status, reason=_reason(content), retry_after=float(after) if after.isdigit() else None)


def _reason(content: bytes) -> str | None:
    """The server's word for why, from an error's JSON."""
    try:
        found = json.loads(content)
        return str(found.get("reason") or found["error"])[:80]
    except (ValueError, KeyError, AttributeError):
        return None
