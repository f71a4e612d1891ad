"""The whole of a competition file: what is in force at which block."""

import hashlib
import itertools
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pretrain.competition import Competition, Constraints, Epsilon, Fraction, Name, Noise, Positive, Reward, Rules, Share, Task
from pretrain.types import Block, CompetitionId, Digest

UNPINNED = "unpinned"
_Hex = Annotated[str, Field(pattern=r"^([0-9a-f]{64}|unpinned)$")]
_Commit = Annotated[str, Field(pattern=r"^([0-9a-f]{40}|unpinned)$")]


class StdlibSource(Rules):
    """Text of the running Python's own standard library, split by module."""

    kind: Literal["stdlib-code", "stdlib-prose"]
    split: Literal["train", "judge"] = Field(default="judge", description="which modules: for training, or for judging")
    digest: _Hex = Field(default=UNPINNED, description="sha256 of the texts, or `unpinned`; a run pins it")


class FilesSource(Rules):
    """Texts in .txt, .jsonl or .parquet files on this machine, split by document."""

    kind: Literal["files"]
    path: str = Field(description="a file or a folder")
    column: str = Field(default="text", description="field of a .jsonl or column of a .parquet that holds the text")
    split: Literal["train", "judge"] = Field(default="judge", description="which documents")
    digest: _Hex = Field(default=UNPINNED, description="sha256 of the texts, or `unpinned`; a run pins it")


class ParquetSource(Rules):
    """A dataset of parquet files on the hub."""

    kind: Literal["parquet", "software-heritage"]
    repo: str = Field(description="namespace/name of the dataset")
    config: str | None = Field(default=None, description="its configuration, or folder")
    column: str = Field(default="text", description="the column that holds the text, or the blob id")
    revision: _Commit = Field(default=UNPINNED, description="40 hex digits, or `unpinned`")


SourceRules = Annotated[StdlibSource | FilesSource | ParquetSource, Field(discriminator="kind")]


class Tokenizer(Rules):
    """A tokenizer.json, from a file that a run makes or from a repository."""

    path: str | None = Field(default=None, description="tokenizer.json on this machine")
    repo: str | None = Field(default=None, description="namespace/name on the hub")
    revision: _Commit = Field(default=UNPINNED, description="40 hex digits, or `unpinned`")
    digest: _Hex = Field(default=UNPINNED, description="sha256 of tokenizer.json, or `unpinned`")
    vocabulary: Positive = Field(description="number of token ids")
    eos: str = Field(description="the token that ends a document")


class Timing(Rules):
    """When things happen, in blocks."""

    sync_cadence: Positive = Field(description="blocks between two sync blocks")
    eval_block_delay: Positive = Field(description="blocks before a commitment may be judged")
    weights_interval: Positive = Field(description="blocks between two settings of weights")
    max_weights_age: Positive = Field(description="blocks after which averages are too old to be set again")

    @model_validator(mode="after")
    def _judged_on_later_data(self) -> Self:
        if self.eval_block_delay <= self.sync_cadence:
            raise ValueError(
                f"eval_block_delay {self.eval_block_delay} is not larger than sync_cadence {self.sync_cadence};"
                " a model must be judged on data chosen after it was committed"
            )
        return self


class Selection(Rules):
    """Who is judged in a step (protocol.md section 9)."""

    top_stake: Annotated[float, Field(ge=0)] = Field(description="stake a validator needs for its weights to count, in alpha")
    top_weight: Share = Field(description="stake-weighted share of weight that makes an entry a top one")
    pool: Positive = Field(description="best entries judged again at every step")
    max_new: Positive = Field(description="most entries judged for the first time in a step")
    max_returns: Annotated[int, Field(ge=0)] = Field(description="most entries that come back in a step")
    fairness_blocks: Positive = Field(description="how far back a hotkey's tries count against it, in blocks")
    champion_patience: Positive = Field(description="windows in a row abandoned for a champion that cannot be had")


class Weights(Rules):
    """How averages become the row that is set on chain."""

    burn: Fraction = Field(default=0.0, description="share that goes to burn_uid")
    burn_uid: Annotated[int, Field(ge=0)] | None = Field(default=None, description="who is paid to burn; none: nobody")
    min_weight: Fraction = Field(default=0.0, description="smaller weights are dropped")

    @model_validator(mode="after")
    def _burn_has_uid(self) -> Self:
        if self.burn and self.burn_uid is None:
            raise ValueError(f"burn is {self.burn} but burn_uid is not set; name the uid that burns")
        return self


class Contest(Rules):
    """A competition by its parts: which model, which mix, which rules."""

    id: Annotated[int, Field(ge=0, le=99)] = Field(description="the number that commitments carry")
    model: Name = Field(description="name of an entry of `models`")
    mix: Name = Field(description="name of an entry of `mixes`")
    windows: Positive = Field(description="windows of each task in a step")
    max_document_tokens: Positive = Field(description="a document is cut after this many tokens")
    compare: Literal["mean", "majority"] = Field(default="mean", description="how a match is decided")
    epsilon: Epsilon
    reward: Reward
    alpha: Fraction = Field(default=0.5, description="share of the old average kept at each step")
    noise: Noise


class Slot(Rules):
    """A competition's place in a phase; what is named here overrides it from that block on."""

    competition: Name = Field(description="name of an entry of `competitions`")
    share: Annotated[float, Field(ge=0, le=1)] = Field(description="share of the subnet's weight")
    mix: Name | None = None
    windows: Positive | None = None
    epsilon: Epsilon | None = None
    reward: Reward | None = None
    alpha: Fraction | None = None
    noise: Noise | None = None


class Phase(Rules):
    """What is in force from a block on, until the next phase."""

    start: Annotated[int, Field(ge=0)] = Field(description="first block")
    competitions: Annotated[tuple[Slot, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _shares(self) -> Self:
        total = sum(slot.share for slot in self.competitions)
        if abs(total - 1) > 1e-9:  # noqa: PLR2004 - the rounding of decimal fractions
            raise ValueError(f"the shares of the phase from block {self.start} sum to {total:.12g}; they must sum to 1")
        return self


class Schedule(Rules):
    """A competition file."""

    name: Name
    netuid: Annotated[int, Field(ge=0)]
    version_key: Annotated[int, Field(ge=0)] = Field(description="version of these rules, as set with the weights")
    timing: Timing
    selection: Selection
    weights: Weights
    tokenizers: dict[Name, Tokenizer]
    sources: dict[Name, SourceRules]
    models: dict[Name, Constraints]
    mixes: dict[Name, dict[Name, Task]]
    competitions: dict[Name, Contest]
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _starts_rise(self) -> Self:
        starts = [phase.start for phase in self.phases]
        if any(a >= b for a, b in itertools.pairwise(starts)):
            raise ValueError(f"phases start at {starts}; each must start after the one before")
        return self

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for contest in self.competitions.values():
            _known("model", contest.model, self.models)
        for constraints in self.models.values():
            _known("tokenizer", constraints.tokenizer, self.tokenizers)
        for mix in self.mixes.values():
            for task in mix.values():
                _known("source", task.source, self.sources)
        for phase in self.phases:
            for slot in phase.competitions:
                _known("competition", slot.competition, self.competitions)
                _known("mix", slot.mix or self.competitions[slot.competition].mix, self.mixes)
            ids = [self.competitions[slot.competition].id for slot in phase.competitions]
            if len(set(ids)) < len(ids):
                raise ValueError(f"the phase from block {phase.start} has competition ids {ids}; each may stand once")
            self.at(Block(phase.start))
        return self

    def at(self, block: Block) -> tuple[Competition, ...]:
        """Return the competitions in force at a block, in the file's order; empty before the first phase."""
        begun = [phase for phase in self.phases if phase.start <= block]
        return tuple(self._resolve(slot) for slot in begun[-1].competitions) if begun else ()

    def pick(self, block: Block) -> Competition | None:
        """Return the one competition that the sync window of block S judges: (S // cadence) mod n."""
        competitions = self.at(block)
        return competitions[(block // self.timing.sync_cadence) % len(competitions)] if competitions else None

    def in_force(self, competition: CompetitionId, block: Block) -> bool:
        """Whether a competition is in force at a block."""
        return any(c.id == competition for c in self.at(block))

    @property
    def digest(self) -> Digest:
        """Lower-case hex of sha256 over the canonical JSON of every field."""
        return Digest(hashlib.sha256(self.model_dump_json().encode()).hexdigest())

    def _resolve(self, slot: Slot) -> Competition:
        contest = self.competitions[slot.competition]
        fields = contest.model_dump(exclude={"model", "mix"})
        fields |= slot.model_dump(exclude={"competition", "mix"}, exclude_none=True)
        return Competition.model_validate(
            fields
            | {
                "name": slot.competition,
                "model": self.models[contest.model],
                "tasks": self.mixes[slot.mix or contest.mix],
            }
        )


def _known(what: str, name: str, among: Mapping[str, object]) -> None:
    if name not in among:
        raise ValueError(f"{what} {name!r} is not defined; defined are {', '.join(sorted(among)) or 'none'}")
