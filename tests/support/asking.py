"""Requests to the control API without a server."""

from typing import Any

from sloctl.control.api import Api


async def ask(api: Api, method: str, path: str, host: str, token: str | None = None) -> tuple[int, bytes]:
    """Status and body of an answer."""
    fields = {"host": host, "content-type": "application/json", "authorization": f"Bearer {token}"}
    headers = [(name.encode(), value.encode()) for name, value in fields.items()]
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""}
    await api.app()(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]
