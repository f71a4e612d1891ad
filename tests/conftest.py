"""Fixtures that several test files share. Its being here also puts tests/ on the import path of tests/contract/."""

from pathlib import Path

import pytest
from subnet import Subnet, subnet


@pytest.fixture
def net(tmp_path: Path) -> Subnet:
    """An embedded chain with two staked validators and three miners; the first epoch is in block 10."""
    return subnet(tmp_path)
