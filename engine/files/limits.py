"""What reading one file may cost, so that a hostile file ends in a sentence: 2 s and 1 GB at the very most.

Limits count work, not time: the same file gives the same answer on a slow machine. Real checkpoints stay far below: a
tensor takes some 25 pickle opcodes.
"""

from __future__ import annotations

from engine.errors import LoadError

MAX_OPCODES = 1_200_000
"""Pickle opcodes, and elements looked at while reading them, over all pickles of one file (about 1 µs each)."""
MAX_TEXT_BYTES = 64 * 2**20
MAX_INFLATED_BYTES = 96 * 2**20
"""Bytes taken out of compressed zip entries; torch itself stores tensors and pickles uncompressed."""
MAX_JSON_BYTES = 10 * 2**20
"""Of one header or index: some 90,000 tensors."""
JSON_BYTES_PER_STEP = 20
MAX_DIRECTORY_BYTES = 24 * 2**20
MAX_ENTRIES = 150_000
MAX_TENSORS = 150_000
MAX_NESTED = 4
"""Pickles in pickles, archives in archives."""
MAX_DEPTH = 100
MAX_OPEN_MARKS = 20_000
"""Unfinished containers of a pickle. Python's own pickler ends at some thousands; a million take seconds to collect."""
MAX_NAME = 1_000
MAX_DIMENSIONS = 64
MAX_RECORDS = 1_000
"""Distinct imports and distinct calls that are listed."""
MAX_COUNT = 2**63 - 1


class Budget:
    """What is left of the limits for one file and everything nested in it."""

    __slots__ = ("in_index", "inflated", "text", "work")

    def __init__(self) -> None:
        self.work = MAX_OPCODES
        self.text = MAX_TEXT_BYTES
        self.inflated = MAX_INFLATED_BYTES
        self.in_index = False
        """Whether the shards of an index are being read: they cannot be an index themselves."""

    def spend_work(self, amount: int) -> None:
        """Raises LoadError when more than ``MAX_OPCODES`` steps were taken."""
        self.work -= amount
        if self.work < 0:
            raise too_much(f"it takes more than {MAX_OPCODES:,} steps to read")

    def spend_json(self, size: int) -> None:
        """Raises LoadError when the JSON of all shards together is too much: about as many steps as pickles."""
        self.spend_work(size // JSON_BYTES_PER_STEP)

    def spend_text(self, amount: int) -> None:
        """Raises LoadError when more than ``MAX_TEXT_BYTES`` of text were read."""
        self.text -= amount
        if self.text < 0:
            raise too_much(f"its pickles hold more than {MAX_TEXT_BYTES >> 20} MiB of text")

    def spend_inflated(self, amount: int) -> None:
        """Raises LoadError when compressed entries unpack to more than ``MAX_INFLATED_BYTES``."""
        self.inflated -= amount
        if self.inflated < 0:
            raise too_much(f"its compressed parts unpack to more than {MAX_INFLATED_BYTES >> 20} MiB")

    def check(self) -> None:
        """Raises LoadError when a limit was passed and its error was caught on the way."""
        self.spend_work(0)
        self.spend_text(0)
        self.spend_inflated(0)


def too_much(what: str) -> LoadError:
    """The refusal of a file that would cost too much to read."""
    return LoadError(
        f"The file is refused: {what}.",
        hint="No usual model file does that. If it is yours, save its state_dict() as safetensors.",
    )
