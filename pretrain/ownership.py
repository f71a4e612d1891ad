"""Whose weights they are: the earliest commitment of a weights digest owns it (protocol.md section 3). Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from pretrain.commitment import Entry
from pretrain.types import Block, Digest


def precedence(entry: Entry, tie_hashes: Mapping[Block, bytes]) -> tuple[int, bytes, bytes]:
    """Return the order of commitments: block, then the smaller sha256(hash of that block + ASCII hotkey).

    ``tie_hashes`` needs the hashes only of blocks that hold two of the compared ones.
    """
    hotkey = entry.hotkey.encode("ascii")
    return (entry.block, hashlib.sha256(tie_hashes.get(entry.block, b"") + hotkey).digest(), hotkey)


@dataclass(frozen=True)
class Owner:
    """Whose weights they are."""

    entry: Entry
    """The commitment that may be judged with them."""
    since: Entry
    """The earliest commitment of theirs: an owner that moves to another competition keeps this place against others."""


@dataclass(frozen=True)
class Claim:
    """What becomes of an entry whose weights are now known."""

    owners: Mapping[Digest, Owner]
    """Ownership after the claim."""
    duplicate_of: Entry | None = None
    """The commitment that owns these weights, when it is another: the entry is a duplicate."""
    displaced: Entry | None = None
    """A commitment that owned them until now and is the later one: it has become a duplicate."""


def claim(owners: Mapping[Digest, Owner], weights: Digest, entry: Entry, tie_hashes: Mapping[Block, bytes]) -> Claim:
    """Settle who owns a weights digest after ``entry`` was found to hold it.

    An owner may move to another competition: its commitment has the new block there, and nobody who copied it between
    the two can come before it.
    """
    owner = owners.get(weights)
    if owner is None:
        return Claim({**owners, weights: Owner(entry, since=entry)})
    if owner.entry == entry:
        return Claim(owners)
    if owner.entry.hotkey == entry.hotkey and owner.entry.competition != entry.competition:
        return Claim({**owners, weights: Owner(entry, since=owner.since)})
    if precedence(entry, tie_hashes) < precedence(owner.since, tie_hashes):
        return Claim({**owners, weights: Owner(entry, since=entry)}, displaced=owner.entry)
    return Claim(owners, duplicate_of=owner.entry)
