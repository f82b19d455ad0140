"""The shared words themselves, and text and sequence-locked records in them."""

import mmap
import os
from collections.abc import Callable
from typing import TypeVar

from sloctl.board.layout import WORD

_T = TypeVar("_T")
_MOST_TRIES = 1000


class Memory:
    """`words` of shared memory, seen as integers and as doubles.

    A store of one word is atomic; a record of several words has one writer and a sequence number that is odd
    while it is being written, so a reader takes it again instead of seeing half of it.
    """

    def __init__(self, fd: int, words: int) -> None:
        self._map = mmap.mmap(fd, words * WORD)
        self.raw = memoryview(self._map)
        self.ints = self.raw.cast("q")
        self.floats = self.raw.cast("d")

    @staticmethod
    def create(words: int) -> int:
        """A file descriptor of zeroed memory without a name, which children can inherit."""
        fd = os.memfd_create("sloctl-board", 0)
        os.ftruncate(fd, words * WORD)
        return fd

    def close(self) -> None:
        """Lets go of the mapping; what others have mapped stays."""
        for view in (self.ints, self.floats, self.raw):
            view.release()
        self._map.close()

    def copy(self) -> bytes:
        """All words at this moment."""
        return bytes(self.raw)

    def write_text(self, start: int, words: int, text: str) -> None:
        """Writes UTF-8 cut to fit, padded with zeros."""
        data = text.encode()[: words * WORD]
        data = data.decode(errors="ignore").encode()  # never half a character
        self.raw[start * WORD : (start + words) * WORD] = data.ljust(words * WORD, b"\0")

    def read_text(self, start: int, words: int) -> str:
        """Reads what `write_text` wrote."""
        return text_of(bytes(self.raw[start * WORD : (start + words) * WORD]))

    def write_record(self, sequence: int, write: Callable[[], None]) -> None:
        """Runs `write` between two steps of the sequence number at word `sequence`."""
        # A writer that was killed halfway left an odd number: start from the next even one.
        begin = self.ints[sequence] | 1
        self.ints[sequence] = begin
        try:
            write()
        finally:
            self.ints[sequence] = begin + 1

    def read_record(self, sequence: int, read: Callable[[], _T]) -> _T:
        """Runs `read` until no write came between; after many tries takes what is there (its writer died)."""
        for _ in range(_MOST_TRIES):
            before = self.ints[sequence]
            value = read()
            if before % 2 == 0 and self.ints[sequence] == before:
                return value
        return read()


def text_of(data: bytes) -> str:
    """The text in a padded run of bytes."""
    return data.rstrip(b"\0").decode(errors="replace")
