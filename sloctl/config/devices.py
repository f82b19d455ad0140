"""Names of devices: which forms there are, what a data plane on one may see, and what each is called."""

import re
from collections.abc import Sequence

FORMS = "cpu, cuda:N, or a GPU's or MIG device's UUID as `nvidia-smi -L` prints it (GPU-… or MIG-…)"
_ORDINAL = re.compile(r"cuda:\d{1,3}")
_UUID = re.compile(r"GPU-[0-9A-Fa-f-]{36}|MIG-[0-9A-Fa-f-]{36}|MIG-GPU-[0-9A-Fa-f-]{36}/\d+/\d+")


def is_uuid(device: str) -> bool:
    """Whether a device is named by a UUID, which CUDA_VISIBLE_DEVICES takes."""
    return _UUID.fullmatch(device) is not None


def is_known(device: str) -> bool:
    """Whether this is a form of a device's name."""
    return device == "cpu" or _ORDINAL.fullmatch(device) is not None or is_uuid(device)


def visible(devices: Sequence[str]) -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES should hold for a process on these devices: their UUIDs, the first one first.

    Nothing where one of the GPUs goes by an ordinal, which counts in the list that is in force already.
    """
    gpus = tuple(dict.fromkeys(device for device in devices if device != "cpu"))
    return gpus if all(map(is_uuid, gpus)) else ()


def local(device: str, seen: Sequence[str]) -> str:
    """The name by which a process that sees only `seen` reaches a device. MIG devices have no other there."""
    return f"cuda:{seen.index(device)}" if device in seen else device


def labels(devices: Sequence[str]) -> tuple[str, ...]:
    """A name for each data plane: its device's, with a number where several share it (`cpu`, `cpu#2`)."""
    found: list[str] = []
    for at, device in enumerate(devices):
        before = devices[:at].count(device)
        found.append(f"{device}#{before + 1}" if before else device)
    return tuple(found)
