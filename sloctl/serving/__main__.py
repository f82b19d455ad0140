"""`python -m sloctl.serving`: what the supervisor starts, with everything it needs as inherited descriptors."""

import argparse
import os
import socket
import sys
import time

import uvloop

from sloctl.board import Board
from sloctl.config.devices import local, visible
from sloctl.config.runtime import Runtime
from sloctl.serving.hosting import EngineHosting
from sloctl.serving.server import Process, die_with_parent, leave
from sloctl.telemetry.logging import configure_from_environment

# Seconds for which a thread that wants the interpreter's lock lets another one keep it. An engine's thread lets it
# go at every call into the runtime and wants it back each time, while the event loop parses requests: at Python's 5 ms
# each of these calls can take that long (`python -m bench.lock` measures it).
SWITCH_INTERVAL = 100e-6


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sloctl.serving")
    for name, what in (("runtime", "resolved configuration"), ("board", "board"), ("http", "listening socket")):
        parser.add_argument(f"--{name}-fd", type=int, required=True, metavar="N", help=f"descriptor of the {what}")
    what = "registrations of shared memory, which outlive this process; without it they do not"
    parser.add_argument("--regions-fd", type=int, metavar="N", help=f"descriptor of the {what}")
    what = "board of another data plane that accepts from the same socket"
    parser.add_argument("--other-board-fd", type=int, metavar="N", action="append", default=[], help=what)
    parser.add_argument("--place", type=int, metavar="N", default=0, help="which of the devices this process is for")
    parser.add_argument("--grpc-port", type=int, metavar="N", help="port for gRPC, shared with other data planes")
    return parser.parse_args()


async def _serve(arguments: argparse.Namespace, runtime: Runtime, board: Board, regions_fd: int) -> None:
    daemon = runtime.daemon
    host = daemon.hosts[arguments.place]
    seen = visible([host, *daemon.pins.values()])
    device = local(host, seen)
    pins = {variant: local(pin, seen) for variant, pin in daemon.pins.items()}
    hosting = EngineHosting(device, daemon.preflight, runtime.state_dir, pins)
    others = [Board.attach(fd, runtime.topology).data_status for fd in arguments.other_board_fd]
    process = Process(runtime, board, hosting, regions_fd, device, others, arguments.grpc_port)
    await process.run(socket.socket(fileno=arguments.http_fd))


def main() -> None:
    """Runs until SIGTERM and exits 0."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    die_with_parent()
    arguments = _arguments()
    configure_from_environment()
    # pread leaves the shared offset alone, so the next process reads from the start, too.
    text = os.pread(arguments.runtime_fd, os.fstat(arguments.runtime_fd).st_size, 0)
    runtime = Runtime.from_json(text.decode())
    board = Board.attach(arguments.board_fd, runtime.topology)
    board.data_status.begin(os.getpid(), time.monotonic())
    regions_fd = os.memfd_create("sloctl-regions") if arguments.regions_fd is None else arguments.regions_fd
    uvloop.run(_serve(arguments, runtime, board, regions_fd))
    leave(0)


if __name__ == "__main__":
    main()
