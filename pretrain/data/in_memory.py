"""A source whose texts are at hand."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pretrain.data import RowGroup
from pretrain.errors import DataUnavailable
from pretrain.types import Digest

ROWS_A_GROUP = 32
"""Documents of a row group, but for the last one."""


@dataclass(frozen=True)
class InMemory:
    """Texts in a fixed order, ``ROWS_A_GROUP`` to a group."""

    name: str
    """What the groups are named after. The plan hashes it, so it must not depend on where the texts lie."""
    texts: tuple[str, ...]

    @cached_property
    def groups(self) -> tuple[RowGroup, ...]:
        """The index: groups ``name/000000``, ``name/000001``, ..."""
        return tuple(
            RowGroup(f"{self.name}/{number:06d}", min(ROWS_A_GROUP, len(self.texts) - number * ROWS_A_GROUP))
            for number in range(-(-len(self.texts) // ROWS_A_GROUP))
        )

    @cached_property
    def digest(self) -> Digest:
        """Lower-case hex of a sha256 over every group, and every text behind its length in bytes, in order."""
        sha256 = hashlib.sha256()
        for number, group in enumerate(self.groups):
            sha256.update(f"{group.name}\0{group.rows}\n".encode())
            for text in self._rows(number):
                content = text.encode()
                sha256.update(b"%d\n" % len(content) + content)
        return Digest(sha256.hexdigest())

    async def rows(self, group: RowGroup) -> Sequence[str]:
        """Return the texts of a group; raises DataUnavailable for a group of another index."""
        number = self._numbers.get(group)
        if number is None:
            raise DataUnavailable(f"source {self.name} has no group {group.name} of {group.rows} rows; open it again")
        return self._rows(number)

    @cached_property
    def _numbers(self) -> dict[RowGroup, int]:
        return {group: number for number, group in enumerate(self.groups)}

    def _rows(self, number: int) -> tuple[str, ...]:
        return self.texts[number * ROWS_A_GROUP : (number + 1) * ROWS_A_GROUP]
