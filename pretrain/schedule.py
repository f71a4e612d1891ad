"""The whole of a competition file: what is in force at which block."""

import itertools
from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from pretrain import canonical
from pretrain.competition import Competition, Constraints, Epsilon, Mix, NearCopies, Noise, Reward
from pretrain.references import unknown_names
from pretrain.rules import SUM_TOLERANCE, Flaw, Fraction, Name, Path, Positive, Rules, invalid
from pretrain.step_rules import Selection, Timing, Weights
from pretrain.types import Block, CompetitionId, Digest

__all__ = [
    "UNPINNED",
    "Contest",
    "FilesSource",
    "ParquetSource",
    "Phase",
    "Schedule",
    "Selection",
    "Slot",
    "SourceRules",
    "StdlibSource",
    "Timing",
    "Tokenizer",
    "Weights",
]

UNPINNED = "unpinned"
_Hex = Annotated[str, Field(pattern=r"^([0-9a-f]{64}|unpinned)$")]
_Commit = Annotated[str, Field(pattern=r"^([0-9a-f]{40}|unpinned)$")]
_Repo = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)]


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
    """A dataset of parquet files on the hub; of `software-heritage` the files hold ids of contents stored there."""

    kind: Literal["parquet", "software-heritage"]
    repo: _Repo = Field(description="namespace/name of the dataset")
    config: str | None = Field(default=None, description="its configuration, or folder")
    column: str = Field(default="text", description="the column that holds the text, or the blob id")
    revision: _Commit = Field(default=UNPINNED, description="40 lower-case hex digits, or `unpinned`")


SourceRules = Annotated[StdlibSource | FilesSource | ParquetSource, Field(discriminator="kind")]


class Tokenizer(Rules):
    """A tokenizer.json, from a file that a run makes or from a repository."""

    path: str | None = Field(default=None, description="tokenizer.json on this machine")
    repo: _Repo | None = Field(default=None, description="namespace/name on the hub")
    revision: _Commit = Field(default=UNPINNED, description="40 lower-case hex digits, or `unpinned`")
    digest: _Hex = Field(default=UNPINNED, description="sha256 of tokenizer.json in lower-case hex, or `unpinned`")
    vocabulary: Positive = Field(description="number of token ids: the largest id + 1")
    eos: str = Field(description="the token that ends a document")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.repo is None):
            raise invalid("Tokenizer", [Flaw(("path",), self.path, "set exactly one of path and repo")])
        return self


class Contest(Rules):
    """A competition by its parts: which model, which mix, which rules."""

    id: Annotated[int, Field(ge=0, le=99)] = Field(description="the number that commitments carry")
    model: Name = Field(description="name of an entry of `models`")
    mix: Name = Field(description="name of an entry of `mixes`")
    windows: Positive = Field(description="windows of each task in a step, so also the number of batches")
    max_document_tokens: Positive = Field(description="a document is cut after this many tokens")
    compare: Literal["mean", "majority"] = Field(default="mean", description="how a match is decided")
    epsilon: Epsilon
    reward: Reward
    alpha: Fraction = Field(default=0.5, description="share of the old average kept at each step")
    noise: Noise
    near_copies: NearCopies = Field(default_factory=NearCopies, description="models too close to be independent")


class Slot(Rules):
    """A competition's place in a phase; what is named here overrides it in this phase."""

    competition: Name = Field(description="name of an entry of `competitions`")
    share: Annotated[float, Field(ge=0, le=1)] = Field(description="share of the subnet's weight")
    mix: Name | None = Field(default=None, description="name of an entry of `mixes`, in place of the competition's")
    windows: Positive | None = Field(default=None, description="in place of the competition's")
    epsilon: Epsilon | None = Field(default=None, description="in place of the competition's")
    reward: Reward | None = Field(default=None, description="in place of the competition's")
    alpha: Fraction | None = Field(default=None, description="in place of the competition's")
    noise: Noise | None = Field(default=None, description="in place of the competition's")
    near_copies: NearCopies | None = Field(default=None, description="in place of the competition's, as a whole")


class Phase(Rules):
    """What is in force from a block on, until the next phase."""

    start: Annotated[int, Field(ge=0)] = Field(description="first block")
    competitions: Annotated[tuple[Slot, ...], Field(min_length=1)] = Field(
        description="what is in force; sync windows judge them in this order, one each"
    )

    @model_validator(mode="after")
    def _shares(self) -> Self:
        total = sum(slot.share for slot in self.competitions)
        if abs(total - 1) > SUM_TOLERANCE:
            parts = ", ".join(f"{slot.competition} {slot.share:.12g}" for slot in self.competitions)
            message = f"the shares of a phase must sum to 1; these ({parts}) sum to {total:.12g}"
            raise invalid("Phase", [Flaw(("competitions",), float(f"{total:.12g}"), message)])
        return self


class Schedule(Rules):
    """A competition file."""

    name: Name = Field(description="what this schedule is called")
    netuid: Annotated[int, Field(ge=0, le=65535)] = Field(description="the subnet on its chain")
    version_key: Annotated[int, Field(ge=0)] = Field(description="version of these rules, as set with the weights")
    mechanism: Annotated[int, Field(ge=0, le=15)] = Field(
        default=0, description="the subnet's mechanism whose weights are set; 0: its first, and mostly its only one"
    )
    timing: Timing
    selection: Selection
    weights: Weights
    tokenizers: dict[Name, Tokenizer]
    sources: dict[Name, SourceRules]
    models: dict[Name, Constraints]
    mixes: dict[Name, Mix]
    competitions: dict[Name, Contest]
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)] = Field(description="by start block, rising")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        flaws = [*self._starts(), *unknown_names(self.model_dump())]
        if not flaws:  # only names that exist can be resolved
            flaws = list(dict.fromkeys([*self._repeated_ids(), *self._unresolvable()]))
        if flaws:
            raise invalid("Schedule", flaws)
        return self

    def at(self, block: Block) -> tuple[Competition, ...]:
        """Return the competitions in force at a block, in the file's order; empty before the first phase."""
        return tuple(self._resolve(slot) for slot in self._slots(block))

    def pick(self, block: Block) -> Competition | None:
        """Return the one competition that the sync window of block S judges: (S // cadence) mod n."""
        competitions = self.at(block)
        return competitions[(block // self.timing.sync_cadence) % len(competitions)] if competitions else None

    def _slots(self, block: Block) -> tuple[Slot, ...]:
        begun = [phase for phase in self.phases if phase.start <= block]
        return begun[-1].competitions if begun else ()

    def in_force(self, competition: CompetitionId, block: Block) -> bool:
        """Whether a competition is in force at a block."""
        return any(self.competitions[slot.competition].id == competition for slot in self._slots(block))

    @property
    def digest(self) -> Digest:
        """Lower-case hex of sha256 over the canonical JSON of every field; local paths of pinned files do not count."""
        return canonical.digest_of(canonical.without_local_paths(self.model_dump()))

    def competition_digest(self, competition: Competition) -> Digest:
        """Lower-case hex of sha256 over all that decides this competition.

        Its fields, the sources of its tasks and its tokenizer with their pins, timing and selection: two validators
        with equal digests and equal engines must come to equal scores.
        """
        sources = sorted({task.source for task in competition.tasks.values()})
        parts = {
            "competition": competition.model_dump(),
            "tokenizer": self.tokenizers[competition.model.tokenizer].model_dump(),
            "sources": {name: self.sources[name].model_dump() for name in sources},
            "timing": self.timing.model_dump(),
            "selection": self.selection.model_dump(),
        }
        return canonical.digest_of(canonical.without_local_paths(parts))

    def _resolve(self, slot: Slot) -> Competition:
        contest = self.competitions[slot.competition]
        fields = contest.model_dump(exclude={"model", "mix"})
        fields |= slot.model_dump(exclude={"competition", "mix"}, exclude_none=True)
        parts = {
            "name": slot.competition,
            "model": self.models[contest.model],
            "tasks": self.mixes[slot.mix or contest.mix],
        }
        return Competition.model_validate(fields | parts)

    def _starts(self) -> Iterator[Flaw]:
        for index, (before, after) in enumerate(itertools.pairwise(self.phases), start=1):
            if after.start <= before.start:
                message = f"must be larger than {before.start}, where the phase before starts"
                yield Flaw(("phases", index, "start"), after.start, message)

    def _repeated_ids(self) -> Iterator[Flaw]:
        for index, phase in enumerate(self.phases):
            seen: dict[int, str] = {}
            for place, slot in enumerate(phase.competitions):
                number = self.competitions[slot.competition].id
                if number in seen:
                    message = f"its id {number} is also that of {seen[number]} in this phase; each id may stand once"
                    yield Flaw(("phases", index, "competitions", place, "competition"), slot.competition, message)
                seen.setdefault(number, slot.competition)

    def _unresolvable(self) -> Iterator[Flaw]:
        for index, phase in enumerate(self.phases):
            for place, slot in enumerate(phase.competitions):
                try:
                    self._resolve(slot)
                except ValidationError as error:
                    for detail in error.errors():
                        at = _home(slot, detail["loc"], ("phases", index, "competitions", place))
                        yield Flaw(at, detail["input"], detail["msg"])


def _home(slot: Slot, loc: Path, here: Path) -> Path:
    """Say where in the file a field of a resolved competition was written: in the phase, or in the competition."""
    overrides = [field for field in (loc[0], "windows", "noise") if getattr(slot, str(field)) is not None]
    if loc[0] in overrides:
        return (*here, *loc)
    return (*here, overrides[0]) if overrides else ("competitions", slot.competition, *loc)
