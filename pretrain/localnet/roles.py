"""Who takes part in a localnet, and what each miner is there to show."""

from dataclasses import dataclass

from pretrain.errors import ConfigError
from pretrain.schedule import Schedule
from pretrain.types import Block, CompetitionId

PROSE, CODE = "prose", "code"


@dataclass(frozen=True)
class Miner:
    """One miner's part."""

    name: str
    """Also the name of its hotkey and of its namespace on the hub."""
    competition: CompetitionId
    mix: tuple[tuple[str, float], ...]
    """Source -> share of its training tokens; empty for a copier."""
    tokens: int
    seed: int
    """Of its initial weights and of the order of its data."""
    copies: str | None = None
    """The miner whose weights it republishes."""

    @property
    def repo(self) -> str:
        """Where it publishes."""
        return f"{self.name}/model"

    @property
    def part(self) -> str:
        """What it is there for, in a few words."""
        if self.copies:
            return f"republishes {self.copies}"
        return "trains on " + ", ".join(f"{share:.0%} {source}" for source, share in self.mix)


def cast(schedule: Schedule, count: int, tokens: int, seed: int) -> tuple[Miner, ...]:
    """Return the miners of a run.

    The first two meet in the mixed competition from one initial seed, one trained on prose and one on the mix; the
    third trains half as long for the competition in prose, and the fourth republishes its weights there. Further ones
    train for the two in turn, each from a seed of its own. Raises ConfigError when fewer than two are asked for.
    """
    if count < 2:  # noqa: PLR2004 - two are compared
        raise ConfigError(f"--miners {count}: at least 2, or there is nothing to compare")
    pure, mixed = schedule.at(Block(0))
    alone = ((PROSE, 1.0),)
    mix = tuple((task.source, task.weight) for task in mixed.tasks.values())
    miners = [
        Miner("miner-1", mixed.competition_id, alone, tokens, seed),
        Miner("miner-2", mixed.competition_id, mix, tokens, seed),
        Miner("miner-3", pure.competition_id, alone, tokens // 2, seed + 1),
        Miner("miner-4", pure.competition_id, (), 0, seed, copies="miner-3"),
    ]
    for number in range(len(miners) + 1, count + 1):
        where, what = ((pure, alone), (mixed, mix))[number % 2]
        miners.append(Miner(f"miner-{number}", where.competition_id, what, tokens // 2, seed + number))
    return tuple(miners[:count])
