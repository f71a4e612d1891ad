"""Chooses and builds what a daemon talks to, from its settings: nothing else knows which kinds there are."""

import logging
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler

from pretrain.chain import Chain
from pretrain.commands import opening
from pretrain.data.draw import Sampler
from pretrain.errors import ConfigError
from pretrain.evaluate import canary
from pretrain.evaluate.request import EngineSettings
from pretrain.evaluate.worker import ProcessEvaluator
from pretrain.hub.folder import FolderHub
from pretrain.schedule import Schedule
from pretrain.settings import Judge, Secrets, Subtensor, at_home
from pretrain.settings import Wallet as WalletSettings
from pretrain.types import Hotkey
from pretrain.wallet import Wallet, open_wallet


def start_logging() -> Console:
    """Send human lines to stderr, and return the console that a progress bar shares with them."""
    console = Console(stderr=True)
    plain = logging.StreamHandler()
    plain.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    handler = RichHandler(console=console, show_path=False) if console.is_terminal else plain
    logging.basicConfig(level=logging.INFO, handlers=[handler], format="%(message)s")
    logging.getLogger("bittensor").setLevel(logging.WARNING)  # it tells of every try; we tell of the outage
    return console


def unlock(wallet: WalletSettings) -> Wallet:
    """Open the wallet whose hotkey signs; raises ConfigError."""
    return open_wallet(wallet.name, wallet.hotkey, at_home(wallet.path))


def address(wallet: Wallet) -> Hotkey:
    """Return the wallet's hotkey."""
    return Hotkey(wallet.hotkey.ss58_address)


def open_chain(
    subtensor: Subtensor, schedule: Schedule, netuid: int | None, wallet: Wallet | None
) -> AbstractAsyncContextManager[Chain]:
    """Return the chain to enter, to read only without a wallet; entering raises ConfigError or ChainUnavailable."""
    return opening.open_chain(subtensor, subnet(schedule, netuid), wallet, mechanism=schedule.mechanism)


def subnet(schedule: Schedule, netuid: int | None) -> int:
    """Return the subnet that is asked for, or else the one that the competition file names."""
    return schedule.netuid if netuid is None else netuid


def open_hub(folder: Path) -> FolderHub:
    """Open the hub with the token of the environment, if any."""
    token = Secrets().hf_token
    return FolderHub(folder, None if token is None else token.get_secret_value())


def need_token() -> None:
    """Raise ConfigError when there is no token to publish with."""
    if Secrets().hf_token is None:
        raise ConfigError("HF_TOKEN is not set: put the hub's token that owns the namespace in the environment or .env")


def build_evaluator(judge: Judge, device: str, sampler: Sampler) -> ProcessEvaluator:
    """Build the evaluator for every tokenizer of the competition file; the caller starts and closes it."""
    settings = EngineSettings(
        device=device,
        batch=judge.batch,
        threads=judge.threads,
        deadline=judge.deadline,
        memory=int(judge.memory_gb * 1e9) if judge.memory_gb else None,
    )
    vocabularies = {name: tokenizer.vocabulary for name, tokenizer in sampler.tokenizers.items()}
    return ProcessEvaluator(settings, vocabularies | {canary.TOKENIZER: canary.VOCABULARY})
