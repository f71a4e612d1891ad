"""An in-memory ``Substrate`` whose state is an embedded chain: the SDK above it is real, and there is no wire below.

Reads give what the SDK would have decoded; a call is composed, signed and assembled by the SDK's own codec, and taken
by the chain as those bytes.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bittensor as bt
from bittensor._transport.codec import RuntimeCodec
from bittensor._transport.contract import CallBytes
from bittensor._transport.extrinsics import create_signed_extrinsic, resolve_outcome
from bittensor._transport.protocols import Keypair
from bittensor._transport.rpc import classify_rpc_error
from bittensor.balance import Balance
from bittensor.result import chain_error_from_substrate_request

from pretrain.chain.blocks import Clock
from pretrain.chain.node.codec import TRANSACTION_VERSION
from pretrain.chain.node.node import open_node
from pretrain.chain.node.rpc import RpcError
from pretrain.types import Block


class EmbeddedSubstrate:
    """What a client of one endpoint talks to; it remembers what it was asked."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.token_symbols: dict[int, str] = {}
        self.sent = 0
        self.reads: Counter[str] = Counter()
        self.composed: list[tuple[str, str, dict[str, Any]]] = []
        self.periods: list[int | None] = []
        self._node = open_node(path, clock)
        codec = self._node.codec
        self._codec = RuntimeCodec(
            codec.metadata, spec_version=codec.spec_version, transaction_version=TRANSACTION_VERSION
        )

    def fall_back(self, blocks: int) -> None:
        """Know of fewer blocks than before."""
        self._node = self._node.set_back(blocks)

    def balance(self, rao: int, netuid: int = 0) -> Balance:
        return Balance(int(rao), netuid, None)

    async def connect(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def block_hash(self, block: int | None = None) -> str:
        self.reads["block_hash"] += 1
        found = self._node.hash_at(self._node.head().block if block is None else block)
        if found is None:
            raise bt.ChainError(f"no block at height {block}")
        return found

    async def genesis_hash(self) -> str:
        return await self.block_hash(0)

    async def block_hashes(self, blocks: Sequence[int]) -> Sequence[object]:
        self.reads["block_hashes"] += 1
        return [self._node.hash_at(block) for block in blocks]

    async def block_number(self) -> int:
        self.reads["block_number"] += 1
        return self._node.head().block

    async def finalized_block_number(self) -> int:
        self.reads["finalized_block_number"] += 1
        return self._node.head().finalized

    async def block_time(self) -> float:
        return self._node.genesis.parameters.block_time

    async def query(
        self, module: str, storage_function: str, params: list[object] | None = None, block_hash: str | None = None
    ) -> object:
        self.reads[storage_function] += 1
        with self._node.state(block_hash) as state:
            return state.value(module, storage_function, params or ())

    async def query_map(
        self, module: str, storage_function: str, params: list[object] | None = None, block_hash: str | None = None
    ) -> list[tuple[object, object]]:
        self.reads[storage_function] += 1
        with self._node.state(block_hash) as state:
            return state.entries(module, storage_function, params or ())

    async def runtime_call(self, api: str, method: str, params: list[object], block_hash: str | None = None) -> object:
        self.reads[method] += 1
        with self._node.state(block_hash) as state:
            return state.answer(api, method, params)

    async def compose(self, call: tuple[str, str, dict[str, Any]]) -> CallBytes:
        self.composed.append(call)
        return self._codec.compose_call(*call)

    async def estimate_fee(self, call: CallBytes, keypair: Keypair) -> Balance:  # noqa: ARG002 - nothing costs a fee
        return Balance.from_rao(0)

    async def submit(
        self,
        call: CallBytes,
        keypair: Keypair,
        *,
        nonce: int | None = None,
        period: int | None = 64,
        wait_for_inclusion: bool = True,
        wait_for_finalization: bool = True,
    ) -> bt.ExtrinsicResult:
        assert wait_for_inclusion
        assert wait_for_finalization
        self.sent += 1
        self.periods.append(period)
        born = self._codec.era_birth({"period": period}, self._node.head().finalized)
        signed = await create_signed_extrinsic(
            self._codec,
            call,
            keypair,
            era={"period": period, "current": born},
            nonce=self._node.next_nonce(keypair.ss58_address) if nonce is None else nonce,
            genesis_hash=str(self._node.hash_at(0)),
            era_block_hash=str(self._node.hash_at(born)),
        )
        try:
            taken = self._node.submit(signed.data)
        except RpcError as refused:
            error = chain_error_from_substrate_request(classify_rpc_error(refused.body()))
            return bt.ExtrinsicResult(success=False, message=error.message, error=error)
        return await self._outcome(taken.block, signed.data_hex)

    async def _outcome(self, block: Block, extrinsic: str) -> bt.ExtrinsicResult:
        while self._node.head().finalized < block:  # noqa: ASYNC110 - looking at the clock moves it
            await asyncio.sleep(0)
        index = self._node.extrinsics(block).index(extrinsic)
        with self._node.state(self._node.hash_at(block)) as state:
            events: list[dict[str, Any]] = state.value("System", "Events")  # type: ignore[assignment]
        mine = [event for event in events if event["extrinsic_idx"] == index]
        found = resolve_outcome(mine, self._codec)
        error = None
        if not found["is_success"]:
            name = found["error_message"]["name"]
            error = bt.ChainError(name, name)
        return bt.ExtrinsicResult(
            success=error is None, message=str(error or ""), error=error, extrinsic_id=f"{block}-{index:04d}"
        )
