"""Addresses of HTTP services in configuration."""

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field


def is_loopback(host: str) -> bool:
    """Whether an address or name can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_private(url: str) -> bool:
    """Whether nobody on the way can read or change what is sent there: TLS, or this machine itself."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is left open
        known = False
    if not known or any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("expected an address such as https://example.org:9093/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address holds no user or password; expected a tokenFile beside it")
    if parts.query or parts.fragment:
        raise ValueError("expected an address without ? and #")
    return url.rstrip("/")


Url = Annotated[str, Field(max_length=2000), AfterValidator(_address)]
"""Base address of an HTTP service, without a slash at its end, a query, or credentials."""
