"""The control word: what the control plane decides for one model, read by the data plane on every request."""

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from sloctl.board.layout import ControlPlace
from sloctl.board.memory import Memory


class BreakerCommand(IntEnum):
    """What the control plane asks of a model's breaker; it acts by itself while the command is AUTO."""

    AUTO = 0
    TRIP = 1
    HALF_OPEN = 2
    CLOSE = 3
    FORCE_OPEN = 4
    DISABLE = 5
    METRICS_ONLY = 6


class Fault(IntFlag):
    """Engine faults that can be injected for tests and the demo, where the configuration allows it."""

    NONE = 0
    ERROR = 1  # every run fails
    NONFINITE = 2  # outputs are NaN
    SLOW = 4  # every run takes 0.2 s longer
    HANG = 8  # a run does not come back while the fault is set; on a GPU, a kernel keeps it busy
    STICKY = 16  # a run loses the device to its process; on a GPU, a kernel writes to address 0
    NVML = 32  # health probes find NVML without an answer


@dataclass(frozen=True, slots=True)
class ControlWord:
    """One model's control word.

    `variant` is the index of the serving variant; `admit` the admitted share (0..1) of each priority class,
    highest first; `limit` bounds requests in flight (0: the configured one); `breaker` is carried out each
    time `breaker_sequence` grows; `canary` is the weight of each variant beside the serving one (all 0: no
    canary); `stand_ins` is a bit mask of the variants that the data plane may serve by itself while the serving one
    cannot, or its breaker keeps it out; `tiers` is the index of the variant that each class is served with, highest
    first, -1 for the model's; `faults` is a bit mask of injected faults, honoured only where the configuration allows
    them, in the variants of the bit mask `faulty`.
    """

    variant: int = 0
    limit: int = 0
    breaker: BreakerCommand = BreakerCommand.AUTO
    breaker_sequence: int = 0
    faults: Fault = Fault.NONE
    admit: tuple[float, ...] = ()
    canary: tuple[float, ...] = ()
    stand_ins: int = -1  # any
    tiers: tuple[int, ...] = ()
    faulty: int = -1  # all


class ControlCell:
    """A model's control word on the board: one writer (the control plane), any number of readers."""

    def __init__(self, memory: Memory, place: ControlPlace) -> None:
        self._memory = memory
        self._place = place
        self._seen = -1
        self._word = ControlWord()

    def write(self, word: ControlWord) -> None:
        """Puts a whole new word in place."""
        place, ints, floats = self._place, self._memory.ints, self._memory.floats
        if {len(word.admit), len(word.tiers)} != {place.priorities} or len(word.canary) != place.variants:
            raise ValueError("admit and tiers want an entry for each class and canary a weight for each variant")

        def put() -> None:
            start = place.start + 1
            scalars = (
                word.variant,
                word.limit,
                int(word.breaker),
                word.breaker_sequence,
                int(word.faults),
                word.faulty,
                word.stand_ins,
                *word.tiers,
            )
            for offset, value in enumerate(scalars):
                ints[start + offset] = value
            for offset, share in enumerate((*word.admit, *word.canary)):
                floats[start + len(scalars) + offset] = share

        self._memory.write_record(place.start, put)

    def read(self) -> ControlWord:
        """The word as it is now; parsed anew only when it has changed (about 0.1 µs otherwise)."""
        sequence = self._memory.ints[self._place.start]
        if sequence != self._seen:
            self._word = self._memory.read_record(self._place.start, self._parse)
            # Remember an even number only: while one writes, look again next time.
            self._seen = sequence if sequence % 2 == 0 else -1
        return self._word

    def _parse(self) -> ControlWord:
        place, ints, floats = self._place, self._memory.ints, self._memory.floats
        start = place.start + 1
        tiers = start + 7
        shares = tiers + place.priorities
        return ControlWord(
            variant=ints[start],
            limit=ints[start + 1],
            breaker=BreakerCommand(ints[start + 2]),
            breaker_sequence=ints[start + 3],
            faults=Fault(ints[start + 4]),
            faulty=ints[start + 5],
            stand_ins=ints[start + 6],
            tiers=tuple(ints[tiers:shares]),
            admit=tuple(floats[shares : shares + place.priorities]),
            canary=tuple(floats[shares + place.priorities : shares + place.priorities + place.variants]),
        )
