"""What ``pretrain doctor`` has found out, before any judgement: frozen values, so that a test writes them down."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pretrain.chain import Network, Standing
from pretrain.commitment import Entry
from pretrain.types import Block, CompetitionId, Digest, Hotkey

Role = Literal["miner", "validator"]


@dataclass(frozen=True)
class Trouble:
    """Something that could not be found out, and why, in one line."""

    why: str
    is_asked_wrong: bool = False
    """Whether a flag or a file is wrong, and not what was to answer."""
    is_late: bool = False
    """Whether it was not waited for any longer."""


@dataclass(frozen=True)
class Asked:
    """What the flags, the environment and ``.env`` say."""

    role: Role
    network: str
    fallback: tuple[str, ...]
    netuid: int | None
    """None: the one that the competition file names."""
    wallet: str
    hotkey: str
    wallets: str
    """The folder of the wallets."""
    competitions: str
    """The competition file."""
    competition: CompetitionId | None
    """The one that a miner enters."""
    dir: str
    min_free_gb: float = 0.0
    """What downloads leave free on its disk."""

    @property
    def embedded(self) -> bool:
        """Whether the chain is a file on this machine."""
        return self.network.startswith("file:")


@dataclass(frozen=True)
class Contests:
    """What counts of the competition file."""

    digest: Digest
    netuid: int
    weights_interval: int
    version_key: int
    """Set with every row of weights."""
    names: Mapping[CompetitionId, str]
    max_bytes: Mapping[CompetitionId, int]
    """The largest model that may enter each."""
    phases: tuple[tuple[Block, tuple[CompetitionId, ...]], ...]
    """What is in force from which block on, by start block."""

    def in_force(self, block: Block) -> tuple[CompetitionId, ...]:
        """Return the competitions in force at a block; empty before the first phase."""
        return next((found for start, found in reversed(self.phases) if start <= block), ())

    def later(self, competition: CompetitionId, block: Block) -> Block | None:
        """Return the first block after this one from which a competition is in force; None when there is none."""
        return next((start for start, found in self.phases if start > block and competition in found), None)


@dataclass(frozen=True)
class Folder:
    """What is in ``--dir``, as far as it is whole and of this hotkey, subnet and chain."""

    holds: str
    """In words; empty when there is nothing."""
    in_use: bool
    """Whether a process has it now."""


@dataclass(frozen=True)
class Facts:
    """Everything that is judged; what could not be found out stands there as its trouble."""

    asked: Asked
    now: float
    """Seconds since the Unix epoch."""
    contests: Contests | Trouble
    texts: str | Trouble
    """What the competition file draws its windows from; a daemon opens all of it at its start."""
    hotkey: Hotkey | Trouble
    coldkey: str | Trouble
    """Its address, from the file of its public half."""
    network: Network | Trouble
    paused: bool
    """Whether an embedded chain's time was stopped."""
    standing: Standing | Trouble
    """Of nobody, where there is no hotkey: the node is asked all the same."""
    entry: Entry | Trouble | None
    """What the hotkey has committed; None: nothing well-formed."""
    folder: Folder | Trouble
    free: int | Trouble
    """Bytes on the disk that holds the folder."""
    device: str | Trouble
    """What the device asked for is and has."""
    hub: str | Trouble
    token: bool
    """Whether HF_TOKEN is set; never what it is."""

    @property
    def netuid(self) -> int | None:
        """The subnet that is meant."""
        if self.asked.netuid is not None or isinstance(self.contests, Trouble):
            return self.asked.netuid
        return self.contests.netuid
