"""Refusals in gRPC's terms: a status, and details that a client can branch on.

The reason and the time after which another attempt makes sense are told three times, each for other clients: as
`google.rpc.ErrorInfo` and `RetryInfo` in the rich status (https://google.aip.dev/193), as `grpc-retry-pushback-ms`
for gRPC's own retries (gRFC A6), and as the plain trailer `sloctl-reason`.
"""

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from sloctl.serving.errors import RequestError

_BY_STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    507: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_DOMAIN = "sloctl"
Trailers = tuple[tuple[str, str | bytes], ...]


def code(error: RequestError) -> grpc.StatusCode:
    """The status of a refusal; one for want of time is DEADLINE_EXCEEDED, which clients do not repeat by themselves."""
    if error.reason == "deadline":
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return _BY_STATUS.get(error.status, grpc.StatusCode.UNKNOWN)


def trailers(error: RequestError) -> Trailers:
    """The trailing metadata of a refusal."""
    rich = Status(code=code(error).value[0], message=error.message)
    _pack(rich, ErrorInfo(reason=error.reason.upper(), domain=_DOMAIN))
    found: list[tuple[str, str | bytes]] = [("sloctl-reason", error.reason)]
    if (wait := error.retry_after_ms) is not None:
        after = Duration()
        after.FromMilliseconds(wait)
        _pack(rich, RetryInfo(retry_delay=after))
        found.append(("grpc-retry-pushback-ms", str(wait)))
    return (*found, ("grpc-status-details-bin", rich.SerializeToString()))


def _pack(status: Status, detail: ErrorInfo | RetryInfo) -> None:
    packed = Packed()
    packed.Pack(detail)
    status.details.append(packed)
