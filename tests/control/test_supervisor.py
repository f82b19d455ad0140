"""The supervisor when the machine is in trouble: nothing that happens to a plane may end it."""

import signal
import sys

import pytest

from sloctl.board import Board, ModelTopology, Phase, Topology
from sloctl.control import supervisor
from sloctl.control.supervisor import Supervisor, _Plane

TOPOLOGY = Topology(models=(ModelTopology("m", ("a",)),), priorities=("high",), bounds=(1.0,), exported=(1.0,))


@pytest.fixture
def plane():
    return _Plane("data", [sys.executable, "-c", "input()"], (), Board.create(TOPOLOGY).data_status)


@pytest.fixture
def tend():
    """One look of a supervisor at a plane; a whole one would bind ports."""
    return object.__new__(Supervisor)._tend


def test_a_process_that_cannot_be_made_is_tried_again_ever_more_rarely(plane, tend, monkeypatch):
    def full(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(supervisor.subprocess, "Popen", full)
        waits, now = [], 100.0
        for _ in range(10):
            tend(plane, now)
            waits.append(plane.start_at - now)
            now = plane.start_at
    assert waits == sorted(waits)
    assert waits[0] < waits[-1] == waits[-2]
    assert (plane.process, plane.starts) == (None, 0)
    tend(plane, now)
    assert plane.starts == 1
    plane.process.kill()
    plane.process.wait()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGRTMIN + 6])
def test_a_plane_that_any_signal_ends_is_started_anew(plane, tend, number):
    tend(plane, 100.0)
    plane.process.send_signal(number)
    plane.process.wait()
    tend(plane, 101.0)
    assert str(int(number)) in plane.status.read().ended or number.name in plane.status.read().ended
    tend(plane, plane.start_at)
    assert plane.starts == 2
    plane.process.kill()
    plane.process.wait()


def test_a_reload_asked_for_while_the_control_plane_is_down_reaches_it_once_it_runs(plane, tend):
    watching = object.__new__(Supervisor)
    watching._control, watching._reload = plane, True
    watching._pass_on_reload()
    tend(plane, 100.0)
    watching._pass_on_reload()
    assert (watching._reload, plane.process.poll()) == (True, None), "it starts, and has no handler yet"
    plane.status.enter(Phase.RUNNING)
    watching._pass_on_reload()
    assert (watching._reload, plane.process.wait()) == (False, -signal.SIGHUP)
