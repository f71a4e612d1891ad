"""The named types of the runtime that the node describes: a part of subtensor's, with its paths and field names."""

from pretrain.chain.node.scale import Composite, Enum, Field, Named, Variant
from pretrain.commitment import MAX_BYTES


def _struct(path: str, **fields: str) -> Composite:
    return Composite(path, tuple(Field(type_, name) for name, type_ in fields.items()))


def _wrapped(path: str, inner: str) -> Composite:
    return Composite(path, (Field(inner),))


def _choice(path: str, *names: str) -> Enum:
    return Enum(path, tuple(Variant(name, index) for index, name in enumerate(names)))


def _commitment_data() -> Enum:
    """Return what one field of a commitment may be; ``RawN`` holds exactly N bytes, and its index is N + 1."""
    raw = tuple(Variant(f"Raw{size}", size + 1, (Field(f"[u8; {size}]"),)) for size in range(MAX_BYTES + 1))
    hashes = tuple(
        Variant(name, MAX_BYTES + 2 + number, (Field("[u8; 32]"),))
        for number, name in enumerate(("BlakeTwo256", "Sha256", "Keccak256", "ShaThree256"))
    )
    sealed = (Field("BoundedBytes", "encrypted"), Field("u64", "reveal_round"))
    return Enum(
        "pallet_commitments::types::Data",
        (
            Variant("None", 0),
            *raw,
            *hashes,
            Variant("TimelockEncrypted", 134, sealed),
            Variant("ResetBondsFlag", 135),
            Variant("BigRaw", 136, (Field("BoundedBytes"),)),
        ),
    )


def _era() -> Enum:
    """Return how long a call is valid: one byte for ever, else 255 cases that hold a second byte."""
    mortal = tuple(Variant(f"Mortal{byte}", byte, (Field("u8"),)) for byte in range(1, 256))
    return Enum("sp_runtime::generic::era::Era", (Variant("Immortal", 0), *mortal))


_BOUNDED = "bounded_collections::bounded_vec::BoundedVec"
_SIGNATURES = (("Ed25519", 64), ("Sr25519", 64), ("Ecdsa", 65))
_DISPATCH_ERRORS = (
    Variant("Other", 0),
    Variant("CannotLookup", 1),
    Variant("BadOrigin", 2),
    Variant("Module", 3, (Field("ModuleError"),)),
)

CALLS: Named = {
    "AccountId32": _wrapped("sp_core::crypto::AccountId32", "[u8; 32]"),
    "H256": _wrapped("primitive_types::H256", "[u8; 32]"),
    "NetUid": _wrapped("subtensor_runtime_common::NetUid", "u16"),
    "MechId": _wrapped("subtensor_runtime_common::MechId", "u8"),
    "TaoBalance": _wrapped("subtensor_runtime_common::TaoBalance", "u64"),
    "AlphaBalance": _wrapped("subtensor_runtime_common::AlphaBalance", "u64"),
    "PerU16": _wrapped("sp_arithmetic::per_things::PerU16", "u16"),
    "MultiAddress": Enum(
        "sp_runtime::multiaddress::MultiAddress",
        (
            Variant("Id", 0, (Field("AccountId32"),)),
            Variant("Index", 1, (Field("Compact<()>"),)),
            Variant("Raw", 2, (Field("Vec<u8>"),)),
            Variant("Address32", 3, (Field("[u8; 32]"),)),
            Variant("Address20", 4, (Field("[u8; 20]"),)),
        ),
    ),
    "MultiSignature": Enum(
        "sp_runtime::MultiSignature",
        tuple(Variant(name, index, (Field(f"[u8; {size}]"),)) for index, (name, size) in enumerate(_SIGNATURES)),
    ),
    "Era": _era(),
    "Mode": _choice("frame_metadata_hash_extension::Mode", "Disabled", "Enabled"),
    "CheckMetadataHash": _struct("frame_metadata_hash_extension::CheckMetadataHash", mode="Mode"),
    "BoundedBytes": _wrapped(_BOUNDED, "Vec<u8>"),
    "BoundedFields": _wrapped(_BOUNDED, "Vec<Data>"),
    "Data": _commitment_data(),
    "CommitmentInfo": _struct("pallet_commitments::types::CommitmentInfo", fields="BoundedFields"),
}
"""What calls and their signatures are made of."""

EVENTS: Named = {
    "Weight": _struct("sp_weights::weight_v2::Weight", ref_time="Compact<u64>", proof_size="Compact<u64>"),
    "DispatchClass": _choice("frame_support::dispatch::DispatchClass", "Normal", "Operational", "Mandatory"),
    "Pays": _choice("frame_support::dispatch::Pays", "Yes", "No"),
    "DispatchEventInfo": _struct(
        "frame_system::DispatchEventInfo", weight="Weight", **{"class": "DispatchClass"}, pays_fee="Pays"
    ),
    "ModuleError": _struct("sp_runtime::ModuleError", index="u8", error="[u8; 4]"),
    "DispatchError": Enum("sp_runtime::DispatchError", _DISPATCH_ERRORS),
    "Phase": Enum(
        "frame_system::Phase",
        (
            Variant("ApplyExtrinsic", 0, (Field("u32"),)),
            Variant("Finalization", 1),
            Variant("Initialization", 2),
        ),
    ),
    "EventRecord": _struct(
        "frame_system::EventRecord", phase="Phase", event="RuntimeEvent", topics="Vec<H256>"
    ),
}  # fmt: skip
"""What is told of an extrinsic after its block."""

STATE: Named = {
    "AccountData": _struct(
        "pallet_balances::types::AccountData",
        free="TaoBalance", reserved="TaoBalance", frozen="TaoBalance", flags="u128",
    ),
    "AccountInfo": _struct(
        "frame_system::AccountInfo",
        nonce="u32", consumers="u32", providers="u32", sufficients="u32", data="AccountData",
    ),
    "Registration": _struct(
        "pallet_commitments::types::Registration", deposit="TaoBalance", block="u32", info="CommitmentInfo"
    ),
    "UsageTracker": _struct("pallet_commitments::types::UsageTracker", last_epoch="u64", used_space="u64"),
    "EpochConsensus": _choice("pallet_subtensor::pallet::EpochConsensus", "Yuma", "Null"),
    "FixedU128": _struct("substrate_fixed::FixedU128", bits="u128"),
    "FixedI128": _struct("substrate_fixed::FixedI128", bits="i128"),
}  # fmt: skip
"""What storage holds."""

_AXON = {
    "block": "u64", "version": "u32", "ip": "u128", "port": "u16", "ip_type": "u8", "protocol": "u8",
    "placeholder1": "u8", "placeholder2": "u8",
}  # fmt: skip
_PROMETHEUS = {"block": "u64", "version": "u32", "ip": "u128", "port": "u16", "ip_type": "u8"}
_IDENTITY = dict.fromkeys(
    ("name", "url", "github_repo", "image", "discord", "description", "additional"), "Vec<u8>"
)  # fmt: skip
_SUBNET_IDENTITY = dict.fromkeys(
    (
        "subnet_name", "github_repo", "subnet_contact", "subnet_url", "discord", "description", "logo_url",
        "additional",
    ),
    "Vec<u8>",
)  # fmt: skip
_NEURON = {
    "hotkey": "AccountId32", "coldkey": "AccountId32", "uid": "Compact<u16>", "netuid": "Compact<NetUid>",
    "active": "bool", "axon_info": "AxonInfo", "prometheus_info": "PrometheusInfo",
    "stake": "Vec<(AccountId32, Compact<AlphaBalance>)>", "rank": "Compact<u16>", "emission": "Compact<u64>",
    "incentive": "Compact<u16>", "consensus": "Compact<u16>", "trust": "Compact<u16>",
    "validator_trust": "Compact<u16>", "dividends": "Compact<u16>", "last_update": "Compact<u64>",
    "validator_permit": "bool",
}  # fmt: skip
_MATRIX = {
    "weights": "Vec<(Compact<u16>, Compact<u16>)>", "bonds": "Vec<(Compact<u16>, Compact<u16>)>",
}  # fmt: skip
_METAGRAPH = {
    "netuid": "Compact<NetUid>", "name": "Vec<Compact<u8>>", "symbol": "Vec<Compact<u8>>",
    "identity": "Option<SubnetIdentityV3>", "network_registered_at": "Compact<u64>",
    "owner_hotkey": "AccountId32", "owner_coldkey": "AccountId32",
    "block": "Compact<u64>", "tempo": "Compact<u16>", "last_step": "Compact<u64>",
    "blocks_since_last_step": "Compact<u64>",
    "subnet_emission": "Compact<AlphaBalance>", "alpha_in": "Compact<AlphaBalance>",
    "alpha_out": "Compact<AlphaBalance>", "tao_in": "Compact<TaoBalance>",
    "alpha_out_emission": "Compact<AlphaBalance>", "alpha_in_emission": "Compact<AlphaBalance>",
    "tao_in_emission": "Compact<TaoBalance>", "pending_alpha_emission": "Compact<AlphaBalance>",
    "pending_root_emission": "Compact<TaoBalance>", "subnet_volume": "Compact<u128>", "moving_price": "FixedI128",
    "rho": "Compact<u16>", "kappa": "Compact<u16>", "min_allowed_weights": "Compact<u16>",
    "max_weights_limit": "Compact<u16>", "weights_version": "Compact<u64>", "weights_rate_limit": "Compact<u64>",
    "activity_cutoff": "Compact<u16>", "max_validators": "Compact<u16>",
    "num_uids": "Compact<u16>", "max_uids": "Compact<u16>", "burn": "Compact<TaoBalance>",
    "difficulty": "Compact<u64>", "registration_allowed": "bool", "pow_registration_allowed": "bool",
    "immunity_period": "Compact<u16>", "min_difficulty": "Compact<u64>", "max_difficulty": "Compact<u64>",
    "min_burn": "Compact<TaoBalance>", "max_burn": "Compact<TaoBalance>", "adjustment_alpha": "Compact<u64>",
    "adjustment_interval": "Compact<u16>", "target_regs_per_interval": "Compact<u16>",
    "max_regs_per_block": "Compact<u16>", "serving_rate_limit": "Compact<u64>",
    "commit_reveal_weights_enabled": "bool", "commit_reveal_period": "Compact<u64>",
    "liquid_alpha_enabled": "bool", "alpha_high": "Compact<u16>", "alpha_low": "Compact<u16>",
    "bonds_moving_avg": "Compact<u64>",
    "hotkeys": "Vec<AccountId32>", "coldkeys": "Vec<AccountId32>", "identities": "Vec<Option<ChainIdentityV2>>",
    "axons": "Vec<AxonInfo>", "active": "Vec<bool>", "validator_permit": "Vec<bool>",
    "pruning_score": "Vec<Compact<u16>>", "last_update": "Vec<Compact<u64>>",
    "emission": "Vec<Compact<AlphaBalance>>", "dividends": "Vec<Compact<u16>>", "incentives": "Vec<Compact<u16>>",
    "consensus": "Vec<Compact<u16>>", "trust": "Vec<Compact<u16>>", "rank": "Vec<Compact<u16>>",
    "block_at_registration": "Vec<Compact<u64>>", "alpha_stake": "Vec<Compact<AlphaBalance>>",
    "tao_stake": "Vec<Compact<TaoBalance>>", "total_stake": "Vec<Compact<TaoBalance>>",
    "tao_dividends_per_hotkey": "Vec<(AccountId32, Compact<TaoBalance>)>",
    "alpha_dividends_per_hotkey": "Vec<(AccountId32, Compact<AlphaBalance>)>", "validators": "Vec<u16>",
}  # fmt: skip

ANSWERS: Named = {
    "AxonInfo": _struct("pallet_subtensor::pallet::AxonInfo", **_AXON),
    "PrometheusInfo": _struct("pallet_subtensor::pallet::PrometheusInfo", **_PROMETHEUS),
    "ChainIdentityV2": _struct("pallet_subtensor::pallet::ChainIdentityV2", **_IDENTITY),
    "SubnetIdentityV3": _struct("pallet_subtensor::pallet::SubnetIdentityV3", **_SUBNET_IDENTITY),
    "Metagraph": _struct("pallet_subtensor::rpc_info::metagraph::Metagraph", **_METAGRAPH),
    "NeuronInfo": _struct(
        "pallet_subtensor::rpc_info::neuron_info::NeuronInfo",
        **_NEURON, **_MATRIX, pruning_score="Compact<u16>",
    ),
    "NeuronInfoLite": _struct(
        "pallet_subtensor::rpc_info::neuron_info::NeuronInfoLite", **_NEURON, pruning_score="Compact<u16>"
    ),
    "StakeInfo": _struct(
        "pallet_subtensor::rpc_info::stake_info::StakeInfo",
        hotkey="AccountId32", coldkey="AccountId32", netuid="Compact<NetUid>", stake="Compact<AlphaBalance>",
        locked="Compact<u64>", emission="Compact<AlphaBalance>", tao_emission="Compact<TaoBalance>",
        drain="Compact<u64>", is_registered="bool",
    ),
    "RuntimeDispatchInfo": _struct(
        "pallet_transaction_payment::types::RuntimeDispatchInfo",
        weight="Weight", **{"class": "DispatchClass"}, partial_fee="TaoBalance",
    ),
}  # fmt: skip
"""What runtime APIs answer."""

TYPES: Named = {**CALLS, **EVENTS, **STATE, **ANSWERS}
