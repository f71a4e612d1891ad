"""What the two daemons are told: flags first, then the environment, then ``.env``, then the defaults here.

A flag's environment name is ``PRETRAIN_`` and the flag in capitals, with ``__`` for the dot: ``--wallet.name`` is
``PRETRAIN_WALLET__NAME``. Secrets have no flag, since flags stand in the process list. No number of the protocol is
here: those are in the competition file, the same for everybody.
"""

import math
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pretrain.errors import ConfigError

PREFIX = "PRETRAIN_"
"""Of every environment variable that is no secret."""

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_URL = r"wss?://[^\s,/]+(/[^\s,]*)?"
_HUB = "huggingface, the public hub (HF_ENDPOINT: another of its kind); or folder:PATH, an embedded one"


def _matching(pattern: str, right: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value, re.ASCII):
            raise ValueError(f"expected {right}")
        return value

    return AfterValidator(check)


def shares(mix: str) -> dict[str, float]:
    """Read ``prose=0.85,code=0.15`` into shares by source; raises ValueError with what would be right."""
    parts = [part.partition("=") for part in mix.split(",")]
    try:
        found = {name.strip(): float(share) for name, _, share in parts}
    except ValueError:
        found = {}
    if len(found) != len(parts) or not all(0 < share <= 1 for share in found.values()):
        raise ValueError("expected SOURCE=SHARE,..., each once and above 0, such as prose=0.85,code=0.15")
    if not math.isclose(math.fsum(found.values()), 1, abs_tol=1e-6):
        raise ValueError(f"the shares sum to {math.fsum(found.values()):.6g}; they must sum to 1")
    return found


def _mix(text: str) -> str:
    shares(text)
    return text


def _is_url(text: str) -> bool:
    """Whether a text is a websocket address, its host and port possible ones."""
    try:
        parts = urlsplit(text)
        return bool(re.fullmatch(_URL, text, re.ASCII) and parts.hostname and parts.port != 0)
    except ValueError:  # a port over 65535, half an IPv6 address
        return False


def without_key(value: object) -> object:
    """Return addresses, however mistyped, up to their hosts: what comes after may be the key to somebody's account."""
    if isinstance(value, list | tuple):
        return [without_key(part) for part in value]
    return re.sub(r"((?:\w+://)?)([^,@/?#\s]*)([^,]*)", _cut, value) if isinstance(value, str) else value


def _cut(address: re.Match[str]) -> str:
    scheme, host, rest = address.groups()
    shown = "" if "@" in rest else host  # else it is a user, and perhaps a password
    return f"{scheme}{shown}..." if rest else address[0]


def _urls(value: object) -> object:
    """Read addresses that a flag repeats, or that commas separate; raises ValueError with what would be right."""
    parts = value if isinstance(value, list | tuple) else [value]
    found = [url.strip() for part in parts for url in str(part).split(",")]
    if not all(map(_is_url, found)):
        raise ValueError("expected ws://HOST:PORT or wss://HOST, several with commas between them")
    return tuple(found)


Mix = Annotated[str, AfterValidator(_mix)]
Repo = Annotated[str, _matching(rf"{_PART}/{_PART}", "NAMESPACE/NAME, such as alice/tiny-llama")]
Pinned = Annotated[
    str, _matching(rf"{_PART}/{_PART}@[0-9a-f]{{40}}", "NAMESPACE/NAME@REVISION, 40 lower-case hex digits")
]


def _network(text: str) -> str:
    if not (re.fullmatch(r"file:.+|finney|test|local", text) or _is_url(text)):
        raise ValueError("expected finney, test, local, ws://HOST:PORT, wss://HOST or file:PATH")
    return text


NetworkName = Annotated[str, AfterValidator(_network)]
Urls = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_urls)]
_HUB, _HUBS = r"folder:.+|huggingface", "huggingface or folder:PATH"
_DEVICE, _DEVICES = r"cpu|cuda(:\d+)?", "cpu, cuda or cuda:N"
HubName = Annotated[str, _matching(_HUB, _HUBS)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0)]


class Group(BaseModel):
    """Flags that share the part before the dot."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Wallet(Group):
    """The keys that sign."""

    name: str = Field(default="default", description="the wallet's name (its coldkey)")
    hotkey: str = Field(default="default", description="name of the hotkey in it")
    path: Path = Field(default=Path("~/.bittensor/wallets"), description="folder of the wallets")


class Subtensor(Group):
    """The chain."""

    network: NetworkName = Field(
        default="finney",
        description="finney, the main network; test; local, a node on this machine; a ws:// or wss:// address; or"
        " file:PATH, an embedded chain",
    )
    fallback: Urls = Field(
        default=(),
        description="ws:// or wss:// address of the same chain, to go on with when the first does not answer; may be"
        " repeated, or several with commas; default: what the SDK knows for the network",
    )
    timeout: Annotated[float, Field(gt=0)] = Field(
        default=60.0, description="seconds to wait for an answer of a real chain; three times as long for a write"
    )

    @field_validator("fallback")
    @classmethod
    def _only_of_a_real_chain(cls, fallback: tuple[str, ...], known: ValidationInfo) -> tuple[str, ...]:
        network = known.data.get("network", "")
        if fallback and network.startswith("file:"):
            raise ValueError(f"an embedded chain has no other address; leave it out with --subtensor.network {network}")
        return fallback

    @property
    def file(self) -> Path | None:
        """The embedded chain's file; None for a real chain."""
        kind, _, path = self.network.partition(":")
        return at_home(Path(path)) if kind == "file" else None


class Judge(Group):
    """How models are measured on this machine; never what the result is."""

    threads: Count = Field(default=1, description="threads of the process that measures a model")
    batch: Count = Field(default=8, description="windows measured at a time")
    deadline: Annotated[float, Field(gt=0)] = Field(default=600.0, description="seconds for one model")
    memory_gb: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="most GB of address space of that process, on the CPU; default: what the machine has left",
    )
    isolated: bool = Field(
        default=True,
        description="whether that process gives up files, network and other processes before it meets a model; off only"
        " where a device's driver cannot work so (docs/security.md)",
    )


class Store(Group):
    """The disk that downloaded models take; what is needed just now is never dropped for others."""

    max_gb: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="most GB (10^9 bytes) of all models kept: what was needed least recently is dropped before a"
        " download; default: what the disk has",
    )
    min_free_gb: Annotated[float, Field(ge=0)] = Field(
        default=10.0, description="GB of the disk that a download leaves free; models are dropped for it too"
    )
    parallel: Count = Field(default=4, description="files downloaded at a time from the public hub")
    mb_per_second: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="most MB (10^6 bytes) a second of all files of a download; default: no bound"
    )


class Model(Group):
    """The network to train: a Llama with tied embeddings unless said otherwise."""

    hidden_size: Count = Field(default=96, description="width of the hidden states; a multiple of the heads")
    layers: Count = Field(default=2, description="number of layers")
    heads: Count = Field(default=4, description="attention heads; hidden_size / heads must be even")
    kv_heads: Count | None = Field(default=None, description="key-value heads, dividing the heads; default: as many")
    intermediate_size: Count = Field(default=256, description="width of the feed-forward layers")
    untied: bool = Field(default=False, description="a matrix of its own for the head")


class Train(Group):
    """How to train it."""

    tokens: Annotated[int, Field(ge=0)] = Field(default=900_000, description="tokens to train on in all; 0: none")
    batch: Count = Field(default=4, description="windows of an optimizer step")
    lr: Annotated[float, Field(gt=0)] = Field(default=4e-3, description="peak learning rate of AdamW")
    warmup: Share = Field(default=0.05, description="share of the tokens over which the rate rises")
    decay: Share = Field(default=0.5, description="share of the tokens, at the end, over which it falls to 0")
    form: Literal["linear", "1-sqrt", "cosine"] = Field(default="linear", description="how it falls")
    weight_decay: Annotated[float, Field(ge=0)] = Field(default=0.1, description="of AdamW, on matrices")
    clip: Annotated[float, Field(gt=0)] = Field(default=1.0, description="largest norm of the gradient")
    seed: int = Field(default=0, description="decides the initial weights and the order of the text")
    mix: Mix | None = Field(default=None, description="prose=0.85,code=0.15: shares by source; default: as judged")
    threads: Count = Field(default=1, description="threads; more only help while their cores are free")
    checkpoint_tokens: Count = Field(default=100_000, description="tokens between two checkpoints")
    start: Pinned | None = Field(default=None, alias="from", description="REPO@REVISION: begin with its weights")


class Publish(Group):
    """When to publish."""

    anyway: bool = Field(default=False, description="publish although it would not beat the champion")


class Wandb(Group):
    """Where a validator's reports also go."""

    off: bool = Field(default=False, description="do not use wandb")
    project: str = Field(default="pretrain", description="wandb project")
    entity: str | None = Field(default=None, description="wandb user or team")
    name: str | None = Field(default=None, description="name of the run there")


class Settings(BaseSettings):
    """What every program is told."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=".env",
        env_ignore_empty=True,
        dotenv_filtering="only_existing",
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        cli_avoid_json=True,
        cli_hide_none_type=True,
        cli_implicit_flags="toggle",
        cli_show_env_vars=True,
        cli_use_class_docs_for_groups=True,
    )

    competitions: Path = Field(default=Path("competitions/localnet.yaml"), description="the competition file")
    dir: Path = Field(default=Path("miner"), description="folder for everything that the program keeps")
    device: Annotated[str, _matching(_DEVICE, _DEVICES)] = Field(default="cpu", description="where the models run")


class _Entered(Settings):
    competition: Annotated[int, Field(ge=0, le=99)] = Field(default=0, description="id of the competition")
    hub: HubName = Field(default="huggingface", description=_HUB)


class _Connected(Settings):
    subtensor: Subtensor = Subtensor()
    netuid: Annotated[int, Field(ge=0, le=65535)] | None = Field(
        default=None, description="the subnet on that chain; default: the one that the competition file names"
    )


class TrainSettings(_Entered):
    """``miner.py train``."""

    model: Model = Model()
    train: Train = Train()
    store: Store = Store()


class ScoreSettings(_Entered, _Connected):
    """``miner.py score``."""

    judge: Judge = Judge()
    store: Store = Store()


class PublishSettings(_Entered, _Connected):
    """``miner.py publish``."""

    wallet: Wallet = Wallet()
    repo: Repo = Field(description="NAMESPACE/NAME to publish to")


class RunSettings(PublishSettings, ScoreSettings, TrainSettings):
    """``miner.py run``."""

    publish: Publish = Publish()


class MinerDoctorSettings(RunSettings):
    """``pretrain doctor miner``: what ``miner.py run`` is told, before there is anything to publish."""

    repo: Repo = Field(default="NAMESPACE/NAME", description="to publish to; not needed here")


class ValidatorSettings(_Connected):
    """``validator.py``."""

    dir: Path = Field(default=Path("validator"), description="folder for everything that the program keeps")
    hub: HubName = Field(default="huggingface", description=_HUB)
    wallet: Wallet = Wallet()
    judge: Judge = Judge()
    store: Store = Store()
    wandb: Wandb = Wandb()


class Secrets(BaseSettings):
    """What is read from the environment and ``.env`` alone, and never printed."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    hf_token: SecretStr | None = Field(default=None, validation_alias="HF_TOKEN")
    """Owns the namespace that a miner publishes under."""
    hf_endpoint: str | None = Field(default=None, validation_alias="HF_ENDPOINT")
    """Address of the public hub, when it is another one: no secret, but it goes where the token goes."""


def hub_folder(hub: str) -> Path | None:
    """Return the embedded hub's folder; None for the public hub.

    Raises ConfigError for a text that names neither, and for a home that is none.
    """
    if not re.fullmatch(_HUB, hub):
        raise ConfigError(f"--hub {hub!r}: expected {_HUBS}")
    return at_home(Path(hub.removeprefix("folder:"))) if hub.startswith("folder:") else None


def check_device(device: str) -> None:
    """Raise ConfigError for a text that names no device."""
    if not re.fullmatch(_DEVICE, device, re.ASCII):
        raise ConfigError(f"--device {device!r}: expected {_DEVICES}")


def at_home(path: Path) -> Path:
    """Return a path with ``~`` replaced by the home that it stands for; raises ConfigError where there is none."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigError(f"{path}: there is no home of that name on this machine; write the path in full") from None
