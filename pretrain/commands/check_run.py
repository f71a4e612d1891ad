"""The work of ``pretrain check``: a few windows drawn, and every gate asked in turn."""

import asyncio
import re
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from pretrain import competition_file
from pretrain.commands.opening import open_hub
from pretrain.competition import Competition
from pretrain.data.draw import build_sampler
from pretrain.errors import ConfigError, ModelRejected, Reason
from pretrain.evaluate import canary
from pretrain.evaluate.request import EngineSettings
from pretrain.evaluate.worker import ProcessEvaluator
from pretrain.gate import Gates, Passed, Published, check, few_windows
from pretrain.hub.store import ModelStore
from pretrain.self_score import competition_at
from pretrain.settings import check_device
from pretrain.types import Block, CompetitionId, Revision

TO_DO: Mapping[Reason, str] = {
    Reason.UNAVAILABLE: "open the repository, under the very name that is committed, and keep its revision",
    Reason.FILES: "publish config.json with model.safetensors, or with an index and the shards that it names, as"
    " `pretrain` writes them",
    Reason.DIGEST: "commit the content digest of the very files that are published",
    Reason.HEADER: "write the weights with safetensors, each tensor of the architecture once, under its library's name",
    Reason.ARCHITECTURE: "train a family and a size that the competition allows; docs/miner.md names the fields",
    Reason.DUPLICATE: "commit weights of your own",
    Reason.NOT_FINITE: "look for NaN and infinity in the weights, and for overflow in float16",
    Reason.NOT_CAUSAL: "every prediction may rest on earlier tokens alone: train without looking ahead",
    Reason.NEAR_COPY: "commit a model that was trained apart from the one it resembles",
    Reason.CRASHED: "load the model as `pretrain score` does, and see what ends the process",
}
"""What a miner can do about each reason."""

_PUBLISHED = re.compile(r"([^/@\s]+/[^/@\s]+)@([0-9a-f]{40})", re.ASCII)
_GATES = 5


@dataclass(frozen=True)
class Question:
    """What is asked."""

    model: str
    """A folder, or REPO@REVISION."""
    competition: int | None
    """None: the only one in force."""
    file: Path
    """The competition file."""
    hub: str
    windows: int
    threads: int
    device: str


@dataclass(frozen=True)
class Found:
    """Which gates let the model through, and the one that did not."""

    competition: Competition
    passed: tuple[Passed, ...]
    refusal: ModelRejected | None

    @property
    def to_do(self) -> str:
        """What its miner can do about the refusal; empty without one."""
        return TO_DO[self.refusal.reason] if self.refusal else ""

    def facts(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        refused = None
        if self.refusal:
            refused = {"reason": str(self.refusal.reason), "detail": self.refusal.detail, "to_do": self.to_do}
        return {
            "competition": {"id": self.competition.id, "name": self.competition.name},
            "passed": [{"gate": passed.gate, "detail": passed.detail} for passed in self.passed],
            "refused": refused,
        }


def ask(question: Question) -> Found:
    """Answer a question; raises ConfigError when it is wrong, Unavailable when hub, dataset or engine is."""
    check_device(question.device)
    hub = open_hub(question.hub)
    model = _model(question.model)
    schedule = competition_file.load(question.file)
    wanted = None if question.competition is None else CompetitionId(question.competition)
    in_force = competition_at(schedule, wanted, Block(schedule.phases[-1].start))
    competition = few_windows(in_force, question.windows)
    sampler = build_sampler(schedule, question.file.parent)
    vocabularies = {name: tokenizer.vocabulary for name, tokenizer in sampler.tokenizers.items()}
    settings = EngineSettings(device=question.device, threads=question.threads)

    async def pass_gates() -> Found:
        samples = await sampler.draw(competition, secrets.randbits(256))
        console = Console(stderr=True)
        passed: list[Passed] = []
        with (
            ProcessEvaluator(settings, vocabularies | {canary.TOKENIZER: canary.VOCABULARY}) as evaluator,
            tempfile.TemporaryDirectory(prefix="pretrain-check-") as folder,
            Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
        ):
            bar = progress.add_task("files", total=_GATES)
            gates = Gates(competition, samples, evaluator, hub, ModelStore(Path(folder)))
            try:
                async for one in check(model, gates):
                    passed.append(one)
                    progress.update(bar, completed=len(passed), description=f"passed: {one.gate}")
            except ModelRejected as refusal:
                return Found(competition, tuple(passed), refusal)
        return Found(competition, tuple(passed), None)

    return asyncio.run(pass_gates())


def _model(text: str) -> Path | Published:
    """Return what is to be checked; raises ConfigError when it is neither."""
    if Path(text).is_dir():
        return Path(text)
    published = _PUBLISHED.fullmatch(text)
    if published is None:
        raise ConfigError(f"{text}: no such folder, nor NAMESPACE/NAME@REVISION with 40 lower-case hex digits")
    return Published(published[1], Revision(published[2]))
