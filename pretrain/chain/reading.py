"""What is read from a node, and how: always at the hash of one block, so that no two reads can be at two heads.

One snapshot is six reads: the finalised head, the hash of S, the metagraph, the commitments, the weights, and the
hashes of the commits' blocks.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pretrain.chain import Head, Snapshot, Standing, decoded, view
from pretrain.chain.calls import CommitmentField
from pretrain.chain.connection import Mismatch
from pretrain.chain.decoded import Malformed
from pretrain.chain.genesis import RAO
from pretrain.chain.state import Slot
from pretrain.types import Block, Hotkey

MECHANISM_STRIDE = 4096
"""A mechanism's weights are stored under mechanism x this + netuid (the runtime's ``GlobalMaxSubnetCount``)."""


class Backend(Protocol):
    """The part of the SDK's ``Substrate`` that is read through, and one read more: many hashes at once."""

    async def block_hash(self, block: int | None = None) -> str:
        """Return the hash of a block, of the newest one without a number."""

    async def block_hashes(self, blocks: Sequence[int]) -> Sequence[object]:
        """Return the hashes of many blocks in one read."""

    async def block_number(self) -> int:
        """Return the newest block."""

    async def finalized_block_number(self) -> int:
        """Return the newest block that can no longer change."""

    async def query(
        self, module: str, storage_function: str, params: list[object] | None = None, block_hash: str | None = None
    ) -> object:
        """Return one stored value, decoded."""

    async def query_map(
        self, module: str, storage_function: str, params: list[object] | None = None, block_hash: str | None = None
    ) -> object:
        """Return all keys and values of a map, decoded."""

    async def runtime_call(self, api: str, method: str, params: list[object], block_hash: str | None = None) -> object:
        """Return what a runtime API answers, decoded."""


@dataclass(frozen=True)
class Subnet:
    """Which subnet, and which of its mechanisms."""

    netuid: int
    mechanism: int = 0

    @property
    def index(self) -> int:
        """The key of its weights."""
        return self.mechanism * MECHANISM_STRIDE + self.netuid


async def head(backend: Backend) -> Head:
    """Return the newest and the finalised block; they are two reads, so a block may have come between them."""
    newest = decoded.whole(await backend.block_number(), "newest block")
    final = await finalized(backend)
    return Head(Block(max(newest, final)), final)


async def finalized(backend: Backend) -> Block:
    """Return the newest block that can no longer change."""
    return Block(decoded.whole(await backend.finalized_block_number(), "finalised block"))


async def snapshot(backend: Backend, subnet: Subnet, block: Block) -> Snapshot:
    """Return the state at a finalised block."""
    at = await backend.block_hash(block)
    neurons, committed, rows = await asyncio.gather(
        _metagraph(backend, subnet, at),
        backend.query_map("Commitments", "CommitmentOf", [subnet.netuid], block_hash=at),
        backend.query_map("SubtensorModule", "Weights", [subnet.index], block_hash=at),
    )
    slots = decoded.slots(neurons, decoded.weight_rows(rows))
    entries = view.entries(slots, decoded.commitments(committed))
    if any(entry.block > block for entry in entries):
        raise Malformed(f"a commitment of a later block than {block}, at which it was read")
    ties = await _tie_hashes(backend, sorted({entry.block for entry in entries}))
    return view.assemble(block, decoded.hash_bytes(at, "block hash"), slots, entries, ties)


async def neurons(backend: Backend, subnet: Subnet, block: Block | None = None) -> tuple[Slot, ...]:
    """Return the subnet's neurons at a block or the newest one, without their weights."""
    return decoded.slots(await _metagraph(backend, subnet, await backend.block_hash(block)), {})


async def committed(
    backend: Backend, subnet: Subnet, hotkey: Hotkey, block: Block | None = None
) -> tuple[Block, tuple[CommitmentField, ...]] | None:
    """Return a hotkey's commitment with its block, at a block or the newest one; None when it has none."""
    at = await backend.block_hash(block)
    return decoded.commitment(await backend.query("Commitments", "CommitmentOf", [subnet.netuid, hotkey], at))


async def standing(
    backend: Backend, subnet: Subnet, hotkey: Hotkey, endpoint: str, heir: str | None = None
) -> Standing:
    """Return how a hotkey stands at the newest block; ``heir`` is the coldkey that is to own it if nobody does."""
    where, at = await head(backend), await backend.block_hash()
    graph, coldkey, burn, limit, commit_reveal, version_key, now = await asyncio.gather(
        _metagraph(backend, subnet, at),
        backend.query("SubtensorModule", "Owner", [hotkey], at),
        backend.query("SubtensorModule", "Burn", [subnet.netuid], at),
        backend.query("SubtensorModule", "WeightsSetRateLimit", [subnet.netuid], at),
        backend.query("SubtensorModule", "CommitRevealWeightsEnabled", [subnet.netuid], at),
        backend.query("SubtensorModule", "WeightsVersionKey", [subnet.netuid], at),
        backend.query("Timestamp", "Now", None, at),
    )
    slots = decoded.slots(graph, {})
    slot = next((slot for slot in slots if slot.hotkey == hotkey), None)
    owner = coldkey if slot is not None and isinstance(coldkey, str) else heir
    return Standing(
        head=where,
        head_time=decoded.whole(now, "time") / 1000,
        endpoint=endpoint,
        neuron=None if slot is None else view.neuron(slot),
        coldkey=owner,
        balance=await _free(backend, owner, at) / RAO,
        registration_cost=decoded.whole(burn, "burn") / RAO,
        weights_rate_limit=decoded.whole(limit, "weights rate limit"),
        commit_reveal=bool(commit_reveal),
        version_key=decoded.whole(version_key, "weights version key"),
    )


async def weight_limit(backend: Backend, subnet: Subnet) -> int:
    """Return the largest share that one entry of a row may have, / 65535."""
    return decoded.whole(await backend.query("SubtensorModule", "MaxWeightsLimit", [subnet.netuid]), "weight limit")


async def blocks_to_epoch(backend: Backend, subnet: Subnet) -> int:
    """Return how many blocks from the newest one the subnet's next epoch starts; 0 when it has none."""
    where = await backend.block_number()
    start = await backend.runtime_call("SubnetInfoRuntimeApi", "get_next_epoch_start_block", [subnet.netuid])
    return 0 if start is None else max(0, decoded.whole(start, "next epoch") - where)


async def _metagraph(backend: Backend, subnet: Subnet, at: str) -> object:
    """Return the decoded metagraph; raises Mismatch when the node knows of no such subnet."""
    method, params = "get_metagraph", [subnet.netuid]
    if subnet.mechanism:
        method, params = "get_mechagraph", [subnet.netuid, subnet.mechanism]
    graph = await backend.runtime_call("SubnetInfoRuntimeApi", method, [*params], at)
    if graph is None:
        raise Mismatch(f"--netuid {subnet.netuid}: this network has no such subnet; `btcli subnets list` shows all")
    return graph


async def _free(backend: Backend, coldkey: str | None, at: str) -> int:
    account = await backend.query("System", "Account", [coldkey], at) if coldkey else None
    data = account.get("data") if isinstance(account, dict) else None
    return decoded.whole(data.get("free", 0), "balance") if isinstance(data, dict) else 0


async def _tie_hashes(backend: Backend, blocks: Sequence[Block]) -> dict[Block, bytes]:
    """Return each block's hash; asked anew each time, so that no wrong one stays."""
    found = await backend.block_hashes(blocks) if blocks else []
    if len(found) != len(blocks):
        raise Malformed(f"{len(found)} hashes for {len(blocks)} blocks")
    return {
        block: decoded.hash_bytes(value, f"hash of block {block}") for block, value in zip(blocks, found, strict=True)
    }
