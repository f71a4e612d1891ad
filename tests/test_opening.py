"""Which chain and hub a setting opens: embedded ones from their places, any other through its client."""

import asyncio
from pathlib import Path

import pytest
from huggingface_hub import constants
from subnet import NETUID, subnet

from pretrain.chain.bittensor import BittensorChain
from pretrain.chain.local import LocalChain
from pretrain.commands import opening
from pretrain.commands.opening import deadlines, find_token, open_chain, open_hub
from pretrain.errors import ChainUnavailable, ConfigError
from pretrain.hub.folder import FolderHub
from pretrain.settings import Subtensor


def opened(subtensor: Subtensor, netuid: int = NETUID, mechanism: int = 0) -> object:
    async def go() -> object:
        async with open_chain(subtensor, netuid, mechanism=mechanism) as chain:
            return chain

    return asyncio.run(go())


def test_a_file_is_an_embedded_chain(tmp_path: Path) -> None:
    path = subnet(tmp_path).path
    assert isinstance(opened(Subtensor(network=f"file:{path}")), LocalChain)
    with pytest.raises(ConfigError, match=r"--netuid 3: the chain in .* holds subnet 9"):
        opened(Subtensor(network=f"file:{path}"), 3)
    with pytest.raises(ConfigError, match="mechanism 1: an embedded chain has mechanism 0 alone"):
        opened(Subtensor(network=f"file:{path}"), mechanism=1)
    with pytest.raises(ChainUnavailable, match="there is no chain at"):
        opened(Subtensor(network=f"file:{tmp_path / 'gone'}"))


def test_anything_else_is_a_real_one_which_is_told_all_and_closed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []

    class Noting(BittensorChain):
        def __init__(self, network: str, netuid: int, wallet: object = None, **rest: object) -> None:
            told.append((network, netuid, wallet, rest))

        async def close(self) -> None:
            told.append("closed")

    monkeypatch.setattr(opening, "BittensorChain", Noting)
    opened(Subtensor(network="test", fallback=("ws://b:1",), timeout=4.0), 4, mechanism=2)
    rest = {"fallback": ("ws://b:1",), "mechanism": 2, "deadlines": deadlines(4.0)}
    assert told == [("test", 4, None, rest), "closed"]


def test_a_timeout_is_that_of_a_read_and_a_write_may_take_longer() -> None:
    short, usual = deadlines(4.0), deadlines(60.0)
    assert (short.read, short.write, short.opening, short.settling) == (4.0, 12.0, 4.0, 4.0)
    assert (usual.read, usual.write, usual.opening, usual.settling) == (60.0, 180.0, 30.0, 60.0)


@pytest.fixture
def _empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be where no ``.env`` and no variable says anything."""
    monkeypatch.chdir(tmp_path)
    for name in ("HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))


@pytest.mark.usefixtures("_empty_place")
def test_a_folder_is_an_embedded_hub_and_anything_else_the_public_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_hub("folder:x"), FolderHub)
    assert repr(open_hub("huggingface")) == "HuggingFaceHub('https://huggingface.co', without a token)"
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example/")
    assert repr(open_hub("huggingface", "hf_x")) == "HuggingFaceHub('https://hub.example', with a token)"
    monkeypatch.setenv("HF_ENDPOINT", "hub.example")
    with pytest.raises(ConfigError, match=r"HF_ENDPOINT .hub\.example.: expected https://HOST"):
        open_hub("huggingface")


@pytest.mark.usefixtures("_empty_place")
def test_the_token_of_the_environment_goes_before_the_file_and_that_before_the_one_of_the_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_token("huggingface") is None
    (tmp_path / "token").write_text("of the login\n")
    assert (find_token("huggingface"), find_token("folder:x")) == ("of the login", None)
    (tmp_path / ".env").write_text("HF_TOKEN=of-the-file\n")
    assert (find_token("huggingface"), find_token("folder:x")) == ("of-the-file", "of-the-file")
    monkeypatch.setenv("HF_TOKEN", "of-the-environment\n")
    assert find_token("huggingface") == "of-the-environment"
