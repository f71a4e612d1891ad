"""The node's methods that are asked and answered once; subscriptions are the server's."""

from collections.abc import Callable, Mapping

from pretrain.chain.node.codec import TRANSACTION_VERSION
from pretrain.chain.node.metadata import VERSION
from pretrain.chain.node.node import Node
from pretrain.chain.node.parameters import Params, address_at, as_number, at, bytes_at, from_hex, hash_at, text_at
from pretrain.chain.node.rpc import INVALID_COUNT, INVALID_PARAMS, STATE_ERROR, UNKNOWN_METHOD, Json, RpcError, too_big
from pretrain.chain.node.scale import octets, sequence
from pretrain.chain.node.state_view import NotDescribed

Answer = Callable[[Node, Params], Json]
MAX_PAGE = 1_000
"""Keys of one page, keys of one query, and numbers of one request for hashes."""
MAX_ANSWER_BYTES = 4 << 20
"""Of one answer, which is held until a client takes it."""
_NAME = "pretrain-node"


def answer(node: Node, method: str, params: Params) -> Json:
    """Return what a method answers; raises RpcError, also for a method that is not here."""
    if method not in METHODS:
        raise RpcError(UNKNOWN_METHOD, "Method not found", method[:80])
    return METHODS[method](node, params)


def _head(node: Node, _params: Params) -> Json:
    return node.hash_at(node.head().block)


def _finalized_head(node: Node, _params: Params) -> Json:
    return node.hash_at(node.head().finalized)


def _block_hash(node: Node, params: Params) -> Json:
    """Return the hash of a number, the hashes of several, or that of the newest block."""
    asked = at(params, 0)
    if asked is None:
        return _head(node, params)
    if isinstance(asked, list):
        if len(asked) > MAX_PAGE:
            raise RpcError(INVALID_PARAMS, f"Invalid params: expected at most {MAX_PAGE} numbers, not {len(asked)}")
        return node.hashes_at([as_number(entry) for entry in asked])
    return node.hash_at(as_number(asked))


def _header(node: Node, params: Params) -> Json:
    number = node.number_of(hash_at(params, 0))
    return None if number is None else node.header(number)


def _block(node: Node, params: Params) -> Json:
    number = node.number_of(hash_at(params, 0))
    if number is None:
        return None
    block = {"header": node.header(number), "extrinsics": node.extrinsics(number)}
    return {"block": block, "justifications": None}


def _runtime_version(node: Node, _params: Params) -> Json:
    return {
        "specName": "node-subtensor",
        "implName": _NAME,
        "authoringVersion": 1,
        "specVersion": node.codec.spec_version,
        "implVersion": 1,
        "apis": [],
        "transactionVersion": TRANSACTION_VERSION,
        "stateVersion": 1,
    }


def _metadata(node: Node, _params: Params) -> Json:
    return f"0x{node.codec.metadata.hex()}"


def _call(node: Node, params: Params) -> Json:
    """Call a runtime API, named ``Api_method``."""
    name, data = text_at(params, 0), bytes_at(params, 1)
    if name == "Metadata_metadata_at_version":
        asked = int.from_bytes(data, "little")
        found = b"\x01" + octets(node.codec.metadata) if asked == VERSION else b"\x00"
        return f"0x{found.hex()}"
    if name == "Metadata_metadata_versions":
        return f"0x{sequence([VERSION.to_bytes(4, 'little')]).hex()}"
    api, _, method = name.partition("_")
    try:
        with node.state(hash_at(params, 2)) as state:
            arguments = node.codec.arguments(api, method, data)
            return f"0x{state.raw_answer(api, method, arguments).hex()}"
    except NotDescribed as error:
        raise RpcError(STATE_ERROR, f"Client error: Execution failed: Other: {error}") from error
    except ValueError as error:
        raise RpcError(INVALID_PARAMS, f"Invalid params: {name}: {error}") from error


def _storage(node: Node, params: Params) -> Json:
    key = bytes_at(params, 0)
    with node.state(hash_at(params, 1)) as state:
        value = state.raw_at(key)
    return None if value is None else f"0x{value.hex()}"


def _query_storage_at(node: Node, params: Params) -> Json:
    keys = at(params, 0)
    if not isinstance(keys, list) or len(keys) > MAX_PAGE:
        raise RpcError(INVALID_PARAMS, f"Invalid params: expected at most {MAX_PAGE} keys")
    hash_ = hash_at(params, 1) or node.hash_at(node.head().block)
    with node.state(hash_) as state:
        changes, size = [], 0
        for key in keys:
            value = state.raw_at(from_hex(key))
            changes.append([key, None if value is None else f"0x{value.hex()}"])
            size += len(str(key)) + 2 * len(value or b"")
            if size > MAX_ANSWER_BYTES:
                raise too_big(MAX_ANSWER_BYTES)
    return [{"block": hash_, "changes": changes}]


def _keys_paged(node: Node, params: Params) -> Json:
    prefix, count = bytes_at(params, 0), as_number(at(params, 1))
    if not 0 <= count <= MAX_PAGE:
        raise RpcError(INVALID_COUNT, f"count exceeds maximum value. value: {count}, max: {MAX_PAGE}")
    start = from_hex(at(params, 2)) if at(params, 2) is not None else b""
    with node.state(hash_at(params, 3)) as state:
        keys = [key for key in state.keys(prefix) if key > start or not start]
    return [f"0x{key.hex()}" for key in keys[:count]]


def _next_index(node: Node, params: Params) -> Json:
    return node.next_nonce(address_at(params, 0))


def _submit(node: Node, params: Params) -> Json:
    return node.submit(bytes_at(params, 0)).hash


def _health(_node: Node, _params: Params) -> Json:
    return {"peers": 0, "isSyncing": False, "shouldHavePeers": False}


def _rpc_methods(_node: Node, _params: Params) -> Json:
    return {"methods": sorted({*METHODS, *SUBSCRIPTIONS, *SUBSCRIPTIONS.values()})}


SUBSCRIPTIONS: Mapping[str, str] = {
    "author_submitAndWatchExtrinsic": "author_unwatchExtrinsic",
    "chain_subscribeNewHeads": "chain_unsubscribeNewHeads",
    "chain_subscribeFinalizedHeads": "chain_unsubscribeFinalizedHeads",
}
"""Subscribing to unsubscribing."""
METHODS: Mapping[str, Answer] = {
    "account_nextIndex": _next_index,
    "author_pendingExtrinsics": lambda node, _: node.pending(),
    "author_submitExtrinsic": _submit,
    "chain_getBlock": _block,
    "chain_getBlockHash": _block_hash,
    "chain_getFinalizedHead": _finalized_head,
    "chain_getHead": _head,
    "chain_getHeader": _header,
    "rpc_methods": _rpc_methods,
    "state_call": _call,
    "state_getKeysPaged": _keys_paged,
    "state_getMetadata": _metadata,
    "state_getRuntimeVersion": _runtime_version,
    "state_getStorage": _storage,
    "state_getStorageAt": _storage,
    "state_queryStorageAt": _query_storage_at,
    "system_accountNextIndex": _next_index,
    "system_chain": lambda node, _: f"pretrain subnet {node.genesis.netuid}",
    "system_health": _health,
    "system_name": lambda _node, _params: _NAME,
    "system_version": lambda node, _: str(node.codec.spec_version),
}
