"""Storage and runtime APIs at a block, as bytes for the wire and as the plain values that a client decodes from them.

The plain values have been through the codec, so a reader without a wire sees exactly what a client would.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pretrain.chain.node import answers, pallets
from pretrain.chain.node.codec import Codec
from pretrain.chain.node.description import item
from pretrain.chain.node.past import Past


class NotDescribed(LookupError):
    """The runtime has no such item, method or call; the message says which."""


@dataclass(frozen=True)
class StateView:
    """One block's state, encoded."""

    past: Past
    read: dict[tuple[str, str], pallets.Stored] = field(default_factory=dict)
    """Items that were asked for before: many keys of one item are one look at the chain."""

    @property
    def codec(self) -> Codec:
        """What turns values into bytes."""
        return self.past.codec

    def raw(self, pallet: str, name: str, parameters: Sequence[object]) -> bytes | None:
        """Return a stored value's bytes; None when nothing is stored under the key."""
        value = self._stored(pallet, name).get(tuple(parameters))
        return None if value is None else self.codec.encode_value(pallet, name, value)

    def raw_entries(self, pallet: str, name: str) -> dict[bytes, bytes]:
        """Return every storage key of an item with its value, in the order of keys, as a node lists them."""
        rows = {
            self.codec.key(pallet, name, parameters): self.codec.encode_value(pallet, name, value)
            for parameters, value in self._stored(pallet, name).items()
        }
        return dict(sorted(rows.items()))

    def raw_at(self, key: bytes) -> bytes | None:
        """Return the bytes under a storage key; None when nothing is stored there, whatever it is a key of."""
        name = self.codec.item_of(key)
        if name is None:
            return None
        pallet, described = name
        try:
            parameters = self.codec.parameters(pallet, described, key)
        except ValueError:
            return None
        exact = self.codec.key(pallet, described.name, parameters) == key
        return self.raw(pallet, described.name, parameters) if exact else None

    def keys(self, prefix: bytes) -> list[bytes]:
        """Return every storage key that begins with a prefix, in order."""
        return sorted(
            key
            for start, (pallet, described) in self.codec.items.items()
            if start.startswith(prefix) or prefix.startswith(start)
            for key in self.raw_entries(pallet, described.name)
            if key.startswith(prefix)
        )

    def value(self, pallet: str, name: str, parameters: Sequence[object] = ()) -> object:
        """Return a value as a client decodes it: for a missing one the item's default, or None if it is optional.

        Raises NotDescribed.
        """
        described = item(pallet, name)
        if described is None:
            raise NotDescribed(f"Storage function {pallet}.{name} not found")
        raw = self.raw(pallet, name, parameters)
        if raw is None and described.default is not None:
            raw = self.codec.encode_value(pallet, name, described.default)
        return None if raw is None else self.codec.decode_value(pallet, name, raw)

    def entries(self, pallet: str, name: str, fixed: Sequence[object] = ()) -> list[tuple[object, object]]:
        """Return a map's entries whose key begins with ``fixed``: what is left of the key, and the value.

        One part left is given as it is, more as a tuple. Raises NotDescribed.
        """
        described = item(pallet, name)
        if described is None or not described.keys:
            raise NotDescribed(f"Storage map {pallet}.{name} not found")
        prefix = self.codec.key(pallet, name, fixed)
        found = []
        for key, raw in self.raw_entries(pallet, name).items():
            if key.startswith(prefix):
                free = self.codec.parameters(pallet, described, key)[len(fixed) :]
                value = self.codec.decode_value(pallet, name, raw)
                found.append((free[0] if len(free) == 1 else free, value))
        return found

    def raw_answer(self, api: str, method: str, arguments: Sequence[object]) -> bytes:
        """Return a runtime API's answer in bytes; raises NotDescribed."""
        if (api, method) not in answers.ANSWERS:
            raise NotDescribed(f"Exported method {api}_{method} is not found")
        return self.codec.encode_answer(api, method, answers.answer(self.past, api, method, tuple(arguments)))

    def answer(self, api: str, method: str, arguments: Sequence[object] = ()) -> object:
        """Return a runtime API's answer as a client decodes it; raises NotDescribed."""
        return self.codec.decode_answer(api, method, self.raw_answer(api, method, arguments))

    def _stored(self, pallet: str, name: str) -> pallets.Stored:
        if (pallet, name) not in pallets.SOURCES:
            raise NotDescribed(f"Storage function {pallet}.{name} not found")
        if (pallet, name) not in self.read:
            self.read[pallet, name] = pallets.stored(self.past, pallet, name)
        return self.read[pallet, name]
