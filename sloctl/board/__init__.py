"""The board: memory that the two planes share, and the only way between them.

The data plane writes counters, histograms, layer times and health; the control plane writes one control word
a model, which the data plane reads on every request. The supervisor makes the memory and hands its file
descriptor down, so counters outlive a crash of either plane.
"""

from sloctl.board.board import Board, Counter, Gauge, Histogram
from sloctl.board.boards import Boards
from sloctl.board.control_word import BreakerCommand, ControlWord, Fault
from sloctl.board.health import HealthCell, LevelState
from sloctl.board.layers import OTHER, LayerReading, LayerSample, LayerTable
from sloctl.board.snapshot import Snapshot
from sloctl.board.status import Ending, Phase, PlaneStatus
from sloctl.board.topology import ModelTopology, Topology

__all__ = [
    "OTHER",
    "Board",
    "Boards",
    "BreakerCommand",
    "ControlWord",
    "Counter",
    "Ending",
    "Fault",
    "Gauge",
    "HealthCell",
    "Histogram",
    "LayerReading",
    "LayerSample",
    "LayerTable",
    "LevelState",
    "ModelTopology",
    "Phase",
    "PlaneStatus",
    "Snapshot",
    "Topology",
]
