"""Turning shares into the u16 row that a chain stores, and a stored row into shares."""

import math
from collections.abc import Mapping, Sequence

from pretrain.chain.calls import U16_MAX
from pretrain.chain.state import Slot
from pretrain.errors import Refused
from pretrain.types import Hotkey


def quantise(shares: Mapping[Hotkey, float], slots: Sequence[Slot]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return parallel uids and u16 values, ordered by uid, for relative shares by hotkey.

    As the ecosystem's client does it: the largest becomes 65535, the others are rounded to it (halves to even), what
    rounds to 0 is left out. Hotkeys without a slot are dropped first. Raises Refused for a share that is negative or
    not finite.
    """
    wrong = {hotkey: share for hotkey, share in shares.items() if not math.isfinite(share) or share < 0}
    if wrong:
        hotkey, share = min(wrong.items())
        raise Refused(f"a weight of {share} for {hotkey}: expected a finite number, 0 or more", code="InvalidWeight")
    known = [(slot.uid, shares[slot.hotkey]) for slot in slots if slot.hotkey in shares]
    top = max((share for _, share in known), default=0.0)
    if top == 0:
        return (), ()
    values = [(uid, round(share / top * U16_MAX)) for uid, share in known]
    kept = [(int(uid), value) for uid, value in values if value]
    return tuple(uid for uid, _ in kept), tuple(value for _, value in kept)


def rows(slots: Sequence[Slot]) -> dict[Hotkey, dict[Hotkey, float]]:
    """Return each neuron's own row as shares by hotkey, summing to 1.

    A weight counts for the hotkey it was meant for, as in an epoch: one set no later than its target's registration is
    left out. So is a row that the present hotkey has not set itself but found in its slot, though Yuma still counts
    that one. Rows with nothing left are no rows.
    """
    return {slot.hotkey: row for slot in slots if (row := _row(slot, slots))}


def _row(slot: Slot, slots: Sequence[Slot]) -> dict[Hotkey, float]:
    block = slot.weights_block
    if block is None or block <= slot.registered:
        return {}
    values = {
        slots[uid].hotkey: value
        for uid, value in sorted(slot.weights)
        if value and uid < len(slots) and slots[uid].registered < block
    }
    total = sum(values.values())
    return {hotkey: value / total for hotkey, value in values.items()}
