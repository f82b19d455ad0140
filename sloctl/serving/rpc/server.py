"""gRPC's server, in the data plane's event loop.

gRPC takes no socket from outside, so each data plane binds the port itself with SO_REUSEPORT, which also lets several
share it, and the supervisor keeps it reserved.
"""

import grpc.aio

from sloctl.serving.dataplane import DataPlane
from sloctl.serving.rpc.services import health, inference
from sloctl.serving.tracing import RequestTracer

_BESIDES = 1 << 16  # bytes of a request besides its tensors


class RpcServer:
    """Serves V2 and health on `address` (`host:port`)."""

    def __init__(self, plane: DataPlane, address: str, max_body: int, tracer: RequestTracer | None = None) -> None:
        """`max_body` bounds a request in bytes. Raises RuntimeError where the address cannot be bound."""
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", max_body + _BESIDES),
                ("grpc.max_send_message_length", -1),
            ]
        )
        self._server.add_generic_rpc_handlers((inference(plane, tracer), health(plane)))
        self.port = self._server.add_insecure_port(address)

    async def start(self) -> None:
        """Answers from now on."""
        await self._server.start()

    async def stop(self, grace: float = 0.0) -> None:
        """Refuses new calls and ends those that run after `grace` seconds."""
        await self._server.stop(grace)
