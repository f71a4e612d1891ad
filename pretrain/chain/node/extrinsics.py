"""Signed extrinsics as bytes: taking one apart, and checking that its signature is good here and now.

An extrinsic of version 4 is: its length; version and the signed bit; address; signature; what the signed extensions put
in (era, nonce, tip, metadata mode); the call. Signed are the call, what the extensions put in, and what they add
without its travelling: versions, the hash of the genesis, the hash of the era's first block (FRAME's
``UncheckedExtrinsic`` and ``SignedPayload``).
"""

import hashlib
from dataclasses import dataclass

import bittensor_core

from pretrain import wallet
from pretrain.chain.node.codec import TRANSACTION_VERSION
from pretrain.chain.node.description import SS58_FORMAT
from pretrain.chain.node.scale import compact, read_compact
from pretrain.types import Hotkey

_SIGNED_V4, _UNSIGNED_V4 = 0x84, 0x04
_ADDRESS_ID, _SR25519 = 0, 1
_HASHED_OVER = 256  # bytes; longer ones are signed by their hash
_U32_MAX = 2**32 - 1


@dataclass(frozen=True)
class Era:
    """During which blocks an extrinsic is valid: ``period`` of them from its birth."""

    period: int
    phase: int

    def birth(self, block: int) -> int:
        """Return the first block of the turn that a block is in (``Era::birth``)."""
        return (max(block, self.phase) - self.phase) // self.period * self.period + self.phase


@dataclass(frozen=True)
class Extrinsic:
    """A signed extrinsic, taken apart; nothing in it is checked yet."""

    raw: bytes
    signer: Hotkey
    signature: bytes
    era: Era | None
    """None: valid for ever."""
    nonce: int
    extra: bytes
    """What the signed extensions put in, as it was written."""
    call: bytes


@dataclass(frozen=True)
class Signed:
    """What a signature is over besides the extrinsic itself."""

    spec_version: int
    genesis_hash: bytes
    birth_hash: bytes
    """Of the era's first block; for one that is valid for ever, of the genesis."""


def parse(raw: bytes) -> Extrinsic:
    """Take an extrinsic apart; raises ValueError for what is not a whole one, signed by an account with sr25519."""
    length, start = read_compact(raw, 0)
    if length != len(raw) - start:
        raise ValueError(f"the extrinsic says {length} bytes and has {len(raw) - start}")
    head = raw[start : start + 2]
    if head != bytes([_SIGNED_V4, _ADDRESS_ID]):
        raise ValueError("the extrinsic is not a signed one of version 4 by an account id")
    public, scheme, signature = raw[start + 2 : start + 34], raw[start + 34 : start + 35], raw[start + 35 : start + 99]
    if scheme != bytes([_SR25519]) or len(signature) < 64:  # noqa: PLR2004 - an sr25519 signature's bytes
        raise ValueError("the extrinsic's signature is not a whole sr25519 one")
    extra = start + 99
    era, end = _era(raw, extra)
    nonce, end = read_compact(raw, end)
    _tip, end = read_compact(raw, end)
    if nonce > _U32_MAX or raw[end : end + 1] != b"\x00":
        raise ValueError("the extrinsic's nonce is too large, or it is signed over a hash of the metadata")
    signer = Hotkey(bittensor_core.ss58_encode(public, SS58_FORMAT))
    return Extrinsic(raw, signer, signature, era, nonce, raw[extra : end + 1], raw[end + 1 :])


def is_signed_by_its_signer(extrinsic: Extrinsic, signed: Signed) -> bool:
    """Whether the signature is the signer's, for this runtime, this chain and this era's first block."""
    additional = (
        signed.spec_version.to_bytes(4, "little")
        + TRANSACTION_VERSION.to_bytes(4, "little")
        + signed.genesis_hash
        + signed.birth_hash
        + b"\x00"  # no hash of the metadata
    )
    message = extrinsic.call + extrinsic.extra + additional
    if len(message) > _HASHED_OVER:
        message = hashlib.blake2b(message, digest_size=32).digest()
    return wallet.verify(extrinsic.signer, message, extrinsic.signature)


def is_extrinsic(payload: bytes) -> bool:
    """Whether a call kept by the chain came as an extrinsic, and not in the chain's own form (canonical JSON).

    No extrinsic begins as an object of JSON does: as the first byte of its length that would announce 34 more bytes,
    which only a length over 2^264 needs, and a length that is written longer than it needs is refused.
    """
    return not payload.startswith(b"{")


def unsigned(call: bytes) -> bytes:
    """Return the extrinsic that a block's author puts in for a call, such as the time."""
    body = bytes([_UNSIGNED_V4]) + call
    return compact(len(body)) + body


def address_of(text: str) -> Hotkey:
    """Return an account's address as this network writes it; raises ValueError for a text that is none."""
    return Hotkey(bittensor_core.ss58_encode(wallet.public_key(text), SS58_FORMAT))


def hash_of(raw: bytes) -> str:
    """Return the hash that an extrinsic goes by."""
    return f"0x{hashlib.blake2b(raw, digest_size=32).hexdigest()}"


def _era(raw: bytes, offset: int) -> tuple[Era | None, int]:
    """Return the era at an offset and the offset behind it (``Era``'s two-byte form: period, quantised phase)."""
    if raw[offset : offset + 1] == b"\x00":
        return None, offset + 1
    if offset + 2 > len(raw):
        raise ValueError("the extrinsic ends within its era")
    number = int.from_bytes(raw[offset : offset + 2], "little")
    period = 2 << (number % 16)
    phase = (number >> 4) * max(period >> 12, 1)
    if period < 4 or phase >= period:  # noqa: PLR2004 - the shortest era there is
        raise ValueError(f"an era of {period} blocks with phase {phase}")
    return Era(period, phase), offset + 2
