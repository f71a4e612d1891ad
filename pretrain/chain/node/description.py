"""What the node's runtime has: pallets with their items, calls, events and errors, and its runtime APIs, as data.

Names, indices of pallets and errors, and types are the real runtime's (a test compares them with what the client
library carries of it); indices of calls and events are our own, as a client reads them from the metadata.
"""

from functools import cache

from pretrain import wallet
from pretrain.chain import rules
from pretrain.chain.genesis import Genesis
from pretrain.chain.node import storage_items
from pretrain.chain.node.metadata import (
    CallForm,
    Constant,
    Description,
    Extension,
    Item,
    Method,
    Pallet,
    outer_types,
)
from pretrain.chain.node.runtime_types import TYPES
from pretrain.chain.node.scale import Field, Variant

_INFO = Field("DispatchEventInfo", "dispatch_info")
_WHO = Field("AccountId32", "who")

SS58_FORMAT = wallet.SS58_FORMAT
SUBTENSOR_ERRORS = {
    "HotKeyNotRegisteredInSubNet": 4, "HotKeyAccountNotExists": 5, "HotKeyNotRegisteredInNetwork": 6,
    "NonAssociatedColdKey": 7, "NotEnoughStake": 8, "NotEnoughStakeToWithdraw": 9, "NotEnoughStakeToSetWeights": 10,
    "NotEnoughBalanceToStake": 12, "BalanceWithdrawalError": 13, "ZeroBalanceAfterWithdrawn": 14,
    "NeuronNoValidatorPermit": 15, "WeightVecNotEqualSize": 16, "DuplicateUids": 17, "UidVecContainInvalidOne": 18,
    "WeightVecLengthIsLow": 19, "TooManyRegistrationsThisBlock": 20, "HotKeyAlreadyRegisteredInSubNet": 21,
    "MaxWeightExceeded": 27, "SettingWeightsTooFast": 29, "IncorrectWeightVersionKey": 30,
    "UidsLengthExceedUidsInSubNet": 32, "StakingRateLimitExceeded": 36, "SubNetRegistrationDisabled": 37,
    "TooManyRegistrationsThisInterval": 38, "NoNeuronIdAvailable": 48, "NoWeightsCommitFound": 51,
    "InvalidRevealCommitHashNotMatch": 52, "CommitRevealEnabled": 53, "CommitRevealDisabled": 54,
    "MechanismDoesNotExist": 74, "StakeUnavailable": 75, "SubnetNotExists": 76, "TooManyUnrevealedCommits": 77,
    "ExpiredWeightCommit": 78, "RevealTooEarly": 79, "InputLengthsUnequal": 80, "CommittingWeightsTooFast": 81,
    "AmountTooLow": 82, "InsufficientLiquidity": 83, "SlippageTooHigh": 84, "SubtokenDisabled": 94, "Overflow": 105,
    "IncorrectCommitRevealVersion": 111, "InvalidRevealRound": 112, "CommitPayloadTooLarge": 173,
    "CommitQueueFull": 174,
}  # fmt: skip
COMMITMENTS_ERRORS = {
    "TooManyFieldsInCommitmentInfo": 0, "AccountNotAllowedCommit": 1, "SpaceLimitExceeded": 2,
    "UnexpectedUnreserveLeftover": 3, "TimelockRevealFailedNotAllowed": 4,
}  # fmt: skip
BALANCES_ERRORS = {"InsufficientBalance": 2, "ExistentialDeposit": 3, "Expendability": 4}
SYSTEM_ERRORS = {"CallFiltered": 5}


def describe(genesis: Genesis) -> Description:
    """Return the runtime of one chain; it differs in its block time alone."""
    pallets = (*_machinery(genesis), _subtensor(), _commitments())
    return Description({**TYPES, **outer_types(pallets)}, pallets, METHODS, EXTENSIONS)


def _machinery(genesis: Genesis) -> tuple[Pallet, ...]:
    """Return the pallets every chain of this kind has."""
    slot = max(1, int(genesis.parameters.block_time * 1_000))
    fees = (Variant("TransactionFeePaid", 0, (_WHO, Field("TaoBalance", "actual_fee"), Field("TaoBalance", "tip"))),)
    constants = (
        Constant("BlockHashCount", "u32", storage_items.BLOCK_HASH_COUNT),
        Constant("SS58Prefix", "u16", SS58_FORMAT),
    )
    return (
        Pallet("System", 0, storage_items.SYSTEM, (CallForm("remark", 0, (("remark", "Vec<u8>"),)),), _SYSTEM_EVENTS,
               SYSTEM_ERRORS, constants),
        Pallet("Timestamp", 2, (Item("Now", "u64", default=0),), (CallForm("set", 0, (("now", "Compact<u64>"),)),)),
        Pallet("Aura", 3, constants=(Constant("SlotDuration", "u64", slot),)),
        Pallet("Balances", 5, (Item("TotalIssuance", "TaoBalance", default=0),), errors=BALANCES_ERRORS,
               constants=(Constant("ExistentialDeposit", "TaoBalance", 0),)),
        Pallet("TransactionPayment", 6, events=fees),
    )  # fmt: skip


_SYSTEM_EVENTS = (
    Variant("ExtrinsicSuccess", 0, (_INFO,)),
    Variant("ExtrinsicFailed", 1, (Field("DispatchError", "dispatch_error"), _INFO)),
)


def _subtensor() -> Pallet:
    return Pallet("SubtensorModule", 7, storage_items.SUBTENSOR, _SUBTENSOR_CALLS,
                  _SUBTENSOR_EVENTS, SUBTENSOR_ERRORS)  # fmt: skip


_ROW = (("weights", "Vec<u16>"), ("version_key", "u64"))
_REVEAL = (("uids", "Vec<u16>"), ("values", "Vec<u16>"), ("salt", "Vec<u16>"), ("version_key", "u64"))
_SEALED = (("commit", "BoundedBytes"), ("reveal_round", "u64"))
_SUBNET = ("netuid", "NetUid")
_MECHANISM = ("mecid", "MechId")
_HOTKEY = ("hotkey", "AccountId32")
_SUBTENSOR_CALLS = (
    CallForm("set_weights", 0, (_SUBNET, ("dests", "Vec<u16>"), *_ROW)),
    CallForm("set_mechanism_weights", 119, (_SUBNET, _MECHANISM, ("dests", "Vec<u16>"), *_ROW)),
    CallForm("commit_weights", 96, (_SUBNET, ("commit_hash", "H256"))),
    CallForm("commit_mechanism_weights", 115, (_SUBNET, _MECHANISM, ("commit_hash", "H256"))),
    CallForm("reveal_weights", 97, (_SUBNET, *_REVEAL)),
    CallForm("reveal_mechanism_weights", 116, (_SUBNET, _MECHANISM, *_REVEAL)),
    CallForm("commit_timelocked_weights", 113, (_SUBNET, *_SEALED, ("commit_reveal_version", "u16"))),
    CallForm("commit_timelocked_mechanism_weights", 118,
             (_SUBNET, _MECHANISM, *_SEALED, ("commit_reveal_version", "u16"))),
    CallForm("commit_crv3_mechanism_weights", 117, (_SUBNET, _MECHANISM, *_SEALED)),
    CallForm("burned_register", 7, (_SUBNET, _HOTKEY)),
    CallForm("add_stake", 2, (_HOTKEY, _SUBNET, ("amount_staked", "TaoBalance"))),
    CallForm("add_stake_limit", 88, (_HOTKEY, _SUBNET, ("amount_staked", "TaoBalance"), ("limit_price", "TaoBalance"),
                                     ("allow_partial", "bool"))),
    CallForm("remove_stake", 3, (_HOTKEY, _SUBNET, ("amount_unstaked", "AlphaBalance"))),
)  # fmt: skip
_SUBTENSOR_EVENTS = (
    Variant("StakeAdded", 0, (Field("AccountId32"), Field("AccountId32"), Field("TaoBalance"), Field("AlphaBalance"),
                              Field("NetUid"), Field("u64"))),
    Variant("WeightsSet", 1, (Field("NetUid"), Field("u16"))),
    Variant("NeuronRegistered", 2, (Field("NetUid"), Field("u16"), Field("AccountId32"))),
    Variant("WeightsCommitted", 3, (Field("AccountId32"), Field("NetUid"), Field("H256"))),
    Variant("WeightsRevealed", 4, (Field("AccountId32"), Field("NetUid"), Field("H256"))),
    Variant("TimelockedWeightsCommitted", 5, (Field("AccountId32"), Field("NetUid"), Field("H256"), Field("u64"))),
    Variant("StakeRemoved", 6, (Field("AccountId32"), Field("AccountId32"), Field("TaoBalance"), Field("AlphaBalance"),
                                Field("NetUid"), Field("u64"))),
)  # fmt: skip


def _commitments() -> Pallet:
    event = Variant("Commitment", 0, (Field("NetUid", "netuid"), _WHO))
    call = CallForm("set_commitment", 0, (_SUBNET, ("info", "CommitmentInfo")))
    return Pallet("Commitments", 18, storage_items.COMMITMENTS, (call,), (event,), COMMITMENTS_ERRORS,
                  (Constant("MaxFields", "u32", rules.MAX_FIELDS),))  # fmt: skip


METHODS = (
    Method("AccountNonceApi", "account_nonce", (("account", "AccountId32"),), "u32"),
    Method("TransactionPaymentApi", "query_info", (("uxt", "Vec<u8>"), ("len", "u32")), "RuntimeDispatchInfo"),
    Method("SubnetInfoRuntimeApi", "get_metagraph", (("netuid", "NetUid"),), "Option<Metagraph>"),
    Method("SubnetInfoRuntimeApi", "get_next_epoch_start_block", (("netuid", "NetUid"),), "Option<u64>"),
    Method("NeuronInfoRuntimeApi", "get_neurons", (("netuid", "NetUid"),), "Vec<NeuronInfo>"),
    Method("NeuronInfoRuntimeApi", "get_neurons_lite", (("netuid", "NetUid"),), "Vec<NeuronInfoLite>"),
    Method("StakeInfoRuntimeApi", "get_stake_info_for_coldkey", (("coldkey_account", "AccountId32"),),
           "Vec<StakeInfo>"),
    Method("StakeInfoRuntimeApi", "get_stake_info_for_hotkey_coldkey_netuid",
           (("hotkey_account", "AccountId32"), ("coldkey_account", "AccountId32"), ("netuid", "NetUid")),
           "Option<StakeInfo>"),
    Method("SwapRuntimeApi", "current_alpha_price", (("netuid", "NetUid"),), "u64"),
)  # fmt: skip
EXTENSIONS = (
    Extension("CheckNonZeroSender", "()", "()"),
    Extension("CheckSpecVersion", "()", "u32"),
    Extension("CheckTxVersion", "()", "u32"),
    Extension("CheckGenesis", "()", "H256"),
    Extension("CheckMortality", "Era", "H256"),
    Extension("CheckNonce", "Compact<u32>", "()"),
    Extension("CheckWeight", "()", "()"),
    Extension("ChargeTransactionPayment", "Compact<TaoBalance>", "()"),
    Extension("CheckMetadataHash", "CheckMetadataHash", "Option<[u8; 32]>"),
)


@cache
def item(pallet: str, name: str) -> Item | None:
    """Return how a storage item is described; None when there is none of that name."""
    every = {(each.name, entry.name): entry for each in describe(_ANY).pallets for entry in each.items}
    return every.get((pallet, name))


_ANY = Genesis(netuid=0, time=0.0)
