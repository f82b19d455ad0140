"""The supervisor: binds the ports, owns the board, keeps one process of each plane running.

It does as little as can be, since nothing watches over it but the init system: it never parses a request,
never touches an engine, and what it hands to a new process is what was validated at start.
"""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from sloctl.board import Board, Ending, Phase, PlaneStatus
from sloctl.config.devices import labels, visible
from sloctl.config.runtime import Runtime

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_PR_SET_PDEATHSIG = 1
_POLL = 0.2
_HEARTBEAT_PATIENCE = 10.0  # of a running plane whose loop does not turn
_START_PATIENCE = 300.0  # of a plane that has not yet said that it is there
_STEADY = 5.0  # a process that lived this long is started anew at once
_LONGEST_BACKOFF = 10.0
_DESCRIPTORS = 65536  # each connection takes one; the usual soft limit of 1024 is for programs that call select(2)
_KILL_AFTER = 5.0  # on top of the drain time

_OWN_WORDS = {ending.name.lower() for ending in Ending}  # the plane itself says why

log = structlog.get_logger("sloctl.supervisor")


class PortError(Exception):
    """A port could not be bound; the message says which and why."""


def listen(host: str, port: int, field_name: str) -> socket.socket:
    """A listening TCP socket. Raises PortError with the configuration field to change."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise PortError(
            f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0).lower()}; "
            f"free the port or set another in {field_name}"
        ) from None
    sock.listen(2048)
    return sock


def reserve(host: str, port: int, field_name: str) -> socket.socket:
    """A bound TCP socket that never listens: nobody else gets its port, but for this user's with SO_REUSEPORT.

    For a server that binds its port itself, and may be started anew. Raises PortError.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with listen(host, port, field_name) as probe:  # alone, to find out whether somebody listens there
        port = probe.getsockname()[1]
    sock = socket.socket(family, socket.SOCK_STREAM)
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
    sock.bind((host, port))
    return sock


def memory_file(text: str) -> int:
    """A descriptor that children read `text` from."""
    fd = os.memfd_create("sloctl-config", 0)
    os.write(fd, text.encode())
    return fd


def allow_descriptors() -> None:
    """Raises this process's limit of open files, which the planes inherit, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@dataclass
class _Plane:
    """One plane: how to start it, and the process that runs now."""

    name: str
    command: list[str]
    descriptors: Sequence[int]
    status: PlaneStatus
    environment: dict[str, str] = field(default_factory=dict)  # on top of the supervisor's own
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    start_at: float = 0.0
    backoff: float = 0.0
    starts: int = field(default=0)
    killed: bool = False  # by the supervisor, for want of a heartbeat
    reason: str = ""  # of the last end, one of the catalogue's RESTART_REASONS


class Supervisor:
    """Starts the planes and keeps them up until it is told to stop."""

    def __init__(self, runtime: Runtime, texts: str) -> None:
        """Binds the ports and creates the board; `texts` is the accepted SLO and policy files as JSON."""
        daemon = runtime.daemon
        allow_descriptors()
        self._runtime = runtime
        self.data_socket = listen(daemon.serving.host, daemon.serving.port, "serving.port")
        serving = daemon.serving
        self.grpc_socket = reserve(serving.host, serving.rpc_port, "serving.grpcPort") if serving.grpc else None
        self.control_socket = listen(daemon.control.host, daemon.control.port, "control.port")
        self.boards = [Board.create(runtime.topology) for _ in daemon.hosts]
        config, bundle = memory_file(runtime.to_json()), memory_file(texts)
        regions = os.memfd_create("sloctl-regions")  # of shared memory: they outlive the data planes
        data = [("--runtime-fd", config), ("--http-fd", self.data_socket.fileno()), ("--regions-fd", regions)]
        control = [("--runtime-fd", config), ("--http-fd", self.control_socket.fileno()), ("--bundle-fd", bundle)]
        control += [("--board-fd", board.fd) for board in self.boards]
        self._data = [self._data_plane(place, data) for place in range(len(self.boards))]
        self._control = _plane("control", "sloctl.control", control, self.boards[0].control_status)
        self._planes = (*self._data, self._control)
        self._told_ready = False
        self._reload = False

    def _data_plane(self, place: int, flags: list[tuple[str, int]]) -> "_Plane":
        """The data plane on the device of that place; it alone writes its board, and the others look at it."""
        daemon = self._runtime.daemon
        boards = [
            ("--board-fd" if at == place else "--other-board-fd", board.fd) for at, board in enumerate(self.boards)
        ]
        name = "data" if len(self.boards) == 1 else f"data {labels(daemon.hosts)[place]}"
        plane = _plane(name, "sloctl.serving", [*flags, *boards], self.boards[place].data_status)
        plane.command += ["--place", str(place)]
        if self.grpc_socket is not None:
            plane.command += ["--grpc-port", str(self.grpc_socket.getsockname()[1])]
        if seen := visible([daemon.hosts[place], *daemon.pins.values()]):
            plane.environment["CUDA_VISIBLE_DEVICES"] = ",".join(seen)
        return plane

    def run(self) -> int:
        """Runs until SIGTERM or SIGINT; returns the exit status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        while True:
            now = time.monotonic()
            for plane in self._planes:
                self._tend(plane, now)
            self._pass_on_reload()
            self._tell_systemd()
            got = signal.sigtimedwait(_SIGNALS, _POLL)
            number = got.si_signo if got else None
            if number in (signal.SIGTERM, signal.SIGINT):
                return self._stop()
            if number == signal.SIGHUP:
                self._reload = True

    def _pass_on_reload(self) -> None:
        """Once the control plane runs: one that starts has no handler yet and would end by the signal."""
        control = self._control
        if self._reload and control.process is not None and control.status.read().phase is Phase.RUNNING:
            self._send(control, signal.SIGHUP)
            self._reload = False

    def _tend(self, plane: _Plane, now: float) -> None:
        if plane.process is None:
            if now >= plane.start_at:
                self._start(plane, now)
            return
        code = plane.process.poll()
        if code is not None:
            self._ended(plane, code, now)
        elif self._hangs(plane, now):
            log.error("plane does not beat: killing it", plane=plane.name, pid=plane.process.pid)
            plane.killed = True
            plane.process.kill()

    def _start(self, plane: _Plane, now: float) -> None:
        try:
            process = subprocess.Popen(
                plane.command,
                pass_fds=plane.descriptors,
                env={**os.environ, **plane.environment},
                preexec_fn=_child,  # noqa: PLW1509  this process has one thread
                start_new_session=True,  # a terminal's Ctrl-C reaches the supervisor alone, which drains
            )
        except (OSError, subprocess.SubprocessError) as error:  # no memory or no room for a process: it may pass
            _put_off(plane, now)
            log.error("plane cannot be started", plane=plane.name, error=str(error), again_in=plane.backoff)
            return
        if plane.starts:
            plane.status.count_restart(plane.reason)
        plane.starts += 1
        plane.started = now
        plane.process = process
        log.info("plane started", plane=plane.name, pid=plane.process.pid, restarts=plane.starts - 1)

    def _ended(self, plane: _Plane, code: int, now: float) -> None:
        plane.status.enter(Phase.DOWN)
        if now - plane.started >= _STEADY:
            plane.backoff, plane.start_at = 0.0, now
        else:
            _put_off(plane, now)
        plane.process = None
        plane.reason, plane.killed = _reason(code, plane.killed), False
        if plane.reason not in _OWN_WORDS:
            plane.status.last_words(f"{plane.reason}: {_ending(code)}")
        why = plane.status.read().ended
        log.error("plane ended", plane=plane.name, status=_ending(code), why=why, restart_in=plane.backoff)

    def _hangs(self, plane: _Plane, now: float) -> bool:
        reading = plane.status.read()
        if plane.process is None or reading.pid != plane.process.pid:
            return now - plane.started > _START_PATIENCE
        return now - reading.heartbeat > _HEARTBEAT_PATIENCE

    def _stop(self) -> int:
        """Drains the data planes first and together, so that the control plane exports their last counts."""
        self._end(self._data, self._runtime.daemon.serving.drain_timeout + _KILL_AFTER)
        self._end([self._control], _KILL_AFTER)
        log.info("stopped")
        return 0

    def _end(self, planes: Sequence[_Plane], patience: float) -> None:
        for plane in planes:
            self._send(plane, signal.SIGTERM)
        end = time.monotonic() + patience
        for plane in planes:
            self._wait(plane, max(end - time.monotonic(), 0.0))

    def _send(self, plane: _Plane, number: signal.Signals) -> None:
        if plane.process is not None and plane.process.poll() is None:
            plane.process.send_signal(number)

    def _wait(self, plane: _Plane, patience: float) -> None:
        if plane.process is None:
            return
        try:
            plane.process.wait(patience)
        except subprocess.TimeoutExpired:
            log.error("plane did not stop in time: killing it", plane=plane.name, after=round(patience, 1))
            plane.process.kill()
            plane.process.wait()

    def _tell_systemd(self) -> None:
        """Ready: control and one data plane run, and no other is still in its first start.

        A device on which nothing will start does not keep the others from serving, so it does not keep systemd waiting.
        """
        phases = [plane.status.read().phase for plane in self._planes]
        tried = all(
            phase is Phase.RUNNING or plane.starts > 1 for phase, plane in zip(phases, self._planes, strict=True)
        )
        running = tried and phases[-1] is Phase.RUNNING and Phase.RUNNING in phases[:-1]
        address = os.environ.get("NOTIFY_SOCKET", "")
        if running and address and not self._told_ready:
            self._told_ready = True
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.sendto(b"READY=1", "\0" + address[1:] if address[0] == "@" else address)


def _plane(name: str, module: str, flags: Sequence[tuple[str, int]], status: PlaneStatus) -> _Plane:
    words = [word for flag, fd in flags for word in (flag, str(fd))]
    return _Plane(name, [sys.executable, "-m", module, *words], tuple(fd for _, fd in flags), status)


def _put_off(plane: _Plane, now: float) -> None:
    """Waits with the next start, each time twice as long."""
    plane.backoff = min(max(2 * plane.backoff, 0.25), _LONGEST_BACKOFF)
    plane.start_at = now + plane.backoff


def _child() -> None:
    """In the new process: signals as usual, and SIGTERM when the supervisor is gone, however it went."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _reason(code: int, killed: bool) -> str:
    if killed:
        return "no_heartbeat"
    if code < 0:
        return "signal"
    return Ending(code).name.lower() if code in list(Ending) else "exit"


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    known = {number.value: number.name for number in signal.Signals}
    return f"killed by {known.get(-code, f'signal {-code}')}"  # most real-time signals have no name
