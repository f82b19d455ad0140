"""What the control plane sees while the GPU's driver does not answer."""

import threading

import pytest

from sloctl.board import Board, Boards, ModelTopology, Topology
from sloctl.control.sensing import Senses
from sloctl_exporters.nvml import NvmlSource
from sloctl_exporters.nvml_ticker import Ticker

TOPOLOGY = Topology(models=(ModelTopology("m", ("a",)),), priorities=("high",), bounds=(1.0,), exported=(1.0,))


@pytest.fixture
def hanging():
    """A source whose first reading comes back at the end of the test."""
    end = threading.Event()
    source = NvmlSource(visible="")
    source.read = lambda: end.wait(60) and []
    yield source
    end.set()


def test_a_driver_that_hangs_holds_up_no_tick_and_the_hosts_memory_is_not_taken_for_the_gpus(hanging):
    ticker = Ticker(hanging, 1.0, devices=("cuda:0",))
    senses = Senses(Boards([Board.create(TOPOLOGY)]), ("cuda:0",), ticker)
    ticker.start()
    looking = threading.Thread(target=senses.look, args=(100.0,), daemon=True)
    looking.start()
    looking.join(20)
    assert not looking.is_alive()
    assert (senses.gpus, senses.gpu, senses.memories) == ({}, None, {})


def test_of_a_cpu_the_memory_is_the_hosts():
    senses = Senses(Boards([Board.create(TOPOLOGY)]), ("cpu",), Ticker(NvmlSource(visible=""), 1.0))
    senses.look(100.0)
    used, total = senses.memories["cpu"]
    assert 0 < used < total
