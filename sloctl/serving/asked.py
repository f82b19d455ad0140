"""What a request asks for besides an inference: class, time, whose it is, and with which precision it is served.

All of it can be in headers (over gRPC: in metadata), and the precision in parameters, too.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from math import inf, nan
from typing import NamedTuple

from sloctl.admission.classes import PriorityClasses
from sloctl.admission.tiers import Wish
from sloctl.config.daemon import DaemonConfig
from sloctl.config.tenants import TENANT_NAME
from sloctl.serving.errors import RequestError, invalid
from sloctl.serving.parameters import Parameters, text

_REMEMBERED = 1024  # combinations of values
_SHOWN = 40  # characters of a wrong value
_WHOLE = re.compile(rb"[0-9]{1,9}")
_TENANT = re.compile(TENANT_NAME.encode())
_PRECISION, _ACCURACY = b"x-sloctl-precision", b"x-sloctl-min-accuracy"


class Asked(NamedTuple):
    """`priority` is the index of a class, None where headers name none; `within` in seconds."""

    tenant: str = ""
    priority: int | None = None
    within: float = inf
    wish: Wish | None = None


class Headers:
    """Reads them; `names` are those that it wants, in lower case."""

    def __init__(self, config: DaemonConfig) -> None:
        serving, tenants = config.serving, config.tenants
        self._classes = PriorityClasses.of(config.priorities, config.default_priority)
        self._by_name = {name.encode(): index for index, name in enumerate(config.priorities)}
        self._priority = (serving.priority_header or "").encode()
        self._timeout = (serving.timeout_header or "").encode()
        self._tenant = tenants.header.encode() if tenants else b""
        self.names = frozenset({self._priority, self._timeout, self._tenant, _PRECISION, _ACCURACY} - {b""})
        self.words = frozenset(name.decode() for name in self.names)  # the same for gRPC
        self.nothing = Asked(tenants.default if tenants else "")
        self._checked = lru_cache(_REMEMBERED)(self._check)  # most requests are like one before

    def read(self, found: Mapping[bytes, bytes]) -> Asked:
        """What they ask for. Raises RequestError (400)."""
        if not found:
            return self.nothing
        wish = found.get(_PRECISION), found.get(_ACCURACY)
        return self._checked(found.get(self._tenant), found.get(self._priority), found.get(self._timeout), *wish)

    def _check(
        self,
        tenant: bytes | None,
        priority: bytes | None,
        timeout: bytes | None,
        precision: bytes | None,
        accuracy: bytes | None,
    ) -> Asked:
        return Asked(
            self.nothing.tenant if tenant is None else self._whose(tenant),
            None if priority is None else self._class(priority),
            inf if timeout is None else self._within(timeout),
            _wish(precision, accuracy),
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


def wished(parameters: Parameters, headers: Wish | None) -> Wish | None:
    """The wish in headers and, for what they do not say, in parameters. Raises RequestError (400)."""
    if not parameters or not ("sloctl_precision" in parameters or "sloctl_min_accuracy" in parameters):
        return headers
    precision, accuracy = headers or Wish()
    named, least = text(parameters, "sloctl_precision") or "", parameters.get("sloctl_min_accuracy")
    told = 0.0 if least is None else _ratio("parameter 'sloctl_min_accuracy'", least)
    wish = Wish(precision or named, accuracy or told)
    return wish if any(wish) else None


def _wish(precision: bytes | None, accuracy: bytes | None) -> Wish | None:
    if precision is None and accuracy is None:
        return None
    least = _ratio(f"header {_ACCURACY.decode()}", accuracy.decode("latin-1")) if accuracy is not None else 0.0
    wish = Wish((precision or b"").decode("latin-1"), least)
    return wish if any(wish) else None


def _ratio(what: str, value: object) -> float:
    try:
        found = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else nan
    except (ValueError, OverflowError):
        found = nan
    if not 0 <= found <= 1:
        raise invalid(f"{what} is {str(value)[:_SHOWN]!r}; expected a number from 0 to 1")
    return found


def twice(name: bytes) -> RequestError:
    """The refusal of a header that comes twice: a proxy may have added one to that of its client."""
    return invalid(f"header {name.decode()} is given twice")


def _wrong(name: bytes, value: bytes, expected: str) -> RequestError:
    shown = value[:_SHOWN].decode("latin-1") + ("…" if len(value) > _SHOWN else "")
    return invalid(f"header {name.decode()} is {shown!r}; expected {expected}")
