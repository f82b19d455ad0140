"""What a refusal costs the data plane, beside a request that is served: `python -m bench.refusing`.

Over HTTP from 16 connections, 16 numbers as JSON: to a data plane that serves, and to one whose breaker is forced open.
Rounds alternate between the two; the best of each is shown.
"""

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.drive import need, over_http
from bench.serving import HTTP, WIDTHS, compare, data_plane, make_model
from sloctl.board import Board, BreakerCommand


def _force_open(board: Board) -> None:
    for name in WIDTHS:
        cell = board.control(name)
        cell.write(replace(cell.read(), breaker=BreakerCommand.FORCE_OPEN, breaker_sequence=1))


def main() -> None:
    """Measures and prints both."""
    need("wrk")
    payload = next(iter(HTTP.values()))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        root = Path(folder)
        for name in WIDTHS:
            make_model(name, root / "repository" / name / "fp32")
        serves = stack.enter_context(data_plane(root))
        refuses = stack.enter_context(data_plane(root, _force_open))
        calls = [
            partial(over_http, payload, each.http, each.pid, root, refused=each is refuses)
            for each in (serves, refuses)
        ]
        for name, row in zip(("served", "refused"), compare(*calls), strict=True):
            print(f"{name:8}{row.rate:9,.0f}/s  p50 {row.p50 * 1e3:.2f} ms  p99 {row.p99 * 1e3:.2f} ms", end="")
            print(f"  {row.cpu * 1e6:.1f} µs of the processor each")


if __name__ == "__main__":
    main()
