"""What the node's runtime stores, as data: each item's name, value, keys with their hashers, and default."""

from pretrain.chain.calls import U16_MAX
from pretrain.chain.node.metadata import Item

NOBODY = "5C4hrfjw9DjXZTzV3MwzrrAr9P1MJhSrvWGWqi1eSuyUpnhM"
"""The account of 32 zero bytes, which owns what nobody owns."""
_NETUID = ("Identity", "NetUid")
_INDEX = ("Identity", "u16")
_ACCOUNT = ("Blake2_128Concat", "AccountId32")
BLOCK_HASH_COUNT = 2_400
"""How far back the runtime knows hashes of blocks: a call born before that can not be checked."""
SYSTEM = (
    Item("Account", "AccountInfo", (_ACCOUNT,), {
        "nonce": 0, "consumers": 0, "providers": 0, "sufficients": 0,
        "data": {"free": 0, "reserved": 0, "frozen": 0, "flags": 1 << 127},
    }),
    Item("BlockHash", "H256", (("Twox64Concat", "u32"),), "0x" + 64 * "0"),
    Item("Number", "u32", default=0),
    Item("ParentHash", "H256", default="0x" + 64 * "0"),
    Item("Events", "Vec<EventRecord>", default=()),
    Item("EventCount", "u32", default=0),
)  # fmt: skip


def _per_subnet(name: str, value: str, default: object) -> Item:
    return Item(name, value, (_NETUID,), default)


_SUBNET_ITEMS = (
    Item("TotalNetworks", "u16", default=0),
    _per_subnet("TokenSymbol", "Vec<u8>", "0x"),
    _per_subnet("NetworksAdded", "bool", default=False),
    _per_subnet("SubnetworkN", "u16", 0),
    _per_subnet("SubnetOwner", "AccountId32", NOBODY),
    _per_subnet("SubnetOwnerHotkey", "AccountId32", NOBODY),
    _per_subnet("NetworkRegisteredAt", "u64", 0),
    _per_subnet("NetworkRegistrationAllowed", "bool", default=False),
    _per_subnet("MechanismCountCurrent", "MechId", 1),
    _per_subnet("SubnetEpochConsensus", "EpochConsensus", "Yuma"),
    _per_subnet("Burn", "TaoBalance", 0),
    _per_subnet("CollateralLockShare", "u16", 0),
    _per_subnet("Tempo", "u16", 0),
    _per_subnet("LastEpochBlock", "u64", 0),
    _per_subnet("PendingEpochAt", "u64", 0),
    _per_subnet("SubnetEpochIndex", "u64", 0),
    _per_subnet("BlocksSinceLastStep", "u64", 0),
    _per_subnet("LastMechansimStepBlock", "u64", 0),
    _per_subnet("CommitRevealWeightsEnabled", "bool", default=False),
    _per_subnet("RevealPeriodEpochs", "u64", 1),
    Item("CommitRevealWeightsVersion", "u16", default=4),
    _per_subnet("WeightsSetRateLimit", "u64", 0),
    _per_subnet("WeightsVersionKey", "u64", 0),
    _per_subnet("MinAllowedWeights", "u16", 0),
    _per_subnet("MaxWeightsLimit", "u16", U16_MAX),
    _per_subnet("MaxAllowedUids", "u16", 0),
    _per_subnet("MaxAllowedValidators", "u16", 0),
    _per_subnet("ImmunityPeriod", "u16", 0),
    _per_subnet("ActivityCutoff", "u16", 0),
    _per_subnet("MaxRegistrationsPerBlock", "u16", 0),
    _per_subnet("Kappa", "u16", 0),
    _per_subnet("BondsMovingAverage", "u64", 0),
    _per_subnet("Yuma3On", "bool", default=False),
    _per_subnet("LiquidAlphaOn", "bool", default=False),
    Item("StakeThreshold", "u64", default=0),
)
_NEURON_ITEMS = (
    Item("Owner", "AccountId32", (_ACCOUNT,), NOBODY),
    Item("OwnedHotkeys", "Vec<AccountId32>", (_ACCOUNT,), ()),
    Item("Uids", "u16", (_NETUID, _ACCOUNT)),
    Item("Keys", "AccountId32", (_NETUID, _INDEX), NOBODY),
    Item("IsNetworkMember", "bool", (_ACCOUNT, _NETUID), default=False),
    Item("BlockAtRegistration", "u64", (_NETUID, _INDEX), 0),
    Item("TotalHotkeyAlpha", "AlphaBalance", (_ACCOUNT, _NETUID), 0),
    _per_subnet("Active", "Vec<bool>", ()),
    _per_subnet("ValidatorPermit", "Vec<bool>", ()),
    _per_subnet("Consensus", "Vec<PerU16>", ()),
    _per_subnet("Dividends", "Vec<PerU16>", ()),
    _per_subnet("Emission", "Vec<AlphaBalance>", ()),
    _per_subnet("ValidatorTrust", "Vec<PerU16>", ()),
    _per_subnet("Incentive", "Vec<PerU16>", ()),
    _per_subnet("LastUpdate", "Vec<u64>", ()),
    Item("Weights", "Vec<(u16, u16)>", (_NETUID, _INDEX), ()),
    Item("Bonds", "Vec<(u16, u16)>", (_NETUID, _INDEX), ()),
)
_COMMIT_ITEMS = (
    Item("WeightCommits", "Vec<(H256, u64, u64, u64)>", (("Twox64Concat", "NetUid"), ("Twox64Concat", "AccountId32"))),
    Item("TimelockedWeightCommits", "Vec<(AccountId32, u64, BoundedBytes, u64)>",
         (("Twox64Concat", "NetUid"), ("Twox64Concat", "u64")), ()),
)  # fmt: skip
SUBTENSOR = (*_SUBNET_ITEMS, *_NEURON_ITEMS, *_COMMIT_ITEMS)
_SPACE = ("Twox64Concat", "AccountId32")
COMMITMENTS = (
    Item("CommitmentOf", "Registration", (_NETUID, _SPACE)),
    Item("LastCommitment", "u32", (_NETUID, _SPACE)),
    Item("RevealedCommitments", "Vec<(Vec<u8>, u64)>", (_NETUID, _SPACE)),
    Item("UsedSpaceOf", "UsageTracker", (_NETUID, _SPACE)),
    Item("MaxSpace", "u32", default=3_100),
)
