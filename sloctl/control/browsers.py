"""Whether a request may come from a web page of somebody else, in the browser of one who can reach this port. Pure.

A page may let its own name resolve to 127.0.0.1 once it is loaded (DNS rebinding); what it then sends here is of one
origin to the browser, which asks nobody. Its `Host` gives it away: the name is the page's. Without rebinding, `Origin`
does. etcd has the same for clients without credentials (CVE-2018-1099). An address in `Host` cannot be rebound.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit


def stranger(host: str, origin: str, names: Collection[str]) -> str:
    """Who a request comes from if not from here or from no browser, for people; empty where all is well.

    `host` and `origin` are the headers, empty where they are missing, and `names` what this service is called besides
    `localhost` and its addresses, in lower case.
    """
    if host and not _is_ours(_part(f"//{host}")[0], names):
        return f"for host {host!r}"
    if origin and (not host or _part(origin)[1] != host.lower()):
        return f"of a web page from {origin!r}"
    return ""


def _is_ours(name: str, names: Collection[str]) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name in names
    return True


def _part(url: str) -> tuple[str, str]:
    """The host of an address, and host and port as they are written; both empty where it is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return parts.hostname or "", parts.netloc.lower()
