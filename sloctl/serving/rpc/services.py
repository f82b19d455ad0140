"""What the services' methods do; each raises RequestError where it cannot answer."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio
import orjson
import structlog
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import ParseDict

from sloctl.serving.asked import Asked, twice
from sloctl.serving.dataplane import DataPlane
from sloctl.serving.errors import RequestError, failed
from sloctl.serving.model import ModelService
from sloctl.serving.registry import Kind
from sloctl.serving.rpc.inference import RpcCall
from sloctl.serving.rpc.messages import classes, message, service
from sloctl.serving.rpc.refusals import code, trailers
from sloctl.serving.tracing import RequestTracer, Trace

Context = Any  # grpc.aio.ServicerContext, which is generic without need
Method = Callable[[Any, Context], Awaitable[Any]]
log = structlog.get_logger("sloctl.serving")
_IN_A_STREAM = 64  # requests in hand at once; a client that sends on without reading waits
_PATH = "/inference.GRPCInferenceService/ModelInfer"
_FINAL = "triton_enable_empty_final_response"


class Inference:
    """The inferences of `inference.GRPCInferenceService`, over the data plane that HTTP serves, too."""

    def __init__(self, plane: DataPlane, tracer: RequestTracer | None = None) -> None:
        self._plane = plane
        self._tracer = tracer

    async def model_infer(self, request: Any, context: Context) -> Any:
        """One inference. It ends with the call's deadline, and with its client."""
        plane = self._plane
        started = plane.clock()
        model = plane.model(request.model_name, request.model_version or None)
        trace = self._trace(model, context, started)
        status, reason = 200, ""
        try:
            asked = self._asked(model, context)
            return await plane.infer(model, RpcCall(request), started, trace=trace, asked=asked)
        except RequestError as error:
            status, reason = error.status, error.reason
            raise
        finally:
            if trace is not None and self._tracer is not None:
                self._tracer.end(trace, _PATH, status, reason)

    def _asked(self, model: ModelService, context: Context) -> Asked:
        """What the metadata ask for; the call's own deadline is the request's if it is sooner."""
        plane, left = self._plane, context.time_remaining()
        names = plane.headers.words if plane.headers else frozenset()
        found: dict[bytes, bytes] = {}
        try:
            for key, value in context.invocation_metadata() or ():
                if key in names:
                    name = key.encode()
                    if name in found:
                        raise twice(name)
                    found[name] = value if isinstance(value, bytes) else value.encode("latin-1")
            asked = plane.asked(found)
        except RequestError as error:
            plane.count(model, error.outcome)
            raise
        return asked if left is None or left >= asked.within else asked._replace(within=left)

    def _trace(self, model: ModelService, context: Context, started: float) -> Trace | None:
        if self._tracer is None:
            return None
        headers = [
            (name.encode(), value if isinstance(value, bytes) else value.encode("latin-1"))
            for name, value in context.invocation_metadata() or ()
        ]
        return self._tracer.begin(model.name, headers, started)

    async def model_stream_infer(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        """Inferences in the order of their requests, several at once; an error ends its request, not the stream."""
        running: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue(_IN_A_STREAM)
        reader = asyncio.ensure_future(self._take(requests, context, running))
        task: asyncio.Task[Any] | None = None
        try:
            while (task := await running.get()) is not None:
                yield await task
            await reader
        finally:
            reader.cancel()
            while task is not None:
                task.cancel()
                task = None if running.empty() else running.get_nowait()

    async def _take(
        self, requests: AsyncIterator[Any], context: Context, running: "asyncio.Queue[asyncio.Task[Any] | None]"
    ) -> None:
        try:
            async for request in requests:
                task = asyncio.ensure_future(self._streamed(request, context))
                try:
                    await running.put(task)
                except asyncio.CancelledError:
                    task.cancel()  # nobody else knows of it
                    raise
        finally:
            await running.put(None)

    async def _streamed(self, request: Any, context: Context) -> Any:
        response = message("ModelStreamInferResponse")()
        try:
            response.infer_response.CopyFrom(await self.model_infer(request, context))
        except RequestError as error:
            # Triton's client shows nothing but the message of a stream's error.
            known = error.outcome == "invalid"
            response.error_message = error.message if known else f"{error.message} ({error.reason})"
            response.infer_response.id = request.id
            told = response.infer_response.parameters  # a stream has no trailers until it ends
            told["sloctl_reason"].string_param = error.reason
            if (wait := error.retry_after_ms) is not None:
                told["sloctl_retry_after_ms"].int64_param = wait
        if _FINAL in request.parameters and request.parameters[_FINAL].bool_param:
            response.infer_response.parameters["triton_final_response"].bool_param = True
        return response


class About:
    """The other methods of that service: each takes a request and gives the response as plain data."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    # Health

    async def server_live(self, _: Any) -> dict[str, Any]:
        """Whether only a new process would help."""
        return {"live": _holds(self._plane.check_live)}

    async def server_ready(self, _: Any) -> dict[str, Any]:
        """Whether all models are ready."""
        return {"ready": _holds(self._plane.check_ready)}

    async def model_ready(self, request: Any) -> dict[str, Any]:
        """Whether one model is ready."""
        model = self._plane.model(request.name, request.version or None)
        return {"ready": _holds(lambda: self._plane.check_ready(model))}

    # About the server and its models

    async def server_metadata(self, _: Any) -> dict[str, Any]:
        """Name, version and extensions."""
        return self._plane.server_metadata()

    async def model_metadata(self, request: Any) -> dict[str, Any]:
        """Tensors of a model."""
        return self._plane.model_metadata(self._plane.model(request.name, request.version or None))

    async def model_config(self, request: Any) -> dict[str, Any]:
        """The model's configuration as far as it applies."""
        return {"config": self._plane.model_config(self._plane.model(request.name, request.version or None))}

    async def model_statistics(self, request: Any) -> dict[str, Any]:
        """Statistics of one model, or of all."""
        model = self._plane.model(request.name, request.version or None) if request.name else None
        return self._plane.statistics(model)

    async def repository_index(self, request: Any) -> dict[str, Any]:
        """Every configured model with its state."""
        index = self._plane.repository_index()
        return {"models": [model for model in index if model["state"] == "READY" or not request.ready]}

    # Shared memory

    async def system_shared_memory_status(self, request: Any) -> dict[str, Any]:
        """The registered regions."""
        return self._regions("system", request)

    async def system_shared_memory_register(self, request: Any) -> dict[str, Any]:
        """Registers a region."""
        body = {"key": request.key, "offset": request.offset, "byte_size": request.byte_size}
        await self._plane.regions.register("system", request.name, orjson.dumps(body))
        return {}

    async def system_shared_memory_unregister(self, request: Any) -> dict[str, Any]:
        """Forgets one region, or all."""
        self._plane.regions.unregister("system", request.name or None)
        return {}

    async def cuda_shared_memory_status(self, request: Any) -> dict[str, Any]:
        """The registered regions."""
        return self._regions("cuda", request)

    async def cuda_shared_memory_register(self, request: Any) -> dict[str, Any]:
        """Registers a region."""
        handle = {"b64": base64.b64encode(request.raw_handle).decode()}
        body = {"raw_handle": handle, "device_id": request.device_id, "byte_size": request.byte_size}
        await self._plane.regions.register("cuda", request.name, orjson.dumps(body))
        return {}

    async def cuda_shared_memory_unregister(self, request: Any) -> dict[str, Any]:
        """Forgets one region, or all."""
        self._plane.regions.unregister("cuda", request.name or None)
        return {}

    def _regions(self, kind: Kind, request: Any) -> dict[str, Any]:
        found = self._plane.regions.status(kind, request.name or None)
        return {"regions": {region["name"]: region for region in found}}


class Health:
    """`grpc.health.v1.Health`, which Kubernetes' probes ask; a service is "" or that of inference."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def check(self, request: Any) -> dict[str, Any]:
        """SERVING while the server is ready."""
        if request.service not in ("", "inference.GRPCInferenceService"):
            raise RequestError(404, f"no service {request.service!r}")
        return {"status": "SERVING" if _holds(self._plane.check_ready) else "NOT_SERVING"}


def _holds(check: Callable[[], None]) -> bool:
    try:
        check()
    except RequestError:
        return False
    return True


def inference(plane: DataPlane, tracer: RequestTracer | None = None) -> grpc.GenericRpcHandler:
    """The handlers of `inference.GRPCInferenceService`."""
    name, own = "inference.GRPCInferenceService", Inference(plane, tracer)
    infer, stream = (service(name).methods_by_name[each] for each in ("ModelInfer", "ModelStreamInfer"))
    found = _asked(name, About(plane))
    found["ModelInfer"] = grpc.unary_unary_rpc_method_handler(_refusing(own.model_infer), **_serialisers(infer))
    found["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(own.model_stream_infer, **_serialisers(stream))
    return grpc.method_handlers_generic_handler(name, found)


def health(plane: DataPlane) -> grpc.GenericRpcHandler:
    """The handlers of `grpc.health.v1.Health`."""
    name = "grpc.health.v1.Health"
    return grpc.method_handlers_generic_handler(name, _asked(name, Health(plane)))


def _asked(name: str, owner: About | Health) -> dict[str, Any]:
    """A handler for every method of a service; what `owner` lacks is UNIMPLEMENTED."""
    found = {}
    for method in service(name).methods:
        act = getattr(owner, _snake(method.name), None) or _unsupported(method.name)
        behaviour = _refusing(_described(act, classes(method)[1]))
        found[method.name] = grpc.unary_unary_rpc_method_handler(behaviour, **_serialisers(method))
    return found


def _serialisers(method: MethodDescriptor) -> dict[str, Any]:
    given, made = classes(method)
    return {"request_deserializer": given.FromString, "response_serializer": made.SerializeToString}


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)[1:]


def _unsupported(name: str) -> Callable[[Any], Awaitable[dict[str, Any]]]:
    async def refuse(_: Any) -> dict[str, Any]:
        raise RequestError(501, f"{name} is not supported")

    return refuse


def _described(act: Callable[[Any], Awaitable[dict[str, Any]]], made: Any) -> Method:
    async def answer(request: Any, _: Context) -> Any:
        return ParseDict(await act(request), made())

    return answer


def _refusing(act: Method) -> Method:
    """A method that tells a RequestError as a status."""

    async def answer(request: Any, context: Context) -> Any:
        try:
            return await act(request, context)
        except RequestError as raised:
            error = raised
        except Exception as raised:
            log.exception("call failed", request=type(request).__name__)
            error = failed("internal", f"internal error: {type(raised).__name__}")
        return await context.abort(code(error), error.message, trailers(error))

    return answer
