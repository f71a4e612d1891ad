"""One chain's runtime, ready to encode and decode: the compiled core over the metadata that we have written."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property

import bittensor_core

from pretrain.chain.genesis import Genesis
from pretrain.chain.node import metadata
from pretrain.chain.node.description import SS58_FORMAT, describe
from pretrain.chain.node.metadata import Description, Item

TRANSACTION_VERSION = 1
_PREFIX_BYTES = 32
"""Of a storage key: two hashes, of the pallet's name and of the item's."""


class Codec:
    """Metadata, and plain values to bytes and back."""

    def __init__(self, genesis: Genesis) -> None:
        self.description: Description = describe(genesis)
        unfinished = metadata.write(self.description, None)
        learnt = bittensor_core.Runtime(unfinished, 0, TRANSACTION_VERSION, SS58_FORMAT)
        self.metadata: bytes = metadata.write(self.description, lambda type_, value: bytes(learnt.encode(type_, value)))
        self._runtime = bittensor_core.Runtime(self.metadata, self.spec_version, TRANSACTION_VERSION, SS58_FORMAT)

    @cached_property
    def spec_version(self) -> int:
        """The runtime's version: clients keep metadata by it, so another description has to be another version."""
        return int.from_bytes(hashlib.sha256(self.metadata).digest()[:3], "big")

    @cached_property
    def items(self) -> Mapping[bytes, tuple[str, Item]]:
        """Every storage item with its pallet, by the prefix of its keys."""
        return {
            self.key(pallet.name, item.name, ()): (pallet.name, item)
            for pallet in self.description.pallets
            for item in pallet.items
        }

    def item_of(self, key: bytes) -> tuple[str, Item] | None:
        """Return the item that a storage key is of, with its pallet."""
        return self.items.get(key[:_PREFIX_BYTES])

    def key(self, pallet: str, item: str, parameters: Sequence[object]) -> bytes:
        """Return the storage key of an item, or its prefix when parameters are left out."""
        return bytes(self._runtime.storage_key(pallet, item, list(parameters)))

    def parameters(self, pallet: str, item: Item, key: bytes) -> tuple[object, ...]:
        """Return the parameters that a whole storage key was made of; raises ValueError when it is none."""
        return tuple(self._runtime.decode_storage_key_params(pallet, item.name, key, 0)) if item.keys else ()

    def encode_value(self, pallet: str, item: str, value: object) -> bytes:
        """Return a storage value's bytes."""
        return bytes(self._runtime.encode(self._runtime.storage_entry(pallet, item).value_type, value))

    def decode_value(self, pallet: str, item: str, data: bytes) -> object:
        """Return a storage value."""
        return self._runtime.decode(self._runtime.storage_entry(pallet, item).value_type, data, True)  # noqa: FBT003

    def arguments(self, api: str, method: str, data: bytes) -> tuple[object, ...]:
        """Return the arguments of a call of a runtime API; raises ValueError when the bytes are not those."""
        described = self._runtime.runtime_api_map().get(api, {}).get(method)
        if described is None:
            return ()
        inputs = [type_ for _, type_ in described["inputs"]]
        values = []
        for type_ in inputs:
            value = self._runtime.decode(type_, data, False)  # noqa: FBT003 - what is left is the next argument
            data = data[len(self._runtime.encode(type_, value)) :]
            values.append(value)
        return tuple(values)

    def encode_answer(self, api: str, method: str, value: object) -> bytes:
        """Return the bytes of what a runtime API answers."""
        return self._encode(self._runtime.runtime_api_map()[api][method]["output"], value)

    def decode_answer(self, api: str, method: str, data: bytes) -> object:
        """Return what a runtime API has answered."""
        return self._runtime.decode(self._runtime.runtime_api_map()[api][method]["output"], data, True)  # noqa: FBT003

    def call(self, data: bytes) -> dict[str, object]:
        """Return a call's module, function and arguments; raises ValueError when the bytes are none.

        Bytes that are text are shown as text, so text that looks like hex would be taken for other bytes: such a call
        is refused, and so is one with bytes left over.
        """
        decoded = dict(self._runtime.decode_call(data))
        arguments = {argument["name"]: argument["value"] for argument in decoded["call_args"]}
        if self.compose(decoded["call_module"], decoded["call_function"], arguments) != data:
            raise ValueError("the call has another form than the one it is written in")
        return decoded

    def compose(self, module: str, function: str, arguments: dict[str, object]) -> bytes:
        """Return a call's bytes."""
        return bytes(self._runtime.compose_call(module, function, arguments))

    def _encode(self, type_: str, value: object) -> bytes:
        return b"\x00" if value is None else bytes(self._runtime.encode(type_, value))
