"""Which rows a step reads: a pure function of (seed, task, index), made before anything is fetched."""

import hashlib
from collections.abc import Iterator, Sequence

from pretrain.data import RowGroup
from pretrain.types import TaskName


def plan(
    groups: Sequence[RowGroup], seed: int, task: TaskName, *, rows_a_visit: int
) -> Iterator[tuple[RowGroup, tuple[int, ...]]]:
    """Yield (group, rows to take from it), until every row of every group was named exactly once.

    Groups stand in the order of ``sha256(seed, task, group name)`` and the rows of a group in the order of
    ``sha256(seed, task, group name, row)``; each pass over the groups takes the next ``rows_a_visit`` rows of each.
    Sorting by a hash is the whole shuffle: no random number library is involved, whose streams may change from one
    version to the next and split the validators, and neither the order of the index nor how far another validator has
    read makes a difference. Another seed or task gives an independent order; a longer plan only adds to a shorter one.

    Few rows a visit spread a step over many files, so that no step judges one site or one author; many rows make fewer
    reads of a remote dataset.

    ``seed`` is an unsigned number of at most 256 bits, and names are unique among ``groups``. Costs one hash a group
    at once and one a row of each group that is reached.
    """
    prefix = hashlib.sha256(seed.to_bytes(32, "big") + task.encode() + b"\0")
    ordered = sorted((group for group in groups if group.rows), key=lambda group: _key(prefix, group.name))
    orders: dict[str, tuple[int, ...]] = {}
    first = 0
    while remaining := [group for group in ordered if group.rows > first]:
        for group in remaining:
            if group.name not in orders:
                orders[group.name] = _row_order(prefix, group)
            yield group, orders[group.name][first : first + rows_a_visit]
        first += rows_a_visit


def _row_order(prefix: "hashlib._Hash", group: RowGroup) -> tuple[int, ...]:
    named = prefix.copy()
    named.update(group.name.encode() + b"\0")
    return tuple(sorted(range(group.rows), key=lambda row: _key(named, str(row))))


def _key(prefix: "hashlib._Hash", text: str) -> bytes:
    sha256 = prefix.copy()
    sha256.update(text.encode())
    return sha256.digest()
