"""The self-test of `sloctl stack`: is it scraped, are its rules evaluated, did an alert go round."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sloctl.cli.stack_programs import StackError

if TYPE_CHECKING:
    import aiohttp

WATCHDOG = "SloctlWatchdog"
_PATIENCE = 60.0


class Check:
    """Looks at a running stack by its addresses. Each step waits for its moment, a minute at most."""

    def __init__(self, session: "aiohttp.ClientSession", prometheus: str, control: str) -> None:
        self._session = session
        self._prometheus = prometheus
        self._control = control

    async def all(self, say: Callable[[str], None]) -> None:
        """All steps, in the order of an alert's way. Raises StackError for the first that does not come."""
        steps: tuple[tuple[str, Callable[[], Awaitable[str | None]]], ...] = (
            ("Prometheus scrapes the daemon", self.scraped),
            ("its rules are evaluated", self.evaluated),
            ("an alert came back by Alertmanager", self.went_round),
        )
        for what, step in steps:
            took = await _passes(what, step)
            say(f"{what}: after {took:.1f} s")

    async def scraped(self) -> str | None:
        """None once every target that there is answers; else what is wrong."""
        targets = (await self._get(f"{self._prometheus}/api/v1/targets"))["data"]["activeTargets"]
        down = [
            f"{each['scrapeUrl']}: {each['lastError'] or each['health']}" for each in targets if each["health"] != "up"
        ]
        return "; ".join(down) or (None if targets else "there is no target yet")

    async def evaluated(self) -> str | None:
        """None once every rule was evaluated without an error, and every SLO has its budget; else what is wrong."""
        groups = (await self._get(f"{self._prometheus}/api/v1/rules"))["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        bad = [f"{rule['name']}: {rule.get('lastError') or rule['health']}" for rule in rules if rule["health"] != "ok"]
        if bad or not rules:
            return "; ".join(bad[:5]) or "there is no rule yet"
        query = "count(sloctl:slo_error_budget_remaining:ratio)"
        found = (await self._get(f"{self._prometheus}/api/v1/query", query=query))["data"]["result"]
        wanted = len((await self._get(f"{self._control}/api/v1/status"))["slos"])
        have = int(found[0]["value"][1]) if found else 0
        return None if have == wanted else f"{have} of {wanted} SLOs have a budget in Prometheus"

    async def went_round(self) -> str | None:
        """None once the daemon was told of the alert that fires always; else what is wrong."""
        received = (await self._get(f"{self._control}/api/v1/status"))["receivedAlerts"]
        return None if any(alert["name"] == WATCHDOG for alert in received) else f"the daemon knows of no {WATCHDOG}"

    async def _get(self, url: str, **query: str) -> Any:
        async with self._session.get(url, params=query) as response:
            response.raise_for_status()
            return await response.json()


async def _passes(what: str, step: Callable[[], Awaitable[str | None]]) -> float:
    import aiohttp

    start = time.monotonic()
    wrong: str | None = ""
    while time.monotonic() - start < _PATIENCE:
        try:
            wrong = await step()
        except (aiohttp.ClientError, TimeoutError) as error:
            wrong = str(error) or type(error).__name__
        if wrong is None:
            return time.monotonic() - start
        await asyncio.sleep(0.2)
    raise StackError(f"not within {_PATIENCE:g} s: {what}; {wrong}")
