"""What the headers of a request (over gRPC: its metadata) ask for besides its body: class, time, and whose it is."""

import re
from collections.abc import Mapping
from functools import lru_cache
from math import inf
from typing import NamedTuple

from sloctl.admission.classes import PriorityClasses
from sloctl.config.daemon import DaemonConfig
from sloctl.config.tenants import TENANT_NAME
from sloctl.serving.errors import RequestError, invalid

_REMEMBERED = 1024  # combinations of values
_SHOWN = 40  # characters of a wrong value
_WHOLE = re.compile(rb"[0-9]{1,9}")
_TENANT = re.compile(TENANT_NAME.encode())


class Asked(NamedTuple):
    """`priority` is the index of a class, None where headers name none; `within` in seconds."""

    tenant: str = ""
    priority: int | None = None
    within: float = inf


class Headers:
    """Reads them; `names` are those that it wants, in lower case."""

    def __init__(self, config: DaemonConfig) -> None:
        serving, tenants = config.serving, config.tenants
        self._classes = PriorityClasses.of(config.priorities, config.default_priority)
        self._by_name = {name.encode(): index for index, name in enumerate(config.priorities)}
        self._priority = (serving.priority_header or "").encode()
        self._timeout = (serving.timeout_header or "").encode()
        self._tenant = tenants.header.encode() if tenants else b""
        self.names = frozenset({self._priority, self._timeout, self._tenant} - {b""})
        self.nothing = Asked(tenants.default if tenants else "")
        self._checked = lru_cache(_REMEMBERED)(self._check)  # most requests are like one before

    def read(self, found: Mapping[bytes, bytes]) -> Asked:
        """What they ask for. Raises RequestError (400)."""
        if not found:
            return self.nothing
        return self._checked(found.get(self._tenant), found.get(self._priority), found.get(self._timeout))

    def _check(self, tenant: bytes | None, priority: bytes | None, timeout: bytes | None) -> Asked:
        return Asked(
            self.nothing.tenant if tenant is None else self._whose(tenant),
            None if priority is None else self._class(priority),
            inf if timeout is None else self._within(timeout),
        )

    def _whose(self, value: bytes) -> str:
        if not _TENANT.fullmatch(value):
            raise _wrong(self._tenant, value, "1 to 128 visible ASCII characters, the first a letter or a digit")
        return value.decode("ascii")

    def _class(self, value: bytes) -> int:
        index = self._by_name.get(value)
        if index is not None:
            return index
        if not _WHOLE.fullmatch(value):
            raise _wrong(
                self._priority, value, f"one of {', '.join(self._classes.names)}, or a number as V2's priority"
            )
        return self._classes.index(int(value))

    def _within(self, value: bytes) -> float:
        if not _WHOLE.fullmatch(value) or not int(value):
            raise _wrong(self._timeout, value, "whole milliseconds from 1 on")
        return int(value) / 1000


def twice(name: bytes) -> RequestError:
    """The refusal of a header that comes twice: a proxy may have added one to that of its client."""
    return invalid(f"header {name.decode()} is given twice")


def _wrong(name: bytes, value: bytes, expected: str) -> RequestError:
    shown = value[:_SHOWN].decode("latin-1") + ("…" if len(value) > _SHOWN else "")
    return invalid(f"header {name.decode()} is {shown!r}; expected {expected}")
