"""The contexts of a plan and who gets which: hot ones in slots, and one apart for checks."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from sloctl.engines.base import EngineError
from sloctl.engines.tensorrt_slot import Context, Profile, Shapes, Slot, Tensors

_SLOTS = 2  # of a context: one batch is computed, the next is ready behind it


class Pool:
    """Hot contexts, as many as asked for on each profile as far as the plan gives them, with two slots each."""

    def __init__(self, engine: Any, tensors: Tensors, profiles: Sequence[Profile], rows: int, contexts: int) -> None:
        """Raises EngineError unless every profile has a context."""
        self._engine, self._tensors, self._rows = engine, tensors, rows
        self._contexts: list[Context] = []
        self._slots: list[Slot] = []
        self._free = threading.Condition()
        try:
            for profile in profiles:
                self._add(profile)
            self._fill(profiles, contexts)
            self.checker = self._new_checker()
        except BaseException:
            self.close()
            raise

    def _new_context(self, profile: Profile) -> Context:
        context = Context(self._engine, self._tensors, profile, self.next_number)
        self._contexts.append(context)
        return context

    def _add(self, profile: Profile) -> None:
        context = self._new_context(profile)
        for _ in range(_SLOTS):
            self._slots.append(Slot(context, self._rows))

    def _fill(self, profiles: Sequence[Profile], contexts: int) -> None:
        """The other contexts of each profile, up to the first that the plan does not give."""
        with suppress(EngineError):
            for _ in range(1, contexts):
                for profile in profiles:
                    self._add(profile)

    def _new_checker(self) -> Slot:
        narrowest = min(self._contexts, key=_width)
        rows = max(1, *(shape[0] for shape in narrowest.profile.least))
        try:
            return Slot(self._new_context(narrowest.profile), rows)
        except EngineError:
            return Slot(narrowest, rows)

    @property
    def next_number(self) -> int:
        """The number of the context that would be made next."""
        return len(self._contexts)

    @property
    def size(self) -> int:
        """Batches that can be in hand at once."""
        return len(self._slots)

    @property
    def widest(self) -> Profile:
        """The profile for the largest shapes."""
        return max(self._contexts, key=_width).profile

    def take(self, shapes: Shapes) -> Slot:
        """A free slot on the nearest profile that fits, waited for if need be. Raises EngineError if none fits."""
        fitting = [slot for slot in self._slots if slot.context.profile.fits(shapes)]
        if not fitting:
            asked = ", ".join(str(list(shape)) for shape in shapes)
            raise EngineError(f"inputs of shape {asked} fit no optimisation profile: {self._ranges()}")
        with self._free:
            while not (free := [slot for slot in fitting if not slot.busy]):
                self._free.wait()
            taken = min(free, key=lambda slot: (slot.context.profile.distance(shapes), slot.context.busy))
            taken.busy = True
            taken.context.busy += 1
        return taken

    def give_back(self, slot: Slot) -> None:
        """The slot is free for the next batch."""
        with self._free:
            slot.busy = False
            slot.context.busy -= 1
            self._free.notify_all()

    def _ranges(self) -> str:
        profiles = {context.profile.index: context.profile for context in self._contexts}.values()
        return "; ".join(
            ", ".join(f"{list(low)} to {list(high)}" for low, high in zip(p.least, p.most, strict=True))
            for p in profiles
        )

    def close(self) -> None:
        """Frees everything; after a sticky CUDA error nothing can be freed, and that is let go."""
        checker = getattr(self, "checker", None)
        for part in (*self._slots, *([checker] if checker else []), *self._contexts):
            with suppress(EngineError):
                part.close()
        self._slots, self._contexts = [], []


def _width(context: Context) -> int:
    return context.profile.width
