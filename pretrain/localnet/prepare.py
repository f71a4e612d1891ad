"""Making everything a localnet needs before its first process starts: texts, tokenizer, wallets, chain."""

import asyncio
import json
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from pretrain import competition_file
from pretrain.canonical import digest_of
from pretrain.chain import local
from pretrain.chain.genesis import RAO, Genesis, GenesisNeuron, Parameters
from pretrain.chain.hyperparameters import Hyperparameters
from pretrain.data.draw import build_sampler
from pretrain.data.sources import open_source
from pretrain.data.tokenizer import train
from pretrain.errors import ConfigError, DataUnavailable
from pretrain.localnet.roles import Miner, cast
from pretrain.schedule import Schedule, SourceRules
from pretrain.types import Block, Hotkey
from pretrain.wallet import create_wallet

BLOCK_TIME = 1.0  # seconds
TEMPO = 10  # blocks between two epochs, less one
VALIDATOR_STAKE = 1_000 * RAO
NEW_TASK_SHARE = 0.15
"""Share of the mixed competition that a source gets which `--data` adds."""
TEMPLATE = Path(__file__).parents[2] / "competitions" / "localnet.yaml"


@dataclass(frozen=True)
class Options:
    """What a user may say of a run."""

    out: Path
    miners: int
    validators: int
    seed: int
    tokens: int
    """That each of the compared miners trains on."""
    data: Mapping[str, Path]
    """Source name -> file or folder."""


@dataclass(frozen=True)
class Run:
    """A prepared localnet: everything is in one folder, so that it can be resumed and looked at."""

    out: Path
    seed: int
    miners: tuple[Miner, ...]
    validators: tuple[str, ...]
    hotkeys: Mapping[str, Hotkey]
    """Name of the process -> the hotkey it signs with."""
    endpoint: str | None = None
    """The ws:// address of the node that everybody talks to; None: everybody opens the chain's file."""

    @property
    def network(self) -> str:
        """What everybody is told of the chain."""
        return self.endpoint or f"file:{self.chain}"

    @property
    def chain(self) -> Path:
        """The embedded chain's file."""
        return self.out / "chain.sqlite"

    @property
    def hub(self) -> Path:
        """The embedded hub's folder."""
        return self.out / "hub"

    @property
    def wallets(self) -> Path:
        """The folder of the wallets."""
        return self.out / "wallets"

    @property
    def competitions(self) -> Path:
        """The run's own competition file, with everything pinned."""
        return self.out / "competition.yaml"

    @property
    def block_time(self) -> float:
        """Seconds between two blocks."""
        return BLOCK_TIME

    def token(self, name: str) -> str:
        """Return the hub token with which a miner owns its namespace."""
        return (self.wallets / name / "hub-token").read_text()

    @property
    def schedule(self) -> Schedule:
        """What that file says."""
        return competition_file.load(self.competitions)


def prepare(options: Options, tell: Callable[[str], object] = lambda _line: None) -> Run:
    """Make a new run in an empty folder.

    Raises ConfigError when there is one already, or when a text is too small to be judged on.
    """
    marker = options.out / "run.json"
    if marker.exists():
        raise ConfigError(
            f"{options.out} holds a run already; go on with it by --resume, remove it, or name another folder by --out"
        )
    tell(f"preparing {options.out}: texts, tokenizer, wallets, chain (a minute the first time)")
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        schedule = _schedule(options)
        _draw_once(schedule, options.out)
    except (ConfigError, DataUnavailable) as error:
        given = " ".join(f"--data {name}={path}" for name, path in options.data.items())
        raise ConfigError(f"{given}: {error}" if given else str(error)) from error
    miners = cast(schedule, options.miners, options.tokens, options.seed)
    validators = tuple(f"validator-{number + 1}" for number in range(options.validators))
    hotkeys = _wallets(options.out / "wallets", [*validators, *(miner.name for miner in miners)])
    (options.out / "hub").mkdir(exist_ok=True)
    run = Run(options.out, options.seed, miners, validators, hotkeys)
    genesis = _genesis(run, schedule)
    for leftover in options.out.glob("chain.sqlite*"):  # of a run whose preparation was cut short
        leftover.unlink()
    local.create(run.chain, genesis)
    asked = {"seed": options.seed, "miners": options.miners, "validators": options.validators, "tokens": options.tokens}
    temporary = marker.with_suffix(".tmp")
    temporary.write_text(json.dumps(asked | {"hotkeys": hotkeys, "prepared": digest_of(asked)}, indent=1))
    temporary.replace(marker)
    return run


def resume(out: Path) -> Run:
    """Return the run in a folder, its chain going on from its newest block; raises ConfigError when there is none."""
    try:
        asked = json.loads((out / "run.json").read_text())
        schedule = competition_file.load(out / "competition.yaml")
        miners = cast(schedule, asked["miners"], asked["tokens"], asked["seed"])
        validators = tuple(f"validator-{number + 1}" for number in range(asked["validators"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{out} holds no run that can be resumed: {error}; start one without --resume") from error
    run = Run(out, asked["seed"], miners, validators, asked["hotkeys"])
    local.resume(run.chain)
    return run


def _schedule(options: Options) -> Schedule:
    """Pin this machine's text and tokenizer in the run's own competition file."""
    template = competition_file.load(TEMPLATE)
    fields = template.model_dump(mode="json", exclude_none=True)
    for name, path in options.data.items():
        fields["sources"][name] = {"kind": "files", "path": str(path.resolve())}
        if name not in template.sources:
            fields["mixes"]["mixed"] = _joined(fields["mixes"]["mixed"], name)
    draft = Schedule.model_validate_json(json.dumps(fields))
    for name, source in draft.sources.items():
        fields["sources"][name]["digest"] = open_source(name, source, root=options.out).digest
    for name, tokenizer in draft.tokenizers.items():
        texts = asyncio.run(_training_texts(draft.sources, options.out))
        trained = train(texts, tokenizer.vocabulary, options.out / f"{name}.json", tokenizer.eos)
        fields["tokenizers"][name] |= {"path": f"{name}.json", "digest": trained.digest}
    header = "# competitions/localnet.yaml, with this machine's texts and tokenizer pinned by `pretrain localnet`\n"
    path = options.out / "competition.yaml"
    path.write_text(header + yaml.safe_dump(fields, sort_keys=False, allow_unicode=True))
    return competition_file.load(path)


def _draw_once(schedule: Schedule, root: Path) -> None:
    """Draw every competition's samples once; raises DataUnavailable when a source has too little text for that."""
    sampler = build_sampler(schedule, root)
    for competition in schedule.at(Block(0)):
        asyncio.run(sampler.draw(competition, seed=0))


def _joined(mix: dict[str, dict[str, object]], name: str) -> dict[str, dict[str, object]]:
    """Return a mix in which a further source has its share, the others in their proportion."""
    room = 1 - NEW_TASK_SHARE
    smaller = {task: fields | {"weight": round(float(str(fields["weight"])) * room, 9)} for task, fields in mix.items()}
    rest = 1 - sum(float(str(fields["weight"])) for fields in smaller.values())
    return smaller | {name: {"source": name, "weight": round(rest, 9)}}


async def _training_texts(sources: Mapping[str, SourceRules], root: Path) -> list[str]:
    """Return the training split of every source, in order of name."""
    texts: list[str] = []
    for name in sorted(sources):
        source = open_source(name, sources[name], root=root, split="train")
        for group in source.groups:
            texts += await source.rows(group)
    return texts


def _wallets(folder: Path, names: list[str]) -> dict[str, Hotkey]:
    """Make a wallet and a hub token for each process, its coldkey its own."""
    shutil.rmtree(folder, ignore_errors=True)  # of a run whose preparation was cut short
    hotkeys = {name: Hotkey(create_wallet(name, "default", folder).hotkey.ss58_address) for name in names}
    for name in names:
        token = folder / name / "hub-token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(16))
    return hotkeys


def _genesis(run: Run, schedule: Schedule) -> Genesis:
    """Register everybody in block 0, the validators with stake, so that the first epoch gives them permits."""
    parameters = Parameters(
        hyperparameters=replace(Hyperparameters(), tempo=TEMPO),
        block_time=BLOCK_TIME,
        weights_rate_limit=TEMPO,
        weights_version_key=schedule.version_key,
    )
    neurons = [
        GenesisNeuron(hotkey, hotkey, VALIDATOR_STAKE if name in run.validators else 0)
        for name, hotkey in run.hotkeys.items()
    ]
    faucet = create_wallet("faucet", "default", run.wallets).coldkey.ss58_address  # pays for newcomers
    return Genesis(schedule.netuid, time.time(), parameters, tuple(neurons), faucet=faucet)
