"""What the chain refuses, pure: the real runtime's checks under its names and in its order (measured, spec 293).

Each function raises Refused whose ``code`` is the runtime's own name for the reason. Some checks come before all others
there as here, for they are made when a call reaches the pool (``POOL_CODES``): a call they refuse is in no block.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pretrain.chain import fields
from pretrain.chain.calls import U16_MAX, BurnedRegister, SetCommitment, SetWeights
from pretrain.chain.genesis import Genesis, Parameters
from pretrain.chain.state import Row, Slot
from pretrain.errors import Refused
from pretrain.types import Block, Hotkey

POOL_CODES = {
    "StakeAmountTooLow": 1,
    "BalanceTooLow": 2,
    "HotKeyAccountNotExists": 4,
    "NotEnoughStakeToWithdraw": 5,
    "BadRequest": 255,
}
"""What the real pool answers, ``InvalidTransaction::Custom`` of a number, by the source's name for it.

All were measured but 4, which is the source's too.
"""

MAX_FIELDS = 3
"""Of one commitment."""
_SMALLEST_COMMITMENT = 100  # bytes that the shortest one counts as


@dataclass(frozen=True)
class Here:
    """Where a call lands."""

    genesis: Genesis
    block: Block
    """The open block."""
    slots: Sequence[Slot]
    """All neurons as they are now."""

    @property
    def parameters(self) -> Parameters:
        """The subnet's rules."""
        return self.genesis.parameters


@dataclass(frozen=True)
class Spent:
    """What a hotkey has committed before."""

    last: Block | None
    """Block of its last commitment."""
    used: int
    """Bytes in this epoch."""


def check_weights(here: Here, netuid: int, signer: Hotkey, row: SetWeights, stake: int) -> Slot:
    """Return the signer's slot if its row may be set in the clear (``set_weights``); ``stake`` in rao."""
    check_weights_stake(here, signer, stake)
    if here.parameters.commit_reveal:
        raise Refused("this subnet takes rows that were committed before, and none else", code="CommitRevealEnabled")
    return check_row(here, netuid, signer, row)


def check_weights_stake(here: Here, signer: Hotkey, stake: int) -> None:
    """Refuse a call about weights by a hotkey with too little stake, in the pool."""
    threshold = here.parameters.hyperparameters.stake_threshold
    if stake < threshold:
        raise Refused(f"{signer} has {stake} rao of stake; weights need {threshold}", code="StakeAmountTooLow")


def check_row(here: Here, netuid: int, signer: Hotkey, row: SetWeights) -> Slot:
    """Return the signer's slot if the row may become its own (``do_set_weights``).

    With commit-reveal the pace is that of the commits.
    """
    if len(row.uids) != len(row.values):
        raise Refused(f"{len(row.uids)} uids with {len(row.values)} weights", code="WeightVecNotEqualSize")
    check_place(here, netuid, row.mechanism)
    if len(row.uids) > len(here.slots):
        raise Refused(f"{len(row.uids)} uids; the subnet has {len(here.slots)}", code="UidsLengthExceedUidsInSubNet")
    slot = slot_of(here, signer)
    _check_version(here.parameters, row.version_key)
    if not here.parameters.commit_reveal:
        check_pace(here, slot, "SettingWeightsTooFast")
    on_itself = row.uids == (slot.uid,)
    if not (slot.permit or on_itself):
        raise Refused(f"{signer} (uid {slot.uid}) has no validator permit", code="NeuronNoValidatorPermit")
    _check_values(here, row, on_itself=on_itself)
    return slot


def check_place(here: Here, netuid: int, mechanism: int = 0) -> None:
    """Refuse a subnet or a mechanism that is not here."""
    if netuid != here.genesis.netuid:
        raise Refused(f"there is no subnet {netuid} here, only {here.genesis.netuid}", code="SubNetworkDoesNotExist")
    if mechanism:
        raise Refused(f"there is no mechanism {mechanism} here, only 0", code="MechanismDoesNotExist")


def slot_of(here: Here, signer: Hotkey) -> Slot:
    """Return the signer's slot; raises Refused when it has none."""
    slot = next((slot for slot in here.slots if slot.hotkey == signer), None)
    if slot is None:
        raise Refused(f"{signer} is not registered on subnet {here.genesis.netuid}", code="HotKeyNotRegisteredInSubNet")
    return slot


def upscale(row: SetWeights) -> Row:
    """Return the row as stored: its largest value becomes 65535 (``vec_u16_max_upscale_to_u16``)."""
    top = max(row.values, default=0)
    if top == 0:
        return tuple(zip(row.uids, row.values, strict=True))
    return tuple(
        (uid, (2 * value * U16_MAX + top) // (2 * top)) for uid, value in zip(row.uids, row.values, strict=True)
    )


def commitment_space(action: SetCommitment) -> int:
    """Return the bytes that a commitment counts as: those of all its fields, 100 at the least."""
    return max(_SMALLEST_COMMITMENT, fields.size(action.fields))


def check_commitment(
    here: Here, netuid: int, signer: Hotkey, action: SetCommitment, spent: Spent, next_period: Block
) -> None:
    """Refuse a commitment by a stranger, of too many fields, over the epoch's space, or too soon (``set_commitment``).

    ``next_period``: the block from which the space is free again.
    """
    if netuid != here.genesis.netuid or all(slot.hotkey != signer for slot in here.slots):
        raise Refused(f"{signer} is not registered on subnet {netuid}", code="AccountNotAllowedCommit")
    if len(action.fields) > MAX_FIELDS:
        raise Refused(
            f"a commitment of {len(action.fields)} fields: at most {MAX_FIELDS}", code="TooManyFieldsInCommitmentInfo"
        )
    pause = here.parameters.commitment_rate_limit
    if spent.last is not None and here.block < spent.last + pause:
        wait = spent.last + pause - here.block
        raise Refused(
            f"{signer} committed in block {spent.last}; again {pause} blocks later, {wait} from now",
            code="CommitmentSetRateLimitExceeded",
            wait_blocks=wait,
        )
    total = spent.used + commitment_space(action)
    if total > here.parameters.commitment_space:
        raise Refused(
            f"{signer} would have committed {total} bytes in this epoch of {here.parameters.commitment_space}",
            code="SpaceLimitExceeded",
            wait_blocks=next_period - here.block,
        )


def check_registration(here: Here, netuid: int, action: BurnedRegister, balance: int) -> None:
    """Refuse a registration that cannot be (``do_burned_registration``); whose the hotkey is comes after."""
    check_place(here, netuid)
    limit = here.parameters.max_registrations_per_block
    if sum(slot.registered == here.block for slot in here.slots) >= limit:
        raise Refused(
            f"block {here.block} has its {limit} registrations already",
            code="TooManyRegistrationsThisBlock",
            wait_blocks=min(limit, 1),
        )
    if any(slot.hotkey == action.hotkey for slot in here.slots):
        raise Refused(f"{action.hotkey} is registered already", code="HotKeyAlreadyRegisteredInSubNet")
    if balance < here.parameters.burn:
        raise Refused(
            f"a registration costs {here.parameters.burn} rao; the coldkey has {balance}",
            code="NotEnoughBalanceToStake",
        )


def check_owner(hotkey: Hotkey, coldkey: str, owner: str) -> None:
    """Refuse a coldkey that does not own the hotkey."""
    if owner != coldkey:
        raise Refused(f"hotkey {hotkey} belongs to another coldkey than {coldkey}", code="NonAssociatedColdKey")


def slot_for_newcomer(here: Here) -> int:
    """Return the uid that the next neuron gets: a new one, or that of the neuron replaced (``get_neuron_to_prune``).

    Replaced is the lowest pruning score, then the earliest registered, then the lowest uid: of those whose immunity is
    over; if there are none, of all. The owner's never is.
    """
    if len(here.slots) < here.parameters.max_uids:
        return len(here.slots)
    candidates = [slot for slot in here.slots if slot.hotkey != here.genesis.owner]
    mortal = [slot for slot in candidates if here.block - slot.registered >= here.parameters.immunity_period]
    if not candidates:
        raise Refused("the subnet is full and nobody can be replaced", code="NoNeuronIdAvailable")
    return min(mortal or candidates, key=lambda slot: (slot.pruning_score, slot.registered, slot.uid)).uid


def _check_version(parameters: Parameters, version_key: int) -> None:
    required = parameters.weights_version_key
    if required and version_key < required:
        raise Refused(f"version key {version_key}; the subnet requires {required}", code="IncorrectWeightVersionKey")


def check_pace(here: Here, slot: Slot, code: str) -> None:
    """Refuse weights too soon after the last; a slot made in block 0 that never set any is not too fast."""
    limit = here.parameters.weights_rate_limit
    if slot.last_update and here.block - slot.last_update < limit:
        wait = slot.last_update + limit - here.block
        raise Refused(
            f"uid {slot.uid} last updated in block {slot.last_update}; weights every {limit} blocks, {wait} from now",
            code=code,
            wait_blocks=wait,
        )


def _check_values(here: Here, row: SetWeights, *, on_itself: bool) -> None:
    parameters, n = here.parameters, len(here.slots)
    if len(set(row.uids)) < len(row.uids):
        raise Refused("a uid appears twice in the weights", code="DuplicateUids")
    if any(uid >= n for uid in row.uids):
        raise Refused(
            f"uid {max(row.uids)} in the weights; the subnet has 0 to {n - 1}", code="UidVecContainInvalidOne"
        )
    if on_itself:
        return
    if len(row.uids) < parameters.min_allowed_weights:
        raise Refused(
            f"{len(row.uids)} weights; at least {parameters.min_allowed_weights}", code="WeightVecLengthIsLow"
        )
    if max(row.values, default=0) * U16_MAX > parameters.max_weight_limit * sum(row.values):
        raise Refused(f"a weight is over {parameters.max_weight_limit}/{U16_MAX} of its row", code="MaxWeightExceeded")
