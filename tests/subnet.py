"""An embedded subnet for tests: keys that need no files, a clock that is told the time, and chains over one file."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bittensor.keyfiles import Keypair

from pretrain.chain.genesis import RAO, Genesis, GenesisNeuron, Parameters
from pretrain.chain.hyperparameters import Hyperparameters
from pretrain.chain.local import LocalChain, create
from pretrain.commitment import Commitment
from pretrain.types import CompetitionId, Digest, Hotkey, Revision

START = 1_000_000.0
NETUID = 9


@dataclass(frozen=True)
class Pair:
    """A neuron's keys, derived from a name."""

    hotkey: Keypair
    coldkey: Keypair

    @property
    def address(self) -> Hotkey:
        return Hotkey(self.hotkey.ss58_address)


class Clock:
    """Tells the time it was set to, and a little later at each look, so that waiting for a block needs no sleep."""

    def __init__(self, now: float = START, tick: float = 0.0) -> None:
        self.now = now
        self.tick = tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


@dataclass(frozen=True)
class Subnet:
    """A chain's file, its clock, and one access for each pair of keys."""

    path: Path
    clock: Clock
    pairs: Sequence[Pair]
    chains: Sequence[LocalChain]

    def at(self, block: int) -> None:
        """Set the clock to the moment at which a block is the newest."""
        self.clock.now = START + block * self.chains[0].genesis.parameters.block_time


def pair(name: str, coldkey: str | None = None) -> Pair:
    return Pair(Keypair.create_from_uri(f"//{name}"), Keypair.create_from_uri(f"//{coldkey or name + 'Cold'}"))


def parameters(hyperparameters: Hyperparameters | None = None, **changes: float) -> Parameters:
    values = {"block_time": 1 / 64, "weights_rate_limit": 5, "immunity_period": 5} | changes
    return Parameters(hyperparameters=hyperparameters or Hyperparameters(), **values)  # type: ignore[arg-type]


def subnet(folder: Path, rules: Parameters | None = None, validators: int = 2, miners: int = 3) -> Subnet:
    """Make a chain whose first uids are staked validators, and open it for everybody; permits come in block 10."""
    pairs = [pair(f"Validator{i}") for i in range(validators)] + [pair(f"Miner{i}") for i in range(miners)]
    neurons = tuple(
        GenesisNeuron(keys.address, keys.coldkey.ss58_address, (100 + i) * RAO if i < validators else 0)
        for i, keys in enumerate(pairs)
    )
    path = folder / "chain.sqlite"
    balances = tuple((keys.coldkey.ss58_address, 10 * RAO) for keys in pairs)
    create(path, Genesis(NETUID, START, rules or parameters(), neurons, balances))
    clock = Clock()
    return Subnet(path, clock, pairs, [LocalChain(path, NETUID, keys, clock=clock) for keys in pairs])


def commitment(hotkey: str, name: str = "model") -> str:
    digest = base64.b64encode(hashlib.sha256(f"{name}{hotkey}".encode()).digest()).decode()
    return Commitment("miner", name, Revision("0" * 40), Digest(digest), CompetitionId(1)).encode()
