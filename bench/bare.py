"""What the data plane is measured against: the least that answers V2 inference, one ASGI callable of 40 lines.

No checks, no admission, no metrics, no health; the session runs on the event loop, once for what has come in
together. `python -m bench.bare MODEL PORT`.
"""

import asyncio
import sys
from typing import Any

import msgspec
import numpy as np
import onnxruntime as ort
import uvicorn


class Input(msgspec.Struct):
    """An input, as far as this bench sends it."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class Request(msgspec.Struct):
    """A request."""

    inputs: list[Input]


def application(model: str) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, ["CPUExecutionProvider"])
    decode = msgspec.json.Decoder(Request).decode
    waiting: list[tuple[Any, asyncio.Future[Any]]] = []

    def drain() -> None:
        batch = waiting.copy()
        waiting.clear()
        (out,) = session.run(None, {"x": np.concatenate([rows for rows, _ in batch])})
        for index, (_, future) in enumerate(batch):
            future.set_result(out[index : index + 1])

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        given = decode(body).inputs[0]
        future = asyncio.get_running_loop().create_future()
        waiting.append((np.array(given.data, np.float32).reshape(given.shape), future))
        if len(waiting) == 1:
            asyncio.get_running_loop().call_soon(drain)
        out = await future
        outputs = [{"name": "y", "shape": out.shape, "datatype": "FP32", "data": out.ravel().tolist()}]
        answer = msgspec.json.encode({"model_name": "tiny", "outputs": outputs})
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


if __name__ == "__main__":
    uvicorn.run(
        application(sys.argv[1]),
        port=int(sys.argv[2]),
        http="httptools",
        loop="uvloop",
        lifespan="off",
        log_level="error",
    )
