"""What an embedded chain starts from: its rules and its first accounts, fixed for its life."""

import hashlib
import json
from dataclasses import asdict, dataclass, field

from pydantic import TypeAdapter, ValidationError

from pretrain import wallet
from pretrain.chain.hyperparameters import Hyperparameters
from pretrain.errors import ChainUnavailable, ConfigError
from pretrain.types import Hotkey

RAO = 1_000_000_000
"""Rao in one unit of alpha or TAO."""


@dataclass(frozen=True)
class Parameters:
    """A subnet's rules; where the real chain has a default (subtensor spec 293), so has this."""

    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    """What the epoch reads; ``stake_threshold`` also guards set_weights."""
    block_time: float = 12.0
    """Seconds."""
    finality_lag: int = 2
    """Blocks between the newest and the newest finalised one."""
    max_uids: int = 256
    """Slots; a registration beyond them replaces the neuron with the lowest pruning score."""
    immunity_period: int = 4_096
    """Blocks after its registration in which a neuron is replaced only if all others are immune too."""
    burn: int = 100_000_000
    """Rao that a registration costs. The real chain moves this price with demand; here it stands still."""
    max_registrations_per_block: int = 1
    min_stake: int = 2_000_000
    """Rao that add_stake and remove_stake move at the least, after the swap's fee."""
    weights_rate_limit: int = 100
    """Blocks between two rows of one neuron; 0: none."""
    weights_version_key: int = 0
    """Rows with a smaller version key are refused; 0: none is."""
    commit_reveal: bool = False
    """Whether a row is committed by its hash first and set when it is revealed, and no row in the clear is taken."""
    reveal_period: int = 1
    """Epochs after its commit's in which a row can be revealed: in that one alone."""
    min_allowed_weights: int = 1
    """Entries a row must have, unless it is a weight on oneself alone."""
    max_weight_limit: int = 65_535
    """Largest share of one entry in a row, / 65535."""
    commitment_space: int = 3_100
    """Bytes a hotkey may commit in an epoch, each commitment counting as 100 at the least."""
    commitment_rate_limit: int = 0
    """Blocks between two commitments of one hotkey; 0: the space alone limits them, as in spec 293."""
    emission: int = RAO
    """Rao of alpha a block, the owner's cut included."""
    owner_cut: int = 11_796
    """Share of the emission that goes to the subnet's owner, / 65535 (18%)."""
    call_validity: int = 64
    """Blocks during which a signed call can be applied."""
    retention: int = 100_000
    """How many blocks behind the head a snapshot may still be read; nothing is deleted, ``history`` reads all."""


@dataclass(frozen=True)
class GenesisNeuron:
    """A neuron registered in block 0, in the order of uids."""

    hotkey: Hotkey
    coldkey: str
    """Its owner's ss58 address."""
    stake: int = 0
    """Rao."""


@dataclass(frozen=True)
class Genesis:
    """Block 0."""

    netuid: int
    time: float
    """Seconds since the Unix epoch at which block 0 was made; block 1 is open from then on."""
    parameters: Parameters = field(default_factory=Parameters)
    neurons: tuple[GenesisNeuron, ...] = ()
    balances: tuple[tuple[str, int], ...] = ()
    """Coldkeys (ss58) and their rao."""
    owner: Hotkey | None = None
    """The subnet owner's hotkey: gets the owner's cut, is never replaced, and is paid nothing as a miner.

    Without one no cut is taken.
    """
    faucet: str | None = None
    """The ss58 address whose signature may create balances; None: nobody's, as on a chain with value."""

    def encode(self) -> str:
        """Return the canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def emission(self) -> tuple[int, int]:
        """What a block adds to the neurons' emission and to the owner's, in rao."""
        cut = self.parameters.emission * self.parameters.owner_cut // 65_535 if self.owner else 0
        return self.parameters.emission - cut, cut

    @property
    def hash(self) -> bytes:
        """The hash of block 0; every signed call names it, so that none is good on two chains."""
        return hashlib.sha256(self.encode().encode("ascii")).digest()


def check_accounts(genesis: Genesis) -> None:
    """Refuse a genesis that names somebody who is no account: no later call could mend it; raises ConfigError."""
    named: dict[str, str] = {f"neurons.{uid}.hotkey": neuron.hotkey for uid, neuron in enumerate(genesis.neurons)}
    named |= {f"neurons.{uid}.coldkey": neuron.coldkey for uid, neuron in enumerate(genesis.neurons)}
    named |= {f"balances.{number}": coldkey for number, (coldkey, _) in enumerate(genesis.balances)}
    special = {"owner": genesis.owner, "faucet": genesis.faucet}
    for where, address in (named | special).items():
        if address is not None and not wallet.is_address(address):
            raise ConfigError(f"genesis: {where}: {address!r}: expected an ss58 address, prefix {wallet.SS58_FORMAT}")


_ADAPTER = TypeAdapter(Genesis)


def decode(text: str) -> Genesis:
    """Read what ``Genesis.encode`` wrote; raises ChainUnavailable when it is something else."""
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ChainUnavailable(f"the chain's genesis is not one of this version: {where}: {first['msg']}") from error
