"""What the data plane is measured against: the least that answers V2 inference, over HTTP and over gRPC.

No checks, no admission, no metrics, no health; the session runs on the event loop, once for what has come in
together. Over HTTP an ASGI callable under uvicorn, over gRPC grpcio's own asyncio server:
`python -m bench.bare http|grpc FOLDER PORT`, where FOLDER holds `MODEL.onnx` of every model.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc.aio
import msgspec
import numpy as np
import onnxruntime as ort
import uvicorn
import uvloop

from sloctl.serving.rpc.messages import classes, service


class Input(msgspec.Struct):
    """An input, as far as this bench sends it."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float] = []


class Request(msgspec.Struct):
    """A request."""

    inputs: list[Input]


class Model:
    """A session, and the requests that wait for its next run."""

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        self._waiting: list[tuple[Any, asyncio.Future[Any]]] = []

    def infer(self, rows: Any) -> "asyncio.Future[Any]":
        """The rows' outputs, once the loop's turn is over."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, future))
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._drain)
        return future

    def _drain(self) -> None:
        batch, self._waiting = self._waiting, []
        rows = [rows for rows, _ in batch]
        (out,) = self._session.run(None, {"x": rows[0] if len(rows) == 1 else np.concatenate(rows)})
        for index, (_, future) in enumerate(batch):
            if not future.done():  # its client may have gone
                future.set_result(out[index : index + 1])


def application(models: dict[str, Model]) -> Any:
    decode = msgspec.json.Decoder(Request).decode

    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        body = message["body"]
        if message["more_body"]:
            parts = [body]
            while message["more_body"]:
                message = await receive()
                parts.append(message["body"])
            body = b"".join(parts)
        length = next((int(v) for k, v in scope["headers"] if k == b"inference-header-content-length"), None)
        given = decode(body[:length]).inputs[0]
        data = np.array(given.data, np.float32) if length is None else np.frombuffer(body, np.float32, offset=length)
        out = await models[scope["path"].split("/")[3]].infer(data.reshape(given.shape))
        told = {"name": "y", "shape": out.shape, "datatype": "FP32"}
        if length is None:
            answer = msgspec.json.encode({"model_name": "m", "outputs": [{**told, "data": out.ravel().tolist()}]})
            headers = [(b"content-type", b"application/json")]
        else:
            told["parameters"] = {"binary_data_size": out.nbytes}
            head = msgspec.json.encode({"model_name": "m", "outputs": [told]})
            headers = [(b"inference-header-content-length", b"%d" % len(head))]
            answer = head + out.tobytes()
        headers.append((b"content-length", b"%d" % len(answer)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def infer_over_grpc(models: dict[str, Model], response: Any) -> Callable[..., Any]:
    async def infer(request: Any, _: Any) -> Any:
        given = request.inputs[0]
        data = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(tuple(given.shape))
        out = await models[request.model_name].infer(data)
        answer = response(model_name="m", raw_output_contents=[out.tobytes()])
        answer.outputs.add(name="y", datatype="FP32", shape=out.shape)
        return answer

    return infer


async def serve_grpc(models: dict[str, Model], port: int) -> None:
    name = "inference.GRPCInferenceService"
    given, made = classes(service(name).methods_by_name["ModelInfer"])
    handler = grpc.unary_unary_rpc_method_handler(
        infer_over_grpc(models, made), given.FromString, made.SerializeToString
    )
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"ModelInfer": handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def main() -> None:
    protocol, folder, port = sys.argv[1:]
    models = {path.stem: Model(path) for path in Path(folder).glob("*.onnx")}
    if protocol == "grpc":
        uvloop.run(serve_grpc(models, int(port)))
    else:
        uvicorn.run(
            application(models), port=int(port), http="httptools", loop="uvloop", lifespan="off", log_level="error"
        )


if __name__ == "__main__":
    main()
