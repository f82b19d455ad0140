"""The protocol's messages, made from NVIDIA's definitions (`proto/`, BSD-3) in a descriptor pool of our own.

Generated modules would register themselves in the process' common pool, where a client library of the same protocol
has its own, and protobuf allows a name only once. `make proto` writes `v2.binpb` anew from the definitions.
"""

from importlib.resources import files
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    described = files(__package__).joinpath("proto/v2.binpb").read_bytes()
    for file in FileDescriptorSet.FromString(described).file:
        pool.Add(file)
    return pool


_POOL = _pool()


def message(name: str) -> Any:
    """The class of a message of the package `inference`."""
    return GetMessageClass(_POOL.FindMessageTypeByName(f"inference.{name}"))


def service(name: str) -> ServiceDescriptor:
    """A service by its full name."""
    found: ServiceDescriptor = _POOL.FindServiceByName(name)
    return found


def classes(method: MethodDescriptor) -> tuple[Any, Any]:
    """The classes of a method's request and response."""
    return GetMessageClass(method.input_type), GetMessageClass(method.output_type)
