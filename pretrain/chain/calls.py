"""Signed calls: every change of an embedded chain is one, and is stored with its signature.

A call names the chain it is for (the hash of its genesis), its signer's nonce and the block it was made at, so that it
can be applied once, here, and not long after. Two keys sign: the hotkey what a neuron says (weights, commitments), the
coldkey what costs money (registration, stake).
"""

import json
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from pretrain import wallet
from pretrain.chain.genesis import RAO
from pretrain.errors import Refused
from pretrain.types import Block, Hotkey
from pretrain.wallet import Keypair

U16_MAX = 65_535
SUPPLY = 21_000_000 * RAO
"""All rao there can ever be: no call moves more."""
_U64_MAX = 2**64 - 1
_MAX_PAYLOAD = 65_536  # bytes; a row of 256 weights takes under 4,000

Hex = Annotated[str, Field(pattern=r"^(?:[0-9a-f]{2})*$")]
"""Bytes as lower-case hex."""
U16 = Annotated[int, Field(ge=0, le=U16_MAX)]
U8 = Annotated[int, Field(ge=0, le=255)]
U64 = Annotated[int, Field(ge=0, le=_U64_MAX)]
Rao = Annotated[int, Field(ge=0, le=SUPPLY)]


def _canonical(address: str) -> str:
    if not wallet.is_address(address):
        raise ValueError(f"{address!r} is no account: expected its ss58 address with prefix {wallet.SS58_FORMAT}")
    return address


Address = Annotated[Hotkey, Field(max_length=64), AfterValidator(_canonical)]
"""An account by its only address, so that no two texts are one key and every reader can turn it into 32 bytes."""


@dataclass(frozen=True)
class SetWeights:
    """Replace the signing validator's row; the two lists are parallel."""

    uids: tuple[U16, ...]
    values: tuple[U16, ...]
    version_key: U64
    mechanism: U8 = 0
    """Which of the subnet's mechanisms; this chain has one, 0."""
    call: Literal["set_weights"] = "set_weights"


@dataclass(frozen=True)
class CommitmentField:
    """One field of a commitment (pallet_commitments, ``Data``); ``fields`` says what of it can be encoded."""

    kind: Literal[
        "None", "Raw", "BlakeTwo256", "Sha256", "Keccak256", "ShaThree256", "TimelockEncrypted", "ResetBondsFlag",
        "BigRaw",
    ]  # fmt: skip
    data: Hex = ""
    """Bytes in the clear, a hash, or a ciphertext; none for ``None`` and ``ResetBondsFlag``."""
    reveal_round: U64 | None = None
    """The beacon's round that opens a ``TimelockEncrypted``; None for all others."""


@dataclass(frozen=True)
class SetCommitment:
    """Replace the signing hotkey's commitment."""

    fields: tuple[CommitmentField, ...]
    """Usually one Raw field in the clear: nothing else can be an entry."""
    call: Literal["set_commitment"] = "set_commitment"


@dataclass(frozen=True)
class CommitWeights:
    """Commit a row by its salted hash (``commit_reveal.row_hash``), to be revealed ``reveal_period`` epochs later."""

    commit_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    mechanism: U8 = 0
    call: Literal["commit_weights"] = "commit_weights"


@dataclass(frozen=True)
class RevealWeights:
    """Replace the signing validator's row by one that it has committed."""

    uids: tuple[U16, ...]
    values: tuple[U16, ...]
    salt: tuple[U16, ...]
    version_key: U64
    mechanism: U8 = 0
    call: Literal["reveal_weights"] = "reveal_weights"


@dataclass(frozen=True)
class CommitTimelockedWeights:
    """Commit a row that a beacon's round opens on a real chain.

    This chain knows no beacon: it stores the ciphertext, which can be read back and is never opened.
    """

    commit: Annotated[str, Field(pattern=r"^(?:[0-9a-f]{2})*$", max_length=10_000)]
    """Ciphertext, lower-case hex; at most 5,000 bytes."""
    reveal_round: U64
    commit_reveal_version: U16
    mechanism: U8 = 0
    call: Literal["commit_timelocked_weights"] = "commit_timelocked_weights"


@dataclass(frozen=True)
class BurnedRegister:
    """Register a hotkey, paid by the signing coldkey."""

    hotkey: Address
    call: Literal["burned_register"] = "burned_register"


@dataclass(frozen=True)
class AddStake:
    """Move rao from the signing coldkey's balance to a hotkey's stake."""

    hotkey: Address
    amount: U64
    call: Literal["add_stake"] = "add_stake"


@dataclass(frozen=True)
class RemoveStake:
    """Move rao from a hotkey's stake to the balance of the signing coldkey, which owns it."""

    hotkey: Address
    amount: U64
    call: Literal["remove_stake"] = "remove_stake"


@dataclass(frozen=True)
class Faucet:
    """Create rao on a coldkey; only the key that genesis names may sign it."""

    coldkey: Address
    amount: Rao
    call: Literal["faucet"] = "faucet"


Action = (
    SetWeights
    | SetCommitment
    | CommitWeights
    | RevealWeights
    | CommitTimelockedWeights
    | BurnedRegister
    | AddStake
    | RemoveStake
    | Faucet
)


@dataclass(frozen=True)
class Call:
    """What is signed."""

    genesis: str
    """Lower-case hex of the genesis hash."""
    netuid: int
    signer: Address
    """The signing key's ss58 address, be it a hotkey or a coldkey."""
    nonce: Annotated[int, Field(ge=0)]
    """How many calls of this signer the chain has taken before."""
    birth: Annotated[int, Field(ge=0)]
    """The block since which it is valid."""
    action: Annotated[Action, Field(discriminator="call")]

    def encode(self) -> bytes:
        """Return the canonical JSON, the only form that is accepted."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode("ascii")


@dataclass(frozen=True)
class SignedCall:
    """A call as it travels and as it is stored."""

    payload: bytes
    """``Call.encode()``."""
    signature: bytes


_ADAPTER = TypeAdapter(Call)


def sign(call: Call, keypair: Keypair) -> SignedCall:
    """Sign a call."""
    payload = call.encode()
    return SignedCall(payload, wallet.sign(keypair, payload))


def open_signed(signed: SignedCall) -> Call:
    """Return the call if its form is canonical and its signature is the signer's; raises Refused otherwise."""
    if len(signed.payload) > _MAX_PAYLOAD:
        raise Refused(f"a call of {len(signed.payload)} bytes: at most {_MAX_PAYLOAD}", code="BadFormat")
    try:
        call = _ADAPTER.validate_json(signed.payload)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Refused(f"a call that cannot be read: {where}: {first['msg']}", code="BadFormat") from error
    if call.encode() != signed.payload:
        raise Refused("a call that is not canonical JSON: sorted keys, no spaces, no other fields", code="BadFormat")
    if not wallet.verify(call.signer, signed.payload, signed.signature):
        raise Refused(f"the signature of {call.action.call} is not {call.signer}'s", code="BadSignature")
    return call


def check_admission(call: Call, genesis_hash: str, nonce: int, validity: int, block: Block) -> None:
    """Refuse a call made for another chain, replayed, out of order, not yet valid or too old, as the real pool does.

    Whatever form a call came in, who it names is looked at again: what stands in the chain is read for ever.
    """
    for address in _named(call):
        if not wallet.is_address(address):
            raise Refused(f"{call.action.call} of no account: {address!r}", code="BadFormat")
    if call.genesis != genesis_hash:
        raise Refused(f"a call for the chain {call.genesis[:16]}, not for {genesis_hash[:16]}", code="BadGenesis")
    if call.nonce < nonce:
        raise Refused(f"nonce {call.nonce} of {call.signer} was used before; the next is {nonce}", code="Stale")
    if call.nonce > nonce:
        raise Refused(f"nonce {call.nonce} of {call.signer} is ahead; the next is {nonce}", code="Future")
    if not call.birth <= block < call.birth + validity:
        raise Refused(
            f"a call of block {call.birth} is valid for {validity} blocks and this is block {block}",
            code="AncientBirthBlock",
        )


def _named(call: Call) -> tuple[Hotkey, ...]:
    """Return every account that a call names."""
    match call.action:
        case BurnedRegister() | AddStake() | RemoveStake() as action:
            return call.signer, action.hotkey
        case Faucet() as action:
            return call.signer, action.coldkey
        case _:
            return (call.signer,)
