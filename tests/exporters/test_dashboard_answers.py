"""Every query of the dashboard, answered by a real Prometheus that scrapes a real exposition."""

import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sloctl.cli.stack_programs import ports
from sloctl_exporters.grafana import dashboards
from sloctl_exporters.prometheus import render

PROMETHEUS = shutil.which("prometheus")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(PROMETHEUS is None, reason="no prometheus here: apt-get install prometheus"),
]
_CONFIG = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: sloctl
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
_ROUNDS = 8  # seconds of traffic


@pytest.fixture(scope="module")
def living(living_board: ModuleType, fake_nvml: ModuleType) -> Iterator[Any]:
    found = living_board.LivingBoard(fake_nvml)
    yield found
    found.board.close()


@pytest.fixture(scope="module")
def exposition(living: Any) -> Iterator[int]:
    """The port of a server that shows the families, as the control plane does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, content_type = render(living.families(), self.headers.get("accept"))
            self.send_response(200)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def prometheus(exposition: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that scrapes it every second."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "prometheus.yml").write_text(_CONFIG.format(port=exposition))
    (port,) = ports([0])
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                str(PROMETHEUS),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process, log)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    pytest.fail(f"Prometheus does not come up: {log.read_text()}")


@pytest.fixture(scope="module")
def scraped(prometheus: str, living: Any) -> str:
    """The same, once it has seen some seconds of traffic."""
    for _ in range(_ROUNDS):
        living.work()
        time.sleep(1)
    return prometheus


# Series that only Prometheus' own rules make, and what GPUs tell that are older than the recorded one.
_NOT_HERE = {
    "Retired pages",
    *("Least budgets of the fleet", "Highest burn rates of the fleet", "Prometheus' alerts"),
    *("Error ratio of all instances", "Burn rate of all instances", "Error budget of all instances"),
}


@pytest.mark.parametrize("board", dashboards(), ids=lambda board: board["uid"])
def test_every_query_is_answered_with_numbers(
    scraped: str, board: dict[str, Any], dashboard_queries: ModuleType
) -> None:
    chosen = {"job": "sloctl", "instance": "127.0.0.1:.+", "model": "digits", "slo": "latency"}
    assert dashboard_queries.complaints(scraped, board, chosen, skip=_NOT_HERE) == []


@pytest.mark.parametrize("board", dashboards(), ids=lambda board: board["uid"])
def test_what_has_no_answer_is_found(scraped: str, board: dict[str, Any], dashboard_queries: ModuleType) -> None:
    found = dashboard_queries.complaints(scraped, board, {"job": "another"}, skip=_NOT_HERE)
    asked = [query for query in dashboard_queries.queries(board) if query.title not in _NOT_HERE]
    assert len(found) == len(asked) > 10


def test_the_scrape_itself_has_no_complaints(scraped: str, dashboard_queries: ModuleType) -> None:
    (up,) = dashboard_queries.ask(scraped, "up")
    assert up["value"][1] == "1"
    # Each sample was stored: none was a duplicate or out of order.
    (lost,) = dashboard_queries.ask(scraped, "scrape_samples_scraped - scrape_samples_post_metric_relabeling")
    assert lost["value"][1] == "0"
    (stored,) = dashboard_queries.ask(scraped, "scrape_samples_scraped")
    (kept,) = dashboard_queries.ask(scraped, 'count({job="sloctl", __name__=~"sloctl_.+"})')
    assert kept["value"][1] == stored["value"][1]


@pytest.mark.parametrize(
    ("expr", "value"),
    [
        pytest.param('sloctl_requests_total{outcome="ok", priority="high"}', 9 * _ROUNDS, id="a counter"),
        pytest.param("sum(sloctl_batch_size_sum) / sum(sloctl_batch_size_count)", 2, id="a histogram's mean"),
        pytest.param('sloctl_variant_accuracy_ratio{variant="fp32"}', 0.996, id="a gauge"),
        pytest.param("sloctl_gpu_memory_total_bytes", 143771 * 1024**2, id="a large number is exact"),
        pytest.param('sloctl_gpu_info{name="NVIDIA H200", driver="580.159.04"}', 1, id="an info metric"),
    ],
)
def test_values_arrive_unchanged(scraped: str, dashboard_queries: ModuleType, expr: str, value: float) -> None:
    (sample,) = dashboard_queries.ask(scraped, expr)
    assert float(sample["value"][1]) == pytest.approx(value, rel=1e-12)
