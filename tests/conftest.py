"""Fixtures that several test files share. Its being here also puts tests/ on the import path of tests/contract/."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from subnet import Subnet, subnet

settings.register_profile("project", deadline=None)  # a busy machine is no failure
settings.load_profile("project")


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left_at_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the chain's client another place for what it keeps of the chains that it has seen."""
    folder = tmp_path_factory.mktemp("client")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BITTENSOR_RUNTIME_CACHE_DIR", str(folder / "runtimes"))
        patch.setenv("BTCLI_TOKEN_SYMBOLS_CACHE", str(folder / "symbols.json"))
        yield


@pytest.fixture
def net(tmp_path: Path) -> Subnet:
    """An embedded chain with two staked validators and three miners; the first epoch is in block 10."""
    return subnet(tmp_path)
