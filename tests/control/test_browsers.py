"""Requests that a web page makes a browser send to the control API."""

from types import SimpleNamespace
from typing import Any

import pytest

from sloctl.control.api import Api
from sloctl.control.browsers import stranger
from tests.support.asking import ask

NAMES = {"node-1.example.org"}
WELL = [
    pytest.param("127.0.0.1:8002", "", id="a program"),
    pytest.param("localhost:8002", "", id="by name"),
    pytest.param("LOCALHOST", "", id="in capitals"),
    pytest.param("[::1]:8002", "", id="IPv6"),
    pytest.param("10.1.2.3:8002", "", id="an address cannot be rebound"),
    pytest.param("node-1.example.org:8002", "", id="the name of externalUrl"),
    pytest.param("", "", id="no host, as HTTP/1.0 has it"),
    pytest.param("localhost:8002", "http://localhost:8002", id="a page of its own"),
    pytest.param("node-1.example.org", "https://node-1.example.org", id="a page behind a proxy with TLS"),
]
REFUSED = [
    pytest.param("evil.example:8002", "http://evil.example:8002", id="DNS rebinding"),
    pytest.param("evil.example:8002", "", id="DNS rebinding without an origin"),
    pytest.param("localhost.evil.example", "", id="a name that begins well"),
    pytest.param("127.0.0.1.evil.example", "", id="a name that begins as an address"),
    pytest.param("user@evil.example", "", id="not as browsers have it"),
    pytest.param("[::1", "", id="half an address"),
    pytest.param(":8002", "", id="no name"),
    pytest.param("localhost:8002", "https://evil.example", id="a page of somebody else"),
    pytest.param("0.0.0.0:8002", "http://evil.example", id="the address of all"),
    pytest.param("localhost:8002", "http://localhost:3000", id="another server on this machine"),
    pytest.param("localhost:8002", "null", id="a page without an origin"),
    pytest.param("", "http://evil.example", id="an origin alone"),
]


@pytest.mark.parametrize(("host", "origin"), WELL)
def test_who_is_no_stranger(host: str, origin: str) -> None:
    assert stranger(host, origin, NAMES) == ""


@pytest.mark.parametrize(("host", "origin"), REFUSED)
def test_who_is_a_stranger(host: str, origin: str) -> None:
    assert stranger(host, origin, NAMES) != ""


class Controller(SimpleNamespace):
    """Counts what changes something."""

    def __init__(self) -> None:
        super().__init__(changes=0)

    def _change(self, *_: Any) -> dict[str, Any]:
        self.changes += 1
        return {}

    add_override = drop_override = begin_maintenance = end_maintenance = set_faults = notify = reload = _change

    def overrides(self) -> list[Any]:
        return []


WRITES = [
    *[("POST", f"/api/v1/{path}") for path in ("overrides", "maintenance", "faults", "alerts", "reload")],
    *[("DELETE", f"/api/v1/{path}/1") for path in ("overrides", "maintenance")],
]


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize(
    ("token", "host", "made"),
    [
        (None, "evil.example", False),
        (None, "localhost:8002", True),
        (None, "node-1.example.org", True),
        ("secret", "evil.example", True),
    ],
)
async def test_what_changes_something_is_for_no_stranger_unless_a_token_guards_it(
    method: str, path: str, token: str | None, host: str, made: bool
) -> None:
    controller = Controller()
    api = Api(controller, token, NAMES)  # type: ignore[arg-type]
    status, body = await ask(api, method, path, host, token)
    assert controller.changes == int(made)
    assert (status == 403) is not made
    assert made or b"evil.example" in body


async def test_what_is_read_is_for_everybody() -> None:
    api = Api(Controller(), None, NAMES)  # type: ignore[arg-type]
    assert (await ask(api, "GET", "/api/v1/overrides", "evil.example", None))[0] == 200
