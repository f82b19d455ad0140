"""The boards of all devices as the control plane holds them: read as one, steered as one."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from sloctl.board.board import Board
from sloctl.board.control_word import ControlCell, ControlWord
from sloctl.board.merge import Merger
from sloctl.board.snapshot import Snapshot
from sloctl.board.status import Phase, PlaneStatus
from sloctl.board.topology import Topology

PATIENCE = 1.0  # the data plane beats every 0.1 s; ten missed beats are no hiccup


class ControlCells:
    """A model's control word on every board; its one writer fans out."""

    def __init__(self, cells: Sequence[ControlCell]) -> None:
        self._cells = cells

    def read(self) -> ControlWord:
        """The word, which is the same on all."""
        return self._cells[0].read()

    def write(self, word: ControlWord) -> None:
        """Puts a new word in place everywhere."""
        for cell in self._cells:
            cell.write(word)


class Boards:
    """One board for each data plane; the control plane's status and the identity are those of the first."""

    def __init__(self, boards: Sequence[Board], clock: Callable[[], float] = time.monotonic) -> None:
        self._boards = tuple(boards)
        self._first = self._boards[0]
        self._clock = clock
        self._merger = Merger(self._first.layout)

    def __iter__(self) -> Iterator[Board]:
        """The boards, in the order of the devices."""
        return iter(self._boards)

    @property
    def topology(self) -> Topology:
        """What they are all laid out for."""
        return self._first.topology

    @property
    def identity(self) -> int:
        """A random number that tells these boards from those before a restart of the whole daemon."""
        return self._first.identity

    @property
    def control_status(self) -> PlaneStatus:
        """Status of the control plane."""
        return self._first.control_status

    def control(self, model: str) -> ControlCells:
        """A model's control word."""
        return ControlCells([board.control(model) for board in self._boards])

    def agree(self) -> None:
        """Writes the first board's control words to all: a writer may have been killed on its way through them."""
        for model in self.topology.models:
            cells = self.control(model.name)
            cells.write(cells.read())

    def restarts(self, plane: str) -> Mapping[str, int]:
        """How often the supervisor has started a plane ('data', on all devices, or 'control') anew, by reason."""
        statuses = [self.control_status] if plane == "control" else [board.data_status for board in self._boards]
        each = [status.read().restarts for status in statuses]
        return {reason: sum(counts[reason] for counts in each) for reason in each[0]}

    def snapshot(self) -> Snapshot:
        """A copy of everything as one; gauges of the devices that run, or of all while none does."""
        copies = [board.memory.copy() for board in self._boards]
        live = [copy for copy, runs in zip(copies, map(self.runs, self._boards), strict=True) if runs]
        return self._merger.snapshot(copies, live or copies)

    def runs(self, board: Board) -> bool:
        """Whether the data plane of a board runs and beats."""
        status = board.data_status.read()
        return status.phase is Phase.RUNNING and status.alive(self._clock(), PATIENCE)
