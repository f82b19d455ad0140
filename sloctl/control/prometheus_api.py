"""The HTTP API of a Prometheus, or of anything that speaks it, as far as SLOs ask it: range queries."""

import json
import math
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sloctl.config.daemon import PrometheusConfig
from sloctl.slo.tiles import Points

if TYPE_CHECKING:
    import requests

_MOST_ANSWER = 4 << 20  # bytes
_CHUNK = 1 << 16


_REFUSED = (400, 422)  # Prometheus' own: of a query that it cannot parse, or not evaluate


class SourceError(Exception):
    """A Prometheus did not answer a query; the message says why."""


class QueryError(SourceError):
    """It answers, but this query has no answer that can be used; others may have."""


class PrometheusApi:
    """One Prometheus. Not for several threads at once.

    Secrets are read anew for each request, so that they can be changed. Neither proxies nor passwords come from the
    environment, and redirects are not followed: a secret goes nowhere but to the address in the configuration.
    """

    def __init__(self, config: PrometheusConfig, folder: Path) -> None:
        """`folder` is that of the configuration."""
        import requests  # a sixth of a second, which a daemon without such SLOs does not pay

        self._config, self._folder = config, folder
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(folder / config.ca_file) if config.ca_file else True
        if config.cert_file:
            pair = [str(folder / file) for file in (config.cert_file, config.key_file) if file]
            self._session.cert = pair[0] if len(pair) == 1 else (pair[0], pair[1])

    def query_range(self, query: str, start: int, end: int, step: int) -> Points:
        """Values of the only series that a query gives, NaN left out; none without any. Raises SourceError."""
        timeout = self._config.timeout
        asked = {"query": query, "start": start, "end": end, "step": step, "timeout": f"{timeout:g}s", "nocache": 1}
        answer = self._post("/api/v1/query_range", asked)
        try:
            series = answer["data"]["result"]
            if answer["data"]["resultType"] != "matrix" or len(series) > 1:
                raise QueryError(f"expected one series, got {len(series)} for {query}")
            values = series[0]["values"] if series else []
            return {int(at): value for at, text in values if math.isfinite(value := float(text))}
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise SourceError(f"its answer is not one of Prometheus: {error!r}") from None

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        import requests

        try:
            answer = self._session.post(
                self._config.url.rstrip("/") + path,
                body,
                headers=self._secret(),
                timeout=self._config.timeout,
                allow_redirects=False,
                stream=True,
            )
            with answer:
                return self._read(answer)
        except requests.RequestException as error:
            raise SourceError(_cause(error)) from None
        except (OSError, ValueError) as error:  # a token file that is gone, or holds no token
            raise SourceError(str(error)) from None

    def _read(self, answer: "requests.Response") -> Any:
        text = b"".join(self._bounded(answer))
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            said = {}
        if answer.status_code == 200 and isinstance(said, dict) and said.get("status") == "success":
            return said
        why = said.get("error", "") if isinstance(said, dict) else ""
        refused = QueryError if why and answer.status_code in _REFUSED else SourceError
        raise refused(f"it answers {answer.status_code}{f': {str(why)[:300]}' if why else ''}")

    def _bounded(self, answer: "requests.Response") -> Iterator[bytes]:
        size, end = 0, time.monotonic() + 2 * self._config.timeout
        for part in answer.iter_content(_CHUNK):
            size += len(part)
            if size > _MOST_ANSWER:
                raise SourceError(f"its answer is longer than {_MOST_ANSWER} bytes")
            if time.monotonic() > end:
                raise SourceError("its answer takes too long")
            yield part

    def _secret(self) -> dict[str, str]:
        config = self._config
        if config.token_file:
            return {"Authorization": f"Bearer {self._file(config.token_file)}"}
        if config.user is not None and config.password_file is not None:
            pair = f"{config.user}:{self._file(config.password_file)}".encode()
            return {"Authorization": f"Basic {b64encode(pair).decode()}"}
        return {}

    def _file(self, name: str) -> str:
        return (self._folder / name).read_text(encoding="utf-8").strip()


def _cause(error: Exception) -> str:
    """The innermost reason of an error of `requests`, which wraps several."""
    reason = getattr(error.args[0], "reason", error) if error.args else error
    return str(reason).rpartition(": ")[2] or type(error).__name__
