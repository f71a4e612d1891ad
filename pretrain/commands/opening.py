"""Opens the chain and the hub that a setting names: nothing else knows which kinds there are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from pretrain.chain import Chain
from pretrain.chain.bittensor import BittensorChain
from pretrain.chain.connection import Deadlines
from pretrain.chain.local import LocalChain
from pretrain.errors import ConfigError
from pretrain.hub import Hub
from pretrain.hub.folder import FolderHub
from pretrain.hub.huggingface import HuggingFaceHub, Limits, stored_token
from pretrain.settings import Secrets, Subtensor, hub_folder
from pretrain.wallet import Keys

WRITE = 3
"""How much longer than a read a write may take: it is signed, put into a block, and finalised."""


@asynccontextmanager
async def open_chain(
    subtensor: Subtensor, netuid: int, wallet: Keys | None = None, *, mechanism: int = 0
) -> AsyncIterator[Chain]:
    """Open the chain, to read only without a wallet, and close it at the end.

    Raises ConfigError when it holds another subnet, ChainUnavailable when an embedded chain's file is not there; a real
    chain is first reached at the first question.
    """
    if subtensor.file is not None:
        if mechanism:
            raise ConfigError(f"mechanism {mechanism}: an embedded chain has mechanism 0 alone; leave out `mechanism`")
        yield LocalChain(subtensor.file, netuid, wallet)
        return
    chain = BittensorChain(
        subtensor.network,
        netuid,
        wallet,
        fallback=subtensor.fallback,
        mechanism=mechanism,
        deadlines=deadlines(subtensor.timeout),
    )
    try:
        yield chain
    finally:
        await chain.close()


def open_hub(hub: str, token: str | None = None, limits: Limits | None = None) -> Hub:
    """Return the hub of a ``--hub``, to read only without a token; raises ConfigError for a wrong ``HF_ENDPOINT``.

    An embedded one that is not there, like a public one that does not answer, is first noticed at the first question.
    """
    folder = hub_folder(hub)
    return FolderHub(folder, token) if folder else HuggingFaceHub(token, Secrets().hf_endpoint, limits)


def find_token(hub: str) -> str | None:
    """Return the token to publish with: ``HF_TOKEN``, or for the public hub the one of ``hf auth login``; None without.

    Raises ConfigError when that one's file cannot be read.
    """
    told = Secrets().hf_token
    if told is not None:
        return told.get_secret_value().strip()
    return None if hub_folder(hub) else stored_token()


def deadlines(seconds: float) -> Deadlines:
    """Return the deadlines of a connection whose answers are waited for so long."""
    usual = Deadlines()
    return replace(
        usual,
        opening=min(usual.opening, seconds),
        read=seconds,
        write=WRITE * seconds,
        settling=min(usual.settling, seconds),
    )
