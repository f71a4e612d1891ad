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
from pretrain.hub import Hub
from pretrain.hub.asking import Limits
from pretrain.hub.room import Budget
from pretrain.hub.store import ModelStore
from pretrain.schedule import Schedule
from pretrain.settings import Judge, Store, Subtensor, at_home
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
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells of every request, with signed addresses
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # so does it, of every one that failed
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


def open_hub(hub: str, store: Store) -> Hub:
    """Open the hub to read, as anybody may, no faster than the store is told; raises ConfigError."""
    bandwidth = store.mb_per_second * 1e6 if store.mb_per_second else None
    return opening.open_hub(hub, limits=Limits(parallel=store.parallel, bandwidth=bandwidth))


def open_hub_to_write(hub: str) -> Hub:
    """Open the hub with the token to publish with; raises ConfigError when there is none."""
    token = opening.find_token(hub)
    if not token:
        raise ConfigError("HF_TOKEN is not set: put the hub's token that owns the namespace in the environment or .env")
    return opening.open_hub(hub, token)


def open_store(folder: Path, store: Store) -> ModelStore:
    """Open the models that a daemon keeps in its folder, within its budget; raises EvaluatorUnavailable."""
    return ModelStore(folder / "models", Budget.of_gb(store.max_gb, store.min_free_gb))


def build_evaluator(judge: Judge, device: str, sampler: Sampler) -> ProcessEvaluator:
    """Build the evaluator for every tokenizer of the competition file; the caller starts and closes it."""
    settings = EngineSettings(
        device=device,
        batch=judge.batch,
        threads=judge.threads,
        deadline=judge.deadline,
        memory=int(judge.memory_gb * 1e9) if judge.memory_gb else None,
        isolated=judge.isolated,
    )
    vocabularies = {name: tokenizer.vocabulary for name, tokenizer in sampler.tokenizers.items()}
    return ProcessEvaluator(settings, vocabularies | {canary.TOKENIZER: canary.VOCABULARY})
