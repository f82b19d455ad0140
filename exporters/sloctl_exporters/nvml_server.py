"""`sloctl-nvml-exporter`: GPU metrics over HTTP, on its own.

GPUs are read once an interval on a thread; a scrape shows the last reading, so that XIDs, the time that clocks
were held and activity are followed evenly however often and by how many it is scraped.
"""

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from types import FrameType
from typing import Any, get_args

import structlog

from sloctl.config.base import parse_duration
from sloctl.telemetry.catalogue import Kind, Metric, Plane
from sloctl.telemetry.families import Family
from sloctl.telemetry.logging import LEVELS, configure_logging
from sloctl_exporters.nvml import Names, NvmlSource
from sloctl_exporters.nvml_ticker import Ticker
from sloctl_exporters.prometheus import render

PORT = 9400  # dcgm-exporter's
MOST = 64  # connections at once
LIMIT = 10.0  # seconds for a client to say what it wants and to read the answer
_PORT_ERROR = 3  # the exit status of `sloctl serve` where it cannot have a port
_CPU = Metric(
    "process_cpu_seconds_total", Kind.COUNTER, "seconds", (), "Processor time of this exporter.", Plane.CONTROL
)
_MEMORY = Metric(
    "process_resident_memory_bytes", Kind.GAUGE, "bytes", (), "Resident memory of this exporter.", Plane.CONTROL
)

log = structlog.get_logger("sloctl.nvml")


def process_families() -> list[Family]:
    """What this process itself uses, under the names that every Prometheus client has."""
    spent = os.times()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return [
        Family(_CPU, [((), spent.user + spent.system)]),
        Family(_MEMORY, [((), float(pages * os.sysconf("SC_PAGE_SIZE")))]),
    ]


class Server(ThreadingTCPServer):
    """Serves /metrics and /health of a ticker. Raises OSError where the address cannot be had.

    Not http.server's own, which asks the name service who it is before it listens.
    Each connection has a thread. There are at most MOST, and none takes longer than LIMIT over a request and its
    answer, by `clock`.
    """

    daemon_threads = True  # a client that does not read must not keep the process from ending
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], ticker: Ticker, clock: Callable[[], float] = time.monotonic) -> None:
        self.ticker = ticker
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._clock = clock
        self._since: dict[socket.socket, float] = {}  # when each connection came or had its last answer
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Gives a connection a thread, or closes it where there are too many."""
        if len(self._since) >= MOST:
            self.shutdown_request(request)
            return
        self._since[request] = self._clock()
        super().process_request(request, client_address)

    def answered(self, request: socket.socket) -> None:
        """A connection has had an answer, and may begin anew."""
        self._since[request] = self._clock()

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection."""
        self._since.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Ends what takes too long, every half second; the thread then finds its connection at an end."""
        latest = self._clock() - LIMIT
        for request, since in list(self._since.items()):
            if since < latest:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = LIMIT
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sloctl-nvml-exporter", ""

    def handle_one_request(self) -> None:
        super().handle_one_request()
        self.server.answered(self.request)

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path == "/metrics":
            families = [*self.server.ticker.families(), *process_families()]
            body, content_type = render(families, self.headers.get("accept"))
            self._answer(200, body, content_type)
        elif path == "/health":
            health = self.server.ticker.health()
            self._answer(503 if health["status"] == "stale" else 200, json.dumps(health).encode(), "application/json")
        else:
            self._answer(404, b"there is /metrics and /health here\n", "text/plain; charset=utf-8")

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
        log.debug("request", text=format % args)


def _duration(text: str) -> float:
    seconds = parse_duration(text)
    if not 0.1 <= seconds <= 60:  # activity wants 100 ms between two samples
        raise ValueError("expected 100ms to 60s")
    return seconds


def _checked(parse: Callable[[str], float]) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None

    return convert


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of GPUs")
    return int(text)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="sloctl-nvml-exporter",
        description="Metrics of NVIDIA GPUs for Prometheus, at /metrics; /health tells whether readings go on.",
        epilog="Exit status: 0 stopped, 2 wrong usage, 3 the port cannot be used.",
    )
    parser.add_argument("--listen", default="127.0.0.1", metavar="HOST", help="address to bind (127.0.0.1)")
    parser.add_argument("--port", type=_port, default=PORT, help=f"port to bind ({PORT}); 0: any")
    parser.add_argument("--names", choices=get_args(Names), default="base", help="base units, dcgm-exporter's, or both")
    parser.add_argument("--expected", type=_count, metavar="N", help="GPUs that there should be, as a metric")
    parser.add_argument("--interval", type=_checked(_duration), default=1.0, help="time between readings (1s)")
    parser.add_argument("--hostname", default="", help="what the dcgm names' Hostname label says (this host's name)")
    parser.add_argument(
        "--hostname-label",
        choices=("Hostname", "hostname"),
        default="Hostname",
        help="how that label is called; dcgm-exporter 4.8.2 and newer write it small",
    )
    parser.add_argument("--log-level", choices=LEVELS, default="info")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; the exit status."""
    arguments = _arguments(argv)
    configure_logging(arguments.log_level)
    source = NvmlSource(
        names=arguments.names,
        expected=arguments.expected,
        hostname=arguments.hostname,
        hostname_label=arguments.hostname_label,
    )
    ticker = Ticker(source, arguments.interval)
    try:
        server = Server((arguments.listen, arguments.port), ticker)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        sys.stderr.write(
            f"error: cannot listen on {arguments.listen}:{arguments.port}: {reason}; "
            "name another with --listen and --port\n"
        )
        return _PORT_ERROR
    _serve(server, ticker)
    return 0


def _serve(server: Server, ticker: Ticker) -> None:
    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    ticker.tick()  # so that the first scrape has something to show
    ticker.start()
    serving = threading.Thread(target=server.serve_forever, name="http")
    serving.start()
    host, port = server.socket.getsockname()[:2]
    log.info("exporting GPU metrics", url=f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics")
    stopped.wait()
    server.shutdown()
    serving.join()
    server.server_close()
    ticker.stop()


if __name__ == "__main__":
    sys.exit(main())
