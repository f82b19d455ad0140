import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sloctl.build.traffic import profile_of, read_histogram
from sloctl.engines.base import EngineError

METRICS = """# TYPE sloctl_batch_size histogram
sloctl_batch_size_bucket{model="m",variant="a",le="1"} 100
sloctl_batch_size_bucket{model="m",variant="a",le="8"} 110
sloctl_batch_size_bucket{model="m",variant="a",le="64"} 113
sloctl_batch_size_bucket{model="m",variant="a",le="+Inf"} 113
sloctl_batch_size_bucket{model="m",variant="b",le="1"} 0
sloctl_batch_size_bucket{model="m",variant="b",le="8"} 5
sloctl_batch_size_bucket{model="m",variant="b",le="64"} 5
sloctl_batch_size_bucket{model="m",variant="b",le="+Inf"} 6
sloctl_batch_size_bucket{model="n",variant="a",le="1"} 7
sloctl_batch_size_bucket{model="n",variant="a",le="+Inf"} 7
"""


def _read(tmp_path: Path, text: str, model: str = "m") -> dict[int, float]:
    path = tmp_path / "traffic"
    path.write_text(text)
    return read_histogram(str(path), model)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(METRICS, {1: 100, 8: 15, 64: 4}, id="a daemon's metrics, over all variants"),
        pytest.param('{"1": 120, "16": 30, "32": 0}', {1: 120, 16: 30}, id="JSON"),
        pytest.param("size,count\n1,120\n16,30\n", {1: 120, 16: 30}, id="CSV with headings"),
        pytest.param("# a comment\n1,120\n\n16,30", {1: 120, 16: 30}, id="CSV with a comment"),
    ],
)
def test_batch_sizes_are_read(tmp_path: Path, text: str, expected: dict[int, float]):
    assert _read(tmp_path, text) == expected


def test_the_best_size_is_the_one_that_carries_the_most_rows():
    assert profile_of({1: 100, 8: 15, 64: 1}) == (1, 8, 64)
    assert profile_of({4: 10}) == (1, 4, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no batches of model m"),
        ('{"1": 0}', "no batches of model m"),
        ('{"0": 4}', "at least one row"),
        ('{"1": "many"}', "neither metrics nor"),
        ("1,2,3", "two columns"),
        (METRICS.replace('"m"', '"other"'), "no batches of model m"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, message: str):
    with pytest.raises(EngineError, match=message):
        _read(tmp_path, text)


def test_a_missing_file_and_a_silent_daemon_are_named(tmp_path: Path):
    with pytest.raises(EngineError, match="nowhere: no such file"):
        read_histogram(str(tmp_path / "nowhere"), "m")
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:1/metrics: .*refused"):
        read_histogram("http://127.0.0.1:1/metrics", "m")


def test_a_running_daemon_is_asked_over_http():
    class Daemon(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(METRICS.encode())

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Daemon) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        found = read_histogram(f"http://127.0.0.1:{server.server_port}/metrics", "m")
        thread.join()
    assert profile_of(found) == (1, 64, 64)
